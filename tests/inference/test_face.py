"""`load_encoder` and `embed`: what a user of the Python face relies on."""

import os
from pathlib import Path

import chz
import numpy as np
import pandas as pd
import pytest
import torch

import tubelet
from tubelet import cli
from tubelet.checkpoint import CHECKPOINT
from tubelet.corpus.write import write_corpus
from tubelet.errors import VideoError, WeightsError
from tubelet.loading.data import Data
from tubelet.loading.loader import eval_batches
from tubelet.maskers import Tube
from tubelet.models.decoder import Decoder
from tubelet.models.encoder import Vit
from tubelet.objectives import Pixels
from tubelet.recipes import Pretrain
from tubelet.runs.folder import load_task
from tubelet.runs.pretrain import pretrain
from tubelet.types import Clip
from tubelet.video.reader import read_span
from tubelet.video.sampling import Sampling
from tubelet.video.writer import write_video

CONFIG = Pretrain(
    precision="fp32",
    clip=Clip(frames=4, size=32, tubelet_frames=2, tubelet_size=16),
    data=Data(sampling=Sampling(stride=2)),
    encoder=Vit(width=32, depth=1, heads=2),
    masker=Tube(ratio=0.5),
    objectives={"pixels": Pixels(decoder=Decoder(width=16, depth=1, heads=2))},
    steps=2,
    batch=2,
)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    rows = []
    for index in range(3):
        frames = np.random.default_rng(index).integers(0, 256, (12, 36, 48, 3)).astype(np.uint8)
        write_video(folder / f"{index}.mp4", frames, 8.0)
        rows.append({"id": f"{index}", "path": folder / f"{index}.mp4", "end": 1.5, "fps": 8.0, "frames": 12,
                     "width": 48, "height": 36, "split": "train"})  # fmt: skip
    return write_corpus(folder, "face", rows)


@pytest.fixture(scope="module")
def run(corpus, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    pretrain(CONFIG, on=corpus.folder, out=folder)
    return folder


def test_the_encoder_of_a_run_is_the_trained_one_with_its_clip_and_its_sampling(run):
    encoder = tubelet.load_encoder(run)
    _, task = load_task(run)
    assert not encoder.training
    assert encoder.clip == CONFIG.clip
    assert encoder.sampling == CONFIG.data.sampling
    for name, value in task.encoder.state_dict().items():
        assert torch.equal(value, encoder.state_dict()[name]), name
    again = tubelet.load_encoder(str(run / CHECKPOINT))
    assert torch.equal(again.embed.weight, encoder.embed.weight)


def test_the_feature_of_a_file_is_that_of_evaluation(run, corpus):
    encoder = tubelet.load_encoder(run)
    [batch] = eval_batches(corpus, corpus.videos, CONFIG.clip, CONFIG.data, batch=3)
    with torch.no_grad():
        expected = encoder.encode(batch.video).mean(1)
    features = tubelet.embed(encoder, [video.path for video in corpus.videos], batch=2)
    torch.testing.assert_close(features, expected, rtol=0, atol=1e-5)
    one = tubelet.embed(encoder, str(corpus.videos[1].path))
    torch.testing.assert_close(one, expected[1:2], rtol=0, atol=1e-5)


def test_an_array_of_frames_gives_what_its_file_gives(run, corpus):
    encoder = tubelet.load_encoder(run)
    frames, _ = read_span(corpus.videos[0].path)
    torch.testing.assert_close(
        tubelet.embed(encoder, frames), tubelet.embed(encoder, corpus.videos[0].path), rtol=0, atol=1e-5
    )
    both = tubelet.embed(encoder, [frames, corpus.videos[1].path])
    assert both.shape == (2, 32)


def test_frames_are_sampled_as_in_training_unless_said_otherwise(run, corpus):
    encoder = tubelet.load_encoder(run)
    path = corpus.videos[0].path
    trained = tubelet.embed(encoder, path)
    torch.testing.assert_close(tubelet.embed(encoder, path, sampling=Sampling(stride=2)), trained)
    assert not torch.allclose(tubelet.embed(encoder, path, sampling=Sampling(stride=1)), trained)


def test_embedding_takes_no_gradient_and_leaves_the_mode(run, corpus):
    encoder = tubelet.load_encoder(run).train()
    assert not tubelet.embed(encoder, corpus.videos[0].path).requires_grad
    assert encoder.training


def test_nothing_gives_no_rows(run):
    assert tubelet.embed(tubelet.load_encoder(run), []).shape == (0, 32)


def test_tensors_and_arrays_of_clips_or_frames_are_read_as_what_they_are(run, corpus):
    encoder = tubelet.load_encoder(run)
    [batch] = eval_batches(corpus, corpus.videos, CONFIG.clip, CONFIG.data, batch=3)
    with torch.no_grad():
        expected = encoder.encode(batch.video).mean(1)
    frames, _ = read_span(corpus.videos[0].path)
    several = np.stack([read_span(video.path)[0] for video in corpus.videos])
    for given, want in (
        (batch.video, expected), (batch.video.numpy(), expected), (batch.video[0], expected[:1]),
        (torch.from_numpy(frames), expected[:1]), (several, expected), (torch.from_numpy(several), expected),
        ([batch.video[1], frames], expected[[1, 0]]),
    ):  # fmt: skip
        torch.testing.assert_close(tubelet.embed(encoder, given), want, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["pipe.mp4", "device.mp4", "folder.mp4"])
def test_what_is_no_file_is_one_line_in_python_too(run, tmp_path, name):
    path = tmp_path / name
    {"pipe": os.mkfifo, "device": lambda path: path.symlink_to("/dev/zero"), "folder": Path.mkdir}[path.stem](path)
    with pytest.raises(VideoError, match=f"{name}: .*not a file"):
        tubelet.embed(tubelet.load_encoder(run), path)


@pytest.mark.parametrize(
    "frames",
    [
        np.zeros((4, 32, 32, 3), np.float32),
        np.zeros((4, 3, 32, 32), np.uint8),
        np.zeros((0, 8, 8, 3), np.uint8),
        torch.zeros(2, 3, 4, 32, 32),
        torch.zeros(2, 3, 8, 32, 32, dtype=torch.uint8),
        torch.zeros(3, dtype=torch.uint8),
    ],
)
def test_frames_of_another_shape_or_type_are_one_line(run, frames):
    with pytest.raises(VideoError, match=r"uint8 array of shape \(time, height, width, 3\)"):
        tubelet.embed(tubelet.load_encoder(run), frames)


def test_frames_without_times_cannot_be_sampled_by_time(run):
    with pytest.raises(VideoError, match="step_ms"):
        tubelet.embed(tubelet.load_encoder(run), np.zeros((9, 32, 32, 3), np.uint8), sampling=Sampling(step_ms=100.0))


def test_a_video_that_cannot_be_read_is_named(run, tmp_path):
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    for path in (tmp_path / "bad.mp4", tmp_path / "none.mp4"):
        with pytest.raises(VideoError, match=path.name):
            tubelet.embed(tubelet.load_encoder(run), path)


def test_a_path_that_holds_no_run_is_one_line_with_the_remedy(run, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "weights.safetensors").write_bytes(b"")
    for path in (tmp_path / "nowhere", tmp_path / "empty", tmp_path / "weights.safetensors", run / "log.jsonl"):
        with pytest.raises(WeightsError, match=r"tubelet pretrain|name the folder"):
            tubelet.load_encoder(path)


def test_the_command_writes_what_embed_gives(run, corpus, tmp_path, capsys):
    out = tmp_path / "features.parquet"
    assert cli.main(["embed", str(run), str(corpus.folder), "--out", str(out)]) == 0
    assert "3 rows, 3 features of width 32" in capsys.readouterr().out
    table = pd.read_parquet(out)
    expected = tubelet.embed(tubelet.load_encoder(run), [video.path for video in corpus.videos])
    np.testing.assert_allclose(np.stack(table.feature.tolist()), expected.numpy(), atol=1e-5)


def test_a_run_without_its_checkpoint_or_with_another_models_is_one_line(run, tmp_path, corpus):
    other = tmp_path / "other"
    pretrain(chz.replace(CONFIG, encoder=Vit(width=16, depth=1, heads=2)), on=corpus.folder, out=other)
    checkpoint = (other / CHECKPOINT).read_bytes()
    (other / CHECKPOINT).write_bytes((run / CHECKPOINT).read_bytes())
    with pytest.raises(WeightsError, match=r"do not fit.*\(32, "):
        tubelet.load_encoder(other)
    (other / CHECKPOINT).write_bytes(checkpoint[: len(checkpoint) // 2])
    with pytest.raises(WeightsError, match="cannot be read"):
        tubelet.load_encoder(other)
    (other / CHECKPOINT).unlink()
    with pytest.raises(WeightsError, match="no checkpoint"):
        tubelet.load_encoder(other)
