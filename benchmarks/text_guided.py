"""A step of text-guided masking as tubelet trains it, against the same assembled from parts, and against random masks.

    python -m benchmarks text_guided --size B224 --dtype bf16 --rounds 7

Assembled: transformers' VideoMAE, CLIP's vision tower on the frames of every step, a loop that builds masks, float
augmentation. Both start from decoded frames. Half decoded is another loss (dual masking), and stands apart.
"""

import argparse

import torch

from benchmarks import assembled, plots, tables, timing
from benchmarks.cases import DTYPES, SIZES, Case
from benchmarks.options import common, in_a_process, words_of


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--size", type=words_of([*SIZES]), default=["B224"], help=f"of {', '.join(SIZES)}")
    parser.add_argument("--ratio", type=float, default=0.6, help="share that is hidden (default: %(default)s)")
    parser.add_argument("--dtype", type=words_of(DTYPES), default=["bf16"], help=f"of {', '.join(DTYPES)}")
    parser.add_argument("--batch", type=int, default=1, help="clips of a step (default: %(default)s)")
    common(parser)


def run(options: argparse.Namespace) -> None:
    cases = [Case(size, options.ratio, dtype, options.batch) for size in options.size for dtype in options.dtype]
    found = {
        case: in_a_process(measure, case, options.rounds, options.threads, options.device) for case in cases
    }  # fmt: skip
    rows = [row for case, taken in found.items() for row in rows_of(case, taken)]
    figures = [
        {"case": str(case), "implementation": name, "round": number, "seconds": one.seconds, "wall": one.wall}
        for case, taken in found.items()
        for name, times in taken.items()
        for number, one in enumerate(times)
    ]
    tables.write(options.out, rows, figures, [], options.threads, options.device)
    if options.out:
        ratios = {
            f"{case}: {name}": timing.ratio(times, taken[assembled.CACHED])
            for case, taken in found.items()
            for name, times in taken.items()
            if name != assembled.CACHED
        }
        plots.bars(ratios, f"time of a step over that of {assembled.CACHED}", options.out.with_suffix(".svg"))


def measure(case: Case, rounds: int, threads: int, device: str) -> dict[str, list[timing.Taken]]:
    torch.set_num_threads(threads)
    works = assembled.works(case, torch.device(device))
    counts = assembled.visible_counts(works)
    if len(counts) != 1:
        raise AssertionError(f"the encoders see {counts} tubelets: no comparison")
    return timing.in_turns(works, torch.device(device), rounds)


def rows_of(case: Case, taken: dict[str, list[timing.Taken]]) -> list[dict[str, str]]:
    ratios = {name: timing.ratio(times, taken[assembled.CACHED]) for name, times in taken.items()}
    faster = {name: timing.ratio(taken[assembled.ASSEMBLED], times) for name, times in taken.items()}
    return [
        {
            "case": str(case),
            "implementation": name,
            "s a clip": f"{timing.median(times) / case.batch:.3g}",
            "time over cached text maps": "" if name == assembled.CACHED else str(ratios[name]),
            "assembled over it": "" if name == assembled.ASSEMBLED else str(faster[name]),
            "wall / processor": f"{timing.wall_over_processor(times):.2f}",
        }
        for name, times in taken.items()
    ]
