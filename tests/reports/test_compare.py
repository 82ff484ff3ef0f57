"""Runs beside each other: the arithmetic against scipy, what is grouped, what is said to be unfair, the three forms."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import ttest_rel

from tubelet import cli
from tubelet.checksums import write_json
from tubelet.cli.tables import column_heads
from tubelet.errors import RunError
from tubelet.reports.compare import as_latex, as_markdown, compare
from tubelet.reports.page import compose
from tubelet.results import Metric, Result, read_results, write_result
from tubelet.run_record import read_runs

GRID = [0.01, 1.0]


def write(folder, seed: int, masker: str, accuracy: float, *, steps: int = 100, used: int = 50, grid=GRID):
    folder.mkdir(parents=True)
    values = {"seed": seed, "masker": masker, "clip.size": 64, "batch": 16}
    corpus = {"name": "made_up 100%", "fingerprint": "f"}
    recipe = {"recipe": "tiny", "corpus": corpus, "values": values, "steps": steps}
    write_json(folder / "recipe.json", recipe)
    result = Result(
        protocol={"grid": grid},
        metrics={"mean.accuracy": Metric(accuracy, (accuracy - 0.05, accuracy + 0.05), chance=0.125)},
        counts={"test": {"used": used}},
        baselines={"random": Result({"mean.accuracy": Metric(0.2 + 0.01 * seed)})},
    )
    write_result(folder, "linear", result)
    return folder


TUBE, TEXT = [0.30, 0.33, 0.31], [0.36, 0.40, 0.35]


@pytest.fixture
def runs(tmp_path):
    tube = [write(tmp_path / f"tube-{seed}", seed, "Tube", value) for seed, value in enumerate(TUBE)]
    text = [write(tmp_path / f"text-{seed}", seed, "Text", value) for seed, value in enumerate(TEXT)]
    return [*tube, *text]


def test_seeds_of_one_recipe_are_one_method_with_mean_and_spread(runs):
    found = compare(read_runs(runs))
    assert [method.name for method in found.methods] == ["tube", "text"]
    row = found.values["linear", "mean.accuracy"]
    assert row["tube"].mean == pytest.approx(np.mean(TUBE))
    assert row["tube"].spread == pytest.approx(np.std(TUBE, ddof=1))
    assert row["random initialisation"].mean == pytest.approx(0.21)
    assert row["chance"].mean == 0.125
    assert found.unfair == []


def test_a_baseline_that_differs_between_methods_is_each_methods_own(tmp_path):
    """As the random initialisations of two sizes of encoder: neither takes the place of the other."""
    small, large = (write(tmp_path / name, 0, name, 0.3) for name in ("small", "large"))
    others = {
        name: Result({"mean.accuracy": Metric(value)}) for name, value in (("random", 0.27), ("raw_pixels", 0.25))
    }
    write_result(large, "linear", replace(read_results(large)["linear"], baselines=others))
    row = compare(read_runs([small, large])).values["linear", "mean.accuracy"]
    assert {name: value.mean for name, value in row.items()} == {
        "small": 0.3, "large": 0.3, "random initialisation of small": 0.2, "random initialisation of large": 0.27,
        "raw pixels": 0.25, "chance": 0.125,
    }  # fmt: skip


def test_a_measure_without_a_chance_level_or_an_interval_is_compared_all_the_same(runs):
    for run in runs:
        write_result(run, "reconstruction", Result({"loss": Metric(0.5, unit="loss")}))
    row = compare(read_runs(runs)).values["reconstruction", "loss"]
    assert {name: value.mean for name, value in row.items()} == {"tube": 0.5, "text": 0.5}


def test_a_difference_is_shown_exactly_where_the_paired_t_interval_excludes_zero(runs, tmp_path):
    [one] = compare(read_runs(runs)).differences
    reference = ttest_rel(TEXT, TUBE).confidence_interval(0.95)
    assert one.mean - one.half == pytest.approx(reference.low)
    assert one.mean + one.half == pytest.approx(reference.high)
    assert (one.verdict == "significant") == (reference.low > 0)
    noisy = [write(tmp_path / f"noisy-{seed}", seed, "Block", value) for seed, value in enumerate([0.2, 0.5, 0.3])]
    other = compare(read_runs([*runs[:3], *noisy])).differences[0]
    assert other.verdict == "not significant (3 seeds)"
    lone = compare(read_runs([runs[0], runs[3]])).differences[0]
    assert (lone.half, lone.verdict) == (None, "not significant (1 seed)")


def test_only_seeds_that_both_have_are_paired(runs):
    [one] = compare(read_runs([*runs[:2], *runs[4:]])).differences
    assert one.by_seed == {1: pytest.approx(0.07)}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"steps": 200}, "steps differ: tube 100, text-9 200"),
        ({"used": 49}, "clips used by linear differ: tube 50 of test, text-9 49 of test"),
        ({"grid": [1.0]}, "grid of linear differ: tube 0.01, 1, text-9 1"),
    ],
)
def test_what_is_not_the_same_is_said(runs, tmp_path, changes, said):
    other = write(tmp_path / "text-9", 9, "Text", 0.5, **changes)
    found = compare(read_runs([*runs[:3], other]))
    assert said in found.unfair
    assert "numbers of seeds differ: tube 3, text-9 1" in found.unfair
    assert f"**Not the same:** {said}" in as_markdown(found)


def test_markdown_is_a_table_and_latex_is_escaped(runs):
    found = compare(read_runs(runs))
    text = as_markdown(found)
    assert "| linear: mean, accuracy | 31.3 ± 1.5 % | 37.0 ± 2.6 % | 21.0 ± 1.0 % | 12.5 % |" in text
    assert "| linear: mean, accuracy | text | +5.7 ± 3.8 | +6.0, +7.0, +4.0 | significant |" in text
    tex = as_latex(found)
    assert r"31.3 $\pm$ 1.5 \%" in tex
    assert tex.count(r"\begin{tabular}") == tex.count(r"\end{tabular}") == 2
    assert "%" not in tex.replace(r"\%", "").split("\n", 1)[1]


def test_the_page_shows_methods_plots_and_the_verdict(runs):
    page = compose(read_runs(runs))
    assert 'id="comparison"' in page
    assert "Paired differences" in page
    assert ">significant</td>" in page
    assert 'id="comparison"' not in compose(read_runs(runs[:1]))


def test_the_command_prints_and_writes_three_files_and_overwrites_nothing_of_the_users(runs, tmp_path, capsys):
    words = ["compare", *map(str, runs), "--out", str(tmp_path / "out")]
    assert cli.main(words) == 0
    said = capsys.readouterr().out
    assert "significant" in said
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"report.html", "comparison.md", "comparison.tex"}
    assert cli.main(words) == 0  # its own it writes again
    (tmp_path / "out" / "comparison.md").write_text("my notes")
    assert cli.main(words) == 2
    assert "is no comparison" in capsys.readouterr().err
    assert (tmp_path / "out" / "comparison.md").read_text() == "my notes"


def test_long_names_leave_the_columns_of_the_terminal_readable(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    names = [f"{'a' * 100}{middle}{'z' * 100}" for middle in ("one", "two")]
    runs = [write(tmp_path / name, 0, masker, 0.3) for name, masker in zip(names, ("Tube", "Text"), strict=True)]
    assert cli.main(["compare", *map(str, runs)]) == 0
    table = [line for line in capsys.readouterr().out.splitlines() if not line.startswith("NOT THE SAME")]
    assert max(map(len, table)) <= 120
    assert any(line.split()[:2] == ["aaaaaaaaa…zzzzzzzz", "aaaaaaaaa…zzzzzzzz"] for line in table)
    short = column_heads([*names, "random initialisation", "a " * 40])
    assert list(short.values()) == [
        "aaaaaaaaa…zzzzzzzz",
        "aaaaaaaaa…zzzzzzzz (2)",
        "random initialisation",
        "a " * 15 + "…" + " a" * 14 + " ",
    ]
    page = compose(read_runs(runs))
    assert all(name in page for name in names)


def test_runs_without_results_are_one_line(tmp_path):
    write(tmp_path / "a", 0, "Tube", 0.3)
    (tmp_path / "a" / "results.json").unlink()
    with pytest.raises(RunError, match="tubelet evaluate"):
        compare(read_runs([tmp_path / "a"]))
