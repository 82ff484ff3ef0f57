"""Every masker once more, one clip at a time in NumPy, as a data loader would do it: the independent reference.

A loop gets a clip's maps and a `draw(count, purpose)` that gives numbers in (0, 1), and returns (hidden, visible),
ascending.
"""

import math
from collections.abc import Callable, Mapping

import numpy as np

Draw = Callable[..., np.ndarray]
Maps = Mapping[str, np.ndarray]
Pair = tuple[np.ndarray, np.ndarray]
GRID = (8, 14, 14)
SLOTS, PLACES = 8, 196


def split(scores: np.ndarray, count: int) -> Pair:
    order = np.argsort(-scores, kind="stable")
    return np.sort(order[:count]), np.sort(order[count:])


def per_time_step(scores: np.ndarray, count: int) -> Pair:
    pairs = [split(time_step, count) for time_step in scores.reshape(SLOTS, PLACES)]
    hidden, visible = zip(*pairs, strict=True)
    return tuple(
        np.concatenate([part + time_step * PLACES for time_step, part in enumerate(parts)])
        for parts in (hidden, visible)
    )


def per_place(scores: np.ndarray, count: int) -> Pair:
    first = np.arange(SLOTS)[:, None] * PLACES
    return tuple((first + part).ravel() for part in split(scores, count))


def gumbel(draw: Draw, count: int) -> np.ndarray:
    return -np.log(-np.log(draw(count)))


def standardise(values: np.ndarray) -> np.ndarray:
    return (values - values.mean()) / values.std()


def random(maps: Maps, draw: Draw) -> Pair:
    return split(draw(1568), 1412)


def tube(maps: Maps, draw: Draw) -> Pair:
    return per_place(draw(PLACES), 176)


def frame(maps: Maps, draw: Draw) -> Pair:
    return split(np.repeat(draw(SLOTS), PLACES), 6 * PLACES)


def future(maps: Maps, draw: Draw) -> Pair:
    return split(np.repeat(np.arange(SLOTS, dtype=np.float32), PLACES), 4 * PLACES)


def past(maps: Maps, draw: Draw) -> Pair:
    return split(-np.repeat(np.arange(SLOTS, dtype=np.float32), PLACES), 4 * PLACES)


def centre(maps: Maps, draw: Draw) -> Pair:
    offset = np.arange(14) - 6.5
    return per_place(-np.hypot(offset[:, None], offset).ravel(), 117)


def block(maps: Maps, draw: Draw) -> Pair:
    shape, down, across = draw(24).astype(np.float32).reshape(3, 8)
    best = np.full((14, 14), -np.inf)
    middle = np.arange(14) + 0.5
    for number in range(8):
        aspect = np.float32(0.75) + np.float32(0.75) * shape[number]
        height = np.clip(np.round(np.sqrt(np.float32(0.15 * PLACES) * aspect)), 1, 14)
        width = np.clip(np.round(np.sqrt(np.float32(0.15 * PLACES) / aspect)), 1, 14)
        top, left = math.floor(down[number] * (15 - height)), math.floor(across[number] * (15 - width))
        rows = np.minimum(middle - top, top + height - middle)[:, None]
        columns = np.minimum(middle - left, left + width - middle)[None]
        inside = np.minimum(rows, columns)
        outside = np.hypot(np.minimum(rows, 0), np.minimum(columns, 0))
        best = np.maximum(best, np.where(inside > 0, inside, -outside))
    return per_place(best.ravel(), 147)


def smooth_noise(maps: Maps, draw: Draw) -> Pair:
    noise = draw(1568).reshape(GRID) - 0.5
    for axis, size in enumerate(GRID):
        distance = np.arange(size)[:, None] - np.arange(size)
        weights = np.exp(-0.5 * (distance / 1.5) ** 2)
        noise = np.moveaxis(np.tensordot(noise, weights / weights.sum(0), (axis, 0)), -1, axis)
    return per_time_step(noise.ravel(), 147)


def text(maps: Maps, draw: Draw) -> Pair:
    return per_time_step(maps["text"], 117)


def text_sampled(maps: Maps, draw: Draw) -> Pair:
    return per_time_step(standardise(maps["text"]) + 0.5 * gumbel(draw, 1568), 117)


def text_frame(maps: Maps, draw: Draw) -> Pair:
    similarity = standardise(maps["text"]) + 0.5 * gumbel(draw, 1568)
    return split(similarity + np.repeat(2 * gumbel(draw, SLOTS), PLACES), 784)


def oracle(maps: Maps, draw: Draw) -> Pair:
    return per_time_step(maps["oracle"] + draw(1568) / 1024, 117)


def attention(maps: Maps, draw: Draw) -> Pair:
    return per_time_step(-(np.log(np.maximum(maps["attention"], 1e-8)) + gumbel(draw, 1568)), 156)


def blend(maps: Maps, draw: Draw) -> Pair:
    return per_time_step(standardise(maps["text"]) + standardise(maps["motion"]), 117)


def parts(maps: Maps, draw: Draw, easy: float = 0.0, hidden: int = 1568 - 392) -> Pair:
    owner = maps["parts"].argmax(-1)
    whole = dict.fromkeys(range(maps["parts"].shape[1]), 0)
    left = hidden
    for part in np.argsort(draw(len(whole), "parts"), kind="stable"):
        whole[part] = min(left, int((owner == part).sum()))
        left -= whole[part]
    noise = draw(len(owner))
    scores = np.zeros(len(owner))
    for part, count in whole.items():
        mine = np.flatnonzero(owner == part)
        wanted = np.round(easy * 0.75 * len(mine) + (1 - easy) * count)
        for rank, tubelet in enumerate(mine[np.argsort(noise[mine], kind="stable")]):
            scores[tubelet] = (wanted - rank - 0.5) / len(mine)
    return split(scores, hidden)


def part_priority(maps: Maps, draw: Draw) -> Pair:
    shares = maps["parts"]
    rest = 2 + np.argsort(draw(shares.shape[1], "parts")[2:], kind="stable")
    shown: list[int] = []
    for time_step in range(SLOTS):
        owner = shares[time_step * PLACES : (time_step + 1) * PLACES].argmax(-1)
        found: list[int] = []
        for part in (0, 1, *rest):
            if len(found) >= 0.1 * PLACES:
                break
            found += np.flatnonzero(owner == part).tolist()
        shown += [time_step * PLACES + place for place in found]
    noise = draw(1568)
    kept = sorted(shown, key=lambda tubelet: noise[tubelet])[:156]
    return np.setdiff1d(np.arange(1568), kept), np.sort(kept)


def running_cell(hidden: np.ndarray, draw: Draw) -> np.ndarray:
    """The half of the hidden that is decoded."""
    noise = draw(1569)
    start = math.floor(4 * noise[-1])
    time_step, index = np.divmod(hidden, PLACES)
    down, across = index // 14 % 2, index % 14 % 2
    phase = (2 * down + across + time_step + start) % 4
    order = np.argsort(phase + 0.5 * noise[hidden], kind="stable")
    return np.sort(hidden[order[: len(hidden) // 2]])
