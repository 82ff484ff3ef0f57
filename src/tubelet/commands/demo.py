"""The whole line on the embedded corpus, in minutes on two cores: render, align, score, pretrain twice, report.

Each step is a command that you could type; it is shown before it runs. Run again, it goes on where it stopped.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

RECONSTRUCTION, BOTH = "reconstruction", "text-guided"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, default=Path("demo"), help="folder for everything (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the two runs (default: %(default)s)")


def run(args: argparse.Namespace) -> None:
    import shlex
    import time

    from rich.console import Console

    from tubelet import cli
    from tubelet.errors import RunError

    console = Console(highlight=False)
    began = time.monotonic()
    steps = commands(args.out, args.seed)
    for number, (purpose, command) in enumerate(steps, start=1):
        minutes, seconds = divmod(round(time.monotonic() - began), 60)
        console.print(f"\n[bold]{number} of {len(steps)}, {minutes}:{seconds:02}[/]  {purpose}")
        console.print(f"$ tubelet {shlex.join(command)}", style="cyan", soft_wrap=True)
        if cli.run(command):
            raise RunError(f"the demo stopped at `tubelet {shlex.join(command)}`")
    console.print()
    console.print(summary(args.out))
    minutes, seconds = divmod(round(time.monotonic() - began), 60)
    console.print(f"{minutes}:{seconds:02} minutes; the report, with pictures: {args.out / 'report.html'}")


def commands(out: Path, seed: int) -> list[tuple[str, list[str]]]:
    """What the demo does, in order."""
    corpus, pixels, both = str(out / "corpus"), str(out / RECONSTRUCTION), str(out / BOTH)
    measure = ["linear", "knn", "retrieval", "reconstruction", "--baselines"]
    return [
        ("Render captioned action clips as H.264 files: the corpus.", ["synth", "--out", corpus]),
        (
            "Learn which patches a caption names, from the corpus's own frames and captions.",
            ["align", corpus, "--source", "subject"],
        ),
        (
            "Score every patch of every frame against its captions, once.",
            ["saliency", "text", corpus, "--source", "subject"],
        ),
        (
            "Pretrain by reconstruction alone: nothing but pixels.",
            ["pretrain", "tiny", f"seed={seed}", "--on", corpus, "--out", pixels],
        ),
        (
            "Pretrain by hiding what the caption names, with both objectives. Captions name the subject, not the verb.",
            ["pretrain", "tiny_text_guided", f"seed={seed}", "--on", corpus, "--out", both],
        ),
        ("Measure the first on held-out clips.", ["evaluate", pixels, "--on", corpus, *measure]),
        ("Measure the second.", ["evaluate", both, "--on", corpus, *measure]),
        ("Draw it.", ["report", pixels, both, "--out", str(out / "report.html")]),
    ]


def summary(out: Path) -> "Table":
    """The two runs beside what needs no training, from their results.json."""
    import json

    from rich.table import Table

    results = {name: json.loads((out / name / "results.json").read_text()) for name in (RECONSTRUCTION, BOTH)}
    made = Table(title="held-out clips, percent", title_justify="left", title_style="bold")
    columns = {"reconstruction": RECONSTRUCTION, "both objectives": BOTH}
    for column in ("", *columns, "random initialisation", "mean image", "ceiling", "chance"):
        made.add_column(column, justify="right" if column else "left")
    rows = {
        "reconstruction: 1 - loss/trivial": ("reconstruction", "skill"),
        "motion, linear probe on slots": ("linear", "slots.accuracy"),
        "motion, linear probe on the mean": ("linear", "mean.accuracy"),
        "motion, kNN": ("knn", "slots.accuracy"),
        "text to video, recall at 1": ("retrieval", "text_to_video.r@1"),
    }
    for title, (evaluation, metric) in rows.items():
        measured = [results[run][evaluation] for run in columns.values()]
        others = measured[0].get("baselines") or {}
        chance = {"linear": "majority", "knn": "majority", "retrieval": "text_to_video.chance_r@1"}.get(evaluation, "")
        made.add_row(
            title,
            *(percent(one["metrics"].get(metric)) for one in measured),
            *(
                percent(others.get(name, {}).get("metrics", {}).get(metric))
                for name in ("random", "mean_image", "ceiling")
            ),
            percent(measured[-1]["metrics"].get(chance)),
        )
    return made


def percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f}"
