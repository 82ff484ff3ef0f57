"""`tubelet masks` measures a masker of one's own, named by its file as it stands there."""

import json

import pytest

from tubelet.cli import main

MINE = '''
"""Hides the first tubelets of every clip."""

import chz
import torch

from tubelet.maskers import Masker
from tubelet.types import Budget, Clip


@chz.chz
class FirstOnes(Masker):
    ratio: float = chz.field(default=0.5, doc="share that is hidden")

    def budget(self, clip: Clip) -> Budget:
        return Budget(round(self.ratio * clip.num_tubelets), "clip", clip.grid)

    def scores(self, batch, clip, key, tokens=None):
        return torch.arange(clip.num_tubelets, 0, -1).float().expand(len(batch), -1)


def a_function():
    """No masker."""
'''


@pytest.fixture
def mine(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(MINE)
    return path


def test_a_masker_of_a_file_is_measured_beside_the_others(mine, corpus, tmp_path, capsys):
    fields = ["clip.frames=4", "clip.size=32", "--clips", "2", "--pictures", "1", "--out", str(tmp_path / "out")]
    words = [f"{mine}:FirstOnes", f"{mine}:FirstOnes:ratio=0.25", "Tube:ratio=0.5"]
    assert main(["masks", str(corpus), *words, *fields]) == 0, capsys.readouterr().err
    found = json.loads((tmp_path / "out" / "masks.json").read_text())
    assert {"FirstOnes", "FirstOnes ratio=0.25", "Tube ratio=0.5"} <= set(json.dumps(found).split('"'))
    assert "FirstOnes" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "said"),
    [("a_function", "is no masker"), ("Nobody", "has no function 'Nobody'"), ("FirstOnes:ratoi=1", "masker.ratoi")],
)
def test_what_is_no_masker_is_refused(mine, corpus, capsys, name, said):
    assert main(["masks", str(corpus), f"{mine}:{name}", "clip.frames=4", "clip.size=32"]) == 2
    assert said in capsys.readouterr().err
