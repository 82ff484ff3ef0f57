"""Saliency maps: computed once per corpus, sampled through each clip's own crop, flip and times.

A map lies in full-frame coordinates after rotation, on a grid that follows the aspect ratio. A `scalar` map has one
layer per timestamp. A `vector` map (motion) has one layer per interval between timestamps: how far what is seen at a
position at the interval's beginning moves during it, as a share of the frame's width (dx) and height (dy). A `parts`
map has one layer per timestamp, of several numbers a cell: which shares of it belong to which part of what is seen.

Rows are keyed by content: the video file's bytes and span, and the caption's normalised text; the series they stand
in is keyed by method and model. So a renamed file keeps its maps and a changed one does not.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from jaxtyping import Float, Float32, Float64

from tubelet.corpus.content import content_key, content_now, file_content
from tubelet.corpus.table import Caption, Corpus, Video, normalise_text
from tubelet.errors import CorpusError, VideoError
from tubelet.files import file_name
from tubelet.jobs.runner import Running
from tubelet.jobs.shards import REMEDY, Series, Writer, choose, chosen, series_folder
from tubelet.stores.resample import sample_parts, sample_scalar, sample_vector
from tubelet.types import Clip
from tubelet.video.crop import Crop

Kind = Literal["scalar", "vector", "parts"]

KINDS: Mapping[str, Kind] = {
    "text": "scalar",
    "motion": "vector",
    "flow": "vector",
    "attention": "scalar",
    "oracle": "scalar",
    "oracle_flow": "vector",
    "noise": "scalar",
    "parts": "parts",
}
"""What the maps of these names are; maps of any other name are a user's own."""

SHORT = 14
LONGEST = 64  # short sides that a map may be long

MAP_SCHEMA = pa.schema(
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


class Maps:
    """The maps of one method for every video (and caption) of a corpus."""

    def __init__(self, series: Series) -> None:
        self.series = series
        self.kind: Kind = series.about["kind"]
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
    def open(cls, corpus: Corpus, name: str) -> "Maps":
        """The current series of this name ("text"). Where there is none, `CorpusError` names the command for it."""
        folder = chosen(corpus.folder / "maps" / file_name(name))
        if folder is None:
            raise CorpusError(f"{corpus.folder} has no {name} maps; make them with `{remedy(name, corpus.folder)}`")
        return cls(Series(folder))

    def __reduce__(self) -> tuple[type["Maps"], tuple[Series]]:
        return Maps, (self.series,)

    @property
    def channels(self) -> int:
        """How many numbers a cell has."""
        return {"scalar": 1, "vector": 2}.get(self.kind) or int(self.about["channels"])

    @property
    def about(self) -> Mapping[str, Any]:
        """What made these maps: method, model, settings."""
        return self.series.about

    def find(self, video: Video, caption: Caption | None) -> tuple[int, int] | None:
        """Shard and row of this video's map for this caption, None where there is none."""
        text = "" if caption is None else normalise_text(caption.text)
        if (video.id, text) not in self.found:
            content = file_content(video, self.files)
            row = None if content is None else self.series.rows.get(content_key(content, video, text))
            self.found[video.id, text] = row
        return self.found[video.id, text]

    def missing(self, videos: Sequence[Video], captions: Sequence[Caption] | None) -> list[str]:
        """Ids of the videos that lack a map for any of their captions among these (None: of methods without text)."""
        if captions is None:
            return [video.id for video in videos if self.find(video, None) is None]
        by_video: dict[str, list[Caption]] = {}
        for caption in captions:
            by_video.setdefault(caption.video, []).append(caption)
        return [
            video.id
            for video in videos
            if any(self.find(video, caption) is None for caption in by_video.get(video.id, []))
        ]

    def stored(
        self, video: Video, caption: Caption | None
    ) -> tuple[Float[np.ndarray, "l gh gw *v"], Float64[np.ndarray, "edges"]]:
        """The float16 layers and their timestamps, without a copy."""
        position = self.find(video, caption)
        if position is None:
            what = f" and caption {caption.text!r}" if caption is not None else ""
            raise CorpusError(
                f"no {self.about['name']} map for {video.id}{what}; make it with `{remedy(self.about['name'])}`"
            )
        shard, row = position
        self.series.verify(shard, row)
        offsets, flat, time_offsets, flat_times, rows, columns = self.arrays[shard]
        values = flat[offsets[row] : offsets[row + 1]]
        times = flat_times[time_offsets[row] : time_offsets[row + 1]]
        if position not in self.finite:  # those of earlier versions and of other programs have no checksum
            if not (np.isfinite(values).all() and np.isfinite(times).all()):
                path = self.series.paths[shard]
                raise CorpusError(f"{path} holds NaN or infinite values in the map of {video.id}: {REMEDY}")
            self.finite.add(position)
        shape = (-1, rows[row], columns[row])
        return values.reshape(shape if self.kind == "scalar" else (*shape, self.channels)), times

    def layers(
        self, video: Video, caption: Caption | None = None
    ) -> tuple[Float32[np.ndarray, "l gh gw *v"], Float64[np.ndarray, "edges"]]:
        """A whole map with its timestamps (one more than layers for a vector map), for pictures and measurements."""
        values, times = self.stored(video, caption)
        return values.astype(np.float32), times

    def sample(
        self,
        video: Video,
        caption: Caption | None,
        times: Float64[np.ndarray, "t"],
        crop: Crop,
        clip: Clip,
        frame: Literal["mean", "first"] = "mean",
    ) -> Float32[np.ndarray, "n"] | Float32[np.ndarray, "n parts"] | Float32[np.ndarray, "t nh nw 2"]:
        """The map at every tubelet of a clip: by area in space, linear in time, the mean (or the first) of its frames.

        A vector map gives at every position of every frame the displacement to the clip's next frame, in shares of the
        crop; from the last frame for as long as from the one before. Parts are those of a tubelet's first frame.
        """
        layers, stamps = self.stored(video, caption)
        if self.kind == "scalar":
            return sample_scalar(layers, stamps, times, crop, clip, frame)
        if self.kind == "parts":
            return sample_parts(layers, stamps, times, crop, clip)
        return sample_vector(layers, stamps, times, crop, clip)


def map_grid(height: int, width: int, short: int = SHORT) -> tuple[int, int]:
    """Rows and columns: 14 along the short side, square cells as nearly as whole numbers allow."""
    side = min(height, width)
    if max(height, width) > LONGEST * side:
        raise VideoError(f"its frames of {width}x{height} are too narrow for a map")
    return max(round(short * height / side), short), max(round(short * width / side), short)


def remedy(name: str, corpus: Path | str = "CORPUS") -> str:
    """The command that makes the maps of this name."""
    if name not in KINDS:
        return f"tubelet saliency {corpus} Imported name={name} files=FOLDER"
    source = name.removesuffix("_flow").capitalize()
    return f"tubelet saliency {corpus} {source}" + " aligner=CLIP" * (name == "attention")


class MapsWriter:
    """Fills one series of maps: `with MapsWriter(corpus, "text", "scalar", method) as maps: maps.add(...)`.

    `method` names all that decides the values (the model's identity, the reading, the rate). What a series holds
    is not written twice; `finish` makes the series the one that `Maps.open` reads. Maps of parts say how many. With
    `running`, it is one of those who write a part of the job.
    """

    def __init__(
        self,
        corpus: Corpus,
        name: str,
        kind: Kind,
        method: Mapping[str, Any],
        parts: int = 0,
        running: Running | None = None,
    ) -> None:
        if kind != KINDS.get(name, kind):
            raise ValueError(f"{name} maps are {KINDS[name]} maps, not {kind}")
        self.kind = kind
        if (kind == "parts") != (parts > 1):
            raise ValueError(f"a {kind} map cannot have {parts} parts")
        self.channels = {"scalar": (), "vector": (2,), "parts": (parts,)}[kind]
        about = {"name": name, "kind": kind, "method": dict(method)} | ({"channels": parts} if parts else {})
        folder = series_folder(corpus.folder / "maps" / file_name(name), about)
        self.writer = Writer(folder, about, MAP_SCHEMA, part=running.part if running else None)
        self.files = self.writer.series.digests()

    @property
    def folder(self) -> Path:
        return self.writer.folder

    def has(self, video: Video, text: str) -> bool:
        """Whether the map of this video for this normalised text ("" for methods without captions) exists."""
        if not (self.writer.keys or self.writer.others):
            return False  # and no file need be read to know that
        content = file_content(video, self.files)
        return content is not None and content_key(content, video, text) in self.writer

    def add(
        self,
        video: Video,
        text: str,
        values: Float[np.ndarray, "l gh gw *v"],
        times: Float64[np.ndarray, "edges"],
    ) -> None:
        """One map. Stored in float16; NaN or infinite values are our own mistake, and so is a wrong shape."""
        vector = self.kind == "vector"
        if values.shape[3:] != self.channels or len(times) != len(values) + vector or not values.size:
            raise ValueError(f"a {self.kind} map of shape {values.shape} does not fit {len(times)} timestamps")
        if (np.diff(times) < 0).any():
            raise ValueError("timestamps of a map must ascend")
        with np.errstate(over="ignore"):
            half = values.astype(np.float16)
        if not np.isfinite(half).all():
            raise ValueError(f"the map of {video.id} holds NaN or values beyond float16")
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

    def __enter__(self) -> "MapsWriter":
        return self

    def __exit__(self, *stop: object) -> None:
        self.writer.__exit__(*stop)
