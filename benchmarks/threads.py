"""Wall and processor time of `tiny`, on a quiet machine and beside busy loops, with other sources or settings in turns.

    python benchmarks/threads.py --base ../e1015b8/src --spin 10000 --out docs/results/threads.md

Variants alternate, so that what else the machine does falls on all of them; figures are medians. `--spin N` tries other
turns that a thread spins before it sleeps (GOMP_SPINCOUNT). Sources whose threads spin take the longest beside busy
loops: `--quiet-base` measures them without.
"""

import argparse
import contextlib
import os
import platform
import resource
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[1] / "src"
TELLS = ("OMP_", "GOMP_", "KMP_", "MKL_")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--base", type=Path, metavar="SRC", help="sources to compare with")
    parser.add_argument("--quiet-base", action="store_true", help="no base beside busy loops")
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--rounds", type=int, default=5, help="on a quiet machine (default: %(default)s)")
    parser.add_argument("--busy-rounds", type=int, metavar="N", help="beside busy loops (default: as many)")
    parser.add_argument(
        "--spin", type=int, nargs="*", default=[], metavar="N", help="variants with this GOMP_SPINCOUNT"
    )
    parser.add_argument("--one-thread", action="store_true", help="one thread as a further variant")
    parser.add_argument("--busy", type=int, default=2, metavar="N", help="busy loops beside (default: %(default)s)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the table there as Markdown")
    args = parser.parse_args()
    variants: dict[str, Variant] = {"before": Variant(args.base)} if args.base else {}
    variants["now"] = Variant(SOURCE)
    variants |= {f"spins {turns}": Variant(SOURCE, variables(turns)) for turns in args.spin}
    if args.one_thread:
        variants["one thread"] = Variant(SOURCE, words=("--threads", "1"))
    rounds = {0: args.rounds, args.busy: args.rounds if args.busy_rounds is None else args.busy_rounds}
    found: dict[tuple[str, int], list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder) / "synth"
        run(SOURCE, "synth", "--out", str(corpus), "--train", "200", "--test", "20")
        run(SOURCE, "pretrain", "tiny", "steps=1", *ends(corpus, Path(folder) / "first"))
        for number in range(max(rounds.values())):
            for beside in (count for count, wanted in rounds.items() if number < wanted):
                for name, variant in variants.items():
                    if beside and args.quiet_base and name == "before":
                        continue
                    out = Path(folder) / f"{number}-{beside}-{name}"
                    words = ("pretrain", "tiny", f"steps={args.steps}", *ends(corpus, out), *variant.words)
                    with loops(beside):
                        took = run(variant.source, *words, variables=variant.variables)
                    found.setdefault((name, beside), []).append(took)
                    print(f"{name}, {beside} busy loops: {took[0]:.1f} s, {took[1]:.1f} s of processor", flush=True)
    page = table(found, args)
    print(page)
    if args.out:
        args.out.write_text(page)


@dataclass(frozen=True)
class Variant:
    """Sources, and what is said to them."""

    source: Path
    variables: Mapping[str, str] = field(default_factory=dict)
    words: tuple[str, ...] = ()


def variables(turns: int) -> dict[str, str]:
    """What says how threads wait; as one of them is set, the command line changes none."""
    return {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": str(turns), "KMP_BLOCKTIME": "0"}


def ends(corpus: Path, out: Path) -> tuple[str, ...]:
    return ("--on", str(corpus), "--out", str(out))


def run(source: Path, *words: str, variables: Mapping[str, str] | None = None) -> tuple[float, float]:
    """Wall and processor seconds of a command as a user starts it: none but these variables say how threads wait."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(TELLS)}
    env |= {"PYTHONPATH": str(source), **(variables or {})}
    began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, "-m", "tubelet", *words], env=env, check=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.monotonic() - began, spent


@contextlib.contextmanager
def loops(count: int) -> Iterator[None]:
    started = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in started:
            process.kill()
            process.wait()


def table(found: dict[tuple[str, int], list[tuple[float, float]]], args: argparse.Namespace) -> str:
    lines = [
        "# Threads that wait asleep",
        "",
        f"`tiny`, {args.steps} steps and its probe, the start of the process included; {os.cpu_count()} cores "
        f"({platform.processor() or platform.machine()}), medians of so many rounds, in which the variants alternate. "
        "Measured here.",
        "",
        "    python benchmarks/threads.py " + shlex.join(sys.argv[1:]),
        "",
        "| variant | busy loops beside | rounds | wall, s | processor, s | processor, share of quiet |",
        "|---|---|---|---|---|---|",
    ]
    for (name, beside), took in sorted(found.items(), key=lambda item: item[0][1]):
        wall, spent = (statistics.median(column) for column in zip(*took, strict=True))
        quiet = statistics.median(seconds for _, seconds in found[name, 0])
        lines.append(f"| {name} | {beside} | {len(took)} | {wall:.1f} | {spent:.1f} | {spent / quiet:.2f} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
