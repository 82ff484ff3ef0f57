"""The options that every job over a corpus shares: how many processes, what a file may take, what failed before."""

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tubelet.data.jobs import Done, Running

SHOWN = 20  # failed videos named one by one


def add_running(parser: argparse.ArgumentParser, seconds: float = 300.0) -> None:
    parser.add_argument("--workers", type=int, metavar="N", help="processes (default: one a core)")
    parser.add_argument(
        "--limit",
        type=float,
        default=seconds,
        metavar="SECONDS",
        help="time that a file, or a piece of a long one, may take (default: %(default)g)",
    )
    parser.add_argument(
        "--memory", type=float, default=4.0, metavar="GIB", help="memory that it may take (default: %(default)g)"
    )
    parser.add_argument(
        "--retry-failed",
        action="store_true",
        help="try again what failed before; else that is remembered until the file changes",
    )


def running_of(args: argparse.Namespace) -> "Running":
    from tubelet.data.jobs import Limits, Running
    from tubelet.errors import RecipeError

    if args.limit <= 0 or args.memory <= 0 or (args.workers is not None and args.workers < 1):
        raise RecipeError("--limit, --memory and --workers must be positive")
    limits = Limits(args.workers, args.limit, round(args.memory * 2**30))
    return Running(limits, args.retry_failed)


def failures(done: "Done", what: str) -> list[str]:
    """A line for each of the first that failed, and one for the others."""
    lines = [f"{what}: {done.names[key]}: {failure.reason}" for key, failure in done.failed.items()]
    more = [f"and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
    return lines[:SHOWN] + more
