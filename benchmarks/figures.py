"""The figures of docs/results that are drawn from finished trials, of docs/results/data or of a study of one's own.

Every point is the mean, over seeds, of the paired difference to the same encoder untrained, with its 95 % interval.
"""

import json
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from tubelet.stats import Difference, paired_t_test
from tubelet.studies.questions import grain as fine
from tubelet.studies.questions.grain import FINE, MASKS_OF_THE_GRAIN
from tubelet.studies.questions.hiding import CONTRAST, MASKS, SAMPLED, TEXT_FRAME, joined
from tubelet.studies.store import FinishedTrials

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

RESULTS = Path("docs/results")
HIDDEN = "hidden-share.json"  # by recipe and mask, the share of the subject that is hidden: `tubelet masks --crops`
CONTEXTS = "contexts.json"  # by fingerprint of a corpus with context, its strength and, by mask, that share
WITH_CONTEXT = "synth-context-1"  # the same name at every strength
COARSE = "miniature"
GRIDS = {COARSE: "4x4 positions", FINE: "8x8 positions"}
OF_MOTION = ("linear", "temporal_concat.accuracy")
ALONE = {
    **{name: MASKS[name] for name in ("random", "tube", "motion", "text", "oracle")},
    "text frame": TEXT_FRAME,
    **{name: words for name, words in SAMPLED.items() if name != "text"},
}
WITH_CONTRAST = {f"{name} + contrast": joined(words, CONTRAST) for name, words in ALONE.items()}
COLOURS = {True: "#1f5fa8", False: "#8a8a8a"}  # the interval excludes 0; it does not


def arguments(parser: ArgumentParser) -> None:
    parser.set_defaults(threads=1)
    parser.add_argument("--trials", type=Path, default=RESULTS / "data", help="finished trials (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the figures (default: %(default)s)")


def run(options: Namespace) -> None:
    trials = Trials(FinishedTrials(options.trials))
    shares, contexts = (known(options.trials / name) for name in (HIDDEN, CONTEXTS))
    options.out.mkdir(parents=True, exist_ok=True)
    for name, figure in {
        "forest": forest(trials.points(COARSE, ALONE | WITH_CONTRAST)),
        "forest-8x8": forest(trials.points(FINE, ALONE | WITH_CONTRAST)),
        "grain": grain(trials),
        "dose": dose(trials, shares),
        "context": context(trials, contexts),
        "methods": forest(trials.of_study("methods")),
    }.items():
        if figure is None:
            print(f"{name}: no finished trials in {options.trials}")
            continue
        figure.savefig(options.out / f"{name}.svg", metadata={"Date": None}, bbox_inches="tight")
        print(options.out / f"{name}.svg")


def known(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text()) if path.exists() else {}


@dataclass(frozen=True)
class Trials:
    """The gain of every trial over its own encoder untrained, found by recipe and overrides: studies share trials, and
    each calls them as it likes."""

    finished: FinishedTrials

    @cached_property
    def gains(self) -> pd.DataFrame:
        """A row a trial: name and fingerprint of its corpus, recipe, overrides in alphabetical order without the seed,
        study, variant, seed, gain."""
        metrics = self.finished.metrics
        entry, metric = OF_MOTION
        chosen = metrics[(metrics["entry"] == entry) & (metrics["metric"] == metric)]
        wide = chosen.pivot_table(index="trial", columns="baseline", values="value", aggfunc="first")
        gain = wide.get("", pd.Series(dtype=float)) - wide.get("random", pd.Series(dtype=float))
        rows = [
            {**one["corpus"], **{name: one[name] for name in ("recipe", "study", "variant", "seed")},
             "words": spelled(one["overrides"]), "gain": gain.get(trial)}
            for trial, one in self.finished.records.items()
        ]  # fmt: skip
        columns = ["name", "fingerprint", "recipe", "study", "variant", "seed", "words", "gain"]
        return pd.DataFrame(rows, columns=columns).dropna()

    def points(self, recipe: str, variants: Mapping[str, str], fingerprint: str | None = None) -> dict[str, pd.Series]:
        """By variant, the gain of every seed, in points: of clips without context, or of one corpus."""
        gains = self.gains
        of_corpus = gains["name"] != WITH_CONTEXT if fingerprint is None else gains["fingerprint"] == fingerprint
        table = gains[of_corpus & (gains["recipe"] == recipe)]
        by_words = dict(tuple(table.groupby("words")))
        found = {name: by_words.get(spelled(words.split())) for name, words in variants.items()}
        return {name: by_seed(rows) for name, rows in found.items() if rows is not None}

    def of_study(self, study: str) -> dict[str, pd.Series]:
        table = self.gains[self.gains["study"] == study]
        return {str(name): by_seed(rows) for name, rows in table.groupby("variant")}


def spelled(overrides: Sequence[str]) -> str:
    return " ".join(sorted(word for word in overrides if not word.startswith("seed=")))


def by_seed(rows: pd.DataFrame) -> pd.Series:
    return 100 * rows.groupby("seed")["gain"].mean()


def difference(gains: pd.Series) -> Difference:
    return paired_t_test(gains.tolist())


def forest(points: Mapping[str, pd.Series]) -> "Figure | None":
    """A line a variant."""
    if not points:
        return None
    figure, axes = blank(7.6, 0.3 * len(points) + 1.2)
    for row, gains in enumerate(points.values()):
        draw(axes, -row, gains, vertical=False)
    axes.set_yticks([-row for row in range(len(points))], [f"{name} ({len(gains)})" for name, gains in points.items()])
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_xlabel("points of the linear probe of motion above the same encoder untrained, 95 % interval;\n"
                    "in brackets the number of seeds; blue: the interval excludes 0")  # fmt: skip
    return figure


def grain(trials: Trials) -> "Figure | None":
    """Each mask at 4x4 and at 8x8 positions, alone and with the contrast."""
    masks = dict(MASKS_OF_THE_GRAIN)
    masks["text, sampled"] = SAMPLED["text, sampled (tau = 2)"]
    kinds = {"alone": masks, "with the contrast": {name: joined(words, CONTRAST) for name, words in masks.items()}}
    found = {(kind, grid): trials.points(grid, words) for kind, words in kinds.items() for grid in GRIDS}
    if not any(found[kind, FINE] for kind in kinds):
        return None
    figure, *panels = blank(10, 0.42 * len(masks) + 1.4, columns=2)
    for axes, kind in zip(panels, kinds, strict=True):
        for offset, (grid, marker) in zip((0.14, -0.14), ((COARSE, "o"), (FINE, "s")), strict=True):
            for row, name in enumerate(masks):
                if name in found[kind, grid]:
                    draw(axes, offset - row, found[kind, grid][name], vertical=False, marker=marker)
            axes.plot([], [], marker=marker, color="black", linestyle="", label=GRIDS[grid])
        axes.axvline(0, color="black", linewidth=0.8)
        axes.set_yticks([-row for row in range(len(masks))], list(masks))
        axes.set_title(kind)
    panels[0].legend(loc="lower right", fontsize="small")
    figure.supxlabel("points of the linear probe of motion above untrained, 95 % interval", fontsize="medium")
    figure.tight_layout()
    return figure


def dose(trials: Trials, shares: Mapping[str, Any]) -> "Figure | None":
    """How much of the subject is hidden, against what the contrast then teaches; faint: every trial."""
    figure, axes = blank(7.2, 4.6)
    drawn = 0
    doses = {name: variant.overrides for name, variant in fine.dose().variants.items()}
    doses = {name: words for name, words in doses.items() if words not in WITH_CONTRAST.values()}
    for recipe, marker in ((COARSE, "o"), (FINE, "s")):
        points = trials.points(recipe, WITH_CONTRAST | doses)
        for name, gains in points.items():
            mask = name.removesuffix(" + contrast")
            if mask not in shares.get(recipe, {}):
                continue
            share = 100 * shares[recipe][mask]
            draw(axes, share, gains, vertical=True, marker=marker)
            axes.scatter([share] * len(gains), gains, s=8, marker=marker, color="black", alpha=0.25)
            axes.annotate(mask, (share, gains.mean()), xytext=(5, 4), textcoords="offset points", fontsize="x-small")
            drawn += 1
        axes.plot([], [], marker=marker, color="black", linestyle="", label=GRIDS[recipe])
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set_xlabel("share of the subject that is hidden, %")
    axes.set_ylabel("points of the linear probe of motion\nabove untrained, with the contrast, 95 % interval")
    axes.legend(loc="lower left", fontsize="small")
    return figure if drawn else None


def context(trials: Trials, contexts: Mapping[str, Any]) -> "Figure | None":
    """What each mask gains and how much of the subject it hides, as more of the surroundings speaks for the subject."""
    masks = {name: variant.overrides for name, variant in fine.context().variants.items() if "contrast" in name}
    strengths = sorted((about["strength"], fingerprint) for fingerprint, about in contexts.items())
    found = {(name, at): trials.points(FINE, {name: words}, fingerprint).get(name)
             for at, fingerprint in strengths for name, words in masks.items()}  # fmt: skip
    if all(gains is None for gains in found.values()):
        return None
    figure, left, right = blank(10, 4.2, columns=2, sharey=False)
    for number, name in enumerate(masks):
        mask, marker, colour = name.removesuffix(" + contrast"), "osv^D"[number], f"C{number}"
        there = [(at, gains) for at, _ in strengths if (gains := found[name, at]) is not None]
        if not there:
            continue
        for at, gains in there:
            left.scatter([at] * len(gains), gains, s=10, marker=marker, color=colour, alpha=0.35)
        left.plot(
            [at for at, _ in there], [gains.mean() for _, gains in there], marker=marker, color=colour, label=mask
        )
        hidden = [(at, 100 * contexts[fingerprint]["hidden"][mask]) for at, fingerprint in strengths
                  if mask in contexts[fingerprint]["hidden"]]  # fmt: skip
        right.plot(*zip(*hidden, strict=True), marker=marker, color=colour)
    left.axhline(0, color="black", linewidth=0.8)
    left.set_ylabel("points of the linear probe of motion above untrained,\nwith the contrast; faint: every trial")
    right.set_ylabel("share of the subject that is hidden, %")
    left.legend(fontsize="small")
    figure.supxlabel("probability that surroundings fit the subject", fontsize="medium")
    figure.tight_layout()
    return figure


def draw(axes: "Axes", place: float, gains: pd.Series, vertical: bool, marker: str = "o") -> None:
    """The mean of the gains with its interval, at this place of the other axis."""
    one = difference(gains)
    (x, y), (across, along) = (place, one.mean)[:: 1 if vertical else -1], (None, one.half)[:: 1 if vertical else -1]
    colour = COLOURS[one.significant]
    axes.errorbar(x, y, along, across, marker=marker, markersize=5, color=colour, capsize=2, linewidth=1.4)


def blank(width: float, height: float, columns: int = 1, sharey: bool = True) -> "tuple[Any, ...]":
    """A figure and its axes."""
    import matplotlib
    from matplotlib.figure import Figure

    matplotlib.rcParams |= {"svg.hashsalt": "tubelet", "svg.fonttype": "none"}  # the same picture is the same file
    figure = Figure(figsize=(width, height))
    return figure, *figure.subplots(1, columns, sharey=sharey, squeeze=False)[0]
