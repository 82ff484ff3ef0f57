import html.parser
import json
import re
import subprocess
import sys

import pytest

from tubelet.cli import main
from tubelet.errors import RunError
from tubelet.report.folder import read_run, read_runs
from tubelet.report.page import compose, write_report


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
    assert (
        write_report([run], tmp_path / "1.html").read_bytes() == write_report([run], tmp_path / "2.html").read_bytes()
    )


def test_several_runs_stand_side_by_side_under_their_own_names(make_run, tmp_path):
    runs = [make_run(tmp_path / "x" / "run", steps=60), make_run(tmp_path / "y" / "run", steps=60, text=False)]
    text = Addresses(compose(read_runs(runs))).text
    assert "x/run" in text
    assert "y/run" in text


def test_what_a_reader_must_know_is_on_the_page(make_run, tmp_path):
    text = Addresses(compose([read_run(make_run(tmp_path / "run", steps=60))])).text
    for words in (
        "v_0007: no frame could be decoded",
        "v_0031: truncated file",
        "caption names the label",
        "3 clips in the 6 logged of 60 steps came from a source shorter",
        "9f1c2ab04d77e310",
        "Of synth-1, the encoder has seen train.",
        "video to video is not measured",
        "the model alone",
        "true statistics pasted back",
    ):
        assert words in text, words


def test_a_part_that_is_missing_names_the_command_that_makes_it(make_run, tmp_path):
    run = make_run(tmp_path / "run", steps=60)
    (run / "results.json").unlink()
    (run / "pictures" / "samples.npz").unlink()
    text = Addresses(compose([read_run(run)])).text
    assert "No linear probe, kNN, retrieval and held-out reconstruction yet" in text
    assert f"tubelet evaluate {run} --on corpora/synth linear knn retrieval reconstruction" in text


def test_captions_and_names_are_text_and_never_markup(make_run, tmp_path):
    run = make_run(tmp_path / "run", steps=60)
    recipe = json.loads((run / "recipe.json").read_text())
    recipe["recipe"] = "<script>alert(1)</script>"
    (run / "recipe.json").write_text(json.dumps(recipe))
    assert "<script" not in compose([read_run(run)])


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


def test_a_log_cut_short_by_a_crash_is_read_up_to_there(make_run, tmp_path):
    run = make_run(tmp_path / "run", steps=60)
    log = run / "log.jsonl"
    log.write_bytes(log.read_bytes() + b'{"kind": "step", "st')
    again = read_run(run)
    assert again.last_step == 60
    assert "cut short" in again.remarks[0]


def test_of_a_step_that_was_logged_twice_the_last_word_holds(make_run, tmp_path):
    run = make_run(tmp_path / "run", steps=60)
    with (run / "log.jsonl").open("a") as file:
        file.write(json.dumps({"kind": "step", "step": 50, "pixels": 0.125}) + "\n")
    steps, values = read_run(run).series("pixels")
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
        write_report([run], mine)
    assert mine.read_text() == "my notes"
    assert write_report([run], tmp_path / "r.html") == write_report([run], tmp_path / "r.html")


def test_a_run_named_twice_is_refused(make_run, tmp_path):
    run = make_run(tmp_path / "run", steps=60)
    with pytest.raises(RunError, match="twice"):
        read_runs([run, run / ".." / "run"])


def test_the_curve_is_one_minus_loss_over_the_trivial_level_of_the_same_step(make_run, tmp_path):
    from tubelet.report.page import trivial_share

    run = make_run(tmp_path / "run", steps=60)
    (run / "log.jsonl").write_text(
        '{"kind": "step", "step": 1, "pixels": 0.5, "pixels.trivial": 1.0}\n'
        '{"kind": "step", "step": 2, "pixels": 0.3, "pixels.trivial": 0.4}\n'
        '{"kind": "step", "step": 3, "pixels": 0.0, "pixels.trivial": 0.0}\n'
        '{"kind": "step", "step": 4, "pixels": NaN, "pixels.trivial": 1.0}\n'
    )
    steps, values = trivial_share(read_run(run))
    assert list(steps) == [1, 2]
    assert values == pytest.approx([0.5, 0.25])


def test_no_colour_of_a_curve_is_fixed_so_that_it_follows_light_and_dark(make_run, tmp_path):
    page = compose([read_run(make_run(tmp_path / "run", steps=60))])
    charts = re.findall(r"<svg class=\"chart\".*?</svg>", page, flags=re.DOTALL)
    assert len(charts) >= 5
    for chart in charts:
        assert set(re.findall(r"(?:fill|stroke): (#[0-9a-f]+)", chart)) <= set()
