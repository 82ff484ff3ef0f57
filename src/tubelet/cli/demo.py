"""The whole pipeline on the synthetic dataset, in minutes on two cores: render, align, score, pretrain twice, report.

Each step is a command that you could type; it is shown before it runs. Run again, it goes on where it stopped. With
several seeds it also says by how much each run beats what needs no training, seed by seed.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

    from tubelet.results import Result

    Results = Mapping[str, Result]  # by entry

RUNS = {"reconstruction": "tiny", "text-guided": "tiny_text_guided"}
COLUMNS = {  # of the table: evaluation and metric
    "R²": ("reconstruction", "r2"),
    "probe\nconcat": ("linear", "temporal_concat.accuracy"),
    "probe\nmean": ("linear", "mean.accuracy"),
    "kNN\nconcat": ("knn", "temporal_concat.accuracy"),
    "text to\nvideo\nR@10": ("retrieval", "text_to_video.r@10"),
}
UNTRAINED = {"random": "random init", "mean_image": "mean image"}


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
    from tubelet.console import Console
    from tubelet.errors import RunError

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
    results = {run: [read(args.out / folder(run, seed, args.seed)) for seed in args.seed] for run in RUNS}
    console.print(summary(results))
    if len(args.seed) > 1:
        console.print(margins(results, args.seed))
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


def read(run: Path) -> "Results":
    from tubelet.results import read_results

    return read_results(run)


def summary(results: Mapping[str, Sequence["Results"]]) -> "Table":
    """Each run (the mean of its seeds, and the spread), and under it what needs no training."""
    rows: list[tuple[str, list[list[float | None]]]] = []  # per row: per column: per seed
    for run, seeds in results.items():
        rows.append((run, [[number(one[part], metric) for one in seeds] for part, metric in COLUMNS.values()]))
        rows += [(f"  {title}", of_baseline(seeds, name)) for name, title in UNTRAINED.items()]
    *_, last = results.values()
    rows.append(("supervised ceiling", of_baseline(last, "ceiling")))
    chance = [
        [one[part].metrics[metric].chance for one in last if metric in one[part].metrics]
        for part, metric in COLUMNS.values()
    ]
    note = "" if len(last) == 1 else f"\nmean of {len(last)} seeds ± standard deviation"
    return drawn(
        f"held-out clips, percent; R² of the reconstruction, probe and kNN: motion{note}",
        list(COLUMNS),
        [(name, [*map(spread, row)]) for name, row in (*rows, ("chance", chance))],
    )


def margins(results: Mapping[str, Sequence["Results"]], seeds: Sequence[int]) -> "Table":
    """By how many points each run's motion probe beats the baselines of its own seed."""
    rows = []
    for run, found in results.items():
        for pool in ("concat", "mean"):
            part, metric = COLUMNS[f"probe\n{pool}"]
            for name, title in UNTRAINED.items():
                points = [
                    100 * (one[part].metrics[metric].value - (baseline(one, name, part, metric) or 0)) for one in found
                ]
                margin = [*(f"{point:+.1f}" for point in points), interval(points)]
                rows.append((f"{run}, {pool}: over {title}", margin))
    return drawn("margins in points, seed by seed; mean ± 95 % t-interval", [*map(str, seeds), "mean"], rows)


def of_baseline(seeds: Sequence["Results"], name: str) -> list[list[float | None]]:
    return [[baseline(one, name, part, metric) for one in seeds] for part, metric in COLUMNS.values()]


def baseline(results: "Results", name: str, part: str, metric: str) -> float | None:
    found = results[part].baselines.get(name)
    return None if found is None else number(found, metric)


def number(result: "Result", metric: str) -> float | None:
    return result.metrics[metric].value if metric in result.metrics else None


def spread(values: Sequence[float | None]) -> str:
    """The mean in percent, with the standard deviation over seeds where they differ."""
    import statistics

    there = [100 * value for value in values if value is not None]
    if not there:
        return ""
    mean = f"{statistics.mean(there):.1f}"
    return mean if max(there) == min(there) else f"{mean} ± {statistics.stdev(there):.1f}"


def interval(points: Sequence[float]) -> str:
    """The mean of paired differences and half the width of its t-interval."""
    from tubelet.stats import paired_t_test

    found = paired_t_test(points)
    return f"{found.mean:+.1f}" + (f" ± {found.half:.1f}" if found.half is not None else "")


def drawn(title: str, columns: Sequence[str], rows: Sequence[tuple[str, Sequence[str]]]) -> "Table":
    from rich import box
    from rich.table import Table

    table = Table(
        title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False
    )
    table.add_column("", no_wrap=True)
    for column in columns:
        table.add_column(column, justify="right")
    for name, cells in rows:
        table.add_row(name, *cells)
    return table
