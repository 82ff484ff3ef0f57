"""Tokens, logits, loss and gradients equal those of transformers' VideoMAE with the same weights, clips and masks."""

import pytest
import torch

from tubelet.inference.kinds import FeatureKind
from tubelet.maskers import Random, Tube
from tubelet.models import Base, Decoder, Small, Vit, again, attention
from tubelet.models.blocks import Mlp
from tubelet.models.classifier import Classifier
from tubelet.models.patches import MEAN, STD, cut, gather
from tubelet.objectives import Pixels
from tubelet.tasks import Pretraining
from tubelet.types import Batch, Clip, Mask
from tubelet.weights.layouts import EMBED, TRANSFORMERS, from_layout

videomae = pytest.importorskip("transformers.models.videomae")

EPS = 1e-6


def ours_of(state):
    """Our names and shapes for tensors of transformers: weights, or their gradients."""
    found = from_layout(state, TRANSFORMERS, "the test")
    return found | {EMBED: found[EMBED].flatten(1)}


def task_of(clip, encoder, decoder, masker):
    return Pretraining(clip, encoder.build(clip), masker, {"pixels": Pixels(decoder=decoder)})


def apart(found, expected):
    """How far apart, relative to the size of what is expected."""
    return ((found - expected).norm() / expected.norm()).item()


def reference_of(clip, encoder, decoder, eps=EPS, kind="VideoMAEForPreTraining"):
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
        layer_norm_eps=eps,
        use_mean_pooling=kind == "VideoMAEForVideoClassification",
        num_labels=10,
        decoder_hidden_size=decoder.width,
        decoder_num_hidden_layers=decoder.depth,
        decoder_num_attention_heads=decoder.heads,
        decoder_intermediate_size=int(decoder.width * decoder.mlp_ratio),
        attn_implementation="sdpa",
    )
    model = getattr(videomae, kind)(config)
    if eps == EPS and kind == "VideoMAEForPreTraining":
        model.decoder.norm.eps = EPS
    if eps == EPS and kind == "VideoMAEForVideoClassification":
        model.fc_norm.eps = EPS
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


def assert_equal_steps(reference, clip, encoder, decoder, masker, count, within=1e-6):
    reference.zero_grad()
    task = task_of(clip, encoder, decoder, masker)
    task.load_state_dict(ours_of(reference.state_dict()))
    batch = clips(clip, count)

    mask = task.draw(batch)
    theirs = reference_step(reference, batch, mask, clip.num_tubelets)
    theirs.loss.backward()
    ours = task(batch)
    ours.loss.backward()

    assert ours.loss.item() == pytest.approx(theirs.loss.item(), rel=within)
    with torch.no_grad():
        tokens = task.encoder(gather(cut(batch.video, clip), mask.visible), mask.visible)
        logits = dict(task.named_modules())["objectives.pixels.decoder"](tokens, mask.visible, mask.hidden)
    assert apart(tokens, reference_tokens(reference, batch, mask, clip.num_tubelets)) <= within
    assert apart(logits.unflatten(-1, (3, -1)).mT.flatten(-2), theirs.logits) <= within
    wanted = ours_of({name: p.grad for name, p in reference.named_parameters()})
    got = {name: p.grad for name, p in task.named_parameters()}
    assert wanted.keys() == got.keys()
    for name, gradient in wanted.items():
        assert gradient.abs().max() > 0, name
        assert apart(got[name], gradient) <= 10 * within, name


@torch.no_grad()
def reference_tokens(model, batch, mask, count):
    mean, std = (torch.tensor(values).view(3, 1, 1, 1) for values in (MEAN, STD))
    masked = torch.zeros((len(batch), count), dtype=torch.bool).scatter_(1, mask.hidden, True)
    return model.videomae(((batch.video / 255 - mean) / std).transpose(1, 2), bool_masked_pos=masked).last_hidden_state


def assert_equal_at(vit, masker, eps, within):
    torch.manual_seed(0)
    reference = reference_of(Clip(), vit(), Decoder(), eps)
    sizes = vit(layer_norm_eps=eps), Decoder(layer_norm_eps=eps)
    assert_equal_steps(reference, Clip(), *sizes, masker, count=1, within=within)


MASKS, EPSILONS = [Tube(ratio=0.9), Random(ratio=0.6)], [(EPS, 1e-6), (1e-12, 1e-5)]


@pytest.mark.parametrize(("eps", "within"), [EPSILONS[0], pytest.param(*EPSILONS[1], marks=pytest.mark.slow)])
@pytest.mark.parametrize("masker", [MASKS[0], pytest.param(MASKS[1], marks=pytest.mark.slow)])
def test_a_step_equals_transformers_at_the_shape_of_vit_small(masker, eps, within):
    assert_equal_at(Small, masker, eps, within)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("eps", "within"), EPSILONS)
@pytest.mark.parametrize("masker", MASKS)
def test_a_step_equals_transformers_at_the_shape_of_vit_base(masker, eps, within):
    assert_equal_at(Base, masker, eps, within)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("vit", [Small, Base])
@pytest.mark.parametrize(("eps", "within"), EPSILONS)
def test_logits_of_a_classifier_equal_transformers(vit, eps, within):
    reference = reference_of(Clip(), vit(), Decoder(), eps, "VideoMAEForVideoClassification").eval()
    state = ours_of(reference.state_dict())
    model = Classifier(vit(layer_norm_eps=eps), Clip(), 10).eval()
    model.load_state_dict(
        {n.replace("head.norm.", "norm.").replace("head.linear.", "head."): v for n, v in state.items()}
    )
    batch = clips(Clip(), 1)
    mean, std = (torch.tensor(values).view(3, 1, 1, 1) for values in (MEAN, STD))
    with torch.no_grad():
        expected = reference(((batch.video / 255 - mean) / std).transpose(1, 2)).logits
        logits = model(batch.video)
    assert apart(logits, expected) <= within


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


def test_the_layers_that_embed_keeps_are_the_hidden_states_of_transformers():
    clip = Clip(frames=6, size=24, tubelet_frames=3, tubelet_size=6)
    encoder = Vit(width=32, depth=3, heads=4, mlp_ratio=2, layer_norm_eps=EPS)
    decoder = Decoder(width=24, depth=1, heads=2, mlp_ratio=3, layer_norm_eps=EPS)
    torch.manual_seed(0)
    reference = reference_of(clip, encoder, decoder).eval()
    task = task_of(clip, encoder, decoder, Random(ratio=0.5))
    task.load_state_dict(ours_of(reference.state_dict()))
    batch = clips(clip, 2)
    mean, std = (torch.tensor(values).view(3, 1, 1, 1) for values in (MEAN, STD))
    pixels = ((batch.video / 255 - mean) / std).transpose(1, 2)
    with torch.no_grad():
        theirs = reference.videomae(pixels, output_hidden_states=True, output_attentions=False)
    states = torch.stack(theirs.hidden_states, 1)  # b layers n d, from what enters the first block
    found = FeatureKind("token", "all").of(task.encoder, batch.video)["feature"]
    assert apart(found, states[:, 1:]) <= 1e-6
    assert apart(FeatureKind("token", 0).of(task.encoder, batch.video)["feature"], states[:, 0]) <= 1e-6
    last = FeatureKind("token").of(task.encoder, batch.video)["feature"]
    assert apart(last, theirs.last_hidden_state) <= 1e-6


def test_the_attention_that_embed_keeps_is_that_of_transformers():
    clip = Clip(frames=4, size=32, tubelet_size=8)
    encoder = Vit(width=32, depth=2, heads=4, layer_norm_eps=EPS)
    decoder = Decoder(width=24, depth=1, heads=2, layer_norm_eps=EPS)
    torch.manual_seed(0)
    reference = reference_of(clip, encoder, decoder).eval()
    reference.set_attn_implementation("eager")
    task = task_of(clip, encoder, decoder, Random(ratio=0.5))
    task.load_state_dict(ours_of(reference.state_dict()))
    batch = clips(clip, 2)
    mean, std = (torch.tensor(values).view(3, 1, 1, 1) for values in (MEAN, STD))
    with torch.no_grad():
        pixels = ((batch.video / 255 - mean) / std).transpose(1, 2)
        theirs = reference.videomae(pixels, output_attentions=True).attentions[-1]  # b heads n n
    found = FeatureKind(attention=True).of(task.encoder, batch.video)["attention"]
    assert apart(found.flatten(1), theirs.mean((1, 2))) <= 1e-6


@pytest.mark.parametrize("sharper", [1, 3])
@pytest.mark.parametrize("gelu", [False, True])
def test_gradients_in_bf16_are_no_further_from_fp32_than_those_of_transformers(sharper, gelu, monkeypatch):
    """With every product that takes the place of SDPA, and attention that is sharper than at the start of a run."""
    monkeypatch.setattr(attention, "TILED", {("cpu", torch.bfloat16, attention.UNITS): 1568})
    monkeypatch.setattr(again, "WIDE", 0)
    clip = Clip(frames=8, size=96, tubelet_size=16)
    encoder, decoder = Vit(width=192, depth=3, heads=3, layer_norm_eps=EPS), Decoder(width=96, depth=2, heads=3)
    torch.manual_seed(0)
    reference = reference_of(clip, encoder, decoder)
    with torch.no_grad():
        for name, parameter in reference.named_parameters():
            if "query" in name:
                parameter.mul_(sharper)
    task = task_of(clip, encoder, decoder, Tube(ratio=0.6))
    task.load_state_dict(ours_of(reference.state_dict()))
    batch = clips(clip, 2)
    mask = task.draw(batch)

    def gradients(module, loss):
        module.zero_grad()
        loss().backward()
        return {name: p.grad.clone() for name, p in module.named_parameters()}

    def theirs():
        return reference_step(reference, batch, mask, clip.num_tubelets).loss

    exact = gradients(task, lambda: task(batch).loss)
    for module in task.modules():
        if isinstance(module, Mlp):
            module.recompute_gelu = gelu
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found, expected = gradients(task, lambda: task(batch).loss), ours_of(gradients(reference, theirs))
    ours, others = ([apart(way[name], exact[name]) for name in exact] for way in (found, expected))
    assert 1e-4 < sum(ours) <= 1.1 * sum(others)
