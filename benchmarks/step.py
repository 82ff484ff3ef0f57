"""A training step, a forward pass and features of whole clips, of tubelet and of others, in turns.

    python -m benchmarks step --size B224,S112 --ratio .9,.6 --dtype fp32,bf16 --rounds 7
    python -m benchmarks step --peers transformers,compiled,videomae=PATH,videomae_v2=PATH

Every case has a process of its own. Peers start from normalised floats, as their documents say, tubelet from uint8; all
of them get fused AdamW. Peers of which a checkout is needed and none is given are listed as absent.
"""

import argparse
import sys
from pathlib import Path

from benchmarks import measure, plots, tables
from benchmarks.cases import DTYPES, SIZES, Case
from benchmarks.options import common, in_a_process, numbers, words_of


def arguments(parser: argparse.ArgumentParser) -> None:
    modes = measure.MODES
    parser.add_argument("--size", type=words_of([*SIZES]), default=["B224", "S112"], help=f"of {', '.join(SIZES)}")
    parser.add_argument("--ratio", type=numbers, default=[0.9, 0.6], help="shares that tube masks hide")
    parser.add_argument("--dtype", type=words_of(DTYPES), default=[*DTYPES], help=f"of {', '.join(DTYPES)}")
    parser.add_argument("--mode", type=words_of(modes), default=[*modes], help=f"of {', '.join(modes)}")
    parser.add_argument(
        "--peers", type=peers, default=peers(",".join(measure.PEERS)), metavar="NAME[=CHECKOUT],...",
        help=f"of {', '.join(measure.PEERS)}",
    )  # fmt: skip
    parser.add_argument("--batch", type=int, help="clips of a step (default: 1 at 224 pixels, 2 at 112)")
    common(parser)


def run(options: argparse.Namespace) -> None:
    found = []
    for size in options.size:
        for dtype in options.dtype:
            for ratio in options.ratio:
                # Features are of whole clips: they are measured once.
                modes = [mode for mode in options.mode if mode != "features" or ratio == options.ratio[0]]
                settings = measure.Options(options.peers, modes, options.rounds, options.threads, options.device)
                case = Case(size, ratio, dtype, options.batch or SIZES[size].batch)
                found.append(in_a_process(measure.measure, case, settings))
                print(tables.markdown(measure.rows(found[-1])), file=sys.stderr, flush=True)
    absent = {name: why for one in found for name, why in one.absent.items()}
    peaks = {one.case.dtype: one.peak / 1e9 for one in found}
    measured = ", ".join(f"{name} {peak:.0f} GF/s" for name, peak in peaks.items())
    notes = [
        f"GEMM peak in the same process: {measured}.",
        *(f"Absent: {name} ({why})." for name, why in absent.items()),
    ]
    rows = [row for one in found for row in measure.rows(one)]
    figures = [row for one in found for row in measure.raw(one)]
    tables.write(options.out, rows, figures, notes, options.threads, options.device)
    if options.out:
        plots.ratios(found, options.out.with_suffix(".svg"))


def peers(text: str) -> dict[str, Path | None]:
    """`transformers,compiled,videomae=PATH`"""
    pairs = [word.partition("=") for word in text.split(",") if word]
    if strangers := [name for name, _, _ in pairs if name not in measure.PEERS]:
        raise argparse.ArgumentTypeError(f"{strangers[0]} is none of {', '.join(measure.PEERS)}")
    return {name: Path(path) if path else None for name, _, path in pairs}
