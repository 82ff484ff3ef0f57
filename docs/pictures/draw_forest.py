"""Draws forest.svg: the probe of motion of each variant against the same encoder untrained, from the table of trials.

python docs/pictures/draw_forest.py docs/results/data docs/results/forest.svg
"""

import sys
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from tubelet.stats import Difference, paired_t_test
from tubelet.studies.questions.guidance import start
from tubelet.studies.questions.hiding import contrast, direction

TITLE = "Linear probe of motion: points above the same encoder untrained, 95 % interval"


def main(data: Path, out: Path) -> None:
    trials = pd.read_json(data / "trials.jsonl", lines=True, dtype=False)
    again = trials["commands"].map(
        lambda lines: any("finetune" in line for line in lines)
    )  # the same runs, tuned after
    trials = trials[(trials["recipe"] == "miniature") & ~again]
    trials = trials.assign(key=[spelled(words) for words in trials["overrides"]])
    metrics = pd.read_parquet(data / "metrics.parquet")
    probe = metrics[
        (metrics["entry"] == "linear") & metrics["metric"].str.fullmatch(r"(time steps|temporal_concat)\.accuracy")
    ]
    wide = probe.pivot(index="trial", columns="baseline", values="value")
    margins = 100 * (wide[""] - wide["random"])
    rows = {}
    for name, overrides in asked().items():
        chosen = trials[trials["key"] == spelled(overrides.split())]
        if len(values := margins.reindex(chosen["hash"]).dropna()):
            rows[name] = paired_t_test(values.tolist())
    draw(rows, out)
    for name, row in rows.items():
        print(f"{name:<40} {row.mean:+.1f} ± {row.half:.1f} ({row.seeds} seeds)")


def asked() -> dict[str, str]:
    """Variants without a contrast, then those with one."""
    declared = {**contrast().variants, **start().variants}
    pixels = {name: one.overrides for name, one in contrast().variants.items() if "contrast" not in name}
    pixels["random per time step"] = direction().variants["random"].overrides
    pixels["text, bottom"] = direction().variants["bottom"].overrides
    both = {name: one.overrides for name, one in declared.items() if name.endswith("+ contrast")}
    return pixels | both


def spelled(words: list[str]) -> str:
    """Overrides in one order, but for the seed and what is the default."""
    return " ".join(sorted(word for word in words if not word.startswith("seed=") and word != "masker.pick=top"))


def draw(rows: dict[str, Difference], out: Path) -> None:
    figure = Figure(figsize=(7.5, 0.28 * len(rows) + 1), layout="constrained")
    axes = figure.subplots()
    for place, row in enumerate(rows.values()):
        colour = "#1f5fa8" if row.significant else "#888888"
        axes.errorbar(row.mean, place, xerr=row.half, fmt="o", color=colour, markersize=4, capsize=2)
    axes.axvline(0, color="#444444", linewidth=0.8)
    axes.set_yticks(range(len(rows)), [f"{name} ({row.seeds})" for name, row in rows.items()], fontsize=8)
    axes.invert_yaxis()
    axes.set_title(TITLE, fontsize=9, loc="left")
    axes.set_xlabel("points; in brackets the number of seeds; blue: the interval excludes 0", fontsize=8)
    axes.tick_params(axis="x", labelsize=8)
    figure.savefig(out, metadata={"Date": None})


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
