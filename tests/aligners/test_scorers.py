"""Corrected scorers and SigLIP on small models of the real classes, against loops over their weights."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from support.random_clips import LAYERS, WORDS, random_model, tokenizer
from tubelet.aligners.base import open_aligner
from tubelet.aligners.clip import ClipAligner
from tubelet.aligners.pretrained import load
from tubelet.aligners.scorers import SCORERS, SURGERY
from tubelet.aligners.siglip import SiglipAligner, alone
from tubelet.cli import main
from tubelet.errors import WeightsError

transformers = pytest.importorskip("transformers")
PIL = pytest.importorskip("PIL.Image")


@pytest.fixture(scope="module")
def frames() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (2, 32, 44, 3), dtype=np.uint8)


Weights = dict[str, torch.Tensor]


def norm(token: torch.Tensor, weights: Weights, name: str, eps: float) -> torch.Tensor:
    centred = token - token.mean()
    return centred / (centred.square().mean() + eps).sqrt() * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def linear(token: torch.Tensor, weights: Weights, name: str) -> torch.Tensor:
    return weights[f"{name}.weight"] @ token + weights[f"{name}.bias"]


def activation(kind: str, x: torch.Tensor) -> torch.Tensor:
    if kind == "clip":
        return x / (1 + torch.exp(-1.702 * x))
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def attention(tokens: list, weights: Weights, block: str, queries: str, keys: str, eps: float) -> list[torch.Tensor]:
    """Multi-head attention, token by token and head by head."""
    normed = [norm(token, weights, f"{block}.layer_norm1", eps) for token in tokens]
    q, k, v = (
        [linear(one, weights, f"{block}.self_attn.{name}") for one in normed] for name in (queries, keys, "v_proj")
    )
    heads, width = LAYERS["num_attention_heads"], LAYERS["hidden_size"] // LAYERS["num_attention_heads"]
    out = []
    for query in q:
        parts = []
        for head in range(heads):
            at = slice(head * width, (head + 1) * width)
            shares = torch.stack([query[at] @ key[at] / math.sqrt(width) for key in k]).exp()
            parts.append(sum(share * one[at] for share, one in zip(shares / shares.sum(), v, strict=True)))
        out.append(linear(torch.cat(parts), weights, f"{block}.self_attn.out_proj"))
    return out


def whole_block(kind: str, tokens: list, weights: Weights, block: str, eps: float) -> list[torch.Tensor]:
    middle = [a + b for a, b in zip(tokens, attention(tokens, weights, block, "q_proj", "k_proj", eps), strict=True)]
    out = []
    for token in middle:
        inner = activation(kind, linear(norm(token, weights, f"{block}.layer_norm2", eps), weights, f"{block}.mlp.fc1"))
        out.append(token + linear(inner, weights, f"{block}.mlp.fc2"))
    return out


@torch.no_grad()
def patches_by_loops(kind: str, model, pixels: torch.Tensor, scorer: str) -> torch.Tensor:
    """ "rows columns e" of one image of the model's own size, from its weights in double precision."""
    weights = {name: value.double() for name, value in model.state_dict().items()}
    prefix, eps = "vision_model", model.config.vision_config.layer_norm_eps
    kernel, pixels = weights[f"{prefix}.embeddings.patch_embedding.weight"], pixels.double()
    bias = weights.get(f"{prefix}.embeddings.patch_embedding.bias", 0.0)
    side = pixels.shape[-1] // 4
    tokens = [
        (kernel * pixels[:, row * 4 : row * 4 + 4, column * 4 : column * 4 + 4]).sum((1, 2, 3)) + bias
        for row in range(side)
        for column in range(side)
    ]
    if kind == "clip":
        tokens = [weights[f"{prefix}.embeddings.class_embedding"], *tokens]
    positions = weights[f"{prefix}.embeddings.position_embedding.weight"]
    tokens = [token + position for token, position in zip(tokens, positions, strict=True)]
    if kind == "clip":
        tokens = [norm(token, weights, f"{prefix}.pre_layrnorm", eps) for token in tokens]
    depth = model.config.vision_config.num_hidden_layers
    corrected = None
    for number in range(depth):
        block = f"{prefix}.encoder.layers.{number}"
        if scorer == "value" and number == depth - 1:
            corrected = [
                linear(
                    linear(norm(token, weights, f"{block}.layer_norm1", eps), weights, f"{block}.self_attn.v_proj"),
                    weights,
                    f"{block}.self_attn.out_proj",
                )
                for token in tokens
            ]
        if scorer == "surgery" and number >= depth - 6:
            added = attention(tokens, weights, block, "v_proj", "v_proj", eps)
            corrected = [a + b for a, b in zip(corrected or tokens, added, strict=True)]
        tokens = whole_block(kind, tokens, weights, block, eps)
    tokens = [norm(token, weights, f"{prefix}.post_layernorm", eps) for token in corrected or tokens]
    if kind == "clip":
        out = [weights["visual_projection.weight"] @ token for token in tokens[1:]]
    else:  # the pooling head as transformers has it, on sequences of one token
        head = model.vision_model.head.double()
        out = [head(token[None, None])[0] for token in tokens]
        head.float()
    return torch.stack(out).reshape(side, side, -1).float()


@pytest.fixture(scope="module", params=[(kind, depth) for kind in ("clip", "siglip") for depth in (2, 8)], ids=str)
def case(request: pytest.FixtureRequest) -> tuple:
    kind, depth = request.param
    return kind, random_model(kind, depth)


@pytest.mark.parametrize("scorer", SCORERS)
def test_every_scorer_equals_loops_over_the_weights(case, frames, scorer: str) -> None:
    kind, model = case
    aligner = {"clip": ClipAligner, "siglip": SiglipAligner}[kind](model, tokenizer(), "dense", scorer)
    square = frames[0, :16, :16]
    pixels = aligner.preprocess(square[None], 16, 16)
    got = aligner.tokens(square[None], 16, 16)[0]
    expected = patches_by_loops(kind, model, pixels[0], scorer)
    assert got.shape == (4, 4, aligner.width)
    assert float(expected.flatten(0, 1).std(0).mean()) > 0.01, "tokens that differ"
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)


def test_batches_of_frames_and_of_texts_are_those_one_by_one(case, frames) -> None:
    kind, model = case
    aligner = {"clip": ClipAligner, "siglip": SiglipAligner}[kind](model, tokenizer())
    alone = torch.cat([aligner.patches(frame[None]) for frame in frames])
    torch.testing.assert_close(aligner.patches(frames), alone, atol=2e-5, rtol=1e-4)
    texts = ["a dog runs", "red", "a cat a dog a cat"]
    alone = torch.cat([aligner.texts([text]) for text in texts])
    torch.testing.assert_close(aligner.texts(texts), alone, atol=1e-5, rtol=1e-4)


def test_scorers_differ_from_each_other_and_have_identities_of_their_own(case, frames) -> None:
    kind, model = case
    family = {"clip": ClipAligner, "siglip": SiglipAligner}[kind]
    made = {scorer: family(model, tokenizer(), scorer=scorer) for scorer in SCORERS}
    found = [aligner.patches(frames) for aligner in made.values()]
    assert found[0].shape == (2, 14, 19, made["raw"].width)
    assert not any(torch.allclose(a, b, atol=1e-2) for a, b in [found[:2], found[1:], found[::2]])
    assert len({aligner.identity for aligner in made.values()}) == 3
    assert made["raw"].identity.startswith(f"{kind}:")
    assert made["raw"].identity.endswith(":dense"), "maps from before there were scorers keep their key"


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 1000), st.permutations(range(12)))
def test_the_value_path_keeps_every_token_to_itself_and_surgery_does_not_depend_on_their_order(seed, order) -> None:
    from tubelet.aligners.scorers import read_tokens

    blocks = random_model("clip", 2, seed).vision_model.encoder.layers
    tokens = torch.randn(1, 12, 24, generator=torch.Generator().manual_seed(seed))
    with torch.inference_mode():
        changed = tokens.clone()
        changed[:, 5] += 1
        last = read_tokens(blocks[1:], tokens, "value"), read_tokens(blocks[1:], changed, "value")
        others = [position for position in range(12) if position != 5]
        torch.testing.assert_close(last[0][:, others], last[1][:, others])
        for scorer in SCORERS:
            straight, permuted = (read_tokens(blocks, some, scorer) for some in (tokens, tokens[:, order]))
            torch.testing.assert_close(straight[:, order], permuted, atol=1e-4, rtol=1e-4)
    assert SURGERY == 6


def test_crop_takes_no_scorer_of_tokens_and_unknown_ones_are_named(tmp_path) -> None:
    random_model("clip", 2).save_pretrained(tmp_path)
    with pytest.raises(WeightsError, match=r"scorer 'value' goes with dense or upsample"):
        open_aligner(tmp_path, "crop", "value")
    with pytest.raises(WeightsError, match="no scorer 'best' of CLIP; one of: raw, value, surgery"):
        open_aligner(tmp_path, scorer="best")


@pytest.fixture(scope="module")
def siglip(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("siglip")
    random_model("siglip", 2).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


@torch.inference_mode()
def test_siglip_is_opened_from_its_folder_and_its_texts_are_the_models_own(siglip: Path) -> None:
    aligner = open_aligner(siglip)
    assert isinstance(aligner, SiglipAligner)
    texts = ["a dog runs", "red", "a " * 50]
    model = transformers.SiglipModel.from_pretrained(siglip).eval()
    for text, got in zip(texts, aligner.texts(texts), strict=True):
        numbers = [WORDS.index(word) for word in text.split()][:8]
        padded = torch.tensor([numbers + [0] * (8 - len(numbers))])
        expected = model.get_text_features(input_ids=padded).pooler_output[0]
        torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_a_siglip_token_is_what_the_pooling_head_returns_of_it_alone(siglip: Path) -> None:
    head = transformers.SiglipModel.from_pretrained(siglip).eval().vision_model.head
    tokens = torch.randn(2, 5, 24, generator=torch.Generator().manual_seed(0))
    expected = head(tokens.reshape(10, 1, 24)).reshape(2, 5, 24)
    torch.testing.assert_close(alone(head, tokens), expected, atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_the_crop_reading_of_siglip_encodes_patches_as_images(siglip: Path, frames) -> None:
    aligner = load(str(siglip), "crop")
    got = aligner.patches(frames[:1])[0]
    model = transformers.SiglipModel.from_pretrained(siglip).eval()
    patch = frames[0, round(3 * 32 / 14) : round(4 * 32 / 14), round(5 * 44 / 19) : round(6 * 44 / 19)]
    processor = transformers.SiglipImageProcessorPil(size={"height": 16, "width": 16})
    pixels = processor([PIL.fromarray(patch)], return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(
        got[3, 5], model.get_image_features(pixel_values=pixels).pooler_output[0], atol=2e-5, rtol=1e-4
    )


def test_what_is_no_clip_or_siglip_is_named_and_so_is_what_a_tokenizer_lacks(tmp_path, monkeypatch) -> None:
    transformers.BertConfig().save_pretrained(tmp_path / "bert")
    with pytest.raises(WeightsError, match="is a 'bert' model; an aligner is one of: clip, siglip"):
        open_aligner(tmp_path / "bert")
    random_model("siglip", 2).save_pretrained(tmp_path / "siglip")
    (tmp_path / "siglip" / "spiece.model").write_bytes(b"none")
    (tmp_path / "siglip" / "tokenizer_config.json").write_text('{"tokenizer_class": "SiglipTokenizer"}')
    monkeypatch.setattr("tubelet.aligners.pretrained.there", lambda package: package != "sentencepiece")
    with pytest.raises(WeightsError, match=r"needs sentencepiece; install with `pip install 'tubelet\[siglip\]'`"):
        open_aligner(tmp_path / "siglip")
    monkeypatch.setattr("tubelet.aligners.pretrained.reachable", lambda: False)
    with pytest.raises(WeightsError, match=r"neither in the local cache .* --aligner PATH"):
        open_aligner("no-such-owner/no-such-siglip")


def test_the_command_takes_a_scorer_and_keeps_its_maps_apart(siglip: Path, tmp_path, capsys) -> None:
    from tubelet.corpus.table import Corpus
    from tubelet.stores.maps import Maps

    assert (
        main(
            ["synth", "--out", str(tmp_path / "corpus"), "--train", "2", "--test", "2", "--size", "32", "--frames", "8"]
        )
        == 0
    )
    models = {}
    for scorer in ("raw", "surgery"):
        words = [f"aligner={siglip}", f"scorer={scorer}", "rate=1"]
        assert main(["saliency", str(tmp_path / "corpus"), "Text", *words]) == 0
        models[scorer] = Maps.open(Corpus.open(tmp_path / "corpus"), "text").about["method"]["model"]
    assert models["surgery"] == models["raw"] + ":surgery"
