"""The plots of the benchmarks."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks import timing
from benchmarks.measure import Found


def ratios(found: Sequence[Found], path: Path) -> None:
    """How many times as fast tubelet is, a panel a mode, a bar an implementation and case, with quartiles."""
    from matplotlib.figure import Figure

    modes = list(found[0].taken)
    named = [
        dict.fromkeys(name for taken in one.taken.values() for name in taken if name not in {"tubelet", *one.void})
        for one in found
    ]
    places = {
        (one.case, name): -(number + 0.5 * case)
        for number, (case, one, name) in enumerate(
            (case, one, name) for case, (one, names) in enumerate(zip(found, named, strict=True)) for name in names
        )
    }
    figure = Figure(figsize=(4.2 * len(modes), 0.28 * len(places) + 1.2))
    panels = figure.subplots(1, len(modes), sharey=True, squeeze=False)[0]
    for axes, mode in zip(panels, modes, strict=True):
        for one in found:
            taken = one.taken.get(mode, {})
            for name in taken:
                if (one.case, name) not in places:
                    continue
                value = timing.ratio(taken[name], taken["tubelet"])
                spread = [[value.median - value.low], [value.high - value.median]]
                axes.barh(places[one.case, name], value.median, 0.8, xerr=spread, color="tab:blue", alpha=0.75)
        axes.axvline(1, color="black", linewidth=0.8)
        axes.set_title(f"{mode}: time over tubelet's")
    panels[0].set_yticks(list(places.values()), [f"{case}: {name}" for case, name in places])
    figure.tight_layout()
    figure.savefig(path)


def bars(ratios: Mapping[str, timing.Ratio], label: str, path: Path) -> None:
    """A bar a name, with quartiles, the smallest on top."""
    from matplotlib.figure import Figure

    ordered = sorted(ratios.items(), key=lambda item: -item[1].median)
    figure = Figure(figsize=(7, 0.24 * len(ordered) + 1))
    axes = figure.add_subplot()
    middle = [one.median for _, one in ordered]
    spread = [[one.median - one.low for _, one in ordered], [one.high - one.median for _, one in ordered]]
    axes.barh([name for name, _ in ordered], middle, xerr=spread, color="tab:blue", alpha=0.75)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xlabel(label)
    figure.tight_layout()
    figure.savefig(path)


def lines(points: Mapping[str, Sequence[tuple[float, float]]], x: str, y: str, path: Path) -> None:
    """Logarithmic axes: a power is a straight line."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4.5))
    axes = figure.add_subplot()
    for name, some in points.items():
        axes.loglog(*zip(*some, strict=True), marker="o", label=name)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.tight_layout()
    figure.savefig(path)


def values(found: Mapping[str, float], label: str, path: Path) -> None:
    """A bar a name."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 0.24 * len(found) + 1))
    axes = figure.add_subplot()
    axes.barh(list(found)[::-1], list(found.values())[::-1], color="tab:blue", alpha=0.75)
    axes.set_xlabel(label)
    figure.tight_layout()
    figure.savefig(path)


def stacked(names: Sequence[str], parts: Mapping[str, Sequence[float]], label: str, path: Path) -> None:
    """A bar a name, cut into parts."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 0.4 * len(names) + 1.4))
    axes = figure.add_subplot()
    left = [0.0] * len(names)
    for part, shares in parts.items():
        axes.barh(names, shares, left=left, label=part)
        left = [a + b for a, b in zip(left, shares, strict=True)]
    axes.invert_yaxis()
    axes.set_xlabel(label)
    axes.legend(loc="upper center", bbox_to_anchor=(0.4, -0.2), ncols=5, fontsize=8)
    figure.tight_layout()
    figure.savefig(path)
