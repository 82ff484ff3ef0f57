"""Charts: what is written in them can be read."""

import re

import numpy as np

from tubelet.reports.figures import Level, Line, Span, curves, spans


def indices(svg: str, *names: str) -> dict[str, tuple[float, float]]:
    """Where each name is written, from the left and from the top."""
    found = re.findall(r'<text [^>]*x="([\d.]+)" y="([\d.]+)"[^>]*>([^<]+)<', svg)
    return {name: (float(x), float(y)) for x, y, name in found if name in names}


def test_names_of_levels_stand_one_over_the_other_exactly_where_they_would_collide():
    rows = [("a way", [Span(0, [0.1, 0.2], 0.15, 0.1, 0.2)])]
    at = indices(spans("s", rows, [Level("far", 0.19), Level("one", 0.15), Level("two", 0.151)]), "one", "two", "far")
    assert at["two"][1] <= at["one"][1] - 8
    assert at["far"][1] == at["one"][1]
    assert at["one"][0] < at["two"][0] < at["far"][0]


def test_names_of_lines_stand_at_their_ends_in_their_order_and_apart():
    ends = {"low": 1.0, "middle": 1.0001, "high": 2.0}
    lines = [
        Line(name, np.arange(3), np.array([3.0, 2.0, end]), index) for index, (name, end) in enumerate(ends.items())
    ]
    at = indices(curves("c", lines, named=True), *ends)
    assert at["low"][1] - at["middle"][1] >= 8
    assert at["middle"][1] - at["high"][1] >= 8
    assert len({x for x, _ in at.values()}) == 1
    assert not indices(curves("c", lines), *ends)
