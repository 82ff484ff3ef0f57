"""Imported: a user's own arrays from files, all checked before anything is written, stored like any other maps.

An array is (layers, rows, columns), or (layers, rows, columns, 2) where each layer says how far every position moves
(dx, dy) in shares of the frame. Maps named `parts` are (layers, rows, columns, parts): which shares of a position are
whose. One `.npz` holds arrays by video id, `ID:times` beside `ID` where layers have times of their own; or
every file is one video's, named after it: an `.npy`, or an `.npz` with `values` and perhaps `times`.
Start reading at `Imported`.
"""

import hashlib
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import chz
import numpy as np
from jaxtyping import Float64

from tubelet.corpus.names import Names
from tubelet.corpus.schema import Video
from tubelet.corpus.table import Corpus
from tubelet.errors import CorpusError, RecipeError, VideoError
from tubelet.jobs.pool import Failure
from tubelet.jobs.runner import Done, refuse_parts
from tubelet.progress import Progress, silent
from tubelet.saliency_maps.base import Filled, Map, Running, Source, usable
from tubelet.stores.maps import KINDS, Kind, MapsWriter
from tubelet.video.reader import SAME, timestamps

TIMES = ":times"
LARGEST = 65504.0  # of float16


@chz.chz
class Imported(Source):
    """Maps of your own, from .npy and .npz files."""

    name: str = chz.field(default="", doc="what the maps are called: a new name, or that of maps to replace")
    files: tuple[str, ...] = chz.field(default=(), doc=".npy and .npz files, or folders of them, by commas")

    @property
    def maps(self) -> tuple[str, ...]:  # type: ignore[override]
        return (self.name,) if self.name else ()

    def fill(self, corpus: Corpus, running: Running | None = None, progress: Progress = silent) -> Filled:
        if not self.name:
            raise RecipeError("imported maps need a name: give name=NAME, as name=mine")
        refuse_parts(running, "imported maps")
        return import_maps(corpus, self.name, files_below(self.files), progress)


def files_below(names: Sequence[str]) -> list[Path]:
    """The files, and the .npy and .npz files of folders."""
    found: list[Path] = []
    for path in (Path(name).expanduser() for name in names):
        inside = sorted(file for file in path.rglob("*.np[yz]") if file.is_file()) if path.is_dir() else [path]
        if not inside:
            raise CorpusError(f"{path} has no .npy or .npz file")
        found += inside
    return found


def import_maps(corpus: Corpus, name: str, files: Sequence[Path], progress: Progress = silent) -> Filled:
    """Stores the arrays of these files as the maps of this name, in place of those it had."""
    began = time.monotonic()
    check_name(name)
    if not files:
        raise RecipeError(f"no file to import {name} maps from; give files=FILE_OR_FOLDER, .npy or .npz")
    videos = {video.id: video for video in usable(corpus)}
    found: dict[str, tuple[Map, Path]] = {}
    failed: dict[str, Failure] = {}
    kind: Kind | None = KINDS.get(name)
    first = ""
    parts = 0
    for path, video, values, times in arrays(files, videos):
        if video.id in found:
            raise CorpusError(f"{path} and {found[video.id][1]} both hold a map of {video.id}")
        where = f"{path}: the map of {video.id}"
        mine = kind_of(where, values, kind)
        if mine != (kind or mine):
            other = f"{name} maps are" if name in KINDS else f"that of {first} is"
            raise CorpusError(f"{where} is a {mine} map, of shape {shape(values)}, but {other} {kind}")
        if mine == "parts" and values.shape[3] != (parts or values.shape[3]):
            raise CorpusError(f"{where} has {values.shape[3]} parts, but that of {first} has {parts}")
        kind, first = mine, first or video.id
        parts = values.shape[3] if mine == "parts" else 0
        check_values(where, values, mine)
        try:
            found[video.id] = (values.astype(np.float32), stamps(where, video, len(values), times, mine)), path
        except VideoError as error:  # its frames tell when the layers are
            failed[video.id] = Failure(str(error), getattr(error, "status", "unreadable"))
    assert kind is not None
    method = {
        "imported": digest_of_arrays((video, values, times) for video, ((values, times), _) in sorted(found.items()))
    }
    with MapsWriter(corpus, name, kind, method, parts) as maps:
        new = [videos[video] for video in found if not maps.has(videos[video], "")]
        for number, video in enumerate(new, 1):
            maps.add(video, "", *found[video.id][0])
            progress(number, len(new), "")
        maps.finish()
    total, seconds = len(found) + len(failed), time.monotonic() - began
    done = Done(total, len(found) - len(new), len(new), failed, {key: key for key in failed}, 0, seconds)
    reasons = {video: failure.reason for video, failure in failed.items()}
    return Filled((name,), len(found), len(new), reasons, done, f"imported, {len(found)} of {len(videos)} videos")


def check_name(name: str) -> None:
    if name == "text":
        raise RecipeError("text maps belong to captions and cannot be imported; give the maps another name")
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise RecipeError(f"{name!r} is not a name for maps; use lower-case letters, digits and _, a letter first")


def arrays(
    files: Sequence[Path], videos: Mapping[str, Video]
) -> Iterator[tuple[Path, Video, np.ndarray, np.ndarray | None]]:
    """(file, video, values, times) of everything the files hold."""
    root = os.path.commonpath([path.absolute().parent for path in files])  # folders above all files name no video
    for path in files:
        held = load_arrays(path)
        if not isinstance(held, dict):
            yield path, of_name(path, root, videos), held, None
        elif "values" in held and "values" not in videos:
            if extra := sorted(held.keys() - {"values", "times"}):
                raise CorpusError(f"{path} holds {extra[0]!r} next to values and times")
            yield path, of_name(path, root, videos), held["values"], held.get("times")
        else:
            for key, values in held.items():
                if key in videos:
                    yield path, videos[key], values, held.get(key + TIMES)
                elif not (key.endswith(TIMES) and key.removesuffix(TIMES) in held):
                    raise CorpusError(f"{path} holds a map of {key!r}, which is no usable video of the corpus")


def load_arrays(path: Path) -> np.ndarray | dict[str, np.ndarray]:
    try:
        loaded = np.load(path, allow_pickle=False)
        return loaded if isinstance(loaded, np.ndarray) else dict(loaded)
    except FileNotFoundError:
        raise CorpusError(f"{path}: no such file") from None
    except Exception as error:  # zip, header and pickle errors are of many kinds
        raise CorpusError(f"{path} cannot be read as .npy or .npz: {str(error).splitlines()[0]}") from None


def of_name(path: Path, root: str, videos: Mapping[str, Video]) -> Video:
    """The video that a file is named after: its id, or the end of its id, each with or without ending."""
    tail = path.with_suffix("").as_posix()
    whole = [
        video for name, video in videos.items() if f"/{tail}".endswith((f"/{name}", f"/{Path(name).with_suffix('')}"))
    ]
    end = path.absolute().with_suffix("").relative_to(root).as_posix()
    fitting = whole or [videos[name] for name in Names((name, None) for name in videos).meant(end, path.parent)]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise CorpusError(
            f"{path} could be the map of {fitting[0].id} or {fitting[1].id}; "
            "put maps into folders as the videos are, or all into one .npz by id"
        )
    raise CorpusError(f"{path} is named after no usable video of the corpus, whose ids are like {next(iter(videos))!r}")


def kind_of(where: str, values: np.ndarray, known: Kind | None) -> Kind:
    if not (np.issubdtype(values.dtype, np.number) or values.dtype == bool) or np.iscomplexobj(values):
        raise CorpusError(f"{where} holds {values.dtype}, not numbers")
    if known == "parts":
        if values.ndim == 4 and values.shape[3] > 1 and values.size:
            return "parts"
        raise CorpusError(
            f"{where} has shape {shape(values)}; it must be (layers, rows, columns, parts), of two or more"
        )
    if values.ndim == 3 and values.size:
        return "scalar"
    if values.ndim == 4 and values.shape[3] == 2 and values.size:
        return "vector"
    raise CorpusError(
        f"{where} has shape {shape(values)}; it must be (layers, rows, columns) or (layers, rows, columns, 2)"
    )


def shape(values: np.ndarray) -> str:
    return "x".join(map(str, values.shape)) or "()"


def check_values(where: str, values: np.ndarray, kind: Kind) -> None:
    if not np.isfinite(values).all():
        raise CorpusError(f"{where} holds NaN or infinite values")
    largest = float(np.abs(values).max())
    if kind == "parts" and not (values.min() >= 0 and largest <= 1):
        raise CorpusError(
            f"{where} must hold shares from 0 to 1; it goes from {values.min():.4g} to {values.max():.4g}"
        )
    if kind == "vector" and largest > 2:
        raise CorpusError(
            f"{where} moves by up to {largest:.4g} frames a step; divide pixels by the frame's width and height"
        )
    if largest > LARGEST:
        raise CorpusError(f"{where} holds {largest:.4g}, beyond the largest number that can be stored, {LARGEST:g}")


def stamps(where: str, video: Video, layers: int, times: np.ndarray | None, kind: Kind) -> Float64[np.ndarray, "edges"]:
    """Timestamps for this number of layers: the given ones, or of the frames where there are as many, or even ones.

    A vector map's last layer ends with the video where no end is given.
    """
    end = video.end if video.end > video.start else video.start + 1.0
    if times is not None:
        given = np.asarray(times, np.float64)
        wanted = (layers, layers + 1) if kind == "vector" else (layers,)
        if given.ndim != 1 or len(given) not in wanted or not np.isfinite(given).all() or (np.diff(given) < 0).any():
            raise CorpusError(
                f"{where} has {layers} layers and times of shape {shape(given)}; "
                f"they must be {' or '.join(map(str, wanted))} ascending seconds"
            )
    else:
        shown = timestamps(video.path, video.reading)
        given = shown[(shown >= video.start - SAME) & (shown < end - SAME)]
        if len(given) != layers:
            edges = np.linspace(video.start, end, layers + 1)
            given = edges if kind == "vector" else (edges[1:] + edges[:-1]) / 2
    if kind == "vector" and len(given) == layers:
        given = np.append(given, max(end, given[-1]))
    return given


def digest_of_arrays(parts: Iterator[tuple[str, Any, Any]]) -> str:
    """What was imported: other arrays are another series."""
    hashed = hashlib.blake2b(digest_size=8)
    for name, values, times in parts:
        hashed.update(repr((name, values.shape)).encode())
        hashed.update(np.ascontiguousarray(values, np.float32).tobytes())
        hashed.update(times.tobytes())
    return hashed.hexdigest()
