"""`make test-weights WEIGHTS=DIR`: DIR/clip, DIR/blip2, DIR/videomae as transformers saves them; what is absent skips.

The same checks run here on small random models in the same folders, so that they themselves are known to work.
"""

import os
from pathlib import Path

import pytest
import torch
import transformers

from support.foreign import config_of, random_model, saved
from support.real import check_blip2, check_clip, check_videomae, knn_figure
from tubelet.cli import main
from tubelet.corpus.table import Corpus

CHECKS = {"clip": check_clip, "blip2": check_blip2, "videomae": check_videomae}


@pytest.fixture(scope="session")
def weights() -> Path:
    if not (given := os.environ.get("WEIGHTS")):
        pytest.skip("no real weights: name their folder with `make test-weights WEIGHTS=DIR`")
    folder = Path(given).expanduser()
    assert folder.is_dir(), f"WEIGHTS={folder} is no folder"
    assert any((folder / name).is_dir() for name in CHECKS), f"{folder} holds none of: {', '.join(CHECKS)}"
    return folder


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Corpus:
    folder = tmp_path_factory.mktemp("corpora") / "synth"
    clips = ("64", "32") if os.environ.get("WEIGHTS") else ("16", "8")
    size = ["--train", clips[0], "--test", clips[1], "--size", "64", "--workers", "1"]
    assert main(["synth", "--out", str(folder), *size]) == 0
    return Corpus.open(folder)


@pytest.mark.parametrize("name", CHECKS)
def test_real_weights_give_what_transformers_gives(weights, name):
    if not (weights / name).is_dir():
        pytest.skip(f"no {weights / name}")
    print(f"\n{CHECKS[name](weights / name)}")


@pytest.mark.timeout(3600)
def test_real_videomae_features_are_measured(weights, corpus, tmp_path):
    if not (weights / "videomae").is_dir():
        pytest.skip(f"no {weights / 'videomae'}")
    print(f"\n{knn_figure(weights / 'videomae', corpus, tmp_path)}")


# The checks themselves


def tiny_clip(folder: Path) -> None:
    letters = "abcdefghijklmnopqrstuvwxyz"
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    numbers = {token: number for number, token in enumerate(tokens)}
    tokenizer = transformers.CLIPTokenizer(vocab=numbers, merges=[], model_max_length=24)
    layers = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = {**layers, "vocab_size": len(tokens), "max_position_embeddings": 24, "bos_token_id": 52, "eos_token_id": 53,
            "pad_token_id": 53}  # fmt: skip
    vision = {**layers, "image_size": 32, "patch_size": 8}
    torch.manual_seed(0)
    transformers.CLIPModel(
        transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=20)
    ).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def tiny_blip2(folder: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

    words = ["<pad>", "<s>", "</s>", "<unk>", "<image>", *(f"w{i}" for i in range(40))]
    raw = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=raw, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>",
        additional_special_tokens=["<image>"],
    )  # fmt: skip
    layers = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.Blip2Config(
        vision_config={**layers, "intermediate_size": 48, "image_size": 32, "patch_size": 16},
        qformer_config={**layers, "intermediate_size": 48, "vocab_size": len(words), "encoder_hidden_size": 32},
        text_config={**layers, "model_type": "opt", "ffn_dim": 48, "vocab_size": len(words), "word_embed_proj_dim": 32,
                     "max_position_embeddings": 64, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0},
        num_query_tokens=4,
        image_token_index=4,
    )  # fmt: skip
    torch.manual_seed(0)
    transformers.Blip2ForConditionalGeneration(config).save_pretrained(folder)
    processor = BlipImageProcessorPil(size={"height": 32, "width": 32})
    transformers.Blip2Processor(processor, tokenizer, num_query_tokens=4).save_pretrained(folder)


def tiny_videomae(folder: Path) -> None:
    saved(random_model("VideoMAEForPreTraining", config_of()), folder)


MAKERS = {"clip": tiny_clip, "blip2": tiny_blip2, "videomae": tiny_videomae}


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    for name, make in MAKERS.items():
        make(folder / name)
    return folder


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("name", CHECKS)
def test_the_check_holds_for_a_small_random_model(small, name):
    said = CHECKS[name](small / name)
    assert said.startswith({"clip": "CLIP logits", "blip2": "BLIP-2 caption", "videomae": "VideoMAE, width 32"}[name])


def test_the_check_of_videomae_sees_a_difference(small, monkeypatch):
    from support import real

    def wrong(folder):
        weights = read(folder)
        weights.tensors["encoder.blocks.0.attention.v_bias"].add_(0.01)
        return weights

    read = real.read_weights
    monkeypatch.setattr(real, "read_weights", wrong)
    with pytest.raises(AssertionError):
        check_videomae(small / "videomae")


def test_the_knn_figure_of_a_small_random_model(small, corpus, tmp_path):
    assert "16 train and 8 test clips" in knn_figure(small / "videomae", corpus, tmp_path)
