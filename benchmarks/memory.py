"""What a step keeps for its backward pass, of one clip more: tubelet, what can be asked of it, and others.

    python -m benchmarks memory --size B224 --dtype bf16
    python -m benchmarks memory --with "gradient_checkpointing=True decode=RunningCell"

Bytes of storage, each counted once, without parameters: a batch of two clips less a batch of one. On a GPU also the
most that was allocated in a step.
"""

import argparse
import shlex
from functools import partial
from typing import Any

import torch

from benchmarks import measure, plots, tables
from benchmarks.cases import DTYPES, SIZES, Case
from benchmarks.implementations import Implementation, Tubelet, batch_of, clips_for, recipe_of
from benchmarks.options import common, in_a_process, numbers, words_of
from benchmarks.saved import saved_per_clip
from benchmarks.step import peers
from tubelet.config import override

ASKED = ("gradient_checkpointing=True", "decode=RunningCell")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--size", type=words_of([*SIZES]), default=["B224", "S112"], help=f"of {', '.join(SIZES)}")
    parser.add_argument("--ratio", type=numbers, default=[0.9, 0.6], help="shares that tube masks hide")
    parser.add_argument("--dtype", type=words_of(DTYPES), default=[*DTYPES], help=f"of {', '.join(DTYPES)}")
    parser.add_argument(
        "--with", dest="asked", action="append", metavar="WORDS", help="fields of the recipe, each time"
    )
    parser.add_argument("--peers", type=peers, default=peers("transformers"), metavar="NAME[=CHECKOUT],...")
    common(parser, rounds=1)


def run(options: argparse.Namespace) -> None:
    asked = ASKED if options.asked is None else tuple(options.asked)
    cases = [
        Case(size, ratio, dtype) for size in options.size for dtype in options.dtype for ratio in options.ratio
    ]  # fmt: skip
    rows = [row for case in cases for row in in_a_process(kept, case, asked, options.peers, options.device)]
    tables.write(options.out, rows, rows, [], options.threads, options.device)
    if options.out:
        plots.values({f"{row['case']}: {row['implementation']}": float(row["MiB a clip"]) for row in rows},
                     "MiB kept for the backward pass, a clip", options.out.with_suffix(".svg"))  # fmt: skip


def kept(case: Case, asked: tuple[str, ...], peers: dict[str, Any], device: str) -> list[dict[str, Any]]:
    where = torch.device(device)
    tubelet = Tubelet(recipe_of(case), case.dtype, where)
    others, _ = measure.build_peers(case, measure.Options(peers, device=device), tubelet)
    found: dict[str, Implementation] = {"tubelet": tubelet, **{one.name: one for one in others}}
    for words in asked:
        found[f"tubelet, {words}"] = Tubelet(override(recipe_of(case), shlex.split(words)), case.dtype, where)
    clips = {count: clips_for(tubelet, batch_of(case.of.clip, count)) for count in (1, 2)}
    rows = []
    for name, one in found.items():
        saved = saved_per_clip(partial(loss_of, one, clips), one.model)
        row = {"case": str(case), "implementation": name, "MiB a clip": f"{saved / 2**20:.1f}"}
        if where.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
            one.step(clips[2])
            row["allocated in a step of two, MiB"] = f"{torch.cuda.max_memory_allocated() / 2**20:.0f}"
        rows.append(row)
    return rows


def loss_of(one: Implementation, clips: dict[int, Any], count: int) -> torch.Tensor:
    return one.loss(clips[count])
