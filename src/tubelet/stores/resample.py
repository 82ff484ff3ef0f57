"""A map at the tubelets of a clip: by area in space, linear in time, through the clip's own crop, flip and times."""

from typing import Literal

import numpy as np
from jaxtyping import Float, Float32, Float64

from tubelet.types import Clip
from tubelet.video.crop import Crop


def sample_scalar(
    layers: Float[np.ndarray, "l gh gw"],
    stamps: Float64[np.ndarray, "l"],
    times: Float64[np.ndarray, "t"],
    crop: Crop,
    clip: Clip,
    frame: Literal["mean", "first"] = "mean",
) -> Float32[np.ndarray, "n"]:
    weights = time_step_weights(time_weights(stamps, times), clip, frame)  # time_steps l
    used = np.flatnonzero(weights.any(0))
    low, high = used[0], used[-1] + 1
    down, across = position_weights(layers.shape[1], layers.shape[2], crop, clip)
    return project(weights[:, low:high], down, across, layers[low:high].astype(np.float32)).reshape(-1)


def sample_parts(
    layers: Float[np.ndarray, "l gh gw parts"],
    stamps: Float64[np.ndarray, "l"],
    times: Float64[np.ndarray, "t"],
    crop: Crop,
    clip: Clip,
) -> Float32[np.ndarray, "n parts"]:
    """Which part a thing belongs to does not change within a tubelet; its first frame says it."""
    each = [
        sample_scalar(np.ascontiguousarray(layer), stamps, times, crop, clip, "first")
        for layer in np.moveaxis(layers, -1, 0)
    ]
    return np.stack(each, axis=-1)


def sample_vector(
    layers: Float[np.ndarray, "l gh gw 2"],
    stamps: Float64[np.ndarray, "edges"],
    times: Float64[np.ndarray, "t"],
    crop: Crop,
    clip: Clip,
) -> Float32[np.ndarray, "t nh nw 2"]:
    ends = np.append(times[1:], times[-1] + (times[-1] - times[-2] if len(times) > 1 else 0.0))
    moves = displacement(layers, stamps, times, ends)
    down, across = position_weights(layers.shape[1], layers.shape[2], crop, clip)
    scale = (-1.0 if crop.flip else 1.0) / crop.width, 1.0 / crop.height
    return np.stack([(down @ moves[..., axis] @ across.T) * np.float32(scale[axis]) for axis in (0, 1)], axis=-1)


def project(
    weights: Float32[np.ndarray, "time_steps l"],
    down: Float32[np.ndarray, "rows gh"],
    across: Float32[np.ndarray, "columns gw"],
    layers: Float32[np.ndarray, "l gh gw"],
) -> Float32[np.ndarray, "time_steps rows columns"]:
    """Three small products, one per axis."""
    in_time = (weights @ layers.reshape(len(layers), -1)).reshape(-1, *layers.shape[1:])
    return down @ in_time @ across.T


def time_weights(stamps: Float64[np.ndarray, "l"], times: Float64[np.ndarray, "t"]) -> Float32[np.ndarray, "t l"]:
    """Linear between the two stamps around each time; the first and the last layer hold beyond the ends."""
    weights = np.zeros((len(times), len(stamps)), np.float32)
    rows = np.arange(len(times))
    if len(stamps) == 1:
        weights[:, 0] = 1
        return weights
    after = np.clip(np.searchsorted(stamps, times), 1, len(stamps) - 1)
    span = stamps[after] - stamps[after - 1]
    share = np.clip((times - stamps[after - 1]) / np.where(span > 0, span, 1), 0, 1)
    weights[rows, after - 1] = 1 - share
    weights[rows, after] = share
    return weights


def time_step_weights(
    weights: Float32[np.ndarray, "t l"], clip: Clip, frame: Literal["mean", "first"]
) -> Float32[np.ndarray, "time_steps l"]:
    grouped = weights.reshape(-1, clip.tubelet_frames, weights.shape[1])
    return grouped[:, 0] if frame == "first" else grouped.mean(1)


def position_weights(
    rows: int, columns: int, crop: Crop, clip: Clip
) -> tuple[Float32[np.ndarray, "nh gh"], Float32[np.ndarray, "nw gw"]]:
    """How much of every cell of the map lies in every position of the clip, down and across; rows sum to 1."""
    _, nh, nw = clip.grid
    down = area_weights(crop.top, crop.height, nh, rows)
    across = area_weights(crop.left, crop.width, nw, columns)
    return down, np.ascontiguousarray(across[::-1]) if crop.flip else across


def area_weights(start: float, length: float, positions: int, cells: int) -> Float32[np.ndarray, "{positions} {cells}"]:
    edges = (start + length * np.arange(positions + 1) / positions) * cells
    cell = np.arange(cells)
    overlap = np.minimum(edges[1:, None], cell + 1) - np.maximum(edges[:-1, None], cell)
    overlap = overlap.clip(min=0).astype(np.float32)
    return overlap / overlap.sum(1, keepdims=True)


def displacement(
    layers: Float[np.ndarray, "l gh gw 2"],
    stamps: Float64[np.ndarray, "edges"],
    starts: Float64[np.ndarray, "t"],
    ends: Float64[np.ndarray, "t"],
) -> Float32[np.ndarray, "t gh gw 2"]:
    """Where each cell's centre goes from each start to its end: the steps composed along its way, each in proportion.

    Before the first stamp and after the last the velocity of the nearest layer holds.
    """
    count, rows, columns, _ = layers.shape
    y, x = np.meshgrid((np.arange(rows) + 0.5) / rows, (np.arange(columns) + 0.5) / columns, indexing="ij")
    origin = np.stack([x, y], axis=-1)
    position = np.repeat(origin[None], len(starts), 0)
    first = np.clip(np.searchsorted(stamps, starts, side="right") - 1, 0, count - 1)
    last = np.maximum(np.clip(np.searchsorted(stamps, ends, side="left") - 1, 0, count - 1), first)
    left, right = stamps[:-1].copy(), stamps[1:].copy()
    length = right - left
    left[0], right[-1] = -np.inf, np.inf
    for step in range(int((last - first).max(initial=0)) + 1):
        layer = np.minimum(first + step, last)
        inside = np.minimum(ends, right[layer]) - np.maximum(starts, left[layer])
        inside = np.where(first + step <= last, inside.clip(min=0), 0.0)
        share = inside / np.where(length[layer] > 0, length[layer], np.inf)
        position += share[:, None, None, None] * bilinear(layers[layer].astype(np.float64), position)
    return (position - origin).astype(np.float32)


def bilinear(
    fields: Float64[np.ndarray, "t gh gw 2"], where: Float64[np.ndarray, "t a b 2"]
) -> Float64[np.ndarray, "t a b 2"]:
    """Each field at its positions (x, y) in shares of the frame; its border values hold outside."""
    rows, columns = fields.shape[1:3]
    x = np.clip(where[..., 0] * columns - 0.5, 0, columns - 1)
    y = np.clip(where[..., 1] * rows - 0.5, 0, rows - 1)
    left, top = np.minimum(x.astype(int), max(columns - 2, 0)), np.minimum(y.astype(int), max(rows - 2, 0))
    right, bottom = np.minimum(left + 1, columns - 1), np.minimum(top + 1, rows - 1)
    across, down = (x - left)[..., None], (y - top)[..., None]
    each = np.arange(len(fields))[:, None, None]
    above = fields[each, top, left] * (1 - across) + fields[each, top, right] * across
    below = fields[each, bottom, left] * (1 - across) + fields[each, bottom, right] * across
    return above * (1 - down) + below * down
