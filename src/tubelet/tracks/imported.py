"""import and vectors: a user's own numbers as a track: arrays, or the features that a run has of every window.

An array is (moments, numbers), or (moments, rows, columns, channels), of `.npy`, or of `.npz` with `values` and perhaps
`times`, in seconds of the video; without times the moments are spread evenly over it. Start reading at `ImportedTrack`.
"""

import hashlib
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import chz
import numpy as np
from jaxtyping import Float32, Float64

from tubelet.corpus.schema import Video
from tubelet.corpus.table import Corpus
from tubelet.errors import CorpusError, RecipeError
from tubelet.files import file_name
from tubelet.jobs.runner import Done, Running, refuse_parts
from tubelet.progress import Progress, silent
from tubelet.stores.fill import Filled, usable
from tubelet.stores.tracks import MADE, TrackWriter
from tubelet.tracks.base import TrackSource, named
from tubelet.tracks.files import files_of

LARGEST = 65504.0  # of float16
Layers = tuple[Float32[np.ndarray, "t h w c"], Float64[np.ndarray, "t"]]


@chz.chz
class ImportedTrack(TrackSource):
    """Arrays of your own, from .npy and .npz files."""

    word: ClassVar[str] = "import"

    name: str = chz.field(default="", doc="what the track is called, for signal.name")
    files: tuple[str, ...] = chz.field(default=(), doc="files named after the videos, or folders of them, by commas")

    @chz.validate
    def _named(self) -> None:
        if self.name in MADE[:2]:
            raise RecipeError(f"name={self.name} is that of a track that `tubelet track CORPUS {self.name}` makes")

    def fill(self, corpus: Corpus, running: Running | None = None, progress: Progress = silent) -> Filled:
        refuse_parts(running, "imported tracks")
        if not self.name or self.name != file_name(self.name):
            raise RecipeError(f"name={self.name!r} must be a plain name, as name=depth")
        files = files_of(corpus, self.files, (".npy", ".npz"), self.name)
        found = {name: read_array(path) for name, path in files.items()}
        return store(corpus, self.name, found, {"imported": True}, progress)


@chz.chz
class VectorTrack(TrackSource):
    """The features of every window of a video: by a run, or from a table of `tubelet embed RUN CORPUS --windows`."""

    word: ClassVar[str] = "vectors"

    run: str | None = chz.field(default=None, doc="the run whose encoder makes them; None: they are in files")
    every: float = chz.field(default=1.0, doc="seconds of a window, with run; from the beginning of one to the next")
    files: tuple[str, ...] = chz.field(default=(), doc="the Parquet table; or arrays, as those of import")
    normalise: bool = chz.field(default=True, doc="vectors of length 1")

    @chz.validate
    def _one_of_both(self) -> None:
        if self.run is not None and self.files:
            raise RecipeError("run and files exclude each other: a run makes the features, or they are in files")
        if not 0 < self.every < float("inf"):
            raise RecipeError(f"every={self.every:g} must be a positive number of seconds")

    def fill(self, corpus: Corpus, running: Running | None = None, progress: Progress = silent) -> Filled:
        refuse_parts(running, "imported tracks")
        tables = [Path(name) for name in self.files if name.endswith(".parquet")]
        method: dict[str, Any] = {"normalise": self.normalise}
        if tables:
            found, made_by = read_features(corpus, tables)
            method["features"] = made_by
        else:
            paths = files_of(corpus, self.files, (".npy", ".npz"), "vectors")
            found = {name: read_array(path) for name, path in paths.items()}
        if self.normalise:
            found = {name: (values / norms(values), times) for name, (values, times) in found.items()}
        return store(corpus, "vectors", found, method, progress)


def norms(values: Float32[np.ndarray, "t h w c"]) -> Float32[np.ndarray, "t 1 1 1"]:
    return np.maximum(np.linalg.norm(values.reshape(len(values), -1), axis=1), 1e-12)[:, None, None, None]


def read_array(path: Path) -> tuple[Float32[np.ndarray, "t h w c"], Float64[np.ndarray, "t"] | None]:
    try:
        held = np.load(path, allow_pickle=False)
        values = held if isinstance(held, np.ndarray) else held["values"]
        times = None if isinstance(held, np.ndarray) or "times" not in held.files else held["times"].astype(np.float64)
    except KeyError:
        raise CorpusError(f"{path} holds no array `values`") from None
    except Exception as error:  # zip, header and pickle errors are of many kinds
        raise CorpusError(f"{path} cannot be read as .npy or .npz: {str(error).splitlines()[0]}") from None
    if values.ndim not in (2, 4) or not values.size or not np.issubdtype(values.dtype, np.number):
        shape = "x".join(map(str, values.shape))
        raise CorpusError(
            f"{path} holds {values.dtype} of shape {shape}; it must be numbers (moments, numbers) or (moments, rows, "
            "columns, channels)"
        )
    if times is not None and (times.shape != values.shape[:1] or (np.diff(times) < 0).any()):
        raise CorpusError(f"{path} holds {len(values)} moments; its times must be as many, ascending")
    whole = values if values.ndim == 4 else values[:, None, None, :]
    if not np.isfinite(whole).all() or np.abs(whole).max() > LARGEST:
        raise CorpusError(f"{path} holds NaN, infinite values, or numbers beyond {LARGEST:g}")
    return whole.astype(np.float32), times


def read_features(corpus: Corpus, tables: Sequence[Path]) -> tuple[dict[str, Any], list[str]]:
    """Video id -> vectors and when each window begins; and what made them."""
    import pyarrow.parquet as pq

    by_id = {video.id: video.id for video in corpus.select("all")}
    by_path: dict[str, list[Video]] = {}
    for video in corpus.select("all"):
        by_path.setdefault(str(video.path.resolve()), []).append(video)
    found: dict[str, list[tuple[float, np.ndarray]]] = {}
    made_by = []
    for path in tables:
        try:
            with pq.ParquetFile(path) as table:
                made_by.append((table.schema_arrow.metadata or {}).get(b"tubelet", b"").decode() or digest(path))
                for batch in table.iter_batches(4096, columns=["id", "path", "start", "feature"]):
                    add_rows(batch, by_id, by_path, found)
        except (OSError, KeyError, ValueError) as error:
            raise CorpusError(f"{path} is no table of `tubelet embed`: {str(error).splitlines()[0]}") from None
    layers = {}
    for name, some in found.items():
        some.sort(key=lambda pair: pair[0])
        values = np.stack([vector for _, vector in some])
        layers[name] = values[:, None, None, :], np.array([start for start, _ in some])
    return layers, made_by


def add_rows(
    batch: Any,
    by_id: Mapping[str, str],
    by_path: Mapping[str, Sequence[Video]],
    found: dict[str, list[tuple[float, np.ndarray]]],
) -> None:
    """The rows of a part of a table, each to its video: of several segments of a file the one it begins in."""
    ids, paths, starts, features = (batch.column(name) for name in ("id", "path", "start", "feature"))
    for number, (name, path, start) in enumerate(
        zip(*(some.to_pylist() for some in (ids, paths, starts)), strict=True)
    ):
        rows = by_path.get(str(Path(path).resolve()), ())
        inside = [video for video in rows if len(rows) == 1 or video.start <= (start or 0.0) < video.end]
        video = inside[0].id if inside else by_id.get(name)
        if video is not None and features[number].is_valid:
            found.setdefault(video, []).append((start or 0.0, features[number].values.to_numpy().astype(np.float32)))


def digest(path: Path) -> str:
    return hashlib.blake2b(path.read_bytes(), digest_size=8).hexdigest()


def store(
    corpus: Corpus,
    name: str,
    found: Mapping[str, tuple[Float32[np.ndarray, "t h w c"], Float64[np.ndarray, "t"] | None]],
    method: Mapping[str, Any],
    progress: Progress,
) -> Filled:
    """Writes what was read; videos of which there is nothing have an empty track."""
    began, videos = time.monotonic(), usable(corpus)
    if not found:
        raise CorpusError(f"the files of {name} hold nothing of a video of {corpus.folder}")
    sizes = {values.shape[1:]: video for video, (values, _) in found.items()}
    if len(sizes) > 1:
        (one, first), (other, second), *_ = sizes.items()
        raise CorpusError(
            f"a moment of {first} has {shape(one)} values and one of {second} {shape(other)}; all must agree"
        )
    hashed = hashlib.blake2b(digest_size=8)
    layers: dict[str, Layers] = {}
    for video in videos:
        if video.id in found:
            values, times = found[video.id]
            layers[video.id] = values, spread(video, len(values)) if times is None else times
            hashed.update(video.id.encode() + values.tobytes() + layers[video.id][1].tobytes())
    (size,) = sizes
    with TrackWriter(corpus, name, (size[0], size[1], size[2]), {**method, "values": hashed.hexdigest()}) as track:
        new = [video for video in videos if not track.has(video, "")]
        for number, video in enumerate(new, 1):
            track.add(video, "", *layers.get(video.id, (np.empty((0, *size), np.float32), np.empty(0))))
            progress(number, len(new), "")
        track.finish()
    lacking = [video.id for video in videos if video.id not in layers]
    notes = (f"{named(lacking, len(videos))} no {name}; training leaves them out",) if lacking else ()
    done = Done(len(videos), len(videos) - len(new), len(new), {}, {}, 0, time.monotonic() - began)
    return Filled((name,), len(videos), len(new), {}, done, f"{shape(size)} values a moment", notes=notes)


def spread(video: Video, count: int) -> Float64[np.ndarray, "t"]:
    """As many moments over the video, each in the middle of its share."""
    end = video.end if video.end > video.start else video.start + 1.0
    return video.start + (np.arange(count) + 0.5) * (end - video.start) / count


def shape(size: Sequence[int]) -> str:
    return "x".join(map(str, size))
