"""Any text as the name of a file: readable, its own, and never a way out of its folder."""

import re
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tubelet.errors import TubeletError
from tubelet.files import file_name, within

hostile = st.text() | st.text(alphabet="./\\ ~-:abcN\0\n\u202e\ud800")


@given(hostile)
@example("")
@example("..")
@example("../../x")
@example("C:\\Windows")
@example("nul.txt")
@example("com1 .x")
@example("a" * 300)
@example("\N{SNOWMAN}" * 100)
def test_any_text_is_one_name_in_its_folder_on_any_system(text):
    name = file_name(text)
    assert Path("folder", name).resolve() == Path("folder").resolve() / name
    assert Path("folder", f"{name}.json").parent == Path("folder")
    assert not re.search(r'[/\\:*?"<>|\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]', name)
    assert 0 < len(name.encode()) <= 200
    assert name[0] not in " .-"
    assert name[-1] not in " ."
    assert name.split(".")[0].strip().upper() not in ("CON", "PRN", "AUX", "NUL", "COM1", "LPT9")


@given(hostile, hostile)
@example("a/b", "a\\b")
@example("a/b", file_name("a/b"))
@example("x" * 300, "x" * 301)
@example("e\u0301", "\u00e9")
def test_different_texts_have_different_names(one, other):
    assert (file_name(one) == file_name(other)) == (one == other)


@pytest.mark.parametrize(
    "text",
    [
        "linear",
        "linear as sgd",
        "linear on synth-1-9f1c2ab0, label colour",
        "text-0.75",
        "search a star",
        "été",
        "動画",
    ],
)
def test_an_ordinary_text_is_its_own_name_so_that_files_of_old_runs_are_found(text):
    assert file_name(text) == text


def test_what_a_file_could_hold_of_any_text_can_be_written_under_its_name(tmp_path):
    for text in ("../../x", "a\nb", "\0", "con", "\udc80", "\N{SNOWMAN}" * 300, ".", "~", "a" * 255):
        (tmp_path / f"{file_name(text)}.safetensors").write_text(ascii(text))
    assert len(list(tmp_path.iterdir())) == 9


def test_a_link_that_leads_out_of_a_strangers_folder_is_refused_and_one_that_stays_is_followed(tmp_path):
    run = tmp_path / "run"
    (run / "pictures").mkdir(parents=True)
    (tmp_path / "secret").write_text("secret")
    (run / "out").symlink_to(tmp_path / "secret")
    (run / "up").symlink_to(tmp_path, target_is_directory=True)
    (run / "in").symlink_to("pictures", target_is_directory=True)
    assert within(run, "in", "x.png") == run / "in" / "x.png"
    for names in (["out"], ["up", "secret"], ["..", "secret"], [str(tmp_path / "secret")]):
        with pytest.raises(TubeletError, match="leads out of"):
            within(run, *names)
