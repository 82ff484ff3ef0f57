"""Progress goes to stderr and says nothing before there is something to say; results alone are on stdout."""

import pytest

from tubelet import progress as module
from tubelet.cli import main
from tubelet.progress import Bar, Progress, named


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_is_on_stderr_alone(terminal, capsys, monkeypatch):
    if terminal:
        monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr(module, "EVERY", 0.0)
    monkeypatch.setattr(module, "SPEAK", 0.0)
    with Bar("decoding", "videos") as progress:
        assert progress.live == terminal
        for done in range(4):
            progress(done, 3)
    said = capsys.readouterr()
    assert said.out == ""
    assert "decoding" in said.err
    assert ("decoding: 3 of 3 videos" in said.err) != terminal


def test_off_a_terminal_short_work_says_nothing(capsys):
    with Bar("decoding", "videos") as progress:
        for done in range(4):
            progress(done, 3)
    assert capsys.readouterr() == ("", "")


def test_a_bar_without_a_name_tells_each_part_of_the_work_by_its_own(capsys, monkeypatch):
    monkeypatch.setattr(module, "SPEAK", 0.0)
    with Bar() as progress:
        for done in range(3):
            named(progress, "decoding")(done, 2, "1 failed" if done else "")
        named(progress, "training")(0, 50, "")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "decoding: 0 of 2"
    assert lines[2].startswith("decoding, 1 failed: 2 of 2, ")
    assert lines[3] == "training: 0 of 50"  # no pace of the part before


def test_off_a_terminal_a_bar_that_is_not_paced_prints_the_first_and_the_last_step(capsys):
    with Bar(paced=False) as bar:
        for done in range(11, 51):
            bar(done, 50, f"loss {done}")
    assert capsys.readouterr().err.splitlines() == ["step 11/50  loss 11", "step 50/50  loss 50"]


def test_any_callable_of_three_is_a_progress():
    told: list[tuple[int, int, str]] = []
    progress: Progress = lambda *args: told.append(args)  # noqa: E731
    named(progress, "reading")(1, 2, "")
    assert told == [(1, 2, "reading")]


@pytest.mark.parametrize("terminal", [True, False])
def test_an_error_before_the_work_stands_alone(terminal, capsys, monkeypatch, tmp_path):
    if terminal:
        monkeypatch.setenv("FORCE_COLOR", "1")
    (tmp_path / "videos").mkdir()
    assert main(["index", str(tmp_path / "videos"), "--out", str(tmp_path / "corpus")]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    assert line.startswith("tubelet: ")
    assert not (tmp_path / "corpus").exists()
