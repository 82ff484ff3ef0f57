"""The page as files, for any web server or none: what its server would answer about some videos stands in it.

Masks are there at the ratios of `RATIOS` and the first seeds, reconstructions at each masker's own ratio, maps and
masks of text for the first caption of each video; a typed text and a search for one need the live page. Start reading
at `write`.
"""

import base64
import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from tubelet.corpus.schema import Video
from tubelet.diagnostics.mask_measures import spaced_indices
from tubelet.errors import RunError, TubeletError
from tubelet.files import cleared, write_atomically
from tubelet.inspector.api import Answer, Api, as_json, fault
from tubelet.inspector.listing import trained_on
from tubelet.inspector.page import MARK, page, policy
from tubelet.inspector.subject import RUN
from tubelet.maskers import TOKENS
from tubelet.progress import Progress

RATIOS = ("0.5", "0.75", "0.9")
SEEDS = ("", "1", "2")  # as the page asks for them: the first is 0
FAILED = 50  # files that cannot be used, listed with their reasons
Asked = tuple[str, list[tuple[str, str]]]  # name of an answer, its query


def write(api: Api, folder: Path, videos: int, progress: Progress) -> Path:
    """Writes `index.html` and the videos that it plays, so many of the usable ones, evenly spread over the table."""
    if videos < 1:
        raise RunError(f"--videos must be at least 1, not {videos}")
    index = folder / "index.html"
    for left in folder.glob(".index.html*.part"):  # by a call that was killed
        cleared(left)
    ours = index.exists() and MARK in index.read_text(encoding="utf-8", errors="replace")[:1000]
    if folder.exists() and not ours and (not folder.is_dir() or any(folder.iterdir())):
        raise RunError(f"{folder} holds something else than a page of `tubelet inspect`; name a new folder")
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(index, f"<!doctype html>{MARK}This page is being written.".encode())  # ours after a kill
    usable = api.subject.corpus.select("all")
    chosen = [usable[number] for number in spaced_indices(videos, len(usable))] if usable else []
    shutil.rmtree(folder / "videos", ignore_errors=True)
    recorded = Recorder(api).record(chosen, folder, progress)
    text = json.dumps(recorded, ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")
    rules = policy(media="'self' data:", connect="'none'").replace("; frame-ancestors 'none'", "")
    head = f'<meta http-equiv="Content-Security-Policy" content="{rules}">'
    data = f'<script type="application/json" id="recorded">{text}</script>'
    content = page(api.subject.corpus.name, head, data)
    write_atomically(index, content.encode("utf-8", "backslashreplace"))
    return index


class Recorder:
    """What a page without a server finds in itself."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.answers: dict[str, Any] = {}
        self.thumbnails: dict[int, str] = {}

    def record(self, chosen: Sequence[Video], folder: Path, progress: Progress) -> dict[str, Any]:
        corpus, settings = self.api.subject.corpus, self.api.subject.settings
        failed = [video for video in corpus.videos if video.status != "ok"][:FAILED]
        self.ask("about", [])
        played = {}
        for number, video in enumerate(chosen):
            played[video.row] = self.copy(video, folder)
            for name, query in self.questions(video):
                self.ask(name, query)
            progress(number + 1, len(chosen), "")
        for video in failed:
            self.ask("video", [("row", str(video.row))])
        listed = sorted([*chosen, *failed], key=lambda video: video.row)
        marks = trained_on(settings, listed)
        rows = [self.api.listing.row(video, marks) for video in listed]
        for row in [*(video.row for video in chosen), *self.hits()]:
            if row not in self.thumbnails and (picture := self.api.thumbnail(row)) is not None:
                self.thumbnails[row] = "data:image/jpeg;base64," + base64.b64encode(picture).decode()
        return {
            "answers": self.answers, "rows": rows, "thumbnails": self.thumbnails, "videos": played,
            "ratios": [float(ratio) for ratio in RATIOS], "seeds": len(SEEDS),
        }  # fmt: skip

    def ask(self, name: str, query: list[tuple[str, str]], **more: str) -> Answer:
        """The answer, kept under the name by which the page asks for it; a reason why there is none is one too."""
        values: dict[str, list[str]] = {}
        for key, value in (*query, *more.items()):
            values.setdefault(key, []).append(value)
        try:
            answer = self.api.answer(name, values)
            while "working" in answer:
                self.api.nearest.wait()
                answer = self.api.answer(name, values)
        except TubeletError as error:
            answer = fault(error)
        self.answers[f"{name}?{urlencode(query)}"] = json.loads(as_json(answer))
        return answer

    def questions(self, video: Video) -> Iterator[Asked]:
        """All that the page may ask about a video."""
        yield "video", [("row", str(video.row))]
        for index, settings in enumerate(self.api.subject.settings):
            row = [("row", str(video.row)), *([("run", str(index))] if index else [])]
            yield "clip", row
            for kind in self.api.saliency.kinds():
                yield "layers", [*row, ("kind", kind)]
            maskers = dict(self.api.subject.maskers)
            if settings.run:
                maskers = {RUN: settings.config.masker, **maskers}
                yield "near", [*row[1:], *row[:1]]
            for name, masker in maskers.items():
                asked = [*row, ("masker", name)]
                yield "mask", asked
                if settings.run and TOKENS not in masker.needs:
                    yield "reconstruction", asked
                    yield "reconstruction", [*asked, ("truth", "1")]
                    for seed in SEEDS[1:] if name == RUN else ():
                        yield "reconstruction", [*asked, ("seed", seed)]
                if TOKENS in masker.needs:  # each seed would make a network
                    continue
                own = getattr(masker, "ratio", None)
                ratios = [[("field", f"ratio={ratio}")] for ratio in RATIOS if own is not None and own != float(ratio)]
                for ratio in ([], *ratios):
                    for seed in SEEDS:
                        if ratio or seed:
                            yield "mask", [*asked, *ratio, *([("seed", seed)] if seed else [])]

    def copy(self, video: Video, folder: Path) -> str:
        """The file that the page plays, under a name of its own."""
        playing = self.api.answer("video", {"row": [str(video.row)]})["playing"]
        moment = (video.start + video.end) / 2
        path = self.api.playable.file(video, moment) if playing["encoded"] else video.path
        name = f"videos/{video.row}{'.webm' if playing['kind'] == 'video/webm' else '.mp4'}"
        (folder / "videos").mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, folder / name)
        return name

    def hits(self) -> list[int]:
        found = (answer.get("hits", ()) for name, answer in self.answers.items() if name.startswith("near?"))
        return [hit["row"] for some in found for hit in some]
