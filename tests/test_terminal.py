"""What a user's or a stranger's text does to the terminal: nothing."""

import io
import json
import os
import pty
import re
import sys
from contextlib import redirect_stderr

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.table import Table

from tubelet import cli, log, progress
from tubelet.cli import main
from tubelet.progress import Bar
from tubelet.results import Metric, Result, write_result

STEERS = "\x1b]0;owned\x07\x1b[2J\x1b[31m\x9b1A\r\u202eexe"
OWN = re.compile(
    r"\x1b\[(\?25[lh]|[012]?K|1A|[0-9;]*m)"
)  # what a bar needs: cursor on and off, line up, line away, colours


def steers(text: str) -> bool:
    """Whether a terminal would do anything but show it."""
    return bool(re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text))


@given(st.text())
def test_no_text_keeps_a_character_that_steers_a_terminal_and_ordinary_text_stays(text):
    from tubelet.escape import visible

    made = visible(text)
    assert not [sign for sign in made if not sign.isprintable() and not sign.isspace() and ord(sign) < 0xA0]
    assert "\r" not in made
    made.encode()  # no half of a surrogate pair is left
    assert visible(made) == made
    plain = "".join(sign for sign in text if sign.isalnum())
    assert visible(plain) == plain


@pytest.mark.parametrize(
    "words",
    [
        ["evaluate", f"no run {STEERS}"],
        [STEERS],
        ["index", STEERS, "--out", "c"],
        ["report", STEERS, "--out", "r.html"],
        ["pretrain", f"{STEERS}.py:mine", "--on", "c", "--out", "r"],
        ["search", STEERS, STEERS],
        ["evaluate", "run\ntubelet: all is well"],
    ],
)
def test_a_control_sequence_in_an_argument_is_written_out_in_the_one_line_of_the_error(words, capsys):
    assert main(words) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert not steers(error)
    assert "\\" in error


def test_names_in_a_table_and_in_a_sentence_are_texts_without_markup_or_control(tmp_path, capsys):
    """`compare` prints the names of runs, entries and metrics of other people's run folders."""
    hostile = f"[red]{STEERS}[/] :boom: [link=http://evil.example]x[/link]"
    runs = []
    for seed, name in enumerate((f"one [bold] {STEERS}", "two [/]")):
        run = tmp_path / name.replace("/", "")
        run.mkdir()
        recipe = {"recipe": hostile, "corpus": {"name": hostile, "fingerprint": name}, "values": {"seed": seed}}
        (run / "recipe.json").write_text(json.dumps(recipe))
        metrics = {f"{hostile}.accuracy": Metric(0.5)}
        write_result(run, hostile, Result(metrics, baselines={hostile: Result(metrics)}))
        runs.append(str(run))
    assert main(["compare", *runs]) == 0
    said = capsys.readouterr().out
    assert not steers(said)
    assert "NOT THE SAME" in said
    for part in ("[red]", ":boom:", "[bold]", r"\x1b[2J"):
        assert part in said.replace("\n", ""), part


def test_a_cell_of_a_table_that_holds_control_characters_is_shown_whole():
    from tubelet.console import Console

    made = io.StringIO()
    table = Table("a column")
    table.add_row("\x1b[31m and [red]")
    Console(file=made, width=60).print(table)
    assert r"\x1b[31m and [red]" in made.getvalue()


def on_a_terminal(work) -> str:
    """What a pseudo-terminal receives on standard error."""
    reader, writer = pty.openpty()
    with os.fdopen(writer, "w") as stream, redirect_stderr(stream):
        work()
    received = b""
    while True:
        try:
            part = os.read(reader, 4096)
        except OSError:
            break
        received += part
    os.close(reader)
    return received.decode()


@pytest.mark.parametrize("kind", ["work", "training"])
def test_what_is_printed_beside_a_live_bar_is_shown_and_the_bar_keeps_its_own_movements(kind, monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setattr(progress, "EVERY", 0.0)

    from tubelet.terminal import shown_streams

    def work():
        with shown_streams():
            if kind == "work":
                with Bar("reading", "videos") as bar:
                    bar(1, 2, "[red]")
                    print(f"a name: {STEERS}", file=sys.stderr)
                    bar(2, 2, "")
            else:
                with Bar(paced=False) as bar:
                    bar(1, 2, log.relative_losses({f"[red]{STEERS}": 1.0, f"[red]{STEERS}.baseline": 2.0}))
                    print(f"a name: {STEERS}", file=sys.stderr)

    received = on_a_terminal(work)
    assert "\x1b[" in received  # the bar is live
    own = OWN.sub("", received).replace("\r", "")
    assert not steers(own)
    assert r"a name: \x1b]0;owned\x07" in own
    assert "[red]" in own


def test_a_fault_of_ours_is_told_whole_and_steers_no_terminal(capsys, monkeypatch):
    def fails(argv: list[str]) -> int:
        raise RuntimeError(f"{argv[-1]}\nsecond line")

    monkeypatch.setattr(cli, "run", fails)
    monkeypatch.setattr(sys, "argv", ["tubelet", "report", "\x1b]0;owned\x07"])
    with pytest.raises(SystemExit) as ended:
        cli.entry()
    assert ended.value.code == 1
    error = capsys.readouterr().err
    assert "Traceback" in error
    assert "\\x1b]0;owned\\x07\nsecond line" in error
    assert "\x1b" not in error
