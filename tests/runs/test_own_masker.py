"""`tubelet masks` measures a masker of one's own, named by its file as it stands there, and that of a run."""

import json

import pytest

from tubelet.cli import main
from tubelet.diagnostics.masks import LEARNED, TRAINED, masks
from tubelet.runs.folder import read_run_config

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


def test_like_a_run_its_own_masker_is_measured_beside_the_others_a_learned_one_as_it_was_trained(
    recipes, corpus, tmp_path
):
    run = tmp_path / "run"
    words = [f"{recipes}:adaptive", "steps=4", "optim.base_lr=10", "optim.warmup=0", "--on", str(corpus)]
    assert main(["pretrain", *words, "--out", str(run)]) == 0
    found = masks(corpus, "Tube:ratio=0.5", "Adaptive:ratio=0.5", like=run, pictures=1)
    assert list(found.fixed) == ["Adaptive of the run", "Tube ratio=0.5", "Adaptive ratio=0.5"]
    assert found.remarks == {"Adaptive of the run": TRAINED, "Adaptive ratio=0.5": LEARNED}
    assert found.fixed["Adaptive of the run"]["hidden"] == 0.5
    config = read_run_config(run).config
    fresh = masks(corpus, "Tube:ratio=0.5", like=config, pictures=1)
    assert fresh.remarks == {"Adaptive of the run": LEARNED}
    [drawn], [before] = (one.pictures[:1] for one in (found, fresh))
    assert (drawn.hidden["Adaptive of the run"] != before.hidden["Adaptive of the run"]).any()
    larger = masks(corpus, "Tube:ratio=0.5", "clip.size=48", like=run, pictures=1)
    assert larger.remarks == {"Adaptive of the run": LEARNED}  # the trained one knows its own clips alone


def test_a_run_that_was_not_pretrained_has_no_masker_to_measure(corpus, recipes, tmp_path):
    run, tuned = tmp_path / "run", tmp_path / "tuned"
    assert main(["pretrain", f"{recipes}:pixels", "steps=1", "--on", str(corpus), "--out", str(run)]) == 0
    words = ["tiny", "steps=1", "batch=2", "rates=0.01", "views=1x1", "held_out=0.5", "--on", str(corpus)]
    assert main(["finetune", str(run), *words, "--out", str(tuned)]) == 0
    assert list(masks(corpus, "Random:ratio=0.5", like=tuned, pictures=1).fixed) == ["Random ratio=0.5"]
    assert list(masks(corpus, "Random:ratio=0.5", like=run, pictures=1).fixed) == [
        "Tube of the run",
        "Random ratio=0.5",
    ]
