"""A training step of this checkout against that of another one, in two processes that take turns.

    python -m benchmarks against ../e1015b8 --recipe tiny,miniature,tiny_text_guided --dtype bf16,fp32
    python -m benchmarks against ../e1015b8 --size B224,S112 --ratio .9,.6 --dtype bf16

The other one is a folder that holds `src/tubelet`. Batches are random; loading is no part of a step.
"""

import argparse
import json
import math
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import chz

from benchmarks import plots, tables, timing
from benchmarks.cases import DTYPES, SIZES
from benchmarks.options import common, numbers, words_of
from benchmarks.timing import Taken

WORKER = Path(__file__).with_name("worker.py")
HERE = WORKER.parents[1]
RECIPES = ("tiny", "miniature", "miniature_whole", "tiny_text_guided")
LEAST = 0.5  # seconds of a figure


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkout", type=Path, help="a folder that holds src/tubelet")
    parser.add_argument("--recipe", type=words_of(RECIPES), default=[], help=f"of {', '.join(RECIPES)}")
    parser.add_argument("--size", type=words_of([*SIZES]), default=[], help=f"of {', '.join(SIZES)}")
    parser.add_argument("--ratio", type=numbers, default=[0.9, 0.6], help="shares that tube masks hide, of sizes")
    parser.add_argument("--dtype", type=words_of(DTYPES), default=[*DTYPES], help=f"of {', '.join(DTYPES)}")
    parser.add_argument("--batch", type=int, help="clips of a step (default: as the recipe or size says)")
    common(parser)


def run(options: argparse.Namespace) -> None:
    wanted: dict[str, dict[str, Any]] = {}
    for dtype in options.dtype:
        asked = {"dtype": dtype, "threads": options.threads}
        for name in options.recipe:
            wanted[f"{name} {dtype}"] = {**asked, "recipe": name, "batch": options.batch}
        for name in options.size:
            for ratio in options.ratio:
                wanted[f"{name} {ratio:g} {dtype}".replace(" 0.", " .")] = asked | sized(name, ratio, options.batch)
    if not wanted:
        sys.exit("name what is measured: --recipe tiny, or --size B224")
    rows, figures, ratios = [], [], {}
    for name, what in wanted.items():
        taken = compare(what, options.checkout, options.rounds)
        ratios[name] = timing.ratio(taken["other"], taken["here"])
        rows.append(
            {
                "case": name,
                "ms here": f"{1e3 * timing.median(taken['here']):.1f}",
                "ms there": f"{1e3 * timing.median(taken['other']):.1f}",
                "times as fast": str(ratios[name]),
                "wall / processor": f"{timing.wall_over_processor(taken['here']):.2f}",
            }
        )
        figures += [
            {"case": name, "checkout": which, "round": number, **asdict(one)}
            for which, times in taken.items()
            for number, one in enumerate(times)
        ]
        print(rows[-1], file=sys.stderr, flush=True)
    tables.write(options.out, rows, figures, [], options.threads)
    if options.out:
        plots.bars(ratios, "times as fast as the other checkout", options.out.with_suffix(".svg"))


def sized(name: str, ratio: float, batch: int | None) -> dict[str, Any]:
    size = SIZES[name]
    parts = {"clip": size.clip, "encoder": size.encoder, "decoder": size.decoder}
    fields = {part: chz.asdict(config) for part, config in parts.items()}
    return {**fields, "ratio": ratio, "batch": batch or size.batch}


def compare(wanted: dict[str, Any], checkout: Path, rounds: int) -> dict[str, list[Taken]]:
    with Worker(HERE, wanted) as here, Worker(checkout, wanted) as other:
        workers = {"here": here, "other": other}
        warm = [worker.take(timing.WARM_UP).seconds for worker in workers.values()]
        calls = max(1, math.ceil(LEAST / min(warm)))
        found: dict[str, list[Taken]] = {name: [] for name in workers}
        for number in range(rounds):
            for name in reversed([*workers]) if number % 2 else workers:
                found[name].append(workers[name].take(calls))
    return found


class Worker:
    """A process of one checkout."""

    def __init__(self, checkout: Path, wanted: dict[str, Any]) -> None:
        source = checkout.absolute() / "src"
        if not (source / "tubelet").is_dir():
            sys.exit(f"there is no src/tubelet in {checkout}")
        self.process = subprocess.Popen(
            [sys.executable, str(WORKER)], env={**os.environ, "PYTHONPATH": str(source)},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.say(json.dumps(wanted))
        if (answer := self.hear()) != "ready":
            self.__exit__()
            raise RuntimeError(f"{checkout}: the worker said {answer!r}")

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()

    def take(self, calls: int) -> Taken:
        self.say(str(calls))
        return Taken(*json.loads(self.hear()))

    def say(self, line: str) -> None:
        assert self.process.stdin is not None
        print(line, file=self.process.stdin, flush=True)

    def hear(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()
