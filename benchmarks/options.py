"""What the commands of `python -m benchmarks` ask for in the same words."""

import argparse
import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def common(parser: argparse.ArgumentParser, rounds: int = 7) -> None:
    parser.add_argument("--rounds", type=int, default=rounds, help="(default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="(default: %(default)s)")
    parser.add_argument("--device", default="cpu", help="(default: %(default)s)")
    parser.add_argument("--out", type=Path, metavar="STEM", help="write STEM.md, STEM.csv and STEM.svg")


def words_of(known: Sequence[str]) -> Callable[[str], list[str]]:
    """`a,b`, each one of these."""

    def words(text: str) -> list[str]:
        chosen = text.split(",")
        if strangers := [word for word in chosen if word not in known]:
            raise argparse.ArgumentTypeError(f"{strangers[0]} is none of {', '.join(known)}")
        return chosen

    return words


def numbers(text: str) -> list[float]:
    return [float(word) for word in text.split(",")]


def in_a_process(function: Callable[P, T], *values: P.args, **named: P.kwargs) -> T:
    """What the function returns, called in a process of its own, which then ends."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *values, **named).result()
