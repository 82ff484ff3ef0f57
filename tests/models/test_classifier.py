"""The classifier is VideoMAE's; drop path keeps the mean; the average follows the weights."""

import pytest
import torch
from torch import nn

from tubelet.models import Average, Classifier, Vit
from tubelet.models.blocks import Block, drop_path
from tubelet.types import Clip
from tubelet.weights.layouts import TRANSFORMERS, to_layout

CLIP = Clip(frames=4, size=32)
VIT = Vit(width=32, depth=3, heads=2)


def clips(count: int = 3) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, 4, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_scores_are_those_of_transformers():
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    ours = Classifier(VIT, CLIP, classes=5, head_scale=1.0, drop_path=0.3).eval()
    for parameter in ours.parameters():
        nn.init.normal_(parameter, std=0.1)
    config = transformers.VideoMAEConfig(
        image_size=32, num_frames=4, tubelet_size=2, hidden_size=32, num_hidden_layers=3, num_attention_heads=2,
        intermediate_size=128, layer_norm_eps=1e-6, num_labels=5, use_mean_pooling=True,
    )  # fmt: skip
    theirs = transformers.VideoMAEForVideoClassification(config).eval()
    theirs.fc_norm.eps = 1e-6
    encoder = {name: value for name, value in ours.state_dict().items() if name.startswith("encoder.")}
    state = to_layout(encoder, TRANSFORMERS, CLIP)
    for mine, yours in (("norm", "fc_norm"), ("head", "classifier")):
        state |= {f"{yours}.{kind}": ours.state_dict()[f"{mine}.{kind}"] for kind in ("weight", "bias")}
    theirs.load_state_dict(state)
    video = clips()
    pixels = (video.float() / 255 - torch.tensor((0.485, 0.456, 0.406)).view(1, 3, 1, 1, 1)) / torch.tensor(
        (0.229, 0.224, 0.225)
    ).view(1, 3, 1, 1, 1)
    with torch.no_grad():
        want = theirs(pixels.transpose(1, 2)).logits
        torch.testing.assert_close(ours(video), want, atol=2e-5, rtol=1e-4)


def test_a_fresh_head_hardly_prefers_a_class_and_floats_are_taken_like_bytes():
    torch.manual_seed(0)
    model = Classifier(VIT, CLIP, classes=4)
    with torch.no_grad():
        scores = model(clips())
        assert scores.abs().max() < 1e-2
        torch.testing.assert_close(model(clips().float()), scores)


def test_deeper_blocks_are_left_out_more_often_and_only_while_training():
    model = Classifier(VIT, CLIP, classes=4, drop_path=0.4)
    assert [block.drop_path for block in model.encoder.blocks] == pytest.approx([0.0, 0.2, 0.4])
    model.eval()
    plain = Classifier(VIT, CLIP, classes=4).eval()
    plain.load_state_dict(model.state_dict())
    with torch.no_grad():
        assert torch.equal(model(clips()), plain(clips()))
        model.train()
        torch.manual_seed(0)
        assert not torch.equal(model(clips()), plain(clips()))


def test_drop_path_leaves_out_whole_clips_and_keeps_the_mean():
    torch.manual_seed(0)
    x = torch.ones(4000, 2, 3)
    dropped = drop_path(x, 0.25)
    assert sorted(dropped.unique().tolist()) == pytest.approx([0, 4 / 3])
    assert (dropped == dropped[:, :1, :1]).all()
    assert dropped.mean() == pytest.approx(1.0, abs=0.03)


def test_a_block_without_drop_path_draws_nothing():
    block = Block(32, 2, 64, 1e-6).train()
    torch.manual_seed(0)
    block(torch.zeros(2, 3, 32))
    after = torch.rand(())
    torch.manual_seed(0)
    assert torch.equal(after, torch.rand(()))


def test_the_average_is_that_of_a_loop():
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    average = Average(model, decay=0.8)
    want = model.weight.detach().clone()
    for step in range(30):
        with torch.no_grad():
            model.weight.add_(torch.randn(2, 3))
        average.follow(model)
        decay = min(0.8, (1 + step) / (10 + step))
        want = decay * want + (1 - decay) * model.weight.detach()
    torch.testing.assert_close(average.model.weight, want)
    assert not any(parameter.requires_grad for parameter in average.parameters())
    assert int(average.steps) == 30
