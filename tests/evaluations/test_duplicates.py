"""What train and test share is found and said: files, groups, frames that look alike; and nothing else is."""

import shutil

import numpy as np
import pytest
import torch

from tubelet.corpus.table import Corpus
from tubelet.corpus.write import write_corpus
from tubelet.evaluations import Context
from tubelet.evaluations.baselines import MeanImage
from tubelet.evaluations.duplicates import SharedClips, near_duplicates
from tubelet.evaluations.features import Features
from tubelet.video.writer import write_video


def scene(seed: int, shift: int = 0, light: float = 0.0, noise: int = 0) -> np.ndarray:
    """Frames of coloured blocks; the same scene a little later, lighter, or noisier."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 256, (6, 8, 3)).repeat(8, 0).repeat(8, 1).astype(np.float64)
    frames = np.stack([np.roll(blocks, step + shift, axis=1) for step in range(8)]) + light
    frames += np.random.default_rng(noise).normal(0, 2, frames.shape)
    return frames.clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Corpus:
    """Test holds a copied file, a lighter scene of train, a black clip as train has one, and four of its own."""
    folder = tmp_path_factory.mktemp("shared")
    clips = {f"train {i}": scene(i) for i in range(6)} | {"train black": np.zeros((8, 48, 64, 3), np.uint8)}
    clips |= {f"test {i}": scene(100 + i) for i in range(4)}
    clips |= {"test later": scene(2, shift=0, light=1.5, noise=7), "test black": np.zeros((8, 48, 64, 3), np.uint8)}
    rows = []
    for name, frames in clips.items():
        write_video(folder / f"{name}.mp4", frames, 8.0)
        rows.append({"id": name, "path": folder / f"{name}.mp4", "end": 1.0, "fps": 8.0, "frames": 8, "width": 64,
                     "height": 48, "label": "ab"[len(rows) % 2], "split": name.split()[0]})  # fmt: skip
    shutil.copy(folder / "train 4.mp4", folder / "test copy.mp4")
    rows.append({**rows[4], "id": "test copy", "path": folder / "test copy.mp4", "split": "test", "group": "train 4"})
    (folder / "test black.mp4").write_bytes((folder / "test black.mp4").read_bytes() + b"\0" * 8)
    return write_corpus(folder, "shared", rows)


@pytest.fixture(scope="module")
def shared(corpus, clip, data) -> SharedClips:
    context = Context(MeanImage(clip), corpus, clip, data)
    return SharedClips.between(corpus, context.features("train"), context.features("test"))


def test_the_same_file_the_same_group_and_frames_that_look_alike_are_found_and_nothing_else(shared):
    assert shared.files == [("test copy", "train 4")]
    assert shared.groups == ["train 4"]
    assert {pair[:2] for pair in shared.frames} == {("test copy", "train 4"), ("test later", "train 2")}


def test_each_is_said_in_a_sentence_that_names_the_first(shared):
    marks = shared.warnings(7)
    assert marks[0] == "1 of 7 test clips are of a file of train too (test copy = train 4)"
    assert marks[1] == "1 group in train and in test at once (first: train 4)"
    assert marks[2].startswith("2 of 7 test clips look like a train clip")


def test_a_segment_of_a_file_that_train_holds_is_of_the_same_file(corpus, clip, data, tmp_path):
    video = corpus.videos[0]
    half = {"path": video.path, "fps": 8.0, "frames": 4, "width": 64, "height": 48, "label": "a"}
    rows = [{**half, "id": "first", "start": 0.0, "end": 0.5, "split": "train"},
            {**half, "id": "second", "start": 0.5, "end": 1.0, "split": "test"}]  # fmt: skip
    cut = write_corpus(tmp_path, "cut", rows)
    context = Context(MeanImage(clip), cut, clip, data)
    assert SharedClips.between(cut, context.features("train"), context.features("test")).files == [("second", "first")]


def test_clips_that_share_nothing_leave_no_mark():
    rng = torch.Generator().manual_seed(0)

    def features(split: str, count: int) -> Features:
        looks = torch.randint(0, 256, (count, 4, 16, 16, 3), generator=rng).byte()
        names = tuple(f"{split} {i}" for i in range(count))
        return Features(
            torch.zeros(count, 2), torch.zeros(count, 2), torch.zeros(count).long(), names, names, looks=looks
        )

    assert near_duplicates(features("train", 200), features("test", 100)) == []
