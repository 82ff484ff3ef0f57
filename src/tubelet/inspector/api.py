"""What the page asks for, as plain values: every answer is a function of the query alone, so that they can be written
to files too. Start reading at `Api.ANSWERS`.
"""

import base64
import io
import json
import math
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image

from tubelet.corpus.schema import Caption, Video
from tubelet.errors import RecipeError, TubeletError
from tubelet.escape import visible
from tubelet.evaluations.pictures import middle_frame
from tubelet.inference.search import SearchResult
from tubelet.inspector.clips import ClipRead, read_clip
from tubelet.inspector.layers import Saliency
from tubelet.inspector.listing import Filter, Listing, trained_on
from tubelet.inspector.masks import Asked, Drawing, Drawn, fields_of, reconstruct
from tubelet.inspector.near import Near, Work
from tubelet.inspector.playable import Playable
from tubelet.inspector.subject import RUN, Settings, Subject
from tubelet.maskers import Masker
from tubelet.objectives.base import TextHead
from tubelet.tasks import Pretraining

Query = Mapping[str, list[str]]
Answer = dict[str, Any]

CLIPS = 12  # clips that are kept read
PICTURES = 600  # small pictures that are kept
NEAREST = 12  # that a search shows


@dataclass(frozen=True)
class Api:
    """The answers about one subject."""

    subject: Subject
    playable: Playable = field(default_factory=Playable)
    computes: threading.RLock = field(default_factory=threading.RLock)
    clips: OrderedDict[tuple[int, int, float | None, bool], ClipRead] = field(default_factory=OrderedDict)
    pictures: OrderedDict[int, bytes | None] = field(default_factory=OrderedDict)
    exact: bool = True  # pictures of clips to the bit; else smaller

    ANSWERS: ClassVar[tuple[str, ...]] = (
        "about", "videos", "video", "clip", "layers", "mask", "reconstruction", "near",
    )  # fmt: skip

    @cached_property
    def listing(self) -> Listing:
        return Listing(self.subject.corpus)

    @cached_property
    def saliency(self) -> Saliency:
        return Saliency(self.subject)

    @cached_property
    def drawing(self) -> Drawing:
        return Drawing(self.subject, self.saliency)

    @cached_property
    def nearest(self) -> Near:
        return Near(self.computes)

    def answer(self, name: str, query: Query) -> Answer:
        """One of `ANSWERS`; `TubeletError` where it cannot be given."""
        one: Callable[[Query], Answer] = getattr(self, name)
        return one(query)

    def about(self, query: Query) -> Answer:
        """What there is: the corpus, the runs, the maskers, the maps."""
        corpus = self.subject.corpus
        return {
            "name": visible(corpus.name), "folder": visible(str(corpus.folder)), "videos": len(corpus.videos),
            "choices": {what: {visible(k): n for k, n in some.items()} for what, some in self.listing.choices.items()},
            "settings": [self.about_settings(one) for one in self.subject.settings],
            "maskers": [about_masker(name, masker) for name, masker in self.subject.maskers.items()],
            "maps": self.saliency.kinds(), "typed": self.subject.has_aligner,
        }  # fmt: skip

    def about_settings(self, settings: Settings) -> Answer:
        task = settings.task if settings.run else None
        return {
            "name": visible(settings.name), "recipe": visible(settings.recipe), "run": settings.run is not None,
            "own": about_masker(RUN, settings.config.masker, type(settings.config.masker).__name__) if task else None,
            "pixels": can_reconstruct(task), "text": task is not None and isinstance(task.text_head, TextHead),
        }  # fmt: skip

    def videos(self, query: Query) -> Answer:
        """A page of the rows that pass a filter."""
        wanted = Filter(*(text(query, name) for name in ("split", "label", "status", "words")))
        return self.listing.page(wanted, integer(query, "page"), self.subject.settings)

    def video(self, query: Query) -> Answer:
        """All that is known of one row, and how it is played."""
        video, settings = self.row(query), self.settings(query)
        captions = self.subject.captions(video, settings)
        found = self.listing.row(video, trained_on(self.subject.settings, [video])) | {
            "start": video.start, "end": finite(video.end), "fps": video.fps, "frames": video.frames,
            "width": video.width, "height": video.height, "codec": visible(video.codec),
            "captions": [{"text": visible(one.text), "source": visible(one.source)} for one in captions],
        }  # fmt: skip
        if video.status != "ok":
            return found | {"playing": None}
        playing = self.playable.playing(video, number(query, "moment", middle(video)), flag(query, "encoded"))
        return found | {"playing": vars(playing)}

    def clip(self, query: Query) -> Answer:
        """The frames that the model sees, side by side in one picture, and where and when they are."""
        read = self.read(query)
        return place(read) | {"frames": picture(read.frames, self.exact), "short": bool(read.batch.short)}

    def layers(self, query: Query) -> Answer:
        """The layers of a saliency map about a moment."""
        video, caption, words = self.row(query), *self.words(query)
        with self.computes, torch.inference_mode():
            found = self.saliency.layers(video, text(query, "kind"), caption, words, number(query, "moment", 0.0))
        return vars(found) | {
            "values": packed(found.values.astype("<f4")), "rows": found.values.shape[1],
            "columns": found.values.shape[2], "times": found.times.tolist(), "notes": list(found.notes),
            "made": visible(found.made),
        }  # fmt: skip

    def mask(self, query: Query) -> Answer:
        """Which tubelets of a clip a masker hides, a bit each in the order of their numbers."""
        with self.computes:
            read, drawn = self.drawn(query)
        return place(read) | self.drawn_words(read, drawn)

    def reconstruction(self, query: Query) -> Answer:
        """What a run makes of the hidden tubelets of this mask."""
        settings = self.settings(query)
        if not can_reconstruct(settings.task if settings.run else None):
            raise RecipeError(f"{settings.name} predicts no pixels of clips, so there is no reconstruction to show")
        with self.computes:
            read, drawn = self.drawn(query, with_streams=True)
            made = reconstruct(settings, drawn, flag(query, "truth"))
        error = np.zeros(read.clip.num_tubelets, "<f4")
        error[list(made.where)] = made.error
        return place(read) | self.drawn_words(read, drawn) | {
            "frames": picture(made.frames, self.exact), "losses": packed(error), "loss": made.loss,
            "baseline": made.baseline, "r2": finite(made.r2),
        }  # fmt: skip

    def near(self, query: Query) -> Answer:
        """The nearest clips to a text or to a row, by the features of a run."""
        settings, split = self.settings(query), text(query, "split") or "all"
        searcher = settings.searcher
        asked = text(query, "text")
        if asked:
            found = self.nearest.search(settings, lambda: searcher.by_text(asked, split, NEAREST))
        else:
            name = self.row(query).id
            found = self.nearest.search(settings, lambda: searcher.like(name, split, NEAREST))
        if isinstance(found, Work):
            return {"working": [found.done, found.total]}
        return hits(found)

    def thumbnail(self, row: int) -> bytes | None:
        """The middle frame as JPEG; None where there is none."""
        if row in self.pictures:
            return self.pictures.get(row)
        video = self.subject.corpus.videos[row]
        frame = middle_frame(video) if video.status == "ok" else None
        picture = self.pictures[row] = None if frame is None else jpeg(frame)
        while len(self.pictures) > PICTURES:
            self.pictures.popitem(last=False)
        return picture

    def row(self, query: Query) -> Video:
        return self.of_row(integer(query, "row"))

    def of_row(self, number: int) -> Video:
        videos = self.subject.corpus.videos
        if not 0 <= number < len(videos):
            raise RecipeError(f"there is no row {number}; the table has {len(videos)}")
        return videos[number]

    def settings(self, query: Query) -> Settings:
        index = integer(query, "run")
        if not 0 <= index < len(self.subject.settings):
            raise RecipeError(f"there is no run {index} here")
        return self.subject.settings[index]

    def words(self, query: Query) -> tuple[Caption | None, str | None]:
        """The caption of this number (the first where none is named), or a typed text."""
        if typed := text(query, "text"):
            return None, typed
        captions = self.subject.captions(self.row(query), self.settings(query))
        index = integer(query, "caption")
        return (captions[index] if 0 <= index < len(captions) else None), None

    def read(self, query: Query, with_streams: bool = False) -> ClipRead:
        """The clip that is asked for; the last few are kept."""
        video, settings = self.row(query), self.settings(query)
        begin = number(query, "begin", None)
        streams = dict(settings.task.reads) if with_streams and settings.run else {}
        named = video.row, integer(query, "run"), begin, bool(streams)
        if (read := self.clips.get(named)) is None:
            read = self.clips[named] = read_clip(self.subject.corpus, settings, video, begin, streams or None)
            while len(self.clips) > CLIPS:
                self.clips.popitem(last=False)
        return read

    def drawn(self, query: Query, with_streams: bool = False) -> tuple[ClipRead, Drawn]:
        caption, words = self.words(query)
        asked = Asked(text(query, "masker"), tuple(query.get("field", ())), integer(query, "seed"), caption, words)
        read = self.read(query, with_streams)
        return read, self.drawing.draw(self.settings(query), read, asked)

    def drawn_words(self, read: ClipRead, drawn: Drawn) -> Answer:
        flags = drawn.flags(read.clip)
        return {
            "hidden": packed(np.packbits(flags)), "hides": int(flags.sum()), "masker": repr(drawn.masker),
            "remark": drawn.remark,
        }  # fmt: skip


def can_reconstruct(task: Pretraining | None) -> bool:
    """Whether a run has a decoder that predicts pixels of the clip itself."""
    return task is not None and task.pixel_head is not None and task.pixel_head.config.on[0] == "clip"


def about_masker(name: str, masker: Masker, title: str = "") -> Answer:
    kind = type(masker)
    module = sys.modules[kind.__module__]
    first = (module.__doc__ or "").partition("\n")[0]
    own = (kind.__doc__ or "").strip().partition("\n")[0]
    story = first.removeprefix(f"{kind.__name__}: ") if first.startswith(f"{kind.__name__}: ") else own
    return {
        "name": name, "title": title or name, "story": visible(story), "maps": list(masker.maps),
        "fields": fields_of(masker),
    }  # fmt: skip


def place(read: ClipRead) -> Answer:
    """When the frames of a clip are shown, and which part of the frame they show."""
    crop, clip = read.crop, read.clip
    return {
        "times": read.times.tolist(), "crop": [crop.top, crop.left, crop.height, crop.width], "grid": list(clip.grid),
        "size": clip.size, "tubelet_frames": clip.tubelet_frames,
    }  # fmt: skip


def hits(found: SearchResult) -> Answer:
    rows = [
        {
            "row": hit.video.row, "id": visible(hit.video.id), "score": hit.score, "split": visible(hit.video.split),
            "label": visible(hit.video.label or ""), "trained_on": found.trained_on.get(hit.video.id, ""),
            "caption": visible(next(iter(found.captions(hit.video)), "")),
        }
        for hit in found.hits
    ]  # fmt: skip
    notes = [
        *found.unknown,
        *found.warnings,
        *([f"{len(f)} videos could not be read"] if (f := found.searched.failed) else []),
    ]
    return {"asked": visible(found.asked), "hits": rows, "notes": [visible(note) for note in notes]}


def picture(frames: np.ndarray, exact: bool) -> str:
    """Frames "t h w 3" beside each other, as PNG, or as WebP, which is smaller."""
    file = io.BytesIO()
    how: dict[str, Any] = {"format": "PNG"} if exact else {"format": "WEBP", "quality": 85}
    Image.fromarray(np.concatenate(list(frames), axis=1)).save(file, **how)
    return base64.b64encode(file.getvalue()).decode()


def jpeg(frame: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(frame).save(file, format="JPEG", quality=82)
    return file.getvalue()


def packed(values: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode()


def text(query: Query, name: str) -> str:
    return query.get(name, [""])[-1]


def flag(query: Query, name: str) -> bool:
    return text(query, name) not in ("", "0")


def integer(query: Query, name: str) -> int:
    said = text(query, name) or "0"
    try:
        return int(said)
    except ValueError:
        raise RecipeError(f"{name}={said} is no whole number") from None


def number(query: Query, name: str, default: float | None) -> Any:
    if not (said := text(query, name)):
        return default
    try:
        value = float(said)
    except ValueError:
        raise RecipeError(f"{name}={said} is no number") from None
    if not math.isfinite(value):
        raise RecipeError(f"{name}={said} is no number")
    return value


def middle(video: Video) -> float:
    """Where the clip is that evaluations read."""
    return (video.start + video.end) / 2 if math.isfinite(video.end) else video.start


def finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def as_json(answer: Answer) -> bytes:
    return json.dumps(answer, ensure_ascii=False, allow_nan=False).encode("utf-8", "backslashreplace")


def fault(error: TubeletError) -> Answer:
    return {"error": visible(" ".join(str(error).split()))}
