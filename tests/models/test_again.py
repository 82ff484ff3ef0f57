"""What is made again for its gradient changes no number and is not kept."""

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F

from tubelet.maskers import Tube
from tubelet.models import Base, again, attention
from tubelet.models.again import linear_of
from tubelet.models.blocks import Block, Mlp
from tubelet.models.patches import cut, gather
from tubelet.recipes.pretrain import Pretrain
from tubelet.types import Batch, Encoded, Mask


def apart(found, expected):
    return ((found.double() - expected.double()).norm() / expected.double().norm()).item()


@pytest.mark.parametrize("make", [nn.LayerNorm(24), F.gelu], ids=["norm", "GELU"])
@pytest.mark.parametrize("bias", [True, False])
def test_a_layer_of_what_is_made_again_has_the_gradients_of_one_that_keeps_it(make, bias, monkeypatch):
    monkeypatch.setattr(again, "WIDE", 0)
    torch.manual_seed(0)
    layer, x, gradient = nn.Linear(24, 10, bias=bias), torch.randn(2, 7, 24, requires_grad=True), torch.randn(2, 7, 10)
    inputs = [x, *layer.parameters(), *(make.parameters() if isinstance(make, nn.Module) else ())]
    found = linear_of(make, x, layer.weight, layer.bias)
    expected = layer(make(x))
    assert torch.equal(found, expected)
    for ours, theirs in zip(*(torch.autograd.grad(one, inputs, gradient) for one in (found, expected)), strict=True):
        assert apart(ours, theirs) < 1e-6


def test_a_wide_layer_takes_tensors_without_content():
    with torch.device("meta"):
        block, x = Block(again.WIDE, 4, again.WIDE, 1e-6), torch.zeros(1, 5, again.WIDE)
        block(x).sum().backward()


def block_step(block, x, last):
    x = x.clone().requires_grad_()
    loss = block(x, last).float().square().mean()
    return loss.detach(), torch.autograd.grad(loss, [x, *block.parameters()])


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("last", [None, 5])
@pytest.mark.parametrize("gelu", [False, True])
def test_a_block_that_makes_norms_and_gelus_again_equals_one_that_keeps_them(precision, last, gelu, monkeypatch):
    torch.manual_seed(0)
    block, x = Block(48, 2, 96, 1e-6), torch.randn(3, 11, 48)
    found = []
    for wide, block.mlp.recompute_gelu in ((1 << 20, False), (0, gelu)):
        monkeypatch.setattr(again, "WIDE", wide)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16"):
            found.append(block_step(block, x, last))
    (plain, of_plain), (made, of_made) = found
    assert made.item() == pytest.approx(plain.item(), rel=1e-6)
    for ours, theirs in zip(of_made, of_plain, strict=True):
        assert apart(ours, theirs) < (1e-5 if precision == "fp32" else 2**-9)


def kept(ratio, count, gelu, monkeypatch):
    """Bytes that a step of so many clips of a ViT-B keeps for its gradient in bf16, without parameters; nothing is
    computed."""
    found = {}
    monkeypatch.setattr(nn.init, "trunc_normal_", lambda tensor, **how: tensor)  # it looks at what it drew
    with FakeTensorMode():
        config = Pretrain(encoder=Base(), masker=Tube(ratio=ratio), steps=1)
        task, clip = config.build(None), config.clip
        own = {one.untyped_storage()._cdata for one in (*task.parameters(), *task.buffers())}
        for module in task.modules():
            if isinstance(module, Mlp):
                module.recompute_gelu = gelu

        def keep(tensor):
            storage = tensor.untyped_storage()
            if storage._cdata not in own:
                found[storage._cdata] = storage
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x), torch.autocast("cpu", dtype=torch.bfloat16):
            video = torch.zeros(count, 3, clip.frames, clip.size, clip.size, dtype=torch.uint8)
            hidden = torch.zeros(count, config.masker.budget(clip).total, dtype=torch.int64)
            visible = torch.zeros(count, clip.num_tubelets - hidden.shape[1], dtype=torch.int64)
            mask, tubelets = Mask(visible, hidden, hidden), cut(video, clip)
            batch = Batch(video, torch.zeros(count, dtype=torch.int64), tuple(map(str, range(count))))
            tokens = task.encoder(gather(tubelets, visible), visible)
            task.objectives["pixels"](Encoded(clip, batch, mask, tubelets, tokens))
        return sum(storage.nbytes() for storage in found.values())


@pytest.mark.parametrize("units", ["", "avx512_bf16"])
@pytest.mark.parametrize(
    ("ratio", "gelu", "most"), [(0.9, False, 137), (0.6, False, 262), (0.9, True, 110), (0.6, True, 200)]
)
def test_a_clip_of_vit_base_in_bf16_keeps_no_more_than_this(ratio, gelu, most, units, monkeypatch):
    monkeypatch.setattr(attention, "UNITS", units)
    assert (kept(ratio, 2, gelu, monkeypatch) - kept(ratio, 1, gelu, monkeypatch)) / 2**20 <= most
