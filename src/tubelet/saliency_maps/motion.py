"""Codec motion: how the encoder says that the picture moved, read from the compressed file without any optical flow.

A coded block points at the place in another frame from which it was predicted. Every pointer is divided by the time
between the two frames, so those of P-frames, of B-frames in both directions and of pyramids are velocities alike;
blocks are weighted by the area they cover of a cell. FFmpeg says of a pointer only whether it leads to the past or to
the future: it is taken to lead to the nearest frame, on that side, that others may refer to and that was decoded
before. Blocks of an encoder with several reference frames that lead farther come out too fast.

Frames and places without pointers (key frames, blocks coded anew) take those nearest in time. Start reading at `fill`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from av.video.frame import PictureType
from jaxtyping import Float32, Float64

from tubelet.corpus.table import Corpus, Video
from tubelet.errors import VideoError
from tubelet.progress import Progress, silent
from tubelet.saliency_maps import vectors
from tubelet.saliency_maps.filling import Filled, Running
from tubelet.saliency_maps.flow import Engine, look_at_flow
from tubelet.saliency_maps.frames import Piece, pieces
from tubelet.saliency_maps.vectors import Moving, to_cells
from tubelet.stores.maps import map_grid
from tubelet.video.packets import H264_PICTURES, unit_length, units
from tubelet.video.reader import SAME, Reader, Turn, open_reader, turn_of
from tubelet.video.sequences import Stills

NAME = "motion"
SECONDS = 60.0  # of a video in one piece
BLOCK = 8  # pixels: the smallest block that FFmpeg tells of
SILENT = ("av1", "hevc", "vp8", "vp9")  # codecs of which it tells nothing; others are found out by trying
LIE = ("mpeg4",)  # codecs of whose B-frames it tells zeros
B_FRAME, KEY_FRAME = "B", "I"


def fill(
    corpus: Corpus,
    fallback: Engine | None = None,
    cells: int = 14,
    running: Running | None = None,
    progress: Progress = silent,
) -> Filled:
    """Motion maps of every usable video, with `cells` along the short side; without vectors by the fallback."""
    method: dict[str, Any] = {"vectors": "codec", "cells": cells}
    if fallback is not None:
        method["fallback"] = fallback.identity
    look = partial(look_at_motion, cells=cells, fallback=fallback)
    return vectors.fill(corpus, NAME, method, look, partial(stretches, fallback=fallback), running, progress)


def stretches(video: Video, fallback: Engine | None) -> Sequence[Piece]:
    """Long ones, because nothing is kept of the frames, unless optical flow may have to look at them."""
    return pieces(video, None, SECONDS if fallback is None else None)


def look_at_motion(piece: Piece, cells: int, fallback: Engine | None = None) -> Moving:
    """The velocities of a piece; `VideoError` where the codec tells of none and there is no fallback."""
    try:
        return codec_motion(piece, cells)
    except SilentCodec:
        if fallback is None:
            raise
        return look_at_flow(piece, fallback, cells)


class SilentCodec(VideoError):
    """This file has no motion vectors."""

    def __init__(self, codec: str, why: str) -> None:
        super().__init__(f"{codec} {why}; optical flow can stand in: --fallback flow")


@dataclass(frozen=True)
class Told:
    """What a frame tells: where its blocks point, per side and cell, summed by area, and the share they cover."""

    stamp: int | None
    kind: str
    pointers: dict[int, tuple[Float32[np.ndarray, "gh gw 2"], Float32[np.ndarray, "gh gw"]]]


def codec_motion(piece: Piece, cells: int) -> Moving:
    with open_reader(piece.path, piece.start, piece.end, reading=piece.reading, vectors=True) as reader:
        if isinstance(reader, Stills):
            raise SilentCodec("an image sequence", "holds no motion vectors")
        if reader.codec in SILENT:
            raise SilentCodec(reader.codec, "tells of no motion vectors")
        told, times = reader.each(partial(listen, cells=cells, skip_b=reader.codec in LIE))
        order = decoding_order(reader)
    if told and not any(frame.pointers for frame in told) and (piece.whole or len(told) > 1):
        why = "of key frames alone holds" if all(frame.kind == KEY_FRAME for frame in told) else "tells of"
        raise SilentCodec(reader.codec, f"{why} no motion vectors")
    found = velocities(told, times, order)
    inside = (times >= piece.start - SAME) & (times < piece.end - SAME)
    return found[inside], times[inside]


def listen(frame: Any, cells: int, skip_b: bool) -> Told:
    """Reads the pointers of a decoded frame."""
    data = frame.side_data.get("MOTION_VECTORS")
    kind = PictureType(frame.pict_type).name
    pointers = {}
    turn = turn_of(frame)
    if data is not None and not (skip_b and kind == B_FRAME):
        array = data.to_ndarray()
        for source in np.unique(array["source"]).tolist():
            pointers[source] = on_cells(array[array["source"] == source], frame.height, frame.width, turn, cells)
    return Told(frame.pts, kind, pointers)


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
    block, place = block[there], (row * columns + column)[there]
    scale = pointers["motion_scale"].astype(np.float64)
    shares = pointers["motion_x"] / scale / width, pointers["motion_y"] / scale / height
    sums = [np.bincount(place, weights=share[block], minlength=rows * columns) for share in shares]
    cover = np.bincount(place, minlength=rows * columns).astype(np.float64)
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
    told: Sequence[Told], times: Float64[np.ndarray, "t"], order: dict[int, tuple[int, bool]]
) -> Float32[np.ndarray, "t gh gw 2"]:
    """Shares of the frame per second at every frame, in display order; NaN where no block points anywhere."""
    grid = next((cover.shape for frame in told for _, cover in frame.pointers.values()), (1, 1))
    found = np.full((len(told), *grid, 2), np.nan, np.float32)
    decoded = [None if frame.stamp is None else order.get(frame.stamp) for frame in told]
    known = None not in decoded
    for number, frame in enumerate(told):
        moved, covered = np.zeros((*grid, 2)), np.zeros(grid)
        for source, (pointed, cover) in frame.pointers.items():
            other = reference(told, number, source, decoded if known else None)
            span = 0.0 if other is None else float(times[other] - times[number])
            if abs(span) > SAME:
                moved += pointed / span
                covered += cover
        there = covered > 1e-6
        found[number][there] = moved[there] / covered[there][:, None]
    return found


def reference(
    told: Sequence[Told], number: int, source: int, decoded: Sequence[tuple[int, bool] | None] | None
) -> int | None:
    """The frame at which blocks point: -1 the nearest before theirs that is a reference, -2 the one before that."""
    step = -1 if source < 0 else 1
    left = abs(source)
    other = number + step
    while 0 <= other < len(told):
        if decoded is None:
            refers = told[other].kind != B_FRAME
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
        packet.pts: (place, refers_h264(bytes(packet), length))
        for place, packet in enumerate(reader.packets)
        if packet.pts is not None
    }
    return order if len(order) == len(reader.packets) else {}


def refers_h264(packet: bytes, length: int) -> bool:
    """Whether the picture's first slice has a nal_ref_idc above 0; units follow lengths of so many bytes, or marks."""
    for unit in units(packet, length):
        if unit & 31 in H264_PICTURES:
            return unit >> 5 & 3 > 0
    return True
