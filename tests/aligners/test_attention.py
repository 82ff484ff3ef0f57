"""Attention maps of small CLIPs and SigLIPs of the real classes: what transformers itself says, and the command."""

from pathlib import Path

import numpy as np
import pytest
import torch

from support.random_clips import random_model, tokenizer
from tubelet.aligners.clip import ClipAligner
from tubelet.aligners.siglip import SiglipAligner
from tubelet.cli import main
from tubelet.corpus.table import Corpus
from tubelet.corpus.write import write_corpus
from tubelet.errors import WeightsError
from tubelet.stores.maps import Maps
from tubelet.video.writer import write_video

transformers = pytest.importorskip("transformers")
pytest.importorskip("PIL.Image")


@pytest.fixture(scope="module")
def frames() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, 32, 44, 3), dtype=np.uint8)


def test_clips_map_is_the_attention_of_its_class_token_in_the_last_block(frames: np.ndarray) -> None:
    model = random_model("clip", 3)
    found = ClipAligner(model, tokenizer()).attention(frames)
    rows, columns = found.shape[1:]
    assert (rows, columns) == (14, 19)
    model.set_attn_implementation("eager")
    pixels = ClipAligner.preprocess(frames, rows * 4, columns * 4)
    with torch.no_grad():
        seen = model.vision_model(pixel_values=pixels, interpolate_pos_encoding=True, output_attentions=True)
    expected = seen.attentions[-1].mean(1)[:, 0, 1:].reshape(3, rows, columns)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-4)
    assert (found.sum((1, 2)) < 1).all(), "some of it goes to the class token itself"
    assert found.std() > 1e-4


def test_siglips_map_is_the_attention_of_its_pooling_probe(frames: np.ndarray) -> None:
    model = random_model("siglip", 2)
    found = SiglipAligner(model, tokenizer(), "upsample").attention(frames)
    assert found.shape == (3, 4, 6)
    pixels = SiglipAligner.preprocess(frames, 16, 24)
    head = model.vision_model.head
    with torch.no_grad():
        tokens = model.vision_model(pixel_values=pixels, interpolate_pos_encoding=True).last_hidden_state
        weight, bias, width, heads = head.attention.in_proj_weight, head.attention.in_proj_bias, 24, 3
        for clip in range(3):
            q = weight[:width] @ head.probe[0, 0] + bias[:width]
            shares = torch.zeros(24)
            for part in range(heads):
                at = slice(8 * part, 8 * part + 8)
                logits = [
                    q[at] @ (weight[width : 2 * width] @ token + bias[width : 2 * width])[at] / 8**0.5
                    for token in tokens[clip]
                ]
                shares += torch.stack(logits).softmax(0) / heads
            torch.testing.assert_close(found[clip].flatten(), shares, atol=1e-5, rtol=1e-4)


def test_patches_encoded_alone_attend_to_nothing(frames: np.ndarray) -> None:
    with pytest.raises(WeightsError, match="take the reading dense or upsample"):
        ClipAligner(random_model("clip", 1), tokenizer(), "crop").attention(frames)


def test_the_command_keeps_maps_and_the_masker_shows_what_is_attended_to(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    rows = []
    for number in range(3):
        write_video(tmp_path / f"{number}.mp4", rng.integers(0, 256, (8, 32, 48, 3), dtype=np.uint8), fps=8)
        row = {"id": str(number), "path": f"{number}.mp4", "end": 1.0, "fps": 8.0, "frames": 8, "split": "test"}
        rows.append({**row, "height": 32, "width": 48})
    corpus = write_corpus(tmp_path, "noise", rows)
    model = random_model("clip", 2)
    model.save_pretrained(tmp_path / "teacher")
    tokenizer().save_pretrained(tmp_path / "teacher")
    words = ["saliency", str(tmp_path), "Attention", f"aligner={tmp_path / 'teacher'}", "rate=all"]
    assert main(words) == 0
    assert "3 maps computed now" in capsys.readouterr().out
    layers, times = Maps.open(Corpus.open(tmp_path), "attention").layers(corpus.videos[1])
    assert layers.shape == (8, 14, 21)
    assert len(times) == 8
    assert main(words) == 0
    assert "0 maps computed now; 3 videos are complete" in capsys.readouterr().out
    masks = ["masks", str(tmp_path), "Attention:pick=top", "clip.size=32", "clip.frames=4", "clip.tubelet_size=8"]
    assert main([*masks, "data.sampling.stride=1", "encoder.width=32", "encoder.depth=1", "encoder.heads=2"]) == 0
    assert "Attention pick=top" in capsys.readouterr().out


def test_without_a_transformer_to_ask_it_says_which_option_names_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_corpus(tmp_path, "empty", [])
    assert main(["saliency", str(tmp_path), "Attention"]) == 2
    assert "name a CLIP or SigLIP, as aligner=" in capsys.readouterr().err
