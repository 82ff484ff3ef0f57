"""Findings about every video of a corpus, and the column `keep` of its table. Start reading at `curate`.

Nothing is deleted: with `drop`, rows with a finding are marked `keep = false`, and no command selects them any more;
without it the table stays as it is. What a video shows is kept beside the corpus, so a second call opens no file.
"""

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from einops import rearrange
from jaxtyping import UInt8
from torch import Tensor

from tubelet.corpus.schema import Video
from tubelet.corpus.table import STORE, Corpus
from tubelet.corpus.write import write_keep
from tubelet.curation.look import How, Look, look
from tubelet.errors import RecipeError
from tubelet.evaluations.cache import CachedRow, Store, corpus_cache
from tubelet.evaluations.duplicates import CORRELATION, DIFFERENCE, coarse
from tubelet.evaluations.thumbnails import looks_of_videos
from tubelet.files import write_atomically
from tubelet.jobs.pool import Failure, cores, run_each
from tubelet.progress import Progress, silent
from tubelet.video.limits import limits

if TYPE_CHECKING:
    import pandas as pd

BLACK, FROZEN, BLURRED, SHOTS, DUPLICATE, UNREADABLE = "black", "frozen", "blurred", "shots", "duplicate", "unreadable"
FINDINGS = {
    BLACK: "nine of ten frames are black",
    FROZEN: "nothing changes in nine of ten steps of an eighth of a second",
    BLURRED: "at 224 pixels hardly any fine detail (sharpness below 0.01)",
    SHOTS: "more than one shot: the picture changes at once",
    DUPLICATE: "three of four frames look like those of an earlier row, which is kept",
    UNREADABLE: "no frame can be decoded now",
}
MOST, SOFT = 0.9, 0.01
FRAMES_ALIKE = 3  # of the four small frames that two videos are compared by
CELL = 16.0  # of 255: the same place at another time differs by more in the cell of a small frame that differs most


@dataclass(frozen=True)
class Curation:
    """What was found, by id; a video without a finding is in none of these."""

    corpus: Corpus
    looks: Mapping[str, Look]
    findings: Mapping[str, tuple[str, ...]]
    duplicate_of: Mapping[str, str]
    dropped: tuple[str, ...]  # ids that the table does not keep now

    def write_shots(self, path: str | Path) -> int:
        """Writes a list that `tubelet index` reads, with a row for every shot of the videos that are kept."""
        text = io.StringIO()
        rows = csv.writer(text)
        rows.writerow(["path", "start", "end", "label", "group", "split"])
        count = 0
        for video in self.corpus.select("all"):
            cuts = self.looks[video.id].cuts if video.id in self.looks else ()
            for start, end in pairwise((video.start, *cuts, video.end)):
                rows.writerow([video.path, f"{start:.3f}", f"{end:.3f}", video.label or "", video.group, video.split])
                count += 1
        write_atomically(Path(path), text.getvalue().encode())
        return count

    @property
    def counts(self) -> dict[str, int]:
        """How many videos have each finding, and what coverage lacks."""
        found = Counter(name for names in self.findings.values() for name in names)
        return {name: found[name] for name in FINDINGS}

    @property
    def coverage(self) -> dict[str, int]:
        videos = self.corpus.videos
        captioned = {caption.video for caption in self.corpus.captions}
        return {
            "videos": len(videos),
            "usable": sum(video.status == "ok" for video in videos),
            "with a caption": sum(video.id in captioned for video in videos),
            "with a label": sum(video.label is not None for video in videos),
        }

    def to_pandas(self) -> "pd.DataFrame":
        """A row per video that was looked at: id, findings, duplicate_of, black, still, sharpness, cuts, keep."""
        import pandas as pd

        columns = ["id", "findings", "duplicate_of", "black", "still", "sharpness", "cuts", "keep"]
        rows = []
        for video in self.corpus.videos:
            if video.id in self.looks or video.id in self.findings:
                seen = self.looks.get(video.id)
                shown = (seen.black, seen.still, seen.sharpness, list(seen.cuts)) if seen else (None,) * 4
                found = list(self.findings.get(video.id, ()))
                rows.append((video.id, found, self.duplicate_of.get(video.id), *shown, video.id not in self.dropped))
        return pd.DataFrame(rows, columns=columns)

    def __repr__(self) -> str:
        found = ", ".join(f"{count} {name}" for name, count in self.counts.items() if count) or "nothing"
        return f"Curation of {self.corpus.name}: {len(self.looks)} videos, found {found}; {len(self.dropped)} not kept"


def curate(corpus: Corpus | str | Path, *, drop: Sequence[str] | None = None, progress: Progress = silent) -> Curation:
    """Looks at every usable video: black, frozen, blurred, several shots, near-duplicates.

    `drop` names findings ("black", "duplicate"); rows that have one are marked as not kept, all others as kept, so that
    an empty `drop` keeps all again. Without it the table stays as it is.
    """
    corpus = Corpus.of(corpus)
    if unknown := set(drop or ()) - set(FINDINGS):
        raise RecipeError(f"there is no finding {sorted(unknown)[0]!r}; there are: {', '.join(FINDINGS)}")
    if drop is not None and STORE in corpus.about:
        raise RecipeError(f"the table of {corpus.place} is in a store; curate a copy on this machine, and upload that")
    videos = [video for video in corpus.videos if video.status == "ok"]
    looks, failed = looks_of(corpus, videos, progress)
    twins = duplicates(corpus, [video for video in videos if video.id in looks])
    findings = {
        video.id: found
        for video in videos
        if (found := findings_of(looks.get(video.id), video.id in twins, video.id in failed))
    }
    if drop is not None:
        corpus = write_keep(corpus, {name for name, found in findings.items() if set(found) & set(drop)})
    dropped = tuple(video.id for video in corpus.videos if video.keep is False)
    return Curation(corpus, looks, findings, twins, dropped)


def looks_of(corpus: Corpus, videos: Sequence[Video], progress: Progress) -> tuple[dict[str, Look], set[str]]:
    """By id, what the videos show; and those of which no frame can be decoded."""
    store, chosen = Store(corpus_cache(corpus), asdict(How()), "curation"), limits()
    looks = {video.id: Look.parse(row.parts) for video in videos if (row := store.find(video)) is not None}
    new, failed = [video for video in videos if video.id not in looks], set()
    work = run_each(look, new, chosen.workers or cores(), chosen.seconds, chosen.memory)
    try:
        for done, (index, outcome) in enumerate(work, 1):
            if isinstance(outcome, Failure):
                failed.add(new[index].id)
            else:
                looks[new[index].id] = outcome
                store.add(new[index], CachedRow(False, outcome.parts))
            progress(done, len(new), f"{len(failed)} failed" if failed else "")
    finally:
        store.flush()
    return looks, failed


def findings_of(seen: Look | None, twin: bool, failed: bool) -> tuple[str, ...]:
    """A black video stands still and is blurred too, which then says nothing more."""
    if failed or seen is None:
        return (UNREADABLE,)
    if seen.black >= MOST:
        return (BLACK,)
    there = {
        FROZEN: seen.frames > 2 and seen.still >= MOST,
        BLURRED: seen.sharpness < SOFT,
        SHOTS: bool(seen.cuts),
        DUPLICATE: twin,
    }
    return tuple(name for name, is_there in there.items() if is_there)


def duplicates(corpus: Corpus, videos: Sequence[Video]) -> dict[str, str]:
    """By id, the earlier row that a video looks like and that is no duplicate itself."""
    small = looks_of_videos(corpus, videos)
    ids = [video.id for video in videos if video.id in small]
    if len(ids) < 2:
        return {}
    pairs = alike(torch.from_numpy(np.stack([small[name] for name in ids])))
    return {ids[later]: ids[earlier] for later, earlier in pairs.items()}


def alike(looks: UInt8[Tensor, "v l y x 3"], chunk: int = 256) -> dict[int, int]:
    """Of each video that looks like an earlier one, that one: most of their frames at the same places are alike."""
    count, frames = looks.shape[:2]
    rough = rearrange(coarse(looks), "(v l) p -> l v p", l=frames)
    fine = rearrange(looks, "v l y x c -> l v (y x) c").float()
    found: dict[int, int] = {}
    for first in range(0, count, chunk):
        near = (rough[:, first : first + chunk] @ rough.mT >= CORRELATION).sum(0) >= FRAMES_ALIKE
        for row, other in near.nonzero().tolist():
            later = first + row
            if other < later and later not in found:
                cells = (fine[:, later] - fine[:, other]).abs().mean(-1)
                same = (cells.mean(-1) <= DIFFERENCE) & (cells.amax(-1) <= CELL)
                if int(same.sum()) >= FRAMES_ALIKE:
                    found[later] = found.get(other, other)
    return found
