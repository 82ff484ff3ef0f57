"""The learning rate is a function of the step; who decays and who does not."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tubelet.errors import RecipeError
from tubelet.loading.mix import Mix
from tubelet.models import Classifier
from tubelet.models.decoder import Decoder
from tubelet.models.encoder import Vit
from tubelet.optim import LayerDecay, Optim, Trainable, layer_scales, learning_rate
from tubelet.tasks import Classification
from tubelet.types import Clip


def test_the_schedule_has_videomaes_golden_values():
    """Batch 2048, 100 steps an epoch, 801 epochs, base 1.5e-4, 40 epochs of warm-up, floor 1e-5."""
    total = 80_100
    optim = Optim(base_lr=1.5e-4, floor_lr=1e-5, warmup=4000 / total)
    rates = [optim.rate(step, total, clips=2048) for step in (0, 1, 3999, 4000, total - 1)]
    assert rates == pytest.approx([0, 3.00075e-7, 1.2e-3, 1.2e-3, 8.0e-5], rel=1e-6)


@settings(deadline=None)
@given(st.integers(1, 500), st.floats(0, 0.99), st.floats(0, 1), st.integers(1, 4096))
def test_the_rate_climbs_to_its_peak_and_then_only_falls(total, warmup, floor, clips):
    optim = Optim(base_lr=1e-3, floor_lr=floor * 1e-3, warmup=warmup)
    rates = [optim.rate(step, total, clips) for step in range(total)]
    peak = 1e-3 * clips / 256
    top = int(warmup * total + 1e-6)
    assert all(0 <= rate <= peak * (1 + 1e-12) for rate in rates)
    assert rates[:top] == sorted(rates[:top])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert rates[top] == pytest.approx(peak)
    assert rates[-1] >= floor * peak * (1 - 1e-12)


def test_the_cosine_is_half_way_down_in_the_middle():
    assert learning_rate(60, peak=2.0, floor=1.0, warmup=20, total=100) == pytest.approx(1.5)
    assert learning_rate(40, peak=2.0, floor=0.0, warmup=20, total=100) == pytest.approx(1 + math.cos(math.pi / 4))


def test_weight_decay_spares_biases_norms_and_the_mask_token():
    clip = Clip(frames=4, size=32)
    model = nn.ModuleDict(
        {
            "encoder": Vit(width=32, depth=1, heads=2).build(clip),
            "decoder": Decoder(width=32, depth=1, heads=2).build(32, clip),
        }
    )
    decayed, spared = Optim(weight_decay=0.3).build(model).param_groups
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.3, 0.0)
    names = {parameter: name for name, parameter in model.named_parameters()}
    spared_names = {names[parameter] for parameter in spared["params"]}
    expected = {name for name in names.values() if name.endswith(("bias", "mask_token")) or "norm" in name}
    assert spared_names == expected
    assert len(spared["params"]) + len(decayed["params"]) == len(names)


def test_frozen_parameters_are_not_optimised():
    model = nn.Linear(3, 3)
    model.weight.requires_grad_(False)
    groups = Optim().build(model).param_groups
    assert [len(group["params"]) for group in groups] == [0, 1]


def test_a_step_is_that_of_the_plain_adamw():
    torch.manual_seed(0)
    ours, reference = nn.Linear(5, 3), nn.Linear(5, 3)
    reference.load_state_dict(ours.state_dict())
    optimizer = Optim(weight_decay=0.1).build(ours)
    plain = torch.optim.AdamW(
        [{"params": [reference.weight], "weight_decay": 0.1}, {"params": [reference.bias], "weight_decay": 0.0}],
        lr=1.5e-4, betas=(0.9, 0.95), foreach=False, fused=False,
    )  # fmt: skip
    for _ in range(3):
        x = torch.randn(4, 5)
        for model, steps in ((ours, optimizer), (reference, plain)):
            steps.zero_grad()
            model(x).square().sum().backward()
            steps.step()
    torch.testing.assert_close(ours.weight, reference.weight)
    torch.testing.assert_close(ours.bias, reference.bias)


def test_a_detached_head_is_clipped_by_its_own_norm():
    class Probed(Trainable):
        def __init__(self):
            super().__init__()
            self.encoder, self.head = nn.Linear(3, 2), nn.Linear(4, 2)

        def detached_parameters(self):
            return self.head.parameters()

    model = Probed()
    gradients = {"encoder": 0.5, "head": 100.0}
    for name, value in gradients.items():
        for parameter in getattr(model, name).parameters():
            parameter.grad = torch.full_like(parameter, value)
    norms = Optim(clip_norm=1.0).clip(model)
    expected = {"gradient_norm": 0.5 * 8**0.5, "gradient_norm.detached": 100 * 10**0.5}
    assert {name: value.item() for name, value in norms.items()} == pytest.approx(expected)
    for name, count in (("encoder", 8), ("head", 10)):
        for parameter in getattr(model, name).parameters():
            torch.testing.assert_close(parameter.grad, torch.full_like(parameter, count**-0.5))


def test_without_a_detached_head_there_is_one_norm_and_no_limit_unless_it_is_asked_for():
    model = nn.Linear(3, 2)
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 7.0)
    assert list(Optim().clip(model)) == ["gradient_norm"]
    assert all((parameter.grad == 7).all() for parameter in model.parameters())


@pytest.mark.parametrize(
    "wrong", [{"warmup": 1.0}, {"warmup": -0.1}, {"base_lr": 0.0}, {"floor_lr": 1.0}, {"clip_norm": 0.0}]
)
def test_values_without_a_meaning_are_refused(wrong):
    with pytest.raises(RecipeError, match="optim"):
        Optim(**wrong)


def test_layer_decay_has_the_golden_values_of_vit_b():
    scales = layer_scales(0.75, 14)  # the embedding, twelve blocks, norm and head
    assert [round(scale, 4) for scale in (*scales[:2], *scales[-2:])] == [0.0238, 0.0317, 0.75, 1.0]
    assert layer_scales(1.0, 3) == [1, 1, 1]


def test_every_parameter_of_a_classifier_has_the_rate_of_its_layer():
    model = Classifier(Vit(width=32, depth=2, heads=2), Clip(frames=4, size=32), classes=3)
    optimizer = LayerDecay(layer_decay=0.5, weight_decay=0.3).build(Classification(model, Mix()))
    names = {parameter: name for name, parameter in model.named_parameters()}
    found = {names[p]: group for group in optimizer.param_groups for p in group["params"]}
    assert set(found) == set(names.values())
    expected = {"encoder.embed": 0.125, "encoder.blocks.0": 0.25, "encoder.blocks.1": 0.5, "norm": 1.0, "head": 1.0}
    for name, group in found.items():
        assert group["scale"] == next(scale for start, scale in expected.items() if name.startswith(start))
        assert group["weight_decay"] == (0.0 if name.endswith("bias") or "norm" in name else 0.3)


def test_a_module_that_follows_its_weights_is_told_of_every_step():
    class Following(Trainable):
        count = 0

        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(2, 1)

        def after_step(self) -> None:
            self.count += 1

    model = Following()
    optimizer = Optim().build(model)
    for _ in range(3):
        model.linear(torch.ones(1, 2)).sum().backward()
        optimizer.step()
    assert model.count == 3


def test_a_layer_decay_without_a_meaning_is_refused():
    with pytest.raises(RecipeError, match=r"optim\.layer_decay"):
        LayerDecay(layer_decay=0.0)


def test_a_layer_decay_without_layers_is_refused():
    with pytest.raises(RecipeError, match="fine-tuning"):
        LayerDecay().build(nn.Linear(2, 1))
