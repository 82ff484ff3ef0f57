"""Every evaluation by one rank and by two: seconds, and how much of them each rank waits for the other.

    python benchmarks/ranks.py --rounds 3 --out docs/results/ranks.md

Renders a synthetic dataset, trains on it for a moment, then measures it by `torchrun` with gloo, a thread a rank, each
evaluation from an empty folder of features. A rank waits in a collective of torch or for a key of the store; both are
timed from outside, and the exchange itself counts as waiting. Ranks start each evaluation together.
"""

import argparse
import functools
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).resolve().parents[1] / "src"
WORDS = {
    "linear": (),
    "linear, SGD": ("linear.solver=sgd",),
    "attentive": ("attentive.epochs=5",),
    "knn": (),
    "few_shot": (),
    "low_label": (),
    "multiview": ("multiview.views=2x1",),
    "zero_shot": (),
    "retrieval": (),
    "propagation": (),
    "reconstruction": (),
}
ENCODER = "encoder.width=256 encoder.depth=6 encoder.heads=4"
WAITS = ("all_gather_object", "all_gather", "all_reduce", "broadcast", "barrier")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--train", type=int, default=240, help="clips to fit on (default: %(default)s)")
    parser.add_argument("--test", type=int, default=80, help="clips to measure (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="of one rank and of two in turns (default: %(default)s)")
    parser.add_argument("--only", nargs="*", default=list(WORDS), metavar="NAME", help="some of the evaluations")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the table there as Markdown")
    parser.add_argument("--rank", nargs=3, help=argparse.SUPPRESS)  # run, corpus and folder of one that was launched
    args = parser.parse_args()
    if args.rank:
        run, corpus, out = map(Path, args.rank)
        on_a_rank(run, corpus, out, args.only)
        return
    found: dict[tuple[str, int], list[list[dict[str, float]]]] = {}
    loads = []
    with tempfile.TemporaryDirectory() as folder:
        corpus, run = Path(folder) / "synth", Path(folder) / "run"
        tubelet(f"synth --out {corpus} --train {args.train} --test {args.test} --size 64 --frames 16 --workers 2")
        tubelet(f"align {corpus} steps=3 batch=8")
        tubelet(f"saliency {corpus} Text --workers 1")
        tubelet(f"pretrain tiny_text_guided steps=2 batch=8 data.sampling.stride=1 {ENCODER} --on {corpus} --out {run}")
        for number in range(args.rounds):
            for world in (1, 2):
                loads.append(os.getloadavg()[0])
                out = Path(folder) / f"{number}-{world}"
                out.mkdir()
                launch = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(world))
                start(*launch, __file__, "--rank", str(run), str(corpus), str(out), "--only", *args.only)
                ranks = [json.loads((out / f"{rank}.json").read_text()) for rank in range(world)]
                for name in args.only:
                    found.setdefault((name, world), []).append([each[name] for each in ranks])
                print(f"round {number}, {world} ranks: {found_in(ranks)}", flush=True)
    page = table(found, loads, args)
    print(page)
    if args.out:
        args.out.write_text(page)


def tubelet(words: str) -> None:
    start("-m", "tubelet", *words.split())


def start(*words: str) -> None:
    env = {**os.environ, "PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, *words], env=env, check=True, stdout=subprocess.DEVNULL)


def on_a_rank(run: Path, corpus: Path, out: Path, names: list[str]) -> None:
    from torch import distributed

    import tubelet.distributed
    from tubelet.runs.evaluate import measure

    waited = [0.0]
    for name in WAITS:
        setattr(distributed, name, timed(getattr(distributed, name), waited))
    tubelet.distributed.wait_for = timed(tubelet.distributed.wait_for, waited)
    with tubelet.distributed.process_group():
        rank, world_size = tubelet.distributed.rank_and_world_size()
        together = distributed.barrier if world_size > 1 else lambda: None
        found: dict[str, dict[str, float]] = {}
        for name in names:
            together()
            if rank == 0:
                shutil.rmtree(run / "features", ignore_errors=True)
            together()
            waited[0], began, before = 0.0, time.monotonic(), sum(os.times()[:4])
            result = measure(run, [name.split(",")[0], *WORDS[name]], on=corpus)
            together()  # who is done first waits for the other
            assert not result.refused, result.refused
            wall, spent = time.monotonic() - began, sum(os.times()[:4]) - before
            found[name] = {"wall": wall, "waited": waited[0], "spent": spent}
        (out / f"{rank}.json").write_text(json.dumps(found))


def found_in(ranks: list[dict[str, dict[str, float]]]) -> str:
    def waits(name: str) -> str:
        return " and ".join(f"{each[name]['waited']:.1f}" for each in ranks)

    return ", ".join(f"{name} {waits(name)} of {ranks[0][name]['wall']:.1f} s" for name in ranks[0])


def timed(function: Callable[..., Any], waited: list[float]) -> Callable[..., Any]:
    """The same, its seconds added up; of one that calls another only its own."""

    @functools.wraps(function)
    def call(*words: Any, **named: Any) -> Any:
        before, began = waited[0], time.monotonic()
        try:
            return function(*words, **named)
        finally:
            waited[0] = before + time.monotonic() - began

    return call


def table(
    found: dict[tuple[str, int], list[list[dict[str, float]]]], loads: list[float], args: argparse.Namespace
) -> str:
    import torch

    lines = [
        "# Evaluations on two ranks",
        "",
        f"The synthetic dataset, {args.train} clips to fit on and {args.test} to measure; a run of two steps with",
        f"`{ENCODER}`; two gloo ranks of a thread each on {os.cpu_count()} shared cores",
        f"({platform.machine()}), torch {torch.__version__.split('+')[0]}, beside other work (load {min(loads):.1f} to "
        f"{max(loads):.1f} at the start of a round).",
        f"Medians of {args.rounds} rounds, in which one rank and two take turns; nothing is kept from before.",
        "Measured here.",
        "",
        f"    python benchmarks/ranks.py --train {args.train} --test {args.test} --rounds {args.rounds}",
        "",
        "| evaluation | one rank, s | two ranks, s | processor of one, s | of each of two, s | rank 0 waits "
        "| rank 1 waits |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in args.only:
        one, two = found[name, 1], found[name, 2]
        spent = " and ".join(f"{median(each[rank]['spent'] for each in two):.1f}" for rank in range(2))
        idle = [median(each[rank]["waited"] / each[rank]["wall"] for each in two) for rank in range(2)]
        lines.append(
            f"| {name} | {median(each[0]['wall'] for each in one):.1f} "
            f"| {median(each[0]['wall'] for each in two):.1f} | {median(each[0]['spent'] for each in one):.1f} "
            f"| {spent} | {idle[0]:.1%} | {idle[1]:.1%} |"
        )
    return "\n".join([*lines, ""])


def median(values: Any) -> float:
    return statistics.median(values)


if __name__ == "__main__":
    main()
