"""Attention by products equals that of PyTorch, forward and backward, wherever it takes its place."""

import jaxtyping
import pytest
import torch
from torch.nn import functional as F

from tubelet.models import Vit, attention
from tubelet.models.attention import KEPT, TILED, Tiled, attend
from tubelet.models.blocks import Block
from tubelet.types import Clip

BF16_HERE = {("cpu", torch.bfloat16, attention.UNITS): 6272}


def plain(q, k, v):
    """The formula, of `b n h c`."""
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    return ((q @ k.mT * q.shape[-1] ** -0.5).softmax(-1) @ v).transpose(1, 2)


def tiled(q, k, v):
    return Tiled.apply(*(x.transpose(1, 2) for x in (q, k, v))).transpose(1, 2)


def heads(queries, keys, count=3, width=32, dtype=torch.float32):
    """Views of packed projections, as the model makes them, and a gradient."""
    random = torch.Generator().manual_seed(queries + keys)
    q = torch.randn(2, queries, count, width, generator=random)
    k, v = torch.randn(2, keys, 2, count, width, generator=random).unbind(2)
    return [x.to(dtype).requires_grad_() for x in (q, k, v)], torch.randn(q.shape, generator=random).to(dtype)


def gradients(way, inputs, gradient):
    mixed = way(*inputs)
    return mixed.detach(), torch.autograd.grad(mixed, inputs, gradient)


def apart(found, expected):
    return ((found.double() - expected.double()).norm() / expected.double().norm()).item()


@pytest.mark.parametrize("tile", [1 << 20, 5000, 700], ids=["one tile", "some heads a tile", "a part of a head a tile"])
@pytest.mark.parametrize(("queries", "keys"), [(16, 16), (40, 60), (KEPT, KEPT), (100, KEPT + 1), (200, 200)])
def test_products_equal_the_formula_in_fp32(queries, keys, tile, monkeypatch):
    monkeypatch.setattr(attention, "TILE", tile)
    inputs, gradient = heads(queries, keys)
    found, of_found = gradients(tiled, inputs, gradient)
    expected, of_expected = gradients(plain, inputs, gradient)
    assert apart(found, expected) < 1e-6
    for ours, theirs in zip(of_found, of_expected, strict=True):
        assert apart(ours, theirs) < 1e-5


@pytest.mark.parametrize(("queries", "keys"), [(16, 16), (40, 60), (100, KEPT + 1), (300, 1568)])
def test_attention_equals_the_formula_whatever_is_taken_here(queries, keys):
    inputs, gradient = heads(queries, keys)
    found, of_found = gradients(attend, inputs, gradient)
    expected, of_expected = gradients(plain, inputs, gradient)
    assert apart(found, expected) < 1e-6
    assert max(map(apart, of_found, of_expected)) < 1e-5


@pytest.mark.parametrize(("queries", "keys"), [(40, 60), (100, KEPT + 1), (300, 1568)])
def test_products_in_bf16_are_as_near_to_fp32_as_bf16_is(queries, keys):
    inputs, gradient = heads(queries, keys, dtype=torch.bfloat16)
    found, of_found = gradients(tiled, inputs, gradient)
    expected, of_expected = gradients(plain, [x.detach().double().requires_grad_() for x in inputs], gradient.double())
    for ours, theirs in zip((found, *of_found), (expected, *of_expected), strict=True):
        assert ours.dtype == torch.bfloat16
        assert apart(ours, theirs) < 2**-7


@pytest.mark.parametrize(("device", "dtype", "units"), TILED, ids=str)
def test_products_are_taken_up_to_the_keys_of_the_table_and_sdpa_beyond(device, dtype, units, monkeypatch):
    taken = []
    monkeypatch.setattr(attention, "UNITS", units)
    monkeypatch.setitem(TILED, (device, dtype, units), 20)
    monkeypatch.setattr(attention.Tiled, "apply", lambda *inputs: taken.append(inputs) or inputs[0])
    for keys in (20, 21):
        attend(*heads(4, keys, dtype=dtype)[0])
    attend(*heads(4, 20, dtype=torch.float32)[0])
    monkeypatch.setattr(attention, "UNITS", "")
    attend(*heads(4, 20, dtype=dtype)[0])
    assert [inputs[1].shape[2] for inputs in taken] == [20]


def test_the_largest_tile_is_no_larger_than_said_and_all_are_covered_once(monkeypatch):
    monkeypatch.setattr(attention, "TILE", 1000)
    for queries, keys in ((7, 30), (40, 30), (64, 300), (3, 2000)):
        seen = torch.zeros(5, queries, dtype=torch.int64)
        for part, rows in attention.tiles(torch.empty(5, queries, 4), torch.empty(5, keys, 4)):
            seen[part, rows] += 1
            assert seen[part, rows].numel() * keys <= max(1000, keys)
        assert (seen == 1).all()


def block_step(block, x, precision=torch.bfloat16):
    x = x.clone().requires_grad_()
    with torch.autocast("cpu", dtype=precision, enabled=precision == torch.bfloat16):
        loss = block(x).float().square().mean()
    return torch.autograd.grad(loss, [x, *block.parameters()])


@pytest.fixture
def bf16_by_products(monkeypatch):
    monkeypatch.setattr(attention, "TILED", BF16_HERE)


@pytest.fixture
def unchecked_shapes():
    """A check of shapes is nothing to compile."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.mark.usefixtures("bf16_by_products", "unchecked_shapes")
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # PyTorch's own
def test_a_compiled_block_has_the_same_gradients():
    torch.manual_seed(0)
    block, x = Block(64, 2, 256, 1e-6), torch.randn(2, 140, 64)
    eager = block_step(block, x)
    block.compile(backend="aot_eager", fullgraph=True)
    for clips in (x, torch.cat((x, x))):
        assert apart(block_step(block, clips)[1], eager[1]) < 2**-7
    torch.compiler.reset()


@pytest.mark.usefixtures("bf16_by_products")
def test_gradient_checkpointing_changes_no_gradient():
    torch.manual_seed(0)
    clip = Clip(frames=4, size=32, tubelet_size=8)
    encoder = Vit(width=32, depth=2, heads=2).build(clip)
    tubelets, where = torch.rand(2, 20, clip.tubelet_values) * 255, torch.arange(20).expand(2, -1)
    found = []
    for encoder.gradient_checkpointing in (False, True):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = encoder(tubelets, where).square().mean()
        found.append(torch.autograd.grad(loss, [*encoder.parameters()]))
    assert all(map(torch.equal, *found))


@pytest.mark.usefixtures("bf16_by_products")
def test_an_exported_block_takes_batches_of_any_size():
    torch.manual_seed(0)
    block, x = Block(32, 2, 64, 1e-6).eval(), torch.randn(3, 20, 32)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        program = torch.export.export(block, (x,), dynamic_shapes=({0: torch.export.Dim("batch")},))
        for clips in (x, x[:2]):
            assert apart(program.module()(clips), block(clips)) < 2**-7


def test_sdpa_is_what_a_processor_without_units_for_bf16_has(monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    assert attention.matrix_units() == ""
    inputs, _ = heads(20, 20)
    expected = F.scaled_dot_product_attention(*(x.transpose(1, 2) for x in inputs)).transpose(1, 2)
    assert torch.equal(attend(*inputs), expected)
