"""Maskers, objectives and loggers of installed packages are found by name, and nothing of them is imported before."""

import sys

import pytest

from tubelet.cli import main
from tubelet.config import from_plain, override, to_plain
from tubelet.errors import TubeletError
from tubelet.log import Log
from tubelet.recipes import Pretrain

MODULE = """
import json

import chz

from tubelet.maskers import Random
from tubelet.objectives import Pixels


@chz.chz
class Noisy(Random):
    strength: float = chz.field(default=2.0, doc="how noisy")


@chz.chz
class Sharp(Pixels):
    pass


class Lines:
    def __init__(self, folder, step, config):
        self.path = folder / "lines.txt"

    def log(self, values, step):
        with self.path.open("a") as file:
            file.write(f"{step} {json.dumps(values)}\\n")

    def finish(self):
        with self.path.open("a") as file:
            file.write("end\\n")
"""
POINTS = """
[tubelet.maskers]
Noisy = tubelet_noisy:Noisy
Gone = tubelet_gone:Gone
Wrong = tubelet_noisy:Lines

[tubelet.objectives]
Sharp = tubelet_noisy:Sharp

[tubelet.loggers]
lines = tubelet_noisy:Lines
"""


@pytest.fixture(autouse=True)
def package(tmp_path, monkeypatch):
    """An installed package, as pip leaves it."""
    site = tmp_path / "site"
    info = site / "tubelet_noisy-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "tubelet_noisy.py").write_text(MODULE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tubelet-noisy\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(POINTS)
    monkeypatch.syspath_prepend(str(site))
    yield
    sys.modules.pop("tubelet_noisy", None)


def test_parts_of_a_package_are_named_as_ours_and_a_recorded_recipe_finds_them_again():
    config = override(Pretrain(steps=1), ["masker=Random"])
    assert "tubelet_noisy" not in sys.modules
    config = override(config, ["masker=Noisy", "masker.strength=3", "objectives.more=Sharp"])
    assert (type(config.masker).__name__, config.masker.strength) == ("Noisy", 3.0)
    again = from_plain(Pretrain, to_plain(config), "recipe.json")
    assert again == config


def test_a_logger_of_a_package_is_opened_by_its_name(tmp_path):
    with Log(tmp_path / "log.jsonl", loggers=("lines",)) as log:
        log.write("step", 1, loss=0.5)
    assert (tmp_path / "lines.txt").read_text().splitlines() == ['1 {"loss": 0.5}', "end"]


def test_help_lists_what_packages_offer(capsys):
    assert main(["pretrain", "--help"]) == 0
    assert "Noisy" in capsys.readouterr().out
    assert "tubelet_noisy" not in sys.modules


def test_what_is_wrong_with_a_package_is_one_sentence():
    for word, said in (
        ("masker=Gone", "Gone is offered by the installed package tubelet-noisy, and importing it failed"),
        ("masker=Wrong", "the entry point Wrong of tubelet.maskers is no class that derives from Masker"),
        ("masker=Noisi", "did you mean Noisy"),
    ):
        with pytest.raises(TubeletError, match=said):
            override(Pretrain(steps=1), [word])
