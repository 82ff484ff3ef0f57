"""Search by text: the order of a NumPy loop, kept vectors before new ones, and words that say what is missing."""

import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from tubelet.corpus.table import Corpus
from tubelet.errors import WeightsError
from tubelet.evaluations.features import Features
from tubelet.inference.hits import Hit, draw_hits
from tubelet.inference.search import example_of, nearest_to_text, text_vector
from tubelet.objectives import Contrast, Sizes
from tubelet.stores.embeddings import EmbeddingsWriter
from tubelet.types import Clip


class Words:
    """An aligner that counts letters."""

    identity = "letters:1"
    width = 3

    def texts(self, texts: list[str]) -> torch.Tensor:
        return torch.tensor([[float(text.count(letter)) for letter in "aeo"] for text in texts])


def features(count: int) -> Features:
    rng = torch.Generator().manual_seed(0)
    return Features(
        mean=torch.randn(count, 8, generator=rng), temporal_concat=torch.empty(count, 0), label=torch.full((count,),
        -1), ids=tuple(f"clip {i:02d}" for i in range(count)), groups=tuple(map(str, range(count))),
    )  # fmt: skip


def test_the_nearest_are_those_of_a_loop(small):
    torch.manual_seed(0)
    head = Contrast(width=4).build(Sizes(Clip(frames=4, size=32), 8, 3))
    some, vector = features(20), torch.tensor([1.0, 2.0, 0.5])
    videos = {video.id: video for video in small.videos}
    hits = nearest_to_text(head, some, vector, videos, 5)
    with torch.no_grad():
        query = head.text(vector).numpy()
        scores = []
        for row in some.mean:
            clip = head.video(row).numpy()
            scores.append(float(clip @ query / np.linalg.norm(clip) / np.linalg.norm(query)))
    want = sorted(range(20), key=lambda i: -scores[i])[:5]
    assert [hit.video.id for hit in hits] == [some.ids[i] for i in want]
    assert [hit.score for hit in hits] == pytest.approx([scores[i] for i in want], abs=1e-5)


def test_a_kept_vector_is_taken_before_a_new_one_and_only_of_the_same_model(small, tmp_path):
    small = Corpus.open(shutil.copytree(small.folder, tmp_path / "corpus"))
    with EmbeddingsWriter(small, "letters:1", 3) as writer:
        writer.add("a red star", np.array([7, 8, 9], np.float32))
        writer.finish()
    assert text_vector("A red star.", None, "letters:1", small).tolist() == [7, 8, 9]
    assert text_vector("a tree", Words(), "letters:1", small).tolist() == [1, 2, 0]
    with pytest.raises(WeightsError, match="--aligner"):
        text_vector("a tree", None, "letters:1", small)
    with pytest.raises(WeightsError, match="trained with"):
        text_vector("a red star", Words(), "clip:other", small)


def test_right_is_what_has_the_text_as_its_caption_and_of_others_nothing_is_said(small):
    videos = {video.id: video for video in small.videos}
    hits = [Hit(videos[name], 1 - i / 10) for i, name in enumerate(("clip 03", "clip 10", "clip 05", "clip 31"))]
    known = example_of("Grey number 0", hits, small)  # of every fifth clip
    assert [(answer["answer"], answer["right"]) for answer in known["answers"]] == [
        ("clip 03", None), ("clip 10", True), ("clip 05", True), ("clip 31", None),
    ]  # fmt: skip
    assert {answer["right"] for answer in example_of("a thunderstorm", hits, small)["answers"]} == {None}


def test_the_sheet_shows_every_hit_also_one_that_cannot_be_read(small, tmp_path):
    torch.manual_seed(0)
    head = Contrast(width=4).build(Sizes(Clip(frames=4, size=32), 8, 3))
    videos = {video.id: video for video in small.videos}
    hits = nearest_to_text(head, features(36), torch.ones(3), videos, 36)  # the corrupt one among them
    draw_hits("grey things", hits[:6], tmp_path / "two rows.png")
    draw_hits("grey things", hits, tmp_path / "nine rows.png")
    with Image.open(tmp_path / "two rows.png") as two, Image.open(tmp_path / "nine rows.png") as nine:
        assert two.width == nine.width
        assert nine.height > 4 * two.height
        tile = np.asarray(nine)[60:200, 20:200]
        assert tile.std() > 0 or tile.mean() < 250
