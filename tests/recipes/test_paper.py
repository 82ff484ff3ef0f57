"""The cells of the paper: their masks, their price, and what their pages say."""

import inspect

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from tubelet.cli import Parser
from tubelet.cli.pretrain import help_on
from tubelet.models import Base, Decoder
from tubelet.objectives import Contrast
from tubelet.recipes import RECIPES, find
from tubelet.recipes.paper import CELLS, PAPER
from tubelet.recipes.paper.cells import HIDDEN
from tubelet.recipes.paper.cost import hours, step_flops
from tubelet.types import Clip


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
def test_a_cell_is_a_recipe_with_a_page_that_says_what_is_known(cell):
    _, recipe = find(cell.name, RECIPES)
    config = recipe()
    assert config.masker.budget(config.clip).total == HIDDEN[cell.mask]
    assert config.epochs == 200
    assert any(isinstance(part, Contrast) for part in config.objectives.values()) == cell.contrast
    assert config.data.sampling.stride == (2 if cell.data == "ssv2" else 4)
    assert not config.data.augment.flip
    page = inspect.getdoc(recipe)
    for said in ("Not yet run by us", "Reported by the paper", "GPU-hours", f"pretrain {cell.name} --on"):
        assert said in page
    assert max(map(len, page.splitlines())) <= 120
    assert page.splitlines()[0] in help_on([cell.name], Parser())
    assert ("saliency motion" in page) == (cell.mask == "mgm")
    assert ("saliency text" in page) == (cell.mask == "tgm" or cell.contrast)


def test_there_is_every_cell_once():
    assert len({cell.name for cell in CELLS}) == len(PAPER) == 12


@pytest.mark.parametrize("mask", HIDDEN)
def test_the_flops_are_those_that_are_counted_on_the_model(mask):
    hidden, clip = HIDDEN[mask], Clip()
    with torch.device("meta"):
        encoder, decoder = Base().build(clip), Decoder().build(768, clip)
        visible, masked = (torch.zeros(1, n, dtype=torch.int64) for n in (clip.num_tubelets - hidden, hidden))
        with FlopCounterMode(display=False) as counter:
            decoder(encoder(torch.zeros(1, visible.shape[1], clip.tubelet_values), visible), visible, masked)
    assert step_flops(hidden) == pytest.approx(3 * counter.get_total_flops(), rel=1e-3)


def test_gpu_hours_are_flops_over_what_a_gpu_does():
    assert hours(312e12 * 0.4 * 3600, 10, 2.0) == pytest.approx(20)
