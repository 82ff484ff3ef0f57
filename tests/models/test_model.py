import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tubelet.errors import RecipeError
from tubelet.models import Base, Decoder, Giant, Huge, Large, Small, Tiny, Vit
from tubelet.models.blocks import Attention, Block
from tubelet.models.patches import join
from tubelet.types import Clip

CLIP = Clip(frames=4, size=32, tubelet_size=8)


def encoder_of(clip=CLIP, **sizes):
    torch.manual_seed(0)
    return Vit(**({"width": 32, "depth": 2, "heads": 4} | sizes)).build(clip).eval()


def tubelets_of(clip, count, seed=0):
    random = torch.Generator().manual_seed(seed)
    shape = (count, clip.num_tubelets, clip.tubelet_values)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=random)


def everywhere(clip, count):
    return torch.arange(clip.num_tubelets).repeat(count, 1)


@pytest.mark.parametrize(("preset", "millions"), [(Tiny, 5.6), (Small, 21.9), (Base, 86.2), (Large, 303.9)])
def test_the_presets_have_the_size_of_the_usual_vision_transformers(preset, millions):
    with torch.device("meta"):
        encoder = preset().build(Clip())
    assert sum(p.numel() for p in encoder.parameters()) / 1e6 == pytest.approx(millions, abs=0.06)


@pytest.mark.parametrize(
    ("preset", "clip", "millions", "shape"),
    [
        (Huge, Clip(), 633, (1280, 5120, 32, 16)),  # as VideoMAE lists its models
        (Giant, Clip(tubelet_size=14), 1013, (1408, 6144, 40, 16)),  # as VideoMAE V2 does
    ],
)
def test_the_largest_presets_are_those_that_were_published(preset, clip, millions, shape):
    """Published with a head of 400 (710 for Giant) classes, and counted to the million."""
    with torch.device("meta"):
        encoder = preset().build(clip)
    block, classes = encoder.blocks[0], {Huge: 400, Giant: 710}[preset]
    assert (encoder.width, block.mlp.up.out_features, len(encoder.blocks), block.attention.heads) == shape
    head = classes * (encoder.width + 1)
    assert (sum(p.numel() for p in encoder.parameters()) + head) / 1e6 == pytest.approx(millions, abs=1.0)


@pytest.mark.parametrize("sizes", [{"heads": 5}, {"heads": 0}, {"depth": 0}, {"width": 2}])
def test_a_width_that_heads_do_not_divide_is_refused(sizes):
    with pytest.raises(RecipeError, match="encoder"):
        Vit(**({"width": 32, "depth": 2, "heads": 4} | sizes))
    with pytest.raises(RecipeError, match="decoder"):
        Decoder(**({"width": 32, "depth": 2, "heads": 4} | sizes))


@given(grid=st.tuples(st.integers(1, 3), st.integers(1, 3)), part=st.tuples(st.integers(1, 3), st.integers(1, 5)))
@settings(max_examples=15, deadline=None)
def test_any_clip_and_tubelet_size_works(grid, part):
    clip = Clip(frames=grid[0] * part[0], size=grid[1] * part[1], tubelet_frames=part[0], tubelet_size=part[1])
    video = torch.zeros((2, 3, clip.frames, clip.size, clip.size), dtype=torch.uint8)
    tokens = encoder_of(clip).encode(video)
    assert tokens.shape == (2, clip.num_tubelets, 32)
    assert tokens.isfinite().all()


def test_only_weights_are_in_the_state_dict():
    names = [*encoder_of().state_dict(), *Decoder(width=24, heads=2).build(32, CLIP).state_dict()]
    assert not [name for name in names if "positions" in name or name in ("scale", "shift")]


def test_a_token_depends_on_which_tubelets_are_seen_and_not_on_their_order():
    encoder, tubelets = encoder_of(), tubelets_of(CLIP, 2)
    where = everywhere(CLIP, 2)
    shuffle = torch.randperm(CLIP.num_tubelets, generator=torch.Generator().manual_seed(1))
    tokens = encoder(tubelets, where)
    torch.testing.assert_close(encoder(tubelets[:, shuffle], where[:, shuffle]), tokens[:, shuffle])
    alone = encoder(tubelets[:, :5], where[:, :5])
    assert not torch.allclose(alone, tokens[:, :5], atol=1e-3)


def test_whole_numbers_and_floats_of_the_same_pixels_give_the_same_tokens():
    encoder, tubelets, where = encoder_of(), tubelets_of(CLIP, 2), everywhere(CLIP, 2)
    assert torch.equal(encoder(tubelets, where), encoder(tubelets.float(), where))


def test_encode_shows_the_encoder_every_tubelet_in_its_place():
    encoder, tubelets, where = encoder_of(), tubelets_of(CLIP, 2), everywhere(CLIP, 2)
    torch.testing.assert_close(encoder.encode(join(tubelets, CLIP)), encoder(tubelets, where))


def test_changing_one_sample_never_changes_the_output_of_another():
    encoder, where = encoder_of(), everywhere(CLIP, 3)
    decoder = Decoder(width=24, depth=2, heads=2).build(32, CLIP).eval()
    first = tubelets_of(CLIP, 3)
    other = first.clone()
    other[1] = 255 - other[1]
    visible, hidden = where[:, ::2].contiguous(), where[:, 1::2].contiguous()
    outputs = []
    for tubelets in (first, other):
        tokens = encoder(tubelets[:, ::2], visible)
        outputs.append((tokens, decoder(tokens, visible, hidden)))
    for before, after in zip(*outputs, strict=True):
        assert torch.equal(before[[0, 2]], after[[0, 2]])
        assert not torch.allclose(before[1], after[1], atol=1e-3)


def test_the_key_bias_is_fixed_at_zero_and_the_others_are_learned():
    attention = Attention(8, 2)
    assert {name: tuple(p.shape) for name, p in attention.named_parameters()} == {
        "q_bias": (8,),
        "v_bias": (8,),
        "qkv.weight": (24, 8),
        "out.weight": (8, 8),
        "out.bias": (8,),
    }


def test_a_block_that_computes_only_its_last_tokens_agrees_with_one_that_computes_all():
    torch.manual_seed(0)
    block = Block(16, 4, 32, 1e-6)
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    x = torch.randn(3, 9, 16)
    for last in (1, 4, 9):
        torch.testing.assert_close(block(x, last), block(x)[:, -last:])


@pytest.mark.parametrize("depth", [1, 3])
def test_the_decoder_reads_visible_and_mask_tokens_and_predicts_the_mask_tokens_alone(depth):
    torch.manual_seed(0)
    decoder = Decoder(width=24, depth=depth, heads=2).build(32, CLIP)
    visible, decode = torch.arange(12).repeat(2, 1), torch.arange(12, 31).repeat(2, 1)
    read = []
    decoder.blocks[0].register_forward_pre_hook(lambda module, args: read.append(args[0]))
    computed = []
    decoder.blocks[-1].mlp.register_forward_pre_hook(lambda module, args: computed.append(args[0].shape[1]))
    prediction = decoder(torch.randn(2, 12, 32), visible, decode)
    assert prediction.shape == (2, 19, CLIP.tubelet_values)
    assert read[0].shape == (2, 12 + 19, 24)
    assert torch.equal(read[0][0, 12:], decoder.mask_token + decoder.positions[12:31])
    assert computed == [19]


def test_a_prediction_does_not_depend_on_which_other_tubelets_are_listed_first():
    torch.manual_seed(0)
    decoder = Decoder(width=24, depth=2, heads=2).build(32, CLIP).eval()
    visible, decode = torch.arange(12)[None], torch.arange(12, 31)[None]
    shuffle = torch.randperm(19, generator=torch.Generator().manual_seed(1))
    tokens = torch.randn(1, 12, 32)
    prediction = decoder(tokens, visible, decode)
    torch.testing.assert_close(decoder(tokens, visible, decode[:, shuffle]), prediction[:, shuffle])
