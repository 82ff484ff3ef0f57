"""Saliency maps: computed once per corpus, sampled through each clip's own crop, flip and times.

A map lies in full-frame coordinates after rotation, on a grid that follows the aspect ratio. A `scalar` map has one
layer per timestamp. A `vector` map (motion) has one layer per interval between timestamps: how far what is seen at a
position at the interval's beginning moves during it, as a share of the frame's width (dx) and height (dy). A `parts`
map has one layer per timestamp, of several numbers a cell: which shares of it belong to which part of what is seen.

They are stored and found as `stores.layers` says.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from jaxtyping import Float32, Float64

from tubelet.corpus.schema import Caption, Video
from tubelet.corpus.table import Corpus
from tubelet.errors import VideoError
from tubelet.jobs.runner import Running
from tubelet.jobs.shards import Series
from tubelet.stores.layers import Layers, LayersWriter
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


class Maps(Layers):
    """The maps of one method for every video (and caption) of a corpus."""

    folder: ClassVar[str] = "maps"
    what: ClassVar[str] = "map"

    def __init__(self, series: Series) -> None:
        super().__init__(series)
        self.kind: Kind = series.about["kind"]

    @classmethod
    def none(cls, corpus: Corpus, name: str) -> str:
        return f"{corpus.folder} has no {name} maps; make them with `{remedy(name, corpus.folder)}`"

    @classmethod
    def remedy(cls, name: str, corpus: Path | str = "CORPUS") -> str:
        return remedy(name, corpus)

    @property
    def channels(self) -> int:
        """How many numbers a cell has."""
        return {"scalar": 1, "vector": 2}.get(self.kind) or int(self.about["channels"])

    @property
    def shape(self) -> tuple[int, ...]:
        return () if self.kind == "scalar" else (self.channels,)

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


class MapsWriter(LayersWriter):
    """Fills one series of maps: `with MapsWriter(corpus, "text", "scalar", method) as maps: maps.add(...)`.

    Maps of parts say how many. With `running`, it is one of those who write a part of the job.
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
        super().__init__(corpus, Maps, about, running)

    def check(self, values: np.ndarray, times: Float64[np.ndarray, "edges"]) -> None:
        vector = self.kind == "vector"
        if values.shape[3:] != self.channels or len(times) != len(values) + vector or not values.size:
            raise ValueError(f"a {self.kind} map of shape {values.shape} does not fit {len(times)} timestamps")
