"""A run that is killed and resumed, again and again: its memory over the kills, and whether its weights stay equal.

    python -m benchmarks soak --kills 100
    python -m benchmarks soak --kills 100 --ranks 2

A small run is killed (SIGKILL) at a random moment and resumed by the same command, until it ends; then the next one
begins. Of two ranks and more, which divide the weights (`fsdp=True`) and save in the background, any one is killed.
Each run that ends must have the files of one that nobody killed, and its weights and optimizer state bit for bit.
"""

import argparse
import math
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import torch

from benchmarks.corpora import corpus_of
from benchmarks.tables import conditions, markdown
from tubelet.checkpoint import CHECKPOINT, checkpoint_step, read_checkpoint

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from support.ranks import Ranks, start_forked

RUN = ("pretrain", "miniature", "batch=4", "save_every=1", "log_every=1", "data.cache=False", "precision=fp32")
MOMENT = 0.25  # seconds after which a launcher ends the ranks that are left


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--kills", type=int, default=20, help="(default: %(default)s)")
    parser.add_argument("--ranks", type=int, default=1, help="(default: %(default)s)")
    parser.add_argument("--steps", type=int, default=40, help="of a run (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="(default: %(default)s)")


def run(options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        corpus = corpus_of(folder / "corpus", 8).folder
        began = time.monotonic()
        memory, counts = soak(options, folder, corpus)
        minutes = (time.monotonic() - began) / 60
    print(f"{conditions(options.threads)}\n{len(memory)} kills in {minutes:.1f} minutes:\n")
    print("\n".join(f"- {what}: {count}" for what, count in counts.items()), end="\n\n")
    tenth = math.ceil(len(memory) / 10)
    parts = [memory[first : first + tenth] for first in range(0, len(memory), tenth)]
    heads = ("kills", "memory of the first rank, mean MB", "most")
    rows = [(len(part), f"{sum(part) / len(part):.0f}", f"{max(part):.0f}") for part in parts]
    print(markdown([dict(zip(heads, row, strict=True)) for row in rows]))


def soak(options: argparse.Namespace, folder: Path, corpus: Path) -> tuple[list[float], dict[str, int]]:
    """MB at each kill, and how many of what."""
    rng, memory = random.Random(options.seed), list[float]()
    counts = dict.fromkeys(
        ("kills before the first checkpoint", "kills while a file was written", "runs that ended"), 0
    )
    words = (*RUN, f"steps={options.steps}", f"fsdp={options.ranks > 1}", "--on", corpus, "--out")
    whole, run = folder / "whole", folder / "run"
    finish(start_forked(folder / "said", options.ranks, *words, whole))  # the first imports what the others share
    shutil.rmtree(whole)
    began = time.monotonic()
    finish(start_forked(folder / "said", options.ranks, *words, whole))
    seconds = time.monotonic() - began
    while True:
        ranks = start_forked(folder / "said", options.ranks, *words, run)
        if len(memory) < options.kills:
            ranks.processes[0].join(rng.uniform(0, seconds))
        else:
            finish(ranks)
        if all(process.exitcode is None for process in ranks.processes):
            memory.append(resident(ranks.processes[0].pid or 0) / 1e6)
            os.kill(rng.choice(ranks.processes).pid or 0, signal.SIGKILL)
            ranks.wait(MOMENT)
            counts["kills before the first checkpoint"] += not (run / CHECKPOINT).exists()
            counts["kills while a file was written"] += bool([*run.glob(".*.part")])
            print(f"{len(memory)} kills, step {checkpoint_step(run / CHECKPOINT)}", file=sys.stderr)
            continue
        finish(ranks)
        compare(run, whole)
        counts["runs that ended"] += 1
        shutil.rmtree(run)
        if len(memory) >= options.kills:
            return memory, counts


def finish(ranks: Ranks) -> None:
    codes = ranks.wait()
    if any(codes):
        raise SystemExit(f"a run ended with {codes}:\n{ranks.said}")


def compare(run: Path, whole: Path) -> None:
    names, expected = (sorted(path.name for path in one.iterdir()) for one in (run, whole))
    if names != expected:
        raise SystemExit(f"a run that was killed holds {names}, one that was not {expected}")
    (found, _), (tensors, _) = (read_checkpoint(one / CHECKPOINT) for one in (run, whole))
    if found.keys() != tensors.keys() or not all(torch.equal(value, tensors[name]) for name, value in found.items()):
        raise SystemExit("a run that was killed has other weights than one that was not")


def resident(process: int) -> int:
    """Bytes in memory."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
