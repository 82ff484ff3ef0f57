"""Loss and gradients equal those of `transformers.VideoMAEForPreTraining` with the same weights, clips and masks."""

import pytest
import torch

from tubelet.errors import WeightsError
from tubelet.export.transformers import from_transformers, to_transformers
from tubelet.maskers import Random, Tube
from tubelet.models import Decoder, Small, Vit
from tubelet.models.patches import MEAN, STD
from tubelet.objectives import Pixels
from tubelet.tasks import Pretraining
from tubelet.types import Batch, Clip, Mask

videomae = pytest.importorskip("transformers.models.videomae")

EPS = 1e-6


def task_of(clip, encoder, decoder, masker):
    return Pretraining(clip, encoder.build(clip), masker, {"pixels": Pixels(decoder=decoder)})


def reference_of(clip, encoder, decoder):
    """transformers' model with random weights, biases included (it would start them at 0)."""
    config = videomae.VideoMAEConfig(
        image_size=clip.size,
        patch_size=clip.tubelet_size,
        num_frames=clip.frames,
        tubelet_size=clip.tubelet_frames,
        hidden_size=encoder.width,
        num_hidden_layers=encoder.depth,
        num_attention_heads=encoder.heads,
        intermediate_size=int(encoder.width * encoder.mlp_ratio),
        layer_norm_eps=EPS,
        use_mean_pooling=False,
        decoder_hidden_size=decoder.width,
        decoder_num_hidden_layers=decoder.depth,
        decoder_num_attention_heads=decoder.heads,
        decoder_intermediate_size=int(decoder.width * decoder.mlp_ratio),
        attn_implementation="sdpa",
    )
    model = videomae.VideoMAEForPreTraining(config)
    model.decoder.norm.eps = EPS
    random = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.rand(parameter.shape, generator=random) - 0.05)
    return model


def clips(clip, count, seed=0):
    """Smooth random clips in uint8, with one flat corner."""
    random = torch.Generator().manual_seed(seed)
    coarse = torch.rand((count, 3, clip.frames, 8, 8), generator=random)
    video = torch.nn.functional.interpolate(coarse, (clip.frames, clip.size, clip.size), mode="trilinear") * 200
    video += 40 * torch.rand(video.shape, generator=random)
    video = video.to(torch.uint8)
    return Batch(video=video, key=torch.arange(count) + 100 * seed, ids=tuple("abcdefgh"[:count]))


def reference_step(model, batch: Batch, mask: Mask, count: int):
    mean, std = (torch.tensor(values).view(3, 1, 1, 1) for values in (MEAN, STD))
    pixels = ((batch.video / 255 - mean) / std).transpose(1, 2)  # theirs: frames before colours
    masked = torch.zeros((len(batch), count), dtype=torch.bool).scatter_(1, mask.hidden, True)
    return model(pixel_values=pixels, bool_masked_pos=masked)


def assert_equal_steps(reference, clip, encoder, decoder, masker, count):
    reference.zero_grad()
    task = task_of(clip, encoder, decoder, masker)
    task.load_state_dict(from_transformers(reference.state_dict(), clip))
    batch = clips(clip, count)

    mask = task.draw(batch)
    theirs = reference_step(reference, batch, mask, clip.num_tubelets)
    theirs.loss.backward()
    ours = task(batch)
    ours.loss.backward()

    assert ours.loss.item() == pytest.approx(theirs.loss.item(), abs=1e-6)
    wanted = from_transformers({name: p.grad for name, p in reference.named_parameters()}, clip)
    got = {name: p.grad for name, p in task.named_parameters()}
    assert wanted.keys() == got.keys()
    for name, gradient in wanted.items():
        largest = gradient.abs().max().item()
        assert largest > 0, name
        torch.testing.assert_close(got[name], gradient, rtol=0, atol=1e-5 * largest, msg=name)


@pytest.fixture(scope="module")
def vit_small():
    torch.manual_seed(0)
    return reference_of(Clip(), Small(), Decoder())


@pytest.mark.parametrize("masker", [Tube(ratio=0.9), Random(ratio=0.6)])
def test_loss_and_gradients_equal_transformers_at_vit_small(vit_small, masker):
    assert_equal_steps(vit_small, Clip(), Small(layer_norm_eps=EPS), Decoder(layer_norm_eps=EPS), masker, count=1)


@pytest.mark.parametrize(
    ("clip", "masker"),
    [
        (Clip(frames=4, size=32, tubelet_size=8), Tube(ratio=0.75)),
        (Clip(frames=6, size=24, tubelet_frames=3, tubelet_size=6), Random(ratio=0.6)),
        (Clip(frames=2, size=32, tubelet_frames=1, tubelet_size=16), Random(ratio=0.5)),
    ],
)
@pytest.mark.parametrize("depth", [1, 2])
def test_loss_and_gradients_equal_transformers_for_any_clip_and_tubelet(clip, masker, depth):
    encoder = Vit(width=32, depth=2, heads=4, mlp_ratio=2, layer_norm_eps=EPS)
    decoder = Decoder(width=24, depth=depth, heads=2, mlp_ratio=3, layer_norm_eps=EPS)
    torch.manual_seed(0)
    assert_equal_steps(reference_of(clip, encoder, decoder), clip, encoder, decoder, masker, count=3)


SMALL = Clip(frames=4, size=32, tubelet_size=8)
SIZES = Vit(width=32, depth=2, heads=4), Decoder(width=24, depth=1, heads=2)


def test_weights_survive_the_way_to_transformers_and_back():
    reference = reference_of(SMALL, *SIZES)
    ours = from_transformers(reference.state_dict(), SMALL)
    back = to_transformers(ours, SMALL)
    assert back.keys() == reference.state_dict().keys()
    for name, value in reference.state_dict().items():
        torch.testing.assert_close(back[name], value, rtol=0, atol=0)


def test_tokens_of_the_whole_clip_equal_those_of_the_model_without_a_decoder():
    torch.manual_seed(0)
    reference = reference_of(SMALL, *SIZES).videomae.eval()
    encoder = SIZES[0].build(SMALL)
    state = from_transformers(reference.state_dict(), SMALL)
    encoder.load_state_dict({name.removeprefix("encoder."): value for name, value in state.items()})
    batch = clips(SMALL, 2)
    mean, std = (torch.tensor(values).view(3, 1, 1, 1) for values in (MEAN, STD))
    with torch.no_grad():
        theirs = reference(((batch.video / 255 - mean) / std).transpose(1, 2)).last_hidden_state
        torch.testing.assert_close(encoder.encode(batch.video), theirs, rtol=1e-5, atol=1e-5)


def test_the_bias_names_of_transformers_4_are_understood():
    state = reference_of(SMALL, *SIZES).state_dict()
    old = {n.replace("query.bias", "q_bias").replace("value.bias", "v_bias"): value for n, value in state.items()}
    assert old.keys() != state.keys()
    new = from_transformers(state, SMALL)
    for name, value in from_transformers(old, SMALL).items():
        torch.testing.assert_close(value, new[name], rtol=0, atol=0)


def test_weights_that_have_no_place_are_named_and_refused():
    state = reference_of(SMALL, *SIZES).state_dict() | {"videomae.encoder.surprise": torch.zeros(1)}
    with pytest.raises(WeightsError, match=r"videomae\.encoder\.surprise"):
        from_transformers(state, SMALL)


def test_weights_for_other_tubelets_are_refused():
    with pytest.raises(WeightsError, match="tubelets"):
        from_transformers(reference_of(SMALL, *SIZES).state_dict(), Clip(frames=4, size=32, tubelet_size=16))
