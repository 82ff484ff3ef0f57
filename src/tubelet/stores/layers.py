"""What maps and tracks share: layers of numbers and when they hold, a row a video (and caption), found by content.

Rows are keyed by the video file's bytes and span, and the caption's normalised text; the series they stand in is keyed
by all that decides the values. So a renamed file keeps its row and a changed one does not.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
import pyarrow as pa
from jaxtyping import Float16, Float64

from tubelet.corpus.content import content_key, content_now, file_content
from tubelet.corpus.schema import Caption, Video
from tubelet.corpus.table import Corpus, normalise_text
from tubelet.errors import CorpusError
from tubelet.files import file_name
from tubelet.jobs.runner import Running
from tubelet.jobs.shards import REMEDY, Series, Writer, choose, chosen, series_folder

SCHEMA = pa.schema(
    [
        ("key", pa.binary(16)),
        ("video", pa.string()),
        ("content", pa.binary(16)),
        ("size", pa.int64()),
        ("modified", pa.int64()),
        ("text", pa.string()),
        ("rows", pa.int32()),
        ("columns", pa.int32()),
        ("times", pa.large_list(pa.float64())),
        ("values", pa.large_list(pa.float16())),
    ]
)

L = TypeVar("L", bound="Layers")
W = TypeVar("W", bound="LayersWriter")


class Layers:
    """The rows of one series."""

    folder: ClassVar[str]  # of the corpus, that holds all series of this sort
    what: ClassVar[str]  # a row is called

    def __init__(self, series: Series) -> None:
        self.series = series
        self.values = [batch.column("values") for batch in series.batches]
        self.arrays = [
            (
                values.offsets.to_numpy(),
                values.values.to_numpy(),
                times.offsets.to_numpy(),
                times.values.to_numpy(),
                batch.column("rows").to_numpy(),
                batch.column("columns").to_numpy(),
            )
            for batch, values in zip(series.batches, self.values, strict=True)
            for times in (batch.column("times"),)
        ]
        self.files = series.digests()
        self.found: dict[tuple[str, str], tuple[int, int] | None] = {}
        self.finite: set[tuple[int, int]] = set()  # the positions of which all numbers are known to be

    @classmethod
    def open(cls: "type[L]", corpus: Corpus, name: str) -> "L":
        """The current series of this name. Where there is none, `CorpusError` names the command for it."""
        folder = chosen(corpus.folder / cls.folder / file_name(name))
        if folder is None:
            raise CorpusError(cls.none(corpus, name))
        return cls(Series(folder))

    @classmethod
    def none(cls, corpus: Corpus, name: str) -> str:
        """What is said of a corpus that has no such series."""
        raise NotImplementedError

    @classmethod
    def remedy(cls, name: str, corpus: Path | str = "CORPUS") -> str:
        """The command that makes the series of this name."""
        raise NotImplementedError

    def __reduce__(self) -> tuple[type["Layers"], tuple[Series]]:
        return type(self), (self.series,)

    @property
    def about(self) -> Mapping[str, Any]:
        """What made these rows: method, model, settings."""
        return self.series.about

    @property
    def shape(self) -> tuple[int, ...]:
        """Of what stands in a cell of a layer: () for one number."""
        raise NotImplementedError

    def find(self, video: Video, caption: Caption | None = None) -> tuple[int, int] | None:
        """Shard and row of what is stored of this video for this caption, None where nothing is."""
        text = "" if caption is None else normalise_text(caption.text)
        if (video.id, text) not in self.found:
            content = file_content(video, self.files)
            row = None if content is None else self.series.rows.get(content_key(content, video, text))
            self.found[video.id, text] = row
        return self.found[video.id, text]

    def missing(self, videos: Sequence[Video], captions: Sequence[Caption] | None = None) -> list[str]:
        """Ids of the videos that lack a row for any of their captions among these (None: of methods without text)."""
        if captions is None:
            return [video.id for video in videos if self.find(video) is None]
        by_video: dict[str, list[Caption]] = {}
        for caption in captions:
            by_video.setdefault(caption.video, []).append(caption)
        return [
            video.id
            for video in videos
            if any(self.find(video, caption) is None for caption in by_video.get(video.id, []))
        ]

    def stored(
        self, video: Video, caption: Caption | None = None
    ) -> tuple[Float16[np.ndarray, "l gh gw *v"], Float64[np.ndarray, "edges"]]:
        """The float16 layers and their timestamps, without a copy."""
        position = self.find(video, caption)
        if position is None:
            about = f" and caption {caption.text!r}" if caption is not None else ""
            name = self.about["name"]
            raise CorpusError(f"no {name} {self.what} for {video.id}{about}; make it with `{self.remedy(name)}`")
        shard, row = position
        self.series.verify(shard, row)
        offsets, flat, time_offsets, flat_times, rows, columns = self.arrays[shard]
        values = flat[offsets[row] : offsets[row + 1]]
        times = flat_times[time_offsets[row] : time_offsets[row + 1]]
        if position not in self.finite:  # those of earlier versions and of other programs have no checksum
            if not (np.isfinite(values).all() and np.isfinite(times).all()):
                path = self.series.paths[shard]
                raise CorpusError(f"{path} holds NaN or infinite values in the {self.what} of {video.id}: {REMEDY}")
            self.finite.add(position)
        return values.reshape(-1, rows[row], columns[row], *self.shape), times


class LayersWriter:
    """Fills one series. What it holds is not written twice; `finish` makes it the one that is read."""

    def __init__(
        self, corpus: Corpus, kind: type[Layers], about: Mapping[str, Any], running: Running | None = None
    ) -> None:
        """`about` names all that decides the values (the model's identity, the reading, the rate). With `running`, it
        is one of those who write a part of the job."""
        self.what = kind.what
        folder = series_folder(corpus.folder / kind.folder / file_name(about["name"]), about)
        self.writer = Writer(folder, about, SCHEMA, part=running.part if running else None)
        self.files = self.writer.series.digests()

    @property
    def folder(self) -> Path:
        return self.writer.folder

    def has(self, video: Video, text: str) -> bool:
        """Whether the row of this video for this normalised text ("" for methods without captions) exists."""
        if not (self.writer.keys or self.writer.others):
            return False  # and no file need be read to know that
        content = file_content(video, self.files)
        return content is not None and content_key(content, video, text) in self.writer

    def check(self, values: np.ndarray, times: Float64[np.ndarray, "edges"]) -> None:
        """`ValueError` where a row has a wrong shape: our own mistake."""
        raise NotImplementedError

    def add(self, video: Video, text: str, values: np.ndarray, times: Float64[np.ndarray, "edges"]) -> None:
        """One row. Stored in float16; NaN or infinite values are our own mistake, and so is a wrong shape."""
        self.check(values, times)
        if (np.diff(times) < 0).any():
            raise ValueError(f"timestamps of a {self.what} must ascend")
        with np.errstate(over="ignore"):
            half = values.astype(np.float16)
        if not np.isfinite(half).all():
            raise ValueError(f"the {self.what} of {video.id} holds NaN or values beyond float16")
        file = content_now(video)
        row = {
            "key": content_key(file["content"], video, text),
            "video": video.id,
            **file,
            "text": text,
            "rows": values.shape[1],
            "columns": values.shape[2],
            "times": times,
            "values": half,
        }
        self.writer.add(row, half.nbytes + times.nbytes)

    def flush(self) -> None:
        self.writer.flush()

    def finish(self) -> None:
        self.writer.flush()
        choose(self.writer.folder)

    def __enter__(self: W) -> W:
        return self

    def __exit__(self, *stop: object) -> None:
        self.writer.__exit__(*stop)
