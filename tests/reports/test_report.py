import html.parser
import itertools
import json
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from tubelet.checksums import write_json
from tubelet.cli import main
from tubelet.errors import RunError
from tubelet.reports.page import alike, commands, comparison, compose, glances, report
from tubelet.reports.pictures import Looks, load_looks, load_samples, save
from tubelet.reports.tables import field_title, metric_title, results_tables
from tubelet.results import Metric, Result, read_results, write_result
from tubelet.run_record import RunRecord, read_runs


def with_baseline(result, name, value):
    one = Result({**result.baselines[name].metrics, "mean.accuracy": Metric(value)})
    return replace(result, baselines={**result.baselines, name: one})


class Addresses(html.parser.HTMLParser):
    """Everything that a browser would fetch, and the text that it would show."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.anchors: list[str] = []
        self.ids: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        for name, value in attrs:
            if name in ("src", "srcset", "data", "poster") or (name == "href" and tag == "link"):
                self.fetched.append(value)
            elif name in ("href", "xlink:href"):
                self.anchors.append(value)
            elif name == "id":
                self.ids.append(value)

    def handle_data(self, data):
        self.text += data


def test_the_report_never_imports_torch(make_run, tmp_path):
    run = make_run(tmp_path / "run", steps=60)
    code = f"""
import sys
from tubelet.cli import main
assert main(["report", {str(run)!r}, "--out", {str(tmp_path / "r.html")!r}]) == 0
print([name for name in ("torch", "transformers", "av") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_page_is_one_file_that_fetches_nothing(make_run, tmp_path):
    page = compose(
        read_runs([make_run(tmp_path / "a", steps=60), make_run(tmp_path / "b", steps=60, seed=1, text=False)])
    )
    seen = Addresses(page)
    assert seen.fetched
    assert all(address.startswith("data:image/webp;base64,") for address in seen.fetched)
    assert "url(http" not in page
    assert "@import" not in page
    assert len(seen.ids) == len(set(seen.ids))
    assert {anchor[1:] for anchor in seen.anchors if anchor.startswith("#")} <= set(seen.ids)


def test_the_same_runs_give_the_same_bytes(make_run, tmp_path):
    run = make_run(tmp_path / "run", steps=60)
    assert report([run], tmp_path / "1.html").read_bytes() == report([run], tmp_path / "2.html").read_bytes()


def test_several_runs_stand_side_by_side_under_their_own_names(make_run, tmp_path):
    runs = [make_run(tmp_path / "x" / "run", steps=60), make_run(tmp_path / "y" / "run", steps=60, text=False)]
    text = Addresses(compose(read_runs(runs))).text
    assert "x/run" in text
    assert "y/run" in text


def test_what_a_reader_must_know_is_on_the_page(make_run, tmp_path):
    text = Addresses(compose([RunRecord.read(make_run(tmp_path / "run", steps=60))])).text
    for words in (
        "v_0007: no frame could be decoded",
        "v_0031: truncated file",
        "caption names the label",
        "3 clips in the 6 logged of 60 steps came from a source shorter",
        "9f1c2ab04d77e310",
        "Of synth-1, the encoder was trained on train.",
        "video to video is not measured",
        "the model alone",
        "true statistics pasted back",
    ):
        assert words in text, words


def test_a_part_that_is_missing_names_the_command_that_makes_it(make_run, tmp_path):
    run = make_run(tmp_path / "run", steps=60)
    (run / "results.json").unlink()
    (run / "pictures" / "samples.npz").unlink()
    text = Addresses(compose([RunRecord.read(run)])).text
    assert "No linear probe, kNN, retrieval and held-out reconstruction yet" in text
    assert f"tubelet evaluate {run} --on corpora/synth linear knn retrieval reconstruction" in text


def test_captions_and_names_are_text_and_never_markup(make_run, tmp_path):
    run = make_run(tmp_path / "run", steps=60)
    recipe = json.loads((run / "recipe.json").read_text())
    recipe["recipe"] = "<script>alert(1)</script>"
    write_json(run / "recipe.json", recipe)
    assert "<script" not in compose([RunRecord.read(run)])


@pytest.mark.parametrize(
    "name", ["recipe.json", "results.json", "log.jsonl", "pictures/samples.npz", "pictures/thumbnails.npz"]
)
def test_a_damaged_part_is_one_line_that_names_the_file(name, make_run, tmp_path, capsys):
    run = make_run(tmp_path / "run", steps=60)
    whole = (run / name).read_bytes()
    (run / name).write_bytes(b"{oops\n" + whole[: len(whole) // 2])
    assert main(["report", str(run), "--out", str(tmp_path / "r.html")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert name in error
    assert not (tmp_path / "r.html").exists()


def test_results_of_the_wrong_shape_are_one_line_too(make_run, tmp_path, capsys):
    run = make_run(tmp_path / "run", steps=60)
    (run / "results.json").write_text('{"linear": 3}')
    assert main(["report", str(run), "--out", str(tmp_path / "r.html")]) == 2
    assert "'linear': it is 3, not an object" in capsys.readouterr().err


def test_an_evaluation_of_the_users_own_is_shown_as_it_is(make_run, tmp_path):
    run = make_run(tmp_path / "run", steps=60)
    failed = {"test": ["clip 9: no frame"]}
    write_result(run, "rank", Result({"effective_rank": Metric(17.25, unit="directions")}, failed=failed))
    text = Addresses(compose([RunRecord.read(run)])).text
    assert "effective rank" in text
    assert "17.2" in text
    assert "clip 9: no frame" in text


def test_a_log_cut_short_by_a_crash_is_read_up_to_there(make_run, tmp_path):
    run = make_run(tmp_path / "run", steps=60)
    log = run / "log.jsonl"
    log.write_bytes(log.read_bytes() + b'{"kind": "step", "st')
    again = RunRecord.read(run)
    assert again.last_step == 60
    assert "cut short" in again.notes[0]


def test_what_copying_explains_is_a_note_to_the_r2_of_the_run_and_no_measure_of_it(make_run, tmp_path):
    (table,) = glances([RunRecord.read(make_run(tmp_path / "run", steps=60))])
    cells = {row.name: row.cells[0] for row in table.rows}
    assert cells["Held-out R²"].text == "0.31"
    assert cells["Held-out R²"].note == "R² of copying the nearest visible patch -0.183"
    assert not [name for name in cells if "copying" in name]


def test_of_a_step_that_was_logged_twice_the_last_word_holds(make_run, tmp_path):
    run = make_run(tmp_path / "run", steps=60)
    with (run / "log.jsonl").open("a") as file:
        file.write(json.dumps({"kind": "step", "step": 50, "pixels": 0.125}) + "\n")
    steps, values = RunRecord.read(run).series("pixels")
    assert list(steps) == [10, 20, 30, 40, 50, 60]
    assert values[4] == 0.125


@pytest.mark.parametrize("what", ["no folder", "no recipe"])
def test_what_is_no_run_folder_is_one_line_with_a_remedy(what, tmp_path, capsys):
    folder = tmp_path / "run"
    if what == "no recipe":
        folder.mkdir()
    assert main(["report", str(folder), "--out", str(tmp_path / "r.html")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "tubelet pretrain" in error


def test_a_file_that_is_no_report_is_not_overwritten_and_a_report_is(make_run, tmp_path):
    run = make_run(tmp_path / "run", steps=60)
    mine = tmp_path / "notes.html"
    mine.write_text("my notes")
    with pytest.raises(RunError, match="not a report"):
        report([run], mine)
    assert mine.read_text() == "my notes"
    assert report([run], tmp_path / "r.html") == report([run], tmp_path / "r.html")


def test_a_run_named_twice_is_refused(make_run, tmp_path):
    run = make_run(tmp_path / "run", steps=60)
    with pytest.raises(RunError, match="twice"):
        read_runs([run, run / ".." / "run"])


def test_the_curve_is_one_minus_loss_over_that_of_predicting_the_mean_at_the_same_step(make_run, tmp_path):
    from tubelet.reports.training import explained

    run = make_run(tmp_path / "run", steps=60)
    (run / "log.jsonl").write_text(
        '{"kind": "step", "step": 1, "pixels": 0.5, "pixels.baseline": 1.0}\n'
        '{"kind": "step", "step": 2, "pixels": 0.3, "pixels.baseline": 0.4}\n'
        '{"kind": "step", "step": 3, "pixels": 0.0, "pixels.baseline": 0.0}\n'
        '{"kind": "step", "step": 4, "pixels": NaN, "pixels.baseline": 1.0}\n'
    )
    steps, values = explained(RunRecord.read(run))
    assert list(steps) == [1, 2]
    assert values == pytest.approx([0.5, 0.25])


def test_no_colour_of_a_curve_is_fixed_so_that_it_follows_light_and_dark(make_run, tmp_path):
    page = compose([RunRecord.read(make_run(tmp_path / "run", steps=60))])
    charts = re.findall(r"<svg class=\"chart\".*?</svg>", page, flags=re.DOTALL)
    assert len(charts) >= 5
    for chart in charts:
        assert set(re.findall(r"(?:fill|stroke): (#[0-9a-f]+)", chart)) <= set()


def test_a_baseline_that_all_runs_share_is_a_column_and_one_that_differs_a_row(make_run, tmp_path):
    from tubelet.reports.tables import results_tables

    runs = [make_run(tmp_path / name, steps=60) for name in ("a", "b")]
    linear = read_results(runs[1])["linear"]
    write_result(runs[1], "linear", with_baseline(linear, "random", 0.5))
    linear = next(table for table in results_tables(read_runs(runs)) if table.title == "linear")
    assert linear.beside == ["mean image", "ceiling", "chance"]
    texts = {row.name: [cell.text for cell in row.cells] for row in linear.rows if not row.level}
    assert texts["mean, accuracy"] == ["30.5 %", "30.5 %", "14.0 %", "93.0 %", "14.0 %"]
    below = [row for row in linear.rows if row.level]
    assert [row.name for row in below] == ["random initialisation"] * 2
    assert [cell.text for cell in below[0].cells][:2] == ["19.0 %", "50.0 %"]
    assert texts["clips of test"][0] == "240 in 60 groups, 1 failed, 5 short"


def test_intervals_stand_beside_their_numbers(make_run, tmp_path):
    text = Addresses(compose([RunRecord.read(make_run(tmp_path / "run", steps=60))])).text
    assert "30.5 % 25.0 to 36.0" in text
    assert "0.31 0.29 to 0.33" in text


def test_a_key_of_a_protocol_is_words_and_a_number_in_it_stays_one():
    assert field_title("held_out_accuracy.mean.0.0001") == "held out accuracy, mean, 0.0001"
    assert field_title("grid") == "grid"
    assert metric_title("text_to_video.r@1") == "text to video, r@1"


def test_the_page_says_how_to_run_it_again(make_run, tmp_path):
    run = make_run(tmp_path / "run", steps=60)
    text = Addresses(compose([RunRecord.read(run)])).text
    assert f"tubelet pretrain tiny --on corpora/synth --out {run} seed=0" in text
    assert f"tubelet evaluate {run} --on corpora/synth linear --baselines" in text
    assert f"tubelet evaluate {run} --on corpora/synth reconstruction retrieval" in text


def test_every_result_is_measured_again_where_and_how_it_was(make_run, tmp_path):
    run = make_run(tmp_path / "run", steps=60)
    asked = {"evaluation": "linear", "on": "corpora/other", "settings": ["linear.grid=0.1", "--label", "camera move"]}
    other = replace(read_results(run)["linear"], baselines={}, asked=asked)
    write_result(run, "linear on other-1234abcd, label camera move", other)
    lines = commands(RunRecord.read(run))
    assert f"tubelet evaluate {run} --on corpora/other linear linear.grid=0.1 --label 'camera move'" in lines
    assert not [line for line in lines if " on other" in line]


def test_what_differs_from_the_defaults_or_between_the_runs_comes_first(make_run, tmp_path):
    from tubelet.reports.tables import recipe_tables

    runs = read_runs([make_run(tmp_path / "a", steps=60), make_run(tmp_path / "b", steps=60, text=False)])
    recipes = recipe_tables(runs)
    names = [row.name for row in recipes.changed]
    assert set(names) == {
        "encoder.width",
        "encoder.depth",
        "steps",
        "objectives.contrast.weight",
        "masker",
        "masker.pick",
    }
    assert {row.name for row in recipes.whole} > set(names)


def test_the_confusion_of_many_classes_names_the_most_frequent_pairs(make_run, tmp_path):
    run = make_run(tmp_path / "run", steps=60)
    matrix = [[9 if i == j else 0 for j in range(40)] for i in range(40)]
    matrix[3][7] = 5
    matrix[8][2] = 6
    classes, details = [f"class {i}" for i in range(40)], {"mean": {"confusion": matrix}}
    write_result(run, "linear", replace(read_results(run)["linear"], classes=classes, details=details))
    text = " ".join(Addresses(compose([RunRecord.read(run)])).text.split())
    assert "class 8 class 2 6".replace(" ", "") in text.replace(" ", "")
    assert text.replace(" ", "").index("class8class26") < text.replace(" ", "").index("class3class75")


def test_levels_that_lie_close_keep_their_names_apart(make_run, tmp_path):
    from tubelet.reports.figures import Level, Line, curves

    levels = [Level(f"name {i}", 0.2 + 0.001 * i) for i in range(4)]
    svg = curves("chart", [Line("run", np.array([0, 1]), np.array([0.1, 0.9]))], levels)
    heights = [float(y) for y in re.findall(r'<text[^>]*y="([0-9.]+)"[^>]*>name \d', svg)]
    assert len(heights) == 4
    assert min(a - b for a, b in itertools.pairwise(heights)) > 5


def test_runs_that_were_shown_the_same_clip_share_one_sheet_and_others_show_their_own_frames(make_run, tmp_path):
    from tubelet.reports.page import contact_sheets

    runs = [make_run(tmp_path / name, steps=60) for name in ("a", "b")]
    alike = contact_sheets(read_runs(runs))
    assert len(alike) == 3
    assert [[strip.title for strip in shown.strips].count("Frames") for shown in alike[0].shown] == [0, 0]
    samples = load_samples(runs[1])
    save(replace(samples, frames=samples.frames[:, ::-1], captions=np.array(["another"] * 3)), runs[1])
    differing = contact_sheets(read_runs(runs))
    assert len(differing) == 3
    assert [[strip.title for strip in shown.strips].count("Frames") for shown in differing[0].shown] == [0, 1]
    assert "caption: another" in differing[0].shown[1].note


def test_levels_beside_a_probe_are_drawn_once_where_runs_agree_and_a_far_ceiling_is_said_in_words(make_run, tmp_path):
    from tubelet.reports.page import baselines, probes

    runs = [make_run(tmp_path / name, steps=200) for name in ("a", "b")]
    linear = read_results(runs[1])["linear"]
    write_result(runs[1], "linear", with_baseline(linear, "random", 0.17))
    runs = read_runs(runs)
    levels = [(level.label, level.value, level.colour) for level in baselines(runs, "linear", "mean.accuracy")]
    assert levels == [
        ("random initialisation", 0.19, 0), ("random initialisation", 0.17, 1), ("mean image", 0.14, None),
        ("ceiling", 0.93, None), ("chance", 0.14, None),
    ]  # fmt: skip
    chart = next(chart for chart in probes(runs) if chart.title == "Linear, mean, accuracy")
    assert "Beyond the chart: ceiling 93.0 %" in chart.note
    assert "ceiling" not in chart.svg


def test_a_fine_tuned_run_is_shown_as_what_it_is(tmp_path):
    """Its accuracies, its curve and its confusion; nothing of masks, and no command that it has no use for."""
    folder = tmp_path / "tuned"
    folder.mkdir()
    recipe = {
        "format": 1, "kind": "finetune", "recipe": "tiny", "corpus": {"path": "corpora/synth", "name": "synth-1"},
        "values": {"init": "runs/tiny", "scratch": False, "labels_share": 0.1, "batch": 8},
        "command": ["tubelet", "finetune", "runs/tiny", "tiny", "--out", str(folder)],
    }  # fmt: skip
    write_json(folder / "recipe.json", recipe)
    lines = [
        {"kind": "step", "step": step, "loss": 2 / step, "cross_entropy": 2 / step, "cross_entropy.baseline": 0.69,
         "lr": 0.1, "clips_per_second": 9.0}
        for step in (1, 2, 3)
    ]  # fmt: skip
    accuracy = Metric(0.875, chance=0.5).to_json()
    lines.append({"kind": "evaluation", "step": 3, "name": "held_out", "metrics": {"accuracy": accuracy}})
    (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    result = Result(
        metrics={
            "accuracy": Metric(0.75, (0.5, 0.9375), chance=0.5),
            "held_out.accuracy": Metric(0.875),
            "top5_accuracy": Metric(0.9375),
        },
        counts={"test": {"used": 16, "groups": 8}},
        protocol={"selection": "on the held-out part of train"},
        classes=["dark", "light"],
        details={"all weights": {"confusion": [[6, 2], [2, 6]]}},
    )
    write_result(folder, "finetune", result)
    page = compose([RunRecord.read(folder)])
    for words in ("75.0 %", "87.5 %", "93.8 %", "the weights of runs/tiny, 10% of the labels", "Cross-entropy",
                  "on the held-out part of train", "tubelet finetune runs/tiny tiny"):  # fmt: skip
        assert words in page, words
    for words in ("What it sees", "No linear probe", "tubelet evaluate", "No retrieval examples"):
        assert words not in page, words


def test_a_search_is_shown_with_its_clips_and_measured_by_nothing(make_run, tmp_path):
    run = make_run(tmp_path / "run", steps=60)
    asked = {"command": ["search", str(run), "a red disc", "--on", "corpora/synth"]}
    for right, text in ((True, "a red disc"), (None, "thunder")):
        answers = [{"answer": f"v_000{i}", "score": 0.5 - i / 10, "right": right} for i in range(3)]
        example = {"query": text, "answers": answers}
        found = Result(asked=asked, counts={"all": {"used": 3}}, examples={"search": [example]})
        write_result(run, f"search {text}", found)
    page = compose([RunRecord.read(run)])
    text = Addresses(page).text
    assert "thunder" in text
    assert page.count("<h3>Search</h3>") == 1
    assert "<h3>search thunder</h3>" not in page
    unknown = page[page.index("thunder</p>") :].partition("</ol>")[0]
    assert unknown.count("<img") == 3
    for words in ("✓", "✗", "first right answer"):
        assert words not in unknown
    assert f"tubelet search {run} 'a red disc' --on corpora/synth" in text


def test_nothing_stands_beside_what_was_measured_on_another_corpus(make_run, tmp_path):
    """Two runs on one corpus and two on another, in one report: each table and each comparison is of one corpus."""
    folders = [make_run(tmp_path / name, steps=60, seed=seed, text=False) for seed, name in enumerate("abcd")]
    for folder in folders[2:]:
        recipe, linear = json.loads((folder / "recipe.json").read_text()), read_results(folder)["linear"]
        recipe["corpus"] = {"name": "clips", "fingerprint": "77", "path": "corpora/clips"}
        metrics = {name: replace(metric, chance=0.5) for name, metric in linear.metrics.items()}
        write_json(folder / "recipe.json", recipe)
        (folder / "results.json").unlink()
        write_result(folder, "linear", replace(linear, corpus={"name": "clips", "fingerprint": "77"}, metrics=metrics))
    runs = read_runs(folders)
    tables = {table.title: table for table in results_tables(runs)}
    assert tables["linear, synth-1"].columns == [0, 1]
    assert tables["linear, clips"].columns == [2, 3]
    assert tables["linear, clips"].rows[0].cells[-1].text == "50.0 %"
    assert tables["linear, synth-1"].rows[0].cells[-1].text == "14.0 %"
    assert tables["reconstruction, synth-1"].columns == [0, 1]
    assert [part.title for part in glances(runs)] == ["Pretrained, synth-1", "Pretrained, clips"]
    assert [part.columns for part in glances(runs)] == [[0, 1], [2, 3]]
    assert [comparison(some).title for some in alike(runs)] == ["Pretrained, synth-1", "Pretrained, clips"]
    assert [part.title for part in glances(runs[:2])] == [""]
    page = compose(runs)
    assert len(seen := Addresses(page).ids) == len(set(seen))
    assert "corpora differ" not in page


def test_every_loss_that_was_logged_beside_a_baseline_has_its_chart_whatever_it_is_called(make_run, tmp_path):
    from tubelet.reports.training import training

    run = make_run(tmp_path / "run", steps=60)
    log = run / "log.jsonl"
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    more = {"latent": 0.5, "latent.baseline": 1.0, "latent.rank": 7.0, "nothing_known": 0.5}
    log.write_text("".join(json.dumps(row | more if row["kind"] == "step" else row) + "\n" for row in rows))
    titles = [chart.title for chart in training([RunRecord.read(run)])]
    assert {"latent", "latent: effective rank of its embeddings"} <= {*titles}
    assert not [title for title in titles if "nothing_known" in title]


def test_what_a_run_reads_beside_a_clip_is_on_its_page_without_any_reconstruction(make_run, tmp_path):
    run = make_run(tmp_path / "run", steps=60)
    assert "streams and reconstructions" not in compose([RunRecord.read(run)])
    pictures = np.random.default_rng(0).integers(0, 256, (2, 2, 8, 32, 32, 3), np.uint8)
    titles, notes = ["clip: visible", "later: visible"], ["nothing is hidden", "<i>5</i> of 8"]
    columns = np.array([8, 1])
    looks = Looks(np.array("a"), np.array(["x", "y"]), np.array(titles), np.array(notes), columns, pictures)
    save(looks, run)
    page = compose([RunRecord.read(run)])
    assert page.count("streams and reconstructions") == 2
    assert page.count("later: visible") == 4  # as a title and as the picture's alternative text
    assert "<i>5</i>" not in page
    assert load_looks(run).titles.tolist() == titles
