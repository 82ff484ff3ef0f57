"""The attentive probe: the usual cross-attention block in fewer operations, on tokens that are kept once."""

import pytest
import torch
from torch import nn

from tubelet.evaluations import Attentive, Context, Features
from tubelet.evaluations.attentive import AttentiveHead, learn, scores_of
from tubelet.evaluations.features import Tokens
from tubelet.models.encoder import Vit


@pytest.fixture(scope="module")
def context(small, clip, data, tmp_path_factory) -> Context:
    torch.manual_seed(0)
    encoder = Vit(width=32, depth=1, heads=2).build(clip)
    return Context(encoder, small, clip, data, keep=tmp_path_factory.mktemp("kept"), batch=7)


def test_one_learned_query_is_the_attention_of_torch():
    torch.manual_seed(0)
    width, heads, tokens = 12, 3, torch.randn(5, 7, 12)
    head = AttentiveHead(width, heads, 4)
    reference = nn.MultiheadAttention(width, heads, batch_first=True)
    query = torch.randn(1, 1, width)
    q_weight, k_weight, v_weight = reference.in_proj_weight.detach().chunk(3)
    q = (query[0, 0] @ q_weight.T).view(heads, -1)  # h c
    with torch.no_grad():
        reference.in_proj_bias.zero_()
        head.ask.copy_(torch.einsum("hc,hcd->hd", q, k_weight.view(heads, -1, width)) / (width // heads) ** 0.5)
        head.value.copy_(v_weight.view(heads, -1, width).mT)
        head.out.weight.copy_(reference.out_proj.weight)
        head.out.bias.copy_(reference.out_proj.bias)
        x = head.norm(tokens)
        theirs, _ = reference(query.expand(5, 1, width), x, x, need_weights=False)
        share = (x @ head.ask.T).softmax(1)
        ours = head.out(torch.einsum("bhd,hdc->bhc", share.mT @ x, head.value).flatten(1))
    torch.testing.assert_close(ours, theirs.squeeze(1), rtol=0, atol=1e-5)


def test_it_reads_the_tokens_of_the_encoder_in_the_order_of_the_features(context, clip):
    features = context.with_tokens("test")
    assert features.ids == context.features("test").ids
    tokens = features.tokens.load(torch.arange(len(features)))
    assert tokens.shape == (len(features), clip.num_tubelets, 32)
    torch.testing.assert_close(tokens.mean(1), features.mean, rtol=0, atol=2e-3)
    again = context.with_tokens("test")
    assert torch.equal(again.tokens.load(torch.arange(len(features))), tokens)
    some = features.rows(torch.tensor([3, 1]))
    assert torch.equal(some.tokens.load(torch.arange(2)), tokens[[3, 1]])


def test_averaged_places_are_the_means_of_their_blocks(context, clip):
    whole, one = (context.with_tokens("train", indices).tokens for indices in (None, 1))
    every = whole.load(torch.arange(len(whole))).unflatten(1, (clip.grid[0], -1))
    torch.testing.assert_close(one.load(torch.arange(len(one))), every.mean(2), rtol=0, atol=2e-3)


def test_it_learns_what_one_token_of_many_says():
    """One token, wherever it is, is marked and says the class; the others say anything."""
    rng = torch.Generator().manual_seed(0)
    label = torch.arange(160) % 2
    tokens = torch.randn(160, 12, 8, generator=rng)
    index = torch.randint(0, 12, (160,), generator=rng)
    tokens[torch.arange(160), index, 0] = 8.0
    tokens[torch.arange(160), index, 1] = 4.0 * (2 * label - 1)
    values = Tokens(tuple(tokens.flatten(1).half().numpy()), 8)
    head = learn(Attentive(epochs=30, batch=30), values.rows(torch.arange(120)), label[:120], 2, 1e-2)
    assert (scores_of(head, values.rows(torch.arange(120, 160))).argmax(1) == label[120:]).float().mean() > 0.9


def test_the_same_clips_give_the_same_head_and_global_randomness_is_left_alone():
    tokens = Tokens(tuple(torch.randn(20, 24).half().numpy()), 8)
    before = torch.random.get_rng_state()
    one, other = (learn(Attentive(epochs=2), tokens, torch.arange(20) % 2, 2, 1e-3) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_width_that_no_number_of_heads_divides_has_fewer():
    assert AttentiveHead(9, 4, 2).ask.shape == (3, 9)
    assert AttentiveHead(7, 4, 2).ask.shape == (1, 7)


def test_real_clips_are_probed_with_tokens(context):
    result = Attentive(epochs=1, rates=(1e-3,), samples=50).run(context)
    assert set(result.details) == {"tokens"}
    assert result.counts["test"]["used"] == 10
    assert result.protocol["selected"]["tokens"] == 1e-3
    assert isinstance(context.features("test"), Features)
