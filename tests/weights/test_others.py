"""V-JEPA 2 and VideoPrism become runs, with the features of transformers."""

import json

import numpy as np
import pytest
import torch
import transformers

import tubelet
from support.foreign import random_model
from tubelet.cli import main
from tubelet.corpus.write import write_corpus
from tubelet.errors import TubeletError
from tubelet.inference.kinds import FeatureKind
from tubelet.models.patches import MEAN, STD
from tubelet.video.writer import write_video

FRAMES, SIZE = 4, 32


def vjepa2():
    config = transformers.VJEPA2Config(
        patch_size=8, crop_size=SIZE, frames_per_clip=8, tubelet_size=2, hidden_size=48, num_attention_heads=2,
        num_hidden_layers=2, pred_hidden_size=24, pred_num_attention_heads=2, pred_num_hidden_layers=1,
    )  # fmt: skip
    return random_model("VJEPA2Model", config)


def vision_config():
    return transformers.VideoPrismVisionConfig(
        image_size=SIZE, num_frames=FRAMES, tubelet_size=[1, 8, 8], hidden_size=32, num_attention_heads=2,
        intermediate_size=64, num_spatial_layers=2, num_temporal_layers=1, num_auxiliary_layers=1,
    )  # fmt: skip


def videoprism():
    return random_model("VideoPrismVisionModel", vision_config())


@torch.no_grad()
def tokens(model, video):
    """As transformers computes them, of uint8 clips."""
    pixels = video.transpose(1, 2).float() / 255
    if isinstance(model, transformers.VJEPA2Model):
        pixels = (pixels - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
        return model.get_vision_features(pixels)
    return model(pixels).last_hidden_state


MODELS = {"V-JEPA 2": vjepa2, "VideoPrism": videoprism}


@pytest.fixture(scope="module", params=MODELS)
def made(request, tmp_path_factory):
    """The model, and the run that is made of its folder."""
    folder = tmp_path_factory.mktemp("weights")
    model = MODELS[request.param]()
    model.save_pretrained(folder / "theirs")
    words = ["clip.frames=4"] if request.param == "V-JEPA 2" else []
    assert main(["import", str(folder / "theirs"), "--out", str(folder / "run"), "data.sampling.stride=1", *words]) == 0
    return request.param, model, folder / "run"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    rows = []
    for index in range(8):
        frames = np.random.default_rng(index).integers(0, 256, (6, SIZE, SIZE, 3)).astype(np.uint8)
        write_video(folder / f"{index}.mp4", frames, 8.0)
        rows.append({"id": f"{index}", "path": folder / f"{index}.mp4", "end": 0.75, "fps": 8.0, "frames": 6,
                     "width": SIZE, "height": SIZE, "label": f"class {index % 2}",
                     "split": "train" if index < 4 else "test"})  # fmt: skip
    return write_corpus(folder, "small", rows)


def test_features_are_those_of_transformers(made):
    _, model, run = made
    video = torch.randint(0, 256, (2, 3, FRAMES, SIZE, SIZE), dtype=torch.uint8)
    encoder, expected = tubelet.load_encoder(run), tokens(model, video)
    assert encoder.encode(video).shape == (2, encoder.clip.num_tubelets, encoder.width)
    torch.testing.assert_close(encoder.encode(video), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(tubelet.embed(encoder, video), expected.mean(1), rtol=1e-5, atol=1e-5)
    steps = FeatureKind("time_step").of(encoder, video)["feature"]
    torch.testing.assert_close(steps, expected.unflatten(1, (encoder.clip.grid[0], -1)).mean(2), rtol=1e-5, atol=1e-5)


def test_the_run_is_evaluated_embedded_with_and_searched(made, corpus, tmp_path, capsys):
    _, _, run = made
    assert main(["evaluate", str(run), "knn", "--on", str(corpus.folder)]) == 0
    assert json.loads((run / "results.json").read_text())
    assert main(["embed", str(run), str(corpus.folder), "--out", str(tmp_path / "features.parquet")]) == 0
    capsys.readouterr()
    assert main(["search", str(run), "--like", "5", "--on", str(corpus.folder)]) == 0
    assert "5" in capsys.readouterr().out


def test_what_it_cannot_do_is_one_sentence(made, corpus, tmp_path, capsys):
    title, _, run = made
    for words in (
        ["export", str(run), "--to", "transformers", "--out", str(tmp_path / "out")],
        ["embed", str(run), str(corpus.folder), "--layer", "1", "--out", str(tmp_path / "layer.parquet")],
    ):
        assert main(words) == 2
        assert f"{title} can be measured" in capsys.readouterr().err


def test_other_clips_and_missing_weights_are_refused(tmp_path):
    model = videoprism()
    model.save_pretrained(tmp_path / "theirs")
    with pytest.raises(TubeletError, match="VideoPrism reads clips of 4 frames of 32 pixels"):
        tubelet.import_weights(tmp_path / "theirs", "clip.frames=8", out=tmp_path / "run")
    state = {name: value for name, value in model.state_dict().items() if "layernorm2" not in name}
    model.save_pretrained(tmp_path / "less", state_dict=state)
    with pytest.raises(TubeletError, match=r"layernorm2\.\w+ is missing"):
        tubelet.import_weights(tmp_path / "less", out=tmp_path / "run")


def test_the_encoder_is_taken_out_of_a_model_of_video_and_text(tmp_path):
    text = transformers.VideoPrismTextConfig(
        vocab_size=20, hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2
    )
    config = transformers.VideoPrismConfig(vision_config=vision_config().to_dict(), text_config=text.to_dict())
    model = random_model("VideoPrismClipModel", config)
    model.save_pretrained(tmp_path / "theirs")
    run = tubelet.import_weights(tmp_path / "theirs", out=tmp_path / "run")
    video = torch.randint(0, 256, (1, 3, FRAMES, SIZE, SIZE), dtype=torch.uint8)
    torch.testing.assert_close(
        tubelet.load_encoder(run).encode(video), tokens(model.video_model.vision_model, video), rtol=1e-5, atol=1e-5
    )
    assert "left out" in json.loads((tmp_path / "run" / "import.json").read_text())["remarks"][0]


def test_a_name_that_cannot_be_fetched_says_how_to_go_on_offline(monkeypatch, tmp_path):
    monkeypatch.setattr("tubelet.weights.files.reachable", lambda: False)
    with pytest.raises(TubeletError, match="offline, name a local file or folder"):
        tubelet.import_weights("facebook/vjepa2-vitl-fpc64-256", out=tmp_path / "run")
