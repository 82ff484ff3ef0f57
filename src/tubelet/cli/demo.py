"""The whole pipeline on the synthetic dataset, in minutes on two cores: render, align, score, pretrain twice, report.

Each step is a command that you could type; it is shown before it runs. Run again, it resumes where it stopped. With
several seeds it also says by how much each run beats what needs no training, seed by seed.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

RUNS = {"reconstruction": "tiny", "text-guided": "tiny_text_guided"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, default=Path("demo"), help="folder for everything (default: %(default)s)")
    parser.add_argument(
        "--seed", type=int, nargs="+", default=[0], metavar="SEED", help="seeds, each two runs (default: 0)"
    )
    parser.add_argument("--steps", type=int, help="steps of each run, in place of the recipes' own")
    parser.add_argument("--train", type=int, default=1200, help="training clips (default: %(default)s)")
    parser.add_argument("--test", type=int, default=400, help="test clips (default: %(default)s)")


def run(args: argparse.Namespace) -> None:
    import shlex
    import time

    from rich.text import Text

    from tubelet import cli
    from tubelet.cli.tables import print_table
    from tubelet.console import Console
    from tubelet.errors import RunError
    from tubelet.reports.demo import margins, results_table
    from tubelet.results import read_results

    console = Console()
    began = time.monotonic()
    steps = commands(args)
    for number, (purpose, command) in enumerate(steps, start=1):
        minutes, seconds = divmod(round(time.monotonic() - began), 60)
        where = f"\n{number} of {len(steps)}, {minutes}:{seconds:02}"
        console.print(Text.assemble((where, "bold"), f"  {purpose}"))
        console.print(f"$ tubelet {shlex.join(command)}", style="cyan", soft_wrap=True)
        if cli.run(command):
            raise RunError(f"the demo stopped at `tubelet {shlex.join(command)}`")
    console.print()
    results = {run: [read_results(args.out / folder(run, seed, args.seed)) for seed in args.seed] for run in RUNS}
    print_table(console, results_table(results))
    if len(args.seed) > 1:
        print_table(console, margins(results, args.seed))
    minutes, seconds = divmod(round(time.monotonic() - began), 60)
    console.print(f"{minutes}:{seconds:02} minutes; the report, with pictures: {args.out / 'report.html'}")


def commands(args: argparse.Namespace) -> list[tuple[str, list[str]]]:
    """What the demo does, in order."""
    corpus = str(args.out / "corpus")
    runs = {(run, seed): str(args.out / folder(run, seed, args.seed)) for seed in args.seed for run in RUNS}
    words = [] if args.steps is None else [f"steps={args.steps}"]
    purposes = {
        "reconstruction": "Pretrain by reconstruction alone: nothing but pixels.",
        "text-guided": "Pretrain by hiding what the caption names, with both objectives. "
        "Captions name the subject, not the verb.",
    }
    measure = ["linear", "knn", "retrieval", "reconstruction", "--baseline", "random", "--baseline", "mean_image"]
    return [
        (
            "Render captioned action clips as H.264 files: the corpus.",
            ["synth", "--out", corpus, "--train", str(args.train), "--test", str(args.test)],
        ),
        (
            "Learn which patches a caption names, from the corpus's own frames and captions.",
            ["align", corpus, "sources=subject"],
        ),
        (
            "Score every patch of every frame against its captions, once.",
            ["saliency", corpus, "Text", "sources=subject"],
        ),
        *(
            (purposes[run], ["pretrain", RUNS[run], f"seed={seed}", *words, "--on", corpus, "--out", out])
            for (run, seed), out in runs.items()
        ),
        *(("Measure it on held-out clips.", ["evaluate", out, "--on", corpus, *measure]) for out in runs.values()),
        ("Draw it.", ["report", *runs.values(), "--out", str(args.out / "report.html")]),
    ]


def folder(run: str, seed: int, seeds: Sequence[int]) -> str:
    return run if len(seeds) == 1 else f"{run}-{seed}"
