"""Motion: the motion vectors of the video codec, read from the compressed file without optical flow.

A coded block points at the position in another frame from which it was predicted. Every vector is divided by the time
between the two frames, so those of P-frames, of B-frames in both directions and of pyramids are all velocities;
blocks are weighted by the area they cover of a cell. FFmpeg says of a vector only whether it points to the past or to
the future: it is taken to point to the nearest frame, on that side, that others may refer to and that was decoded
before. Blocks of an encoder with several reference frames that point farther come out too fast.

Frames and positions without vectors (key frames, intra-coded blocks) take those nearest in time. Start at `Motion`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

import chz
import numpy as np
from av.video.frame import PictureType
from jaxtyping import Float32, Float64

from tubelet.corpus.schema import Video
from tubelet.corpus.table import Corpus
from tubelet.errors import VideoError
from tubelet.progress import Progress, silent
from tubelet.saliency_maps.base import Cells, Engine, Filled, Running
from tubelet.saliency_maps.engines import NoFlow
from tubelet.saliency_maps.flow import look_at_flow
from tubelet.saliency_maps.frames import Piece, pieces
from tubelet.saliency_maps.vectors import Moving, fill_vectors, to_cells
from tubelet.stores.maps import map_grid
from tubelet.video.packets import H264_PICTURES, unit_length, units
from tubelet.video.reader import SAME, Reader, Turn, open_reader, turn_of
from tubelet.video.sequences import Stills

NAME = "motion"
SECONDS = 60.0  # of a video in one piece
BLOCK = 8  # pixels: the smallest block of FFmpeg
WITHOUT_VECTORS = ("av1", "hevc", "vp8", "vp9")  # codecs without vectors in FFmpeg; others are found by trying
WRONG_B_FRAMES = ("mpeg4",)  # codecs whose B-frames have zero vectors in FFmpeg
B_FRAME, KEY_FRAME = "B", "I"


@chz.chz
class Motion(Cells):
    """Motion to the next frame, from the motion vectors that the video codec stores."""

    maps: ClassVar[tuple[str, ...]] = (NAME,)

    fallback: Engine = chz.field(
        default_factory=NoFlow, doc="optical flow for videos without motion vectors (NoFlow: they have no map)"
    )

    def fill(self, corpus: Corpus, running: Running | None = None, progress: Progress = silent) -> Filled:
        fallback = None if isinstance(self.fallback, NoFlow) else self.fallback
        method: dict[str, Any] = {"vectors": "codec", "cells": self.cells}
        words = "codec motion vectors"
        if fallback is not None:
            method["fallback"] = fallback.identity
            words += f", else {fallback.identity['engine']} flow"
        look = partial(look_at_motion, cells=self.cells, fallback=fallback)
        filled = fill_vectors(corpus, NAME, method, look, partial(stretches, fallback=fallback), running, progress)
        return replace(filled, method=words)


def stretches(video: Video, fallback: Engine | None) -> Sequence[Piece]:
    """Long ones, because no frame is held in memory, unless optical flow may need the frames."""
    return pieces(video, None, SECONDS if fallback is None else None)


def look_at_motion(piece: Piece, cells: int, fallback: Engine | None = None) -> Moving:
    """The velocities of a piece; `VideoError` where it has no motion vectors and there is no fallback."""
    try:
        return codec_motion(piece, cells)
    except NoMotionVectors:
        if fallback is None:
            raise
        return look_at_flow(piece, fallback, cells)


class NoMotionVectors(VideoError):
    """This file has no motion vectors."""

    def __init__(self, codec: str, why: str) -> None:
        super().__init__(f"{codec} {why}; optical flow can be used instead: fallback=Dis")


@dataclass(frozen=True)
class FrameVectors:
    """The motion vectors of a frame, per direction and cell, summed by area, and the share of the cell they cover."""

    stamp: int | None
    kind: str
    pointers: dict[int, tuple[Float32[np.ndarray, "gh gw 2"], Float32[np.ndarray, "gh gw"]]]


def codec_motion(piece: Piece, cells: int) -> Moving:
    with open_reader(piece.path, piece.start, piece.end, reading=piece.reading, vectors=True) as reader:
        if isinstance(reader, Stills):
            raise NoMotionVectors("an image sequence", "holds no motion vectors")
        if reader.codec in WITHOUT_VECTORS:
            raise NoMotionVectors(reader.codec, "has no motion vectors in FFmpeg")
        frames, times = reader.each(partial(read_vectors, cells=cells, skip_b=reader.codec in WRONG_B_FRAMES))
        order = decoding_order(reader)
    if frames and not any(frame.pointers for frame in frames) and (piece.whole or len(frames) > 1):
        why = "with key frames only has" if all(frame.kind == KEY_FRAME for frame in frames) else "has"
        raise NoMotionVectors(reader.codec, f"{why} no motion vectors")
    found = velocities(frames, times, order)
    inside = (times >= piece.start - SAME) & (times < piece.end - SAME)
    return found[inside], times[inside]


def read_vectors(frame: Any, cells: int, skip_b: bool) -> FrameVectors:
    """Reads the motion vectors of a decoded frame."""
    data = frame.side_data.get("MOTION_VECTORS")
    kind = PictureType(frame.pict_type).name
    pointers = {}
    turn = turn_of(frame)
    if data is not None and not (skip_b and kind == B_FRAME):
        array = data.to_ndarray()
        for source in np.unique(array["source"]).tolist():
            pointers[source] = on_cells(array[array["source"] == source], frame.height, frame.width, turn, cells)
    return FrameVectors(frame.pts, kind, pointers)


def on_cells(
    pointers: np.ndarray, height: int, width: int, turn: Turn, cells: int
) -> tuple[Float32[np.ndarray, "gh gw 2"], Float32[np.ndarray, "gh gw"]]:
    """Blocks as a raster of 8x8 pixels, then by area onto the upright grid: the sum of shares, and the cover."""
    rows, columns = -(-height // BLOCK), -(-width // BLOCK)
    wide, high = (np.maximum(pointers[side].astype(np.int64) // BLOCK, 1) for side in ("w", "h"))
    left = (pointers["dst_x"].astype(np.int64) - pointers["w"] // 2) // BLOCK
    top = (pointers["dst_y"].astype(np.int64) - pointers["h"] // 2) // BLOCK
    area = wide * high
    block = np.repeat(np.arange(len(pointers)), area)
    step = np.arange(len(block)) - np.repeat(np.cumsum(area) - area, area)
    row, column = top[block] + step // wide[block], left[block] + step % wide[block]
    there = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
    block, position = block[there], (row * columns + column)[there]
    scale = pointers["motion_scale"].astype(np.float64)
    shares = pointers["motion_x"] / scale / width, pointers["motion_y"] / scale / height
    sums = [np.bincount(position, weights=share[block], minlength=rows * columns) for share in shares]
    cover = np.bincount(position, minlength=rows * columns).astype(np.float64)
    planes = np.stack([*sums, cover]).reshape(3, rows, columns)
    extent = height / BLOCK, width / BLOCK
    transpose, mirror, upside = turn
    if transpose:
        planes, extent = planes[[1, 0, 2]].transpose(0, 2, 1), extent[::-1]
        height, width = width, height
    on_grid = to_cells(planes, *map_grid(height, width, cells), *extent)
    if mirror:
        on_grid = on_grid[:, :, ::-1] * np.array([-1, 1, 1], np.float32)[:, None, None]
    if upside:
        on_grid = on_grid[:, ::-1] * np.array([1, -1, 1], np.float32)[:, None, None]
    return np.moveaxis(on_grid[:2], 0, -1), on_grid[2]


def velocities(
    frames: Sequence[FrameVectors], times: Float64[np.ndarray, "t"], order: dict[int, tuple[int, bool]]
) -> Float32[np.ndarray, "t gh gw 2"]:
    """Shares of the frame per second at every frame, in display order; NaN where no block points anywhere."""
    grid = next((cover.shape for frame in frames for _, cover in frame.pointers.values()), (1, 1))
    found = np.full((len(frames), *grid, 2), np.nan, np.float32)
    decoded = [None if frame.stamp is None else order.get(frame.stamp) for frame in frames]
    known = None not in decoded
    for number, frame in enumerate(frames):
        moved, covered = np.zeros((*grid, 2)), np.zeros(grid)
        for source, (pointed, cover) in frame.pointers.items():
            other = reference(frames, number, source, decoded if known else None)
            span = 0.0 if other is None else float(times[other] - times[number])
            if abs(span) > SAME:
                moved += pointed / span
                covered += cover
        there = covered > 1e-6
        found[number][there] = moved[there] / covered[there][:, None]
    return found


def reference(
    frames: Sequence[FrameVectors], number: int, source: int, decoded: Sequence[tuple[int, bool] | None] | None
) -> int | None:
    """The frame at which blocks point: -1 the nearest before theirs that is a reference, -2 the one before that."""
    step = -1 if source < 0 else 1
    left = abs(source)
    other = number + step
    while 0 <= other < len(frames):
        if decoded is None:
            refers = frames[other].kind != B_FRAME
        else:
            mine, theirs = decoded[number], decoded[other]
            refers = mine is not None and theirs is not None and theirs[1] and theirs[0] < mine[0]
        left -= refers
        if not left:
            return other
        other += step
    return None


def decoding_order(reader: Reader) -> dict[int, tuple[int, bool]]:
    """Timestamp of a packet: its place in the order of decoding, and whether others may refer to it. H.264 alone."""
    if reader.codec != "h264":
        return {}
    length = unit_length(reader.codec, reader.extradata)
    order = {
        packet.pts: (position, refers_h264(bytes(packet), length))
        for position, packet in enumerate(reader.packets)
        if packet.pts is not None
    }
    return order if len(order) == len(reader.packets) else {}


def refers_h264(packet: bytes, length: int) -> bool:
    """Whether the picture's first slice has a nal_ref_idc above 0; units follow `length` bytes, or start codes."""
    for unit in units(packet, length):
        if unit & 31 in H264_PICTURES:
            return unit >> 5 & 3 > 0
    return True
