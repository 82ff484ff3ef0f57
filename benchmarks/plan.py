"""What captions, maps, packs and training cost for very many videos: arithmetic, of constants that name their source.

python -m benchmarks.plan        the tables of docs/scale.md

Nothing is measured here and nothing is timed. Costs are linear in the number of videos, beside tables and orders, which
docs/results/scale.md measures. GPU-hours have two ends: the share of its peak at which the official VideoMAE ran, and
the best that is published of a large vision transformer.
"""

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.cases import SIZES, blocks_flops, feature_flops, step_flops
from tubelet.models.encoder import Vit

HOUR, DAY = 3600.0, 86400.0


@dataclass(frozen=True)
class Constant:
    value: float
    unit: str
    source: str

    def row(self, name: str) -> str:
        return f"| {name} | {self.value:,.12g} | {self.unit} | {self.source} |"


CONSTANTS = {
    "length": Constant(10, "s a video", "clips of Kinetics-400 (arXiv 1705.06950)"),
    "frame rate": Constant(30, "frames/s", "assumed"),
    "captions": Constant(3, "a video", "assumed: one of each of three key frames"),
    "caption": Constant(100, "bytes", "assumed: 12 words and what names its video, uncompressed"),
    "bit rate": Constant(1.13e6, "bit/s", "measured: 300 real H.264 clips, 649 s, median short side 360"),
    "bit rate of a pack": Constant(
        0.608e6, "bit/s", "measured: every tenth of them (63 s, 1.20e6 bit/s) by `pack --size 256 --gop 12`"
    ),
    "index": Constant(
        761, "frames/s and core", "measured: 760 frames of 12 files at 12.02 files/s, [jobs](results/rates.md)"
    ),
    "clips of files": Constant(13.6, "clips/s and core", "measured: key frames 250 apart, [packs](packs.md)"),
    "clips of a pack": Constant(22.5, "clips/s and core", "measured: `--size 256 --gop 12`, [packs](packs.md)"),
    "layers": Constant(4, "layers/s of video", "default of text maps"),
    "cells": Constant(14 * 25, "a layer", "short side of 14, 16:9"),
    "cell": Constant(2, "bytes", "[on disk](running.md#time-and-disk-before-and-while)"),
    "row": Constant(270, "bytes of videos.arrow", "measured, [ten million videos](results/scale.md)"),
    "open": Constant(
        19.2, "s for 10^7 rows", "measured: open, select, order, samples, first shard, [same](results/scale.md)"
    ),
    "caption model": Constant(
        2 * 1.0e9 * 257 + 2 * 2.7e9 * (32 + 30),
        "FLOPs a caption",
        "2 x weights x tokens: ViT-g on 257 patches, OPT-2.7B on 32 queries and 30 words (arXiv 2301.12597)",
    ),
    "peak": Constant(989e12, "FLOP/s", "bf16 of one H100 without sparsity, data sheet of NVIDIA"),
    "low": Constant(
        0.05, "of the peak", "official VideoMAE: 800 epochs of K400 in 27 h on 64 V100 (MCG-NJU/VideoMAE, issue 5)"
    ),
    "high": Constant(0.55, "of the peak", "ViT-22B (arXiv 2302.05442)"),
    "checkpoint": Constant(
        12, "bytes a parameter", "[weights and two moments](running.md#time-and-disk-before-and-while)"
    ),
}


def of(name: str) -> float:
    return CONSTANTS[name].value


@dataclass(frozen=True)
class Plan:
    """So many videos, and what is trained on them."""

    videos: int
    size: str  # of `benchmarks.cases`
    clips: float  # that training takes in all
    source: str  # of this number

    @property
    def seconds(self) -> float:
        return self.videos * of("length")

    def gpu_hours(self, flops: float) -> tuple[float, float]:
        """At the best share of the peak, and at the lowest."""
        return flops / (of("peak") * of("high")) / HOUR, flops / (of("peak") * of("low")) / HOUR

    @property
    def training(self) -> float:
        size = SIZES[self.size]
        return self.clips * step_flops(size, size.visible(0.9))

    @property
    def feeding(self) -> tuple[float, float]:
        """Clips a second that one GPU takes, at the lowest share of the peak and at the best."""
        size = SIZES[self.size]
        each = step_flops(size, size.visible(0.9))
        return of("peak") * of("low") / each, of("peak") * of("high") / each

    @property
    def parameters(self) -> int:
        size = SIZES[self.size]
        return parameters(size.encoder, size.clip.tubelet_values)


def parameters(vit: Vit, values: int) -> int:
    """Of the encoder: products, biases and norms."""
    d, hidden = vit.width, int(vit.width * vit.mlp_ratio)
    each = 4 * d * d + 3 * d + 2 * d * hidden + hidden + d + 4 * d  # attention without bias of keys, MLP, two norms
    return vit.depth * each + values * d + 3 * d


def layer_flops() -> float:
    """Of CLIP ViT-B/32 on one layer of a dense text map, forward."""
    return blocks_flops(Vit(), int(of("cells")) + 1)


PLANS = (
    Plan(240_000, "B224", 240_000 * 800, "800 epochs, VideoMAE (arXiv 2203.12602)"),
    Plan(
        10_000_000, "g224", 1_350_000 * 1200, "as many as VideoMAE V2: 1200 epochs of 1.35 million (arXiv 2303.16727)"
    ),
    Plan(1_000_000_000, "g224", 2 * 1_000_000_000, "two epochs"),
)

ROWS: dict[str, Callable[[Plan], str]] = {
    "**table**: `videos.arrow`": lambda plan: bytes_of(plan.videos * of("row")),
    "opened and begun by each process": lambda plan: time_of(plan.videos / 1e7 * of("open")),
    "**sources**": lambda plan: bytes_of(plan.seconds * of("bit rate") / 8),
    "`index`, core-hours": lambda plan: number(plan.seconds * of("frame rate") / of("index") / HOUR),
    "requests of `index` and of each job after it": lambda plan: number(plan.videos),
    "**captions**, on disk": lambda plan: bytes_of(plan.videos * of("captions") * of("caption")),
    "GPU-hours": lambda plan: ends(plan.gpu_hours(plan.videos * of("captions") * of("caption model"))),
    "**text maps**, on disk": lambda plan: bytes_of(
        plan.seconds * of("layers") * of("cells") * of("cell") * of("captions")
    ),
    "GPU-hours (CLIP ViT-B/32, once for all captions)": lambda plan: ends(
        plan.gpu_hours(plan.seconds * of("layers") * layer_flops())
    ),
    "**pack**, on disk": lambda plan: bytes_of(plan.seconds * of("bit rate of a pack") / 8),
    "shards of 1 GiB": lambda plan: number(plan.seconds * of("bit rate of a pack") / 8 / 2**30),
    "**training**: encoder": lambda plan: f"{plan.size}, {number(plan.parameters)} parameters",
    "clips in all": lambda plan: number(plan.clips),
    "a checkpoint": lambda plan: bytes_of(plan.parameters * of("checkpoint")),
    "GPU-hours, 90 % hidden": lambda plan: ends(plan.gpu_hours(plan.training)),
    "days on 64 GPUs": lambda plan: ends([hours / 64 / 24 for hours in plan.gpu_hours(plan.training)]),
    "clips/s that a GPU takes": lambda plan: ends(plan.feeding),
    "cores for each GPU, from files": lambda plan: ends([rate / of("clips of files") for rate in plan.feeding]),
    "cores for each GPU, from a pack": lambda plan: ends([rate / of("clips of a pack") for rate in plan.feeding]),
    "requests of ranges, one a clip": lambda plan: number(plan.clips),
    "read while training, whole videos": lambda plan: bytes_of(
        plan.clips * of("length") * of("bit rate of a pack") / 8
    ),
    "**features** of all, one clip each: GPU-hours": lambda plan: ends(
        plan.gpu_hours(plan.videos * feature_flops(SIZES[plan.size]))
    ),
}


def number(value: float) -> str:
    """Two digits, as words where they are many."""
    for size, word in ((1e12, "trillion"), (1e9, "billion"), (1e6, "million")):
        if value >= size:
            return f"{float(f'{value / size:.2g}'):,.12g} {word}"
    return f"{float(f'{value:.2g}'):,.12g}"


def ends(pair: "tuple[float, float] | list[float]") -> str:
    low, high = pair
    return f"{number(low)} to {number(high)}"


def bytes_of(value: float) -> str:
    for size, unit in ((1e15, "PB"), (1e12, "TB"), (1e9, "GB"), (1e6, "MB")):
        if value >= size:
            return f"{float(f'{value / size:.2g}'):,.12g} {unit}"
    return f"{value:,.0f} B"


def time_of(seconds: float) -> str:
    return f"{number(seconds)} s" if seconds < 120 else f"{number(seconds / 60)} min"


def table() -> str:
    heads = " | ".join(number(plan.videos) for plan in PLANS)
    lines = [f"| videos | {heads} |", "|---" * (len(PLANS) + 1) + "|"]
    lines += [f"| {name} | {' | '.join(cell(plan) for plan in PLANS)} |" for name, cell in ROWS.items()]
    lines += [f"| clips of training from | {' | '.join(plan.source for plan in PLANS)} |"]
    return "\n".join(lines)


def constants() -> str:
    head = ["| constant | value | unit | from |", "|---|---|---|---|"]
    return "\n".join([*head, *(one.row(name) for name, one in CONSTANTS.items())])


if __name__ == "__main__":
    print(f"{table()}\n\n{constants()}")
