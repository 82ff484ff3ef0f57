"""Curves as SVG that takes its colours and its typeface from the page, so that they follow light, dark and print."""

import contextlib
import hashlib
import io
import re
import warnings
import xml.etree.ElementTree as xml
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

from tubelet.escape import one_line

SERIES = 8
LONGEST = 44  # characters of a text in a chart
# matplotlib draws in these stand-ins; the page's variables take their place.
INK, MUTED, RULE = "#010101", "#020202", "#030303"
STAND_INS = {INK: "var(--ink)", MUTED: "var(--muted)", RULE: "var(--rule)"} | {
    f"#0a0a{index:02x}": f"var(--series-{index + 1})" for index in range(SERIES)
}
SVG, LINK = "http://www.w3.org/2000/svg", "{http://www.w3.org/1999/xlink}href"
UNUSED = {f"{{{SVG}}}style", f"{{{SVG}}}metadata"}
xml.register_namespace("", SVG)
STYLE = {
    "svg.fonttype": "none",
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.linewidth": 0.8,
    "axes.edgecolor": RULE,
    "axes.labelcolor": MUTED,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 3,
    "ytick.major.size": 0,
    "path.simplify": True,
    "path.simplify_threshold": 0.4,
}


@dataclass(frozen=True)
class Line:
    """A curve in the colour of its run. `faint` is the raw record behind a smoothed one; `dashed` a reference."""

    label: str
    steps: np.ndarray
    values: np.ndarray
    colour: int = 0
    faint: bool = False
    dashed: bool = False
    dots: bool = False


@dataclass(frozen=True)
class Level:
    """A horizontal reference: a baseline or a ceiling, named at the right edge."""

    label: str
    value: float
    colour: int | None = None


def colour(index: int | None) -> str:
    return MUTED if index is None else f"#0a0a{index % SERIES:02x}"


def curves(
    name: str,
    lines: Sequence[Line],
    levels: Sequence[Level] = (),
    *,
    percent: bool = False,
    log: bool = False,
    floor: float | None = None,
    height: float = 2.5,
    named: bool = False,
) -> Markup:
    """One chart over training steps. `name` keeps its ids apart from those of the page's other charts; `named` writes
    beside each line's end whose it is."""
    with drawing(name):
        figure = Figure(figsize=(5.6, height), layout="constrained")
        axes = figure.add_subplot()
        for line in lines:
            axes.plot(
                line.steps,
                line.values,
                color=colour(line.colour),
                alpha=0.28 if line.faint else 1,
                linewidth=0.9 if line.faint else 1.2 if line.dashed else 1.8,
                linestyle=(0, (3, 2)) if line.dashed else "-",
                marker="o" if line.dots else "",
                markersize=4,
                solid_capstyle="round",
            )
        if log:
            axes.set_yscale("log")
        if floor is not None:
            _, top = axes.get_ylim()
            axes.set_ylim(min(floor, axes.get_ylim()[0]), top)
        draw_levels(axes, levels)
        if named:
            draw_names(axes, [Level(line.label, float(line.values[-1]), line.colour) for line in lines])
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.grid(axis="y", color=RULE, linewidth=0.6)
        axes.set_axisbelow(True)
        axes.set_xlim(left=0)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        if not log:
            axes.yaxis.set_major_locator(MaxNLocator(5))
        if percent:
            axes.yaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
        axes.set_xlabel("step", loc="right")
        return themed(figure, name)


@dataclass(frozen=True)
class Span:
    """One method on one row: every seed, their mean, and how far it is uncertain."""

    colour: int
    points: Sequence[float]
    centre: float
    low: float
    high: float


def spans(
    name: str, rows: Sequence[tuple[str, Sequence[Span]]], levels: Sequence[Level] = (), *, zero: bool = False
) -> Markup:
    """Rows of dots with their intervals, from the top; levels cross all rows, `zero` draws where nothing differs.
    Values are shares."""
    with drawing(name):
        figure = Figure(figsize=(5.6, 0.5 + 0.36 * len(rows)), layout="constrained")
        axes = figure.add_subplot()
        if zero:
            axes.axvline(0, color=MUTED, linewidth=1.1, linestyle=(0, (1, 2)))
        for row, (_, marks) in enumerate(rows):
            for position, mark in enumerate(marks):
                y = row + 0.56 * ((position + 0.5) / len(marks) - 0.5)
                axes.plot([mark.low, mark.high], [y, y], color=colour(mark.colour), linewidth=1.6)
                axes.plot(mark.points, [y] * len(mark.points), "o", color=colour(mark.colour), alpha=0.35, markersize=3)
                axes.plot([mark.centre], [y], "o", color=colour(mark.colour), markersize=5)
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_yticks(range(len(rows)), [caption(label) for label, _ in rows])
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.grid(axis="x", color=RULE, linewidth=0.6)
        axes.set_axisbelow(True)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        form = "{:+.0f}" if zero else "{:.0f} %"
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: form.format(100 * value)))
        draw_upright(axes, levels)
        return themed(figure, name)


Bars = Sequence[tuple[float, float, str]]
"""(start, end, label) of stretches of time."""


def bars(name: str, rows: Sequence[tuple[str, Bars]], start: float, end: float) -> Markup:
    """Rows of stretches of time, from the top; a label has one colour, and is written where there is room."""
    labels = sorted({label for _, stretches in rows for _, _, label in stretches})
    with drawing(name):
        figure = Figure(figsize=(5.6, 0.5 + 0.34 * len(rows)), layout="constrained")
        axes = figure.add_subplot()
        for row, (_, stretches) in enumerate(rows):
            for first, last, label in stretches:
                tone = colour(labels.index(label))
                axes.barh(row, last - first, 0.72, first, color=tone, alpha=0.75, linewidth=0)
                if last - first > 0.012 * (end - start) * len(caption(label, 14)):
                    axes.text(
                        (first + last) / 2, row, caption(label, 14), ha="center", va="center", fontsize=7, clip_on=True
                    )
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlim(start, max(end, start + 1e-3))
        axes.set_yticks(range(len(rows)), [caption(text) for text, _ in rows])
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.xaxis.set_major_locator(MaxNLocator(6))
        axes.set_xlabel("seconds", loc="right")
        return themed(figure, name)


def draw_upright(axes: matplotlib.axes.Axes, levels: Sequence[Level]) -> None:
    """Dotted lines across all rows with their names above, one over the other where they would collide."""
    names = []
    for level in sorted(levels, key=lambda level: level.value):
        axes.axvline(level.value, color=colour(level.colour), linewidth=1.1, linestyle=(0, (1, 2)))
        names.append(
            axes.annotate(
                caption(level.label), (level.value, 1), (0, 2), xycoords=axes.get_xaxis_transform(),
                textcoords="offset points", ha="center", va="bottom", color=MUTED, fontsize=8,
            )
        )  # fmt: skip
    drawn_on(axes).draw_without_rendering()  # until then no text has a width
    ends: list[float] = []  # of the last name of every line of names, in pixels
    for name in names:
        box = name.get_window_extent()
        row = next((row for row, end in enumerate(ends) if end < box.x0 - 4), len(ends))
        ends[row : row + 1] = [box.x1]
        name.xyann = (0, 2 + 10 * row)


def draw_levels(axes: matplotlib.axes.Axes, levels: Sequence[Level]) -> None:
    """Dashed lines with their names at the right edge, pushed apart where they would collide."""
    if not levels:
        return
    values = [level.value for level in levels]
    low, high = axes.get_ylim()
    room = 0.06 * (max(high, *values) - min(low, *values) or 1)
    axes.set_ylim(min(low, min(values) - room), max(high, max(values) + room))
    for level in levels:
        axes.axhline(level.value, color=colour(level.colour), linewidth=1.1, linestyle=(0, (1, 2)))
    draw_names(axes, levels)


def draw_names(axes: matplotlib.axes.Axes, levels: Sequence[Level]) -> None:
    """At the right edge, as high as what they name, pushed up where they would collide."""
    low, high = axes.get_ylim()
    step = 0.2 * (high - low) / drawn_on(axes).get_figheight()
    position = -np.inf
    for level in sorted(levels, key=lambda level: level.value):
        position = max(level.value, position + step)
        axes.annotate(
            caption(level.label),
            (1.01, position),
            xycoords=axes.get_yaxis_transform(),
            va="center",
            ha="left",
            color=colour(level.colour),
            fontsize=8,
            annotation_clip=False,
        )


def drawn_on(axes: matplotlib.axes.Axes) -> Figure:
    figure = axes.get_figure(root=True)
    assert figure is not None
    return figure


@contextlib.contextmanager
def drawing(name: str) -> Iterator[None]:
    """Inside, matplotlib draws as on these pages."""
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": identifier(name)}), literal_text():
        yield


@contextlib.contextmanager
def literal_text() -> Iterator[None]:
    """Inside, matplotlib draws a text as it is, whatever signs of mathematics or of LaTeX are in it. What the typeface
    lacks is a box."""
    with matplotlib.rc_context({"text.parse_math": False, "text.usetex": False}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
        yield


def caption(text: str, longest: int = LONGEST) -> str:
    """A text as a chart shows it: one line, without its middle where there is no room for all."""
    line, half = one_line(text), longest // 2
    return line if len(line) <= longest else f"{line[: half - 1]}…{line[-half:]}"


def themed(figure: Figure, name: str) -> Markup:
    """The figure as a part of the page: without a style of its own, its ids apart from those of every other part."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    drawn, prefix = xml.fromstring(buffer.getvalue()), identifier(name)
    for parent in drawn.iter():
        for child in [*parent]:
            if child.tag in UNUSED:
                parent.remove(child)
    for part in drawn.iter():
        for declared in filter(None, (part.attrib.pop("style", "")).split(";")):
            what, _, value = declared.partition(":")
            part.set(what.strip(), value.strip())
        part.attrib.pop("font-family", None)
        if LINK in part.attrib:
            part.set("href", part.attrib.pop(LINK))
        for key, value in part.attrib.items():
            if key == "id":
                value = f"{prefix}-{value}"
            elif key == "href" or value.startswith("url(#"):
                value = value.replace("#", f"#{prefix}-", 1)
            part.set(key, STAND_INS.get(value, value))
    whole = {"class": "chart", "viewBox": drawn.attrib["viewBox"], "role": "img"}
    drawn.attrib.clear()
    drawn.attrib.update(whole | {"stroke-linejoin": "round", "stroke-linecap": "butt"})
    text = xml.tostring(drawn, encoding="unicode").replace(f'<svg xmlns="{SVG}"', "<svg", 1)  # HTML knows what it is
    return Markup(text)  # our own drawing; the texts in it are escaped


def identifier(text: str) -> str:
    """A text as an id of HTML and SVG; different texts have different ones."""
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()
    plain = re.sub("[^A-Za-z0-9]+", "-", text).strip("-")[:40]
    return plain if plain == text and not re.search("-[0-9a-f]{12}$", text) else f"{plain or 'chart'}-{digest}"


def smoothed(values: np.ndarray, share: float = 0.04) -> np.ndarray:
    """A centred running mean over this share of the points, shorter at the ends."""
    reach = max(0, int(len(values) * share / 2))
    if reach == 0:
        return values
    total = np.concatenate([[0.0], np.cumsum(values)])
    index = np.arange(len(values))
    start, stop = np.maximum(index - reach, 0), np.minimum(index + reach + 1, len(values))
    return (total[stop] - total[start]) / (stop - start)
