"""A target, a pairing and an objective of a user's own file work from the command line, registered nowhere."""

import json

from support.small_runs import pretrain, steps
from tubelet.cli import main
from tubelet.reports.page import commands
from tubelet.run_record import RunRecord
from tubelet.runs.run import Run

MINE = '''
import chz
import torch

from tubelet.loading.pairings import Pairing, Shot
from tubelet.maskers import Random
from tubelet.objectives import Objective, Predict
from tubelet.objectives.targets import Scores, Target
from tubelet.models.patches import gather
from tubelet.streams import Stream
from tubelet.types import Loss

RECIPES


@chz.chz
class Brightness(Target):
    """How bright a tubelet is: one number."""

    scale: float = chz.field(default=255.0, doc="brightest value")

    def width(self, sizes):
        return 1

    def score(self, prediction, seen):
        bright = gather(seen.tubelets, seen.mask.decode).float().mean(-1, keepdim=True) / self.scale
        return Scores((prediction.float() - bright).square().mean(-1), bright.var())


@chz.chz
class LastFrame(Pairing):
    """The last frame that the clip has, over and over."""

    def shot(self, drawn, clip, rng):
        return Shot(drawn.times[-1:].repeat(clip.frames), drawn.crop)


@chz.chz
class Small(Objective):
    """Tokens should be small."""

    def build(self, sizes):
        return SmallLoss(sizes.name)


class SmallLoss(torch.nn.Module):
    def __init__(self, name):
        super().__init__()
        self.name = name

    def forward(self, seen):
        loss = seen.of("second").tokens.square().mean()
        return Loss(loss, {self.name: loss.detach(), f"{self.name}.baseline": loss.detach()})


def mine():
    return pixels()
'''


def test_parts_of_ones_own_train_from_words_and_are_read_back_with_the_run(tmp_path, corpus, recipes, capsys):
    path = tmp_path / "mine.py"
    path.write_text(MINE.replace("RECIPES", recipes.read_text()))
    words = [
        "streams.second=Stream", "streams.second.pairing=LastFrame", "streams.second.masker=Random",
        "streams.second.masker.ratio=0.5", "objectives.bright=Predict", "objectives.bright.on=second",
        "objectives.bright.target=Brightness", "objectives.bright.target.scale=100",
        "objectives.bright.decoder.width=32", "objectives.bright.decoder.depth=1", "objectives.bright.decoder.heads=2",
        "objectives.small=Small", "objectives.small.weight=0.1", "steps=3",
    ]  # fmt: skip
    run = tmp_path / "run"
    assert pretrain(f"{path}:mine", *words, "--on", corpus, "--out", run) == 0, capsys.readouterr().err
    assert "--trust-code` and `tubelet report" in capsys.readouterr().out  # the next command runs as it is suggested
    assert {"bright", "bright.baseline", "small", "pixels"} <= steps(run)[-1].keys()
    recorded = json.loads((run / "recipe.json").read_text())
    assert recorded["own"] == ["objectives.bright.target", "objectives.small", "streams.second.pairing"]
    assert Run(run).config.objectives["bright"].target.scale == 100
    measured = ["evaluate", str(run), "reconstruction", "--on", str(corpus), "--trust-code"]
    assert main(measured) == 0, capsys.readouterr().err
    assert any(line.endswith("reconstruction --trust-code") for line in commands(RunRecord.read(run)))


def test_a_part_whose_name_is_nearly_that_of_ones_own_is_refused_with_it(tmp_path, corpus, recipes, capsys):
    path = tmp_path / "mine.py"
    path.write_text(MINE.replace("RECIPES", recipes.read_text()))
    words = ["streams.second=Stream", "streams.second.pairing=LastFrme"]
    assert pretrain(f"{path}:mine", *words, "--on", corpus, "--out", tmp_path / "run") == 2
    assert "there is no Pairing called 'LastFrme'; did you mean LastFrame?" in capsys.readouterr().err
