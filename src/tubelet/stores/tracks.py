"""Tracks: another signal of every video, computed once per corpus: its sound, sensors, vectors of any model.

A track has a layer per timestamp, in seconds of the video: rows, columns and channels of numbers as the encoder gets
them. One of no layers says that the video has no such signal, so that this is looked for once. They are stored and
found as `stores.layers` says.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float16, Float32, Float64

from tubelet.corpus.schema import Video
from tubelet.corpus.table import Corpus
from tubelet.errors import CorpusError, VideoError
from tubelet.jobs.runner import Running
from tubelet.jobs.shards import chosen
from tubelet.stores.layers import Layers, LayersWriter
from tubelet.types import Clip
from tubelet.video.reader import SAME

MADE = ("sound", "sensors", "vectors")  # tracks with a command of their own; any other name is a user's


class Tracks(Layers):
    """One signal of every video of a corpus."""

    folder: ClassVar[str] = "tracks"
    what: ClassVar[str] = "track"

    @classmethod
    def none(cls, corpus: Corpus, name: str) -> str:
        there = ", ".join(names_of(corpus)) or "none"
        return (
            f"{corpus.folder} has no track {name!r} (it has {there}); make it with `{cls.remedy(name, corpus.folder)}`"
        )

    @classmethod
    def remedy(cls, name: str, corpus: Path | str = "CORPUS") -> str:
        if name == "sound":
            return f"tubelet track {corpus} sound"
        if name == "vectors":
            return f"tubelet track {corpus} vectors run=RUN"
        kind = name if name in MADE else "import"
        return f"tubelet track {corpus} {kind} {'' if name in MADE else f'name={name} '}files=FOLDER"

    @property
    def size(self) -> tuple[int, int, int]:
        """Rows, columns and channels of a layer."""
        rows, columns, channels = self.about["size"]
        return rows, columns, channels

    @property
    def shape(self) -> tuple[int, ...]:
        return self.size[2:]

    def reader(self, video: Video) -> "TrackReader":
        """The track of this video; `VideoError` where it has no such signal."""
        values, times = self.stored(video)
        if not times.size:
            raise VideoError(f"has no {self.about['name']}")
        return TrackReader(values, times)

    def without(self, videos: Sequence[Video]) -> list[str]:
        """Ids of the videos that are known to have no such signal."""
        return [video.id for video in videos if (at := self.find(video)) is not None and self.layers_at(*at) == 0]

    def layers_at(self, shard: int, row: int) -> int:
        ends = self.arrays[shard][2]
        return int(ends[row + 1] - ends[row])

    def check(self, videos: Sequence[Video], clip: Clip, where: str, corpus: Path) -> None:
        """`CorpusError` where these videos have no such clips; `where` names the clip in the recipe."""
        name, wanted = self.about["name"], (*clip.whole[1:], clip.channels)
        if self.size != wanted:
            fields = [f"{where}.{field}={size}" for field, size in zip(clip.counts, self.size, strict=True) if field]
            theirs, ours = ("x".join(map(str, size)) for size in (self.size, wanted))
            raise CorpusError(
                f"a moment of the track {name!r} of {corpus} has {theirs} values (rows, columns, channels) and {where} "
                f"has {ours}; set {', '.join(fields)}, or make the track anew"
            )
        if missing := self.missing(videos):
            raise CorpusError(
                f"{where} needs the track {name!r} of {len(missing)} of {len(videos)} videos (first: {missing[0]}); "
                f"make it with `{self.remedy(name, corpus)}`, or leave them out with data.where"
            )


@dataclass(frozen=True)
class TrackReader:
    """The track of one video, with the same face as a `Reader`."""

    all: Float16[np.ndarray, "l h w c"]
    times: Float64[np.ndarray, "l"]

    def frames(self, times: Sequence[float] | Float64[np.ndarray, "t"]) -> Float32[np.ndarray, "t h w c"]:
        """The layer that holds at each time: the last one that begins at or before it."""
        positions = np.searchsorted(self.times, np.asarray(times) + SAME, side="right") - 1
        return self.all[np.maximum(positions, 0)].astype(np.float32)

    def __enter__(self) -> "TrackReader":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        pass


class TrackWriter(LayersWriter):
    """Fills one track: `with TrackWriter(corpus, "sound", (64, 1, 1), method) as track: track.add(...)`."""

    def __init__(
        self,
        corpus: Corpus,
        name: str,
        size: tuple[int, int, int],
        method: Mapping[str, Any],
        running: Running | None = None,
    ) -> None:
        self.size = size
        super().__init__(corpus, Tracks, {"name": name, "size": list(size), "method": dict(method)}, running)

    def check(self, values: np.ndarray, times: Float64[np.ndarray, "edges"]) -> None:
        if values.shape != (len(times), *self.size):
            raise ValueError(f"a track of shape {values.shape} does not fit {len(times)} timestamps of {self.size}")


def names_of(corpus: Corpus) -> list[str]:
    """The tracks that a corpus has."""
    return [path.name for path in sorted((corpus.folder / Tracks.folder).glob("*")) if chosen(path) is not None]
