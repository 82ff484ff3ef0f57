import os
import subprocess
import sys

import pytest

from tubelet.cli import VERBS, main


def test_help_imports_neither_torch_nor_transformers():
    code = """
import sys
from tubelet.cli import main
main(["--help"])
print([name for name in ("torch", "transformers", "numpy") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_an_unknown_command_is_one_line_with_the_nearest_name_and_exit_code_2(capsys):
    assert main(["pretran"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "did you mean pretrain?" in error


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_leaves_early_as_head_does_ends_a_command_quietly(unbuffered):
    reader, writer = os.pipe()
    os.close(reader)
    words = [sys.executable, "-m", "tubelet", "--help"]
    environment = os.environ | {"PYTHONUNBUFFERED": unbuffered}
    done = subprocess.run(words, stdout=writer, stderr=subprocess.PIPE, env=environment, check=False)
    os.close(writer)
    assert done.stderr == b""
    assert done.returncode == 141


@pytest.mark.parametrize("verb", VERBS)
def test_every_command_has_help(verb, capsys):
    try:
        code = main([verb, "--help"])
    except SystemExit as stop:
        code = stop.code
    assert code == 0
    assert f"tubelet {verb}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("index videos --out corpus --caption table.csv", "unknown option --caption, did you mean --captions?"),
        ("pretrain tiny --on corpus --out run --steps=9", "a field is written without dashes, as in steps=VALUE"),
    ],
)
def test_half_an_option_and_a_field_with_dashes_are_refused_with_what_was_meant(words, said, capsys):
    assert main(words.split()) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("verb", VERBS)
def test_an_unknown_option_is_one_line_and_exit_code_2(verb, capsys):
    assert main([verb, "--no-such-option"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert error.startswith("tubelet: ")
