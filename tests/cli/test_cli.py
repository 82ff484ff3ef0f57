import os
import subprocess
import sys

import pytest

from tubelet.captioning import CAPTIONERS
from tubelet.cli import VERBS, main
from tubelet.cli.parts import parts_of
from tubelet.loading.pairings import PAIRINGS
from tubelet.maskers import DECODES, MASKERS, TOKENS
from tubelet.models import DECODERS
from tubelet.objectives import OBJECTIVES, WHENS
from tubelet.objectives.targets import TARGETS
from tubelet.recipes import RECIPES
from tubelet.recipes.finetune import FINETUNES
from tubelet.recipes.phases import PHASES
from tubelet.saliency_maps import SOURCES
from tubelet.streams.towers import TOWERS
from tubelet.teachers import TEACHERS


def test_no_help_imports_torch_or_transformers_or_numpy():
    code = """
import contextlib
import sys
from tubelet.cli import VERBS, main
for words in (["--help"], *([verb, "--help"] for verb in VERBS)):
    with contextlib.suppress(SystemExit):
        main(words)
print([name for name in ("torch", "transformers", "numpy") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("registry", "parts"),
    [
        ("recipes.RECIPES", RECIPES),
        ("recipes.finetune.FINETUNES", FINETUNES),
        ("recipes.phases.PHASES", PHASES),
        ("maskers.MASKERS", MASKERS),
        ("maskers.DECODES", DECODES),
        ("objectives.OBJECTIVES", OBJECTIVES),
        ("objectives.targets.TARGETS", TARGETS),
        ("objectives.when.WHENS", WHENS),
        ("models.DECODERS", DECODERS),
        ("loading.pairings.PAIRINGS", PAIRINGS),
        ("streams.towers.TOWERS", TOWERS),
        ("teachers.TEACHERS", TEACHERS),
        ("captioning.CAPTIONERS", CAPTIONERS),
        ("saliency_maps.SOURCES", SOURCES),
    ],
)
def test_help_lists_each_part_with_the_first_line_of_its_docstring_and_the_maps_it_needs(registry, parts):
    module, _, name = f"tubelet.{registry}".rpartition(".")
    found = parts_of(module, name)
    assert [one for one, _ in found] == [part.__name__ for part in parts]
    for part, (one, line) in zip(parts, found, strict=True):
        of_file = (sys.modules[part.__module__].__doc__ or "").partition("\n")[0]
        own = (part.__doc__ or "").strip().partition("\n")[0]
        story = of_file.removeprefix(f"{one}: ") if of_file.startswith(f"{one}: ") else own
        story = story[:1].upper() + story[1:]
        assert story.endswith("."), f"the first line of {one} is no whole sentence"
        needs = getattr(part, "needs", ()) if isinstance(part, type) else ()
        if isinstance(needs, property):
            assert line == f"{story} [maps: by its fields]"
        else:
            maps = ", ".join(name for name in needs if name != TOKENS)
            assert line == story + (f" [maps: {maps}]" if maps else "")


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


def test_what_is_printed_to_a_closed_output_lands_in_no_file_that_is_opened_later(tmp_path):
    code = """
import sys
from tubelet.cli import entry
from tubelet.terminal import open_closed_streams
open_closed_streams()
with open("file.txt", "w"):
    sys.argv = ["tubelet", "--help"]
    entry()
"""
    words = [sys.executable, "-c", code]
    shell = ["sh", "-c", 'exec "$@" >&- <&-', "sh", *words]
    done = subprocess.run(shell, capture_output=True, cwd=tmp_path, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert (tmp_path / "file.txt").read_text() == ""


def test_a_command_in_a_deleted_folder_says_so_in_a_line(tmp_path, monkeypatch, capsys):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert main(["index", str(tmp_path), "--out", str(tmp_path / "c")]) == 2
    assert capsys.readouterr().err == (
        "tubelet: the folder that this command was started in has been deleted; cd to another\n"
    )


@pytest.mark.parametrize("verb", ["embed", "evaluate", "predict", "search"])
def test_a_batch_holds_at_least_a_clip(verb, capsys):
    for word in ("0", "-3", "many"):
        assert main([verb, "run", "x", "--batch", word]) == 2
        assert f"argument --batch: {word} must be a whole number, at least 1" in capsys.readouterr().err


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


def test_settings_that_each_fold_selected_are_counted():
    from tubelet.cli.tables import in_words

    assert in_words(0.1) == "0.1"
    assert in_words([0.1, 1.0, 0.1]) == "0.1 in 2 folds and 1.0 in 1 fold"
