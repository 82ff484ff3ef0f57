"""The options that commands share: what reading a file may take, how many processes, what failed before."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tubelet.errors import RunError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tubelet.jobs.runner import Done, Engine, Running
    from tubelet.runs.run import Run
    from tubelet.video.limits import Limits

SHOWN = 20  # failed videos named one by one


def add_limits(parser: argparse.ArgumentParser) -> None:
    """Of a command that reads videos in its own process, or in those of `data.workers`."""
    parser.add_argument("--limit", type=float, metavar="SECONDS", help="time limit for reading a clip (default: 300)")
    parser.add_argument("--memory", type=float, metavar="GIB", help="memory limit for its frames (default: 4)")


def add_batch(parser: argparse.ArgumentParser) -> None:
    """Of a command that sends clips through an encoder."""
    parser.add_argument(
        "--batch", type=at_least_1, default=16, metavar="BATCH", help="clips of one forward pass (default: %(default)s)"
    )


def at_least_1(word: str) -> int:
    if not word.isdecimal() or int(word) < 1:
        raise argparse.ArgumentTypeError(f"{word} must be a whole number, at least 1")
    return int(word)


def add_training(parser: argparse.ArgumentParser) -> None:
    """Of a command that trains into a run folder."""
    parser.add_argument("--out", required=True, metavar="RUN", help="run folder: new, or this same run to resume")
    parser.add_argument("--allow-changed", action="store_true", help="resume although some videos changed since")
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="print sizes, time and memory from a few steps; write nothing",
    )
    add_limits(parser)


def trained(train: "Callable[..., Run]", args: argparse.Namespace, *words: str, **options: Any) -> "Run | None":
    """Trains under a bar; the run on the first rank, where it is finished. One that was stopped ends the command."""
    from tubelet.distributed import is_rank0, process_group
    from tubelet.interrupt import exit_code
    from tubelet.progress import Bar

    with process_group(), Bar(paced=False) as bar:
        run = train(
            *words, on=args.on, out=args.out, allow_changed=args.allow_changed, command=args.command, progress=bar,
            tell=tell, **options,
        )  # fmt: skip
        finished, first = run.finished, is_rank0()
    if not finished:
        raise SystemExit(exit_code())  # after the ranks have ended in order
    return run if first else None


def add_processes(parser: argparse.ArgumentParser, seconds: float = 300.0) -> None:
    """Of a command that reads videos in processes of their own."""
    parser.add_argument("--workers", type=int, metavar="N", help="number of processes (default: one per core)")
    parser.add_argument(
        "--limit",
        type=float,
        default=seconds,
        metavar="SECONDS",
        help="time limit per file, or per part of a long one (default: %(default)g)",
    )
    parser.add_argument(
        "--memory", type=float, default=4.0, metavar="GIB", help="memory limit per process (default: %(default)g)"
    )


def add_running(parser: argparse.ArgumentParser, seconds: float = 300.0) -> None:
    """Of a job over a corpus."""
    add_processes(parser, seconds)
    parser.add_argument(
        "--retry-failed",
        action="store_true",
        help="try failed videos again; by default they are skipped until the file changes",
    )
    parser.add_argument(
        "--part", metavar="I/N", help="do part I of N, as one of N commands on any machines; the last to end merges all"
    )
    parser.add_argument("--merge", action="store_true", help="merge what the parts made; names those that are missing")
    parser.add_argument(
        "--engine",
        choices=["local", "ray"],
        default="local",
        help="who does the work: processes of this machine, or --workers actors of a Ray cluster (RAY_ADDRESS)",
    )
    parser.add_argument(
        "--gpus-per-worker", type=float, default=0.0, metavar="G", help="--engine ray: GPUs of each actor, as 1 or 0.5"
    )


def limits_of(args: argparse.Namespace) -> "Limits | None":
    """What the options say; None where they say nothing, or a command has none."""
    from tubelet.errors import RecipeError
    from tubelet.video.limits import MEMORY, SECONDS, Limits

    given = {name: getattr(args, name, None) for name in ("workers", "limit", "memory")}
    if any(value is not None and not value > 0 for value in given.values()):
        raise RecipeError("--limit, --memory and --workers must be positive")
    if all(value is None for value in given.values()):
        return None
    memory = MEMORY if given["memory"] is None else round(given["memory"] * 2**30)
    return Limits(given["workers"], SECONDS if given["limit"] is None else given["limit"], memory)


def running_of(args: argparse.Namespace) -> "Running":
    from tubelet.errors import RecipeError
    from tubelet.jobs.parts import Part
    from tubelet.jobs.runner import Running
    from tubelet.video.limits import Limits

    part, merge = getattr(args, "part", None), getattr(args, "merge", False)
    if part and merge:
        raise RecipeError("--part computes and --merge does not; give one of them")
    return Running(
        limits_of(args) or Limits(),
        getattr(args, "retry_failed", False),
        part=Part.parse(part) if part else None,
        merge=merge,
        **({"engine": engine_of(args)} if getattr(args, "engine", "local") != "local" else {}),
    )


def engine_of(args: argparse.Namespace) -> "Engine":
    from tubelet.jobs.on_ray import OnRay

    return OnRay(args.gpus_per_worker)


def fields_of(args: argparse.Namespace, *without: str) -> dict[str, Any]:
    """The options of this command alone, under the names that they have in Python, but for those named."""
    others = (
        "workers",
        "limit",
        "memory",
        "retry_failed",
        "part",
        "merge",
        "engine",
        "gpus_per_worker",
        "threads",
        "trust_code",
        "command",
        *without,
    )
    return {name: value for name, value in vars(args).items() if name not in others}


def split_words(words: list[str]) -> tuple[list[str], list[str]]:
    """Of the words before a `--help`: what they name, and the fields that they set."""
    words = [word for word in words if not word.startswith("-")]
    return [word for word in words if "=" not in word], [word for word in words if "=" in word]


def new_file(path: str, force: bool) -> Path:
    """The file that a command is to write: a new one, unless an old one may be replaced."""
    if Path(path).exists() and not force:
        raise RunError(f"{path} exists; name another file with --out, or replace it with --force")
    return Path(path)


def shortened(lines: list[str], more: str = "") -> list[str]:
    """The first lines, and one that counts the others."""
    return lines[:SHOWN] + ([f"and {len(lines) - SHOWN} more{more}"] if len(lines) > SHOWN else [])


def failure_lines(done: "Done", what: str) -> list[str]:
    """A line for each of the first that failed, and one for the others."""
    lines = [f"{what}: {done.names[key]}: {failure.reason}" for key, failure in done.failed.items()]
    return shortened(lines)


def tell(line: str) -> None:
    """Messages while a command works."""
    print(line, file=sys.stderr)
