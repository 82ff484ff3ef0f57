"""Wall and processor time of `tiny`, on a quiet machine and beside busy loops, with other sources or settings in turns.

    python benchmarks/threads.py --base ../e1015b8/src --out docs/results/threads.md

Variants alternate, so that what else the machine does falls on all of them; figures are medians.
"""

import argparse
import contextlib
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[1] / "src"
TELLS = ("OMP_", "GOMP_", "KMP_", "MKL_")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--base", type=Path, metavar="SRC", help="sources to compare with")
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--busy", type=int, default=2, metavar="N", help="busy loops beside (default: %(default)s)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the table there as Markdown")
    args = parser.parse_args()
    variants = ({"before": (args.base, ())} if args.base else {}) | {
        "now": (SOURCE, ()),
        "now, one thread": (SOURCE, ("--threads", "1")),
    }
    found: dict[tuple[str, int], list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder) / "synth"
        run(SOURCE, "synth", "--out", str(corpus), "--train", "200", "--test", "20")
        run(SOURCE, "pretrain", "tiny", "steps=1", *ends(corpus, Path(folder) / "first"))
        for number in range(args.rounds):
            for beside in (0, args.busy):
                for name, (source, words) in variants.items():
                    out = Path(folder) / f"{number}-{beside}-{name}"
                    with loops(beside):
                        took = run(source, "pretrain", "tiny", f"steps={args.steps}", *ends(corpus, out), *words)
                    found.setdefault((name, beside), []).append(took)
                    print(
                        f"{name}, {beside} busy loops: {took[0]:.1f} s wall, {took[1]:.1f} s of processor", flush=True
                    )
    page = table(found, args)
    print(page)
    if args.out:
        args.out.write_text(page)


def ends(corpus: Path, out: Path) -> tuple[str, ...]:
    return ("--on", str(corpus), "--out", str(out))


def run(source: Path, *words: str) -> tuple[float, float]:
    """Wall and processor seconds of a command, as a user starts it: no variable says how threads wait."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(TELLS)}
    began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, "-m", "tubelet", *words], env=env | {"PYTHONPATH": str(source)}, check=True,
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
        f"({platform.processor() or platform.machine()}), medians of {args.rounds} rounds in which the variants "
        "alternate. Measured here.",
        "",
        "    python benchmarks/threads.py" + (" --base SRC" if args.base else "") + f" --steps {args.steps} "
        f"--rounds {args.rounds}",
        "",
        "| variant | busy loops beside | wall, s | processor, s | processor, share of quiet |",
        "|---|---|---|---|---|",
    ]
    for (name, beside), took in sorted(found.items(), key=lambda item: (item[0][1], item[0][0])):
        wall, spent = (statistics.median(column) for column in zip(*took, strict=True))
        quiet = statistics.median(seconds for _, seconds in found[name, 0])
        lines.append(f"| {name} | {beside} | {wall:.1f} | {spent:.1f} | {spent / quiet:.2f} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
