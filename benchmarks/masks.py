"""Masks for a batch of clips at 8x14x14, against the same masks drawn clip by clip in NumPy.

    python benchmarks/masks.py [--clips 32] [--rounds 15] [--device cuda]

Both draw their own noise; the loops are those that the tests hold the masks against (tests/support/loops.py). Processor
time on a CPU (this machine may be shared), wall time on a GPU; the two alternate, and the ratio is the median over
rounds, with quartiles. One thread. Adaptive has a network, so it has no loop: its time and its FLOPs stand alone. Flow
has no matrix product, which alone a FLOP counter sees: of it every number that any operator writes is counted.
"""

import argparse
import math
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from support import loops
from tubelet.maskers import (
    Adaptive,
    Attention,
    Blend,
    Block,
    Centre,
    Flow,
    Frame,
    Future,
    Masker,
    Motion,
    Oracle,
    Random,
    RunningCell,
    Schedule,
    SmoothNoise,
    Text,
    TextFrame,
    Tube,
)
from tubelet.models import Base
from tubelet.seeds import fold, uniform
from tubelet.types import Batch, Clip

CLIP = Clip()
CASES: list[tuple[str, Masker, Callable[..., object]]] = [
    ("Random .9", Random(), loops.random),
    ("Schedule, at its end", Schedule(), loops.random),
    ("Tube .9", Tube(), loops.tube),
    ("Frame .75", Frame(), loops.frame),
    ("Future .5", Future(), loops.future),
    ("Centre .6", Centre(), loops.centre),
    ("Block .75", Block(), loops.block),
    ("SmoothNoise .75", SmoothNoise(), loops.smooth_noise),
    ("Text .6, top", Text(), loops.text),
    ("Text .6, sampled", Text(pick="sample"), loops.text_sampled),
    ("TextFrame .5", TextFrame(), loops.text_frame),
    ("Oracle .6", Oracle(), loops.oracle),
    ("Attention .8", Attention(), loops.attention),
    ("Blend .6", Blend(), loops.blend),
]
NAMES = ("text", "motion", "oracle", "attention")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(1)
    batch = batch_of(options.clips, torch.device(options.device))
    key = fold(batch.key, "mask")
    rows = [{name: values[i].cpu().numpy() for name, values in batch.maps.items()} for i in range(options.clips)]
    generator = np.random.default_rng(0)
    draw = lambda count: 1e-7 + 0.9999998 * generator.random(count, dtype=np.float32)  # noqa: E731
    print(f"{options.clips} clips, {options.device}\n")
    print("| masker | batch, ms | loop, ms | loop / batch |\n|---|---|---|---|")
    for name, masker, loop in CASES:
        ours = lambda masker=masker: masker(batch, CLIP, key)  # noqa: E731
        theirs = lambda loop=loop: [loop(maps, draw) for maps in rows]  # noqa: E731
        report(name, ours, theirs, batch.video.device, options.rounds)
    hidden = Random()(batch, CLIP, key).hidden
    one_by_one = hidden.cpu().numpy()
    report(
        "RunningCell .5 of Random .9",
        lambda: RunningCell()(hidden, CLIP, key),
        lambda: [loops.running_cell(one, draw) for one in one_by_one],
        batch.video.device,
        options.rounds,
    )
    vectors(batch, key, options.rounds)
    adaptive(batch, key)


def batch_of(count: int, device: torch.device) -> Batch:
    key = torch.arange(count)
    maps = {name: uniform(fold(key, name), CLIP.num_tubelets) for name in NAMES}
    video = torch.zeros(count, 3, 16, 224, 224, dtype=torch.uint8)
    return Batch(video=video, key=key, ids=tuple(map(str, range(count))), maps=maps).to(device)


def report(
    name: str, ours: Callable[[], object], theirs: Callable[[], object], device: torch.device, rounds: int
) -> None:
    clock = Clock(device)
    pairs = []
    for number in range(rounds + 2):
        order = (ours, theirs) if number % 2 else (theirs, ours)
        spent = {function: clock(function) for function in order}
        if number > 1:  # the first two warm up
            pairs.append((spent[ours], spent[theirs]))
    low, middle, high = statistics.quantiles([loop / batch for batch, loop in pairs], n=4)
    batch, loop = (1e3 * statistics.median(times) for times in zip(*pairs, strict=True))
    print(f"| {name} | {batch:.2f} | {loop:.2f} | {middle:.1f} [{low:.1f}, {high:.1f}] |", flush=True)


def vectors(batch: Batch, key: torch.Tensor, rounds: int) -> None:
    """The masks that read a vector for every place of every frame, without a loop beside them."""
    shape = (CLIP.frames, *CLIP.grid[1:], 2)
    noise = uniform(fold(batch.key, "vectors"), math.prod(shape)).unflatten(1, shape)
    batch = replace(batch, maps=dict.fromkeys(("motion", "flow"), 0.2 * noise - 0.1))
    clock = Clock(batch.video.device)
    for name, masker in (("Motion .75", Motion()), ("Flow .9", Flow())):
        draw: Callable[[], object] = partial(masker, batch, CLIP, key)
        spent = [clock(draw) for _ in range(rounds + 2)][2:]
        print(f"| {name} | {1e3 * statistics.median(spent):.2f} | | |", flush=True)
    one = replace(batch, video=batch.video[:1], maps={name: values[:1] for name, values in batch.maps.items()})
    with Written() as written:
        Flow()(one, CLIP, key[:1])
    print(f"\nFlow writes {written.numbers / 1e6:.2f} million numbers a clip\n", flush=True)


class Written(TorchDispatchMode):
    """Counts the numbers that operators write: one operation each, where nothing is a product of matrices."""

    numbers = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        if not function.is_view:
            self.numbers += sum(part.numel() for part in tree_leaves(result) if isinstance(part, torch.Tensor))
        return result


class Clock:
    """Seconds of one call, long enough to be measured."""

    def __init__(self, device: torch.device) -> None:
        self.cuda = device.type == "cuda"
        self.now = time.perf_counter if self.cuda else time.process_time

    def __call__(self, function: Callable[[], object], least: float = 0.03) -> float:
        calls, began = 0, self.now()
        while True:
            function()
            calls += 1
            if self.cuda:
                torch.cuda.synchronize()
            if (spent := self.now() - began) > least:
                return spent / calls


def adaptive(batch: Batch, key: torch.Tensor) -> None:
    """The cost of the learned masker beside ViT-B, per clip: FLOPs by formula where the counter sees no attention."""
    config, device = Adaptive(), batch.video.device
    policy = config.build(CLIP, Base().width).to(device)
    tokens = torch.randn(1, CLIP.num_tubelets, Base().width, device=device)
    one = batch_of(1, device)
    clock = Clock(device)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        policy(one, CLIP, key[:1], tokens)
    n, d = CLIP.num_tubelets, Base().width
    block, attention = 24 * n * d**2 + 2 * n * d, 4 * n**2 * d
    embedding = 2 * CLIP.tubelet_values * d * n
    assert counter.get_total_flops() in (block, block + attention), "the formula and the counter disagree"
    with torch.no_grad():
        spent = 1e3 * clock(lambda: policy(one, CLIP, key[:1], tokens), least=1.0)
    print(
        f"| Adaptive .95, its network and one clip | {spent:.1f} | | |\n\n"
        f"Adaptive at ViT-B, GFLOP a clip: embedding of all {n} tubelets {embedding / 1e9:.1f}, block and logit "
        f"forward {(block + attention) / 1e9:.1f}, with backward {3 * (block + attention) / 1e9:.1f}"
    )


if __name__ == "__main__":
    main()
