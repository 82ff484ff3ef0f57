"""What weights were trained on, by content: `trained_on.parquet` in a run folder, beside an aligner, beside a probe.

A row a clip: what its file held, which span of it, what it was used for, which supervision it had (nothing,
captions, labels), and how it looks. So it is known of any video of any corpus, whatever the names, splits and versions,
whether an encoder, the aligner behind it, a classifier or one of the runs that they began with has seen it.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from tubelet.checksums import Damaged, read_parquet, write_parquet
from tubelet.corpus.content import content_of, size_of
from tubelet.corpus.schema import Video
from tubelet.corpus.table import Corpus
from tubelet.errors import RunError, VideoError
from tubelet.evaluations.duplicates import lookalike_pairs
from tubelet.evaluations.features import LOOK, LOOKS
from tubelet.evaluations.thumbnails import Looks, Tell, looks_of_videos, quiet, read_thumbnails

FILE, PROBES = "trained_on.parquet", "trained_on"  # of a run: of itself, and a file a probe in this folder
Roles = dict[str, set[str]]  # by id
ENCODER, ALIGNER, CLASSIFIER = "encoder", "aligner", "classifier"
SCHEMA = pa.schema(
    [
        ("role", pa.string()),  # what was trained: encoder, aligner or classifier
        ("told", pa.string()),  # what was told of the clip: captions, labels, or null: nothing
        ("part", pa.string()),  # train; fit or select of a classifier
        ("origin", pa.string()),  # the run that these weights began with; null: this training itself
        ("corpus", pa.string()),
        ("id", pa.string()),
        ("split", pa.string()),
        ("content", pa.string()),  # digest of the file, null where it could not be read
        ("size", pa.int64()),
        ("start", pa.float64()),
        ("end", pa.float64()),
        ("looks", pa.binary()),  # a few small frames, null while nobody has looked
    ]
)


@dataclass(frozen=True)
class Trained:
    """One clip that was trained on."""

    role: str
    told: str | None
    part: str
    origin: str | None
    corpus: str
    id: str
    split: str
    content: str | None
    size: int | None
    start: float
    end: float
    looks: bytes | None = None

    def in_words(self) -> dict[str, str | None]:
        names = ("role", "told", "part", "origin", "corpus", "id")
        return {name: getattr(self, name) for name in names}

    def overlaps(self, video: Video) -> bool:
        """Whether they share a moment of their file."""
        return min(self.end, video.end) > max(self.start, video.start) or self.end <= self.start


@dataclass(frozen=True)
class TrainedOn:
    """All clips, and sentences on what is not known."""

    clips: tuple[Trained, ...] = ()
    unknown: tuple[str, ...] = ()

    @classmethod
    def read(cls, path: Path) -> "TrainedOn | None":
        """The content of this file; None where there is none."""
        if not path.exists():
            return None
        try:
            table = read_parquet(path)
            unknown = json.loads((table.schema.metadata or {}).get(b"unknown", b"[]"))
            return cls(tuple(Trained(**row) for row in table.select(SCHEMA.names).to_pylist()), tuple(unknown))
        except (Damaged, OSError, ValueError, KeyError, TypeError) as error:
            raise RunError(
                f"{path} is damaged ({error}); restore it, or delete it: then what was trained on counts as unknown"
            ) from None

    def write(self, path: Path) -> None:
        table = pa.Table.from_pylist([asdict(clip) for clip in self.clips], schema=SCHEMA)
        write_parquet(path, table.replace_schema_metadata({"unknown": json.dumps(self.unknown)}))

    def __add__(self, other: "TrainedOn") -> "TrainedOn":
        """Each clip once: one that was looked at and the same that was not are one."""
        clips: dict[Trained, Trained] = {}
        for clip in (*self.clips, *other.clips):
            same = replace(clip, looks=None)
            if same not in clips or clips[same].looks is None:
                clips[same] = clip
        return TrainedOn(tuple(clips.values()), tuple(dict.fromkeys((*self.unknown, *other.unknown))))

    def inherited(self, origin: str) -> "TrainedOn":
        """The same, as what the weights that one begins with were trained on."""
        return replace(self, clips=tuple(replace(clip, origin=clip.origin or origin) for clip in self.clips))

    def of(self, *roles: str) -> "TrainedOn":
        return replace(self, clips=tuple(clip for clip in self.clips if clip.role in roles))

    def with_looks(self, corpus: Corpus, videos: Iterable[Video], tell: Tell = quiet) -> "TrainedOn":
        """With how its own clips look, those that the corpus still has."""
        blank = {clip.id for clip in self.clips if clip.looks is None and clip.origin is None}
        seen = looks_of_videos(corpus, [video for video in videos if video.id in blank], tell)
        return replace(
            self,
            clips=tuple(
                replace(clip, looks=seen[clip.id].tobytes())
                if clip.looks is None and clip.origin is None and clip.id in seen
                else clip
                for clip in self.clips
            ),
        )

    def find(self, videos: Iterable[Video]) -> dict[str, list[Trained]]:
        """By id, the clips trained on that share a moment of the same content. Files of another size are not read."""
        known: dict[str, list[Trained]] = {}
        for clip in self.clips:
            if clip.content is not None:
                known.setdefault(clip.content, []).append(clip)
        sizes = {clip.size for clip in self.clips}
        found = {}
        for video in videos:
            try:
                content = content_of(video) if size_of(video) in sizes else None
            except (OSError, VideoError):
                continue
            if same := [clip for clip in known.get(content.hex(), ()) if clip.overlaps(video)] if content else []:
                found[video.id] = same
        return found

    def lookalikes(self, looks: Mapping[str, Looks]) -> dict[str, Trained]:
        """By id, the clip trained on that each looks like, where there is one."""
        known = [clip for clip in self.clips if clip.looks is not None]
        if not known or not looks:
            return {}
        shape = (len(known), LOOKS, LOOK, LOOK, 3)
        theirs = np.frombuffer(b"".join(clip.looks or b"" for clip in known), np.uint8).reshape(shape)
        names = list(looks)
        pairs = lookalike_pairs(
            torch.from_numpy(theirs.copy()), torch.from_numpy(np.stack([looks[name] for name in names]))
        )
        return {names[clip]: known[other] for clip, other, _ in pairs}

    def roles_in(self, videos: Sequence[Video], readable: Sequence[Video]) -> tuple[Roles, Roles]:
        """By id, in which roles a video was trained on, and in which one that looks like it. For the latter a few
        frames of every readable video are read."""
        same = {name: {clip.role for clip in clips} for name, clips in self.find(videos).items()}
        alike: Roles = {}
        if any(clip.looks for clip in self.clips):
            looks = {video.id: frames for video, frames in read_thumbnails(readable)}
            for role in sorted({clip.role for clip in self.clips}):
                for name in self.of(role).lookalikes(looks):
                    alike.setdefault(name, set()).add(role)
        return same, alike


def in_words(same: Roles, alike: Roles) -> dict[str, str]:
    """By id: "encoder", or "encoder (look-alike)" where only one that looks like it was trained on."""
    return {
        name: ", ".join(
            role if role in same.get(name, ()) else f"{role} (look-alike)"
            for role in sorted(same.get(name, set()) | alike.get(name, set()))
        )
        for name in {**same, **alike}
    }


def video_of(name: str, path: str | Path, start: float, end: float | None) -> Video:
    """A file that is in no corpus."""
    last = float("inf") if end is None else end
    return Video(0, name, Path(path), start, last, 0.0, 0.0, 0, 0, 0, "", None, "", name, "ok", "")


def clips_of(
    corpus: Corpus, videos: Iterable[Video], role: str, told: str | None = None, part: str = "train"
) -> tuple[Trained, ...]:
    """What these videos hold now, as trained on in this role."""
    found = []
    for video in videos:
        content = content_of(video)
        size = None if content is None else size_of(video)
        found.append(
            Trained(
                role, told, part, None, corpus.name, video.id, video.split,
                content.hex() if content else None, size, video.start, video.end,
            )
        )  # fmt: skip
    return tuple(found)


def other_content(before: Sequence[Trained], now: Sequence[Trained]) -> tuple[list[str], list[str]]:
    """The ids whose content is another one than before, and of those that are gone."""
    found = {clip.id: clip for clip in now}
    known = [clip for clip in before if clip.content is not None]
    changed = [c.id for c in known if c.id in found and found[c.id].content not in (None, c.content)]
    gone = [c.id for c in known if c.id not in found or found[c.id].content is None]
    return list(dict.fromkeys(changed)), list(dict.fromkeys(gone))
