"""Progress goes to stderr and says nothing before there is something to say; results alone are on stdout."""

import pytest

from tubelet.cli import bar, main
from tubelet.cli.bar import Bar


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_is_on_stderr_alone(terminal, capsys, monkeypatch):
    if terminal:
        monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr(bar, "EVERY", 0.0)
    monkeypatch.setattr(bar, "SPEAK", 0.0)
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
