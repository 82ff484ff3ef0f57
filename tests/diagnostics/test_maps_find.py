"""The measurement of text maps against known truth."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tubelet.cli import main
from tubelet.corpus.table import Corpus
from tubelet.diagnostics.maps import colour_word, measure_aligner, shuffled
from tubelet.diagnostics.truth import coverage, roc_area
from tubelet.errors import CorpusError
from tubelet.synthetic import Size, truth, write_synth


@given(st.lists(st.tuples(st.booleans(), st.integers(-3, 3)), min_size=2, max_size=40))
@settings(max_examples=100, deadline=None)
def test_the_roc_area_is_that_of_scikit_learn_ties_and_all(pairs: list[tuple[bool, int]]) -> None:
    from sklearn.metrics import roc_auc_score

    labels, scores = np.array([label for label, _ in pairs]), np.array([score for _, score in pairs], float)
    got = roc_area(scores[labels], scores[~labels])
    if labels.all() or not labels.any():
        assert np.isnan(got)
    else:
        assert got == pytest.approx(roc_auc_score(labels, scores))


def test_coverage_is_the_share_of_a_cell_exact_at_none_and_all() -> None:
    mask = np.zeros((1, 96, 96), bool)
    mask[0, 12:30, 8:24] = True
    got = coverage(mask, 12, 12)
    assert got[0, 2, 1] == 1
    assert got[0, 1, 1] == 0.5
    assert got[0, 0, 0] == 0
    uneven = coverage(mask, 14, 14)
    assert uneven.sum() * (96 / 14) ** 2 == pytest.approx(18 * 16, rel=1e-4)
    assert (uneven[0, 5:] == 0).all()


def test_the_colour_baseline_prefers_the_named_colour_and_says_nothing_without_one() -> None:
    frame = np.full((1, 16, 16, 3), 128, np.uint8)
    frame[0, :8, :8] = (230, 40, 36)
    score = colour_word(frame, "a red star", 2, 2)
    assert score[0, 0, 0] == score.max()
    assert (colour_word(frame, "a star", 2, 2) == 0).all()


def test_a_shuffled_caption_is_never_the_same_text() -> None:
    captions = ["a", "b", "a", "c", "a"]
    got = shuffled(captions, seed=0)
    assert all(one != other for one, other in zip(captions, got, strict=True))
    assert got == shuffled(captions, seed=0)


class Oracle:
    """An `Aligner` that has seen the truth: a patch is what covers it most, a text is the subject."""

    identity, width = "oracle", 2

    def __init__(self, corpus: Corpus) -> None:
        self.truth = iter([truth(corpus, video).owner[::4] for video in corpus.select("test")])

    def patches(self, frames: np.ndarray) -> "object":
        import torch

        cover = coverage(next(self.truth) == 1, 12, 12)
        return torch.from_numpy(np.stack([cover, 1 - cover], -1)).float()

    def texts(self, texts: list[str]) -> "object":
        import torch

        return torch.tensor([[1.0, 0.0]] * len(texts))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    folder = tmp_path_factory.mktemp("synth") / "corpus"
    write_synth(folder, Size(train=2, test=6, frames=8))
    return Corpus.open(folder)


def test_an_oracle_has_area_1_everywhere_and_every_clip_is_counted(corpus: Corpus) -> None:
    checked = measure_aligner(corpus, Oracle(corpus), source="subject")
    table = checked.table()
    assert table["text map"]["all"]["overall"] == {"mean": 1.0, "error": 0.0, "clips": 6}
    assert table["text map"]["distractors"]["overall"]["mean"] == 1.0
    cameras = [name for name in table["text map"]["all"] if name != "overall"]
    assert sum(table["text map"]["all"][camera]["clips"] for camera in cameras) == 6
    assert set(cameras) <= {"static", "pan", "zoom"}
    for row in ("colour word", "centre"):
        assert 0.3 < table[row]["all"]["overall"]["mean"] < 1


def test_the_command_prints_a_table_and_keeps_figures_and_a_picture(corpus: Corpus, capsys, tmp_path: Path) -> None:
    assert main(["align", str(corpus.folder), "sources=subject", "steps=2", "batch=4"]) == 0
    assert main(["maps", str(corpus.folder), "--out", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    for row in ("text map", "shuffled caption", "colour word", "centre"):
        assert row in said
    kept = json.loads((tmp_path / "maps.json").read_text())
    assert kept["protocol"]["corpus"] == "synth-1"
    assert kept["protocol"]["source"] == "subject"
    assert kept["protocol"]["grid"] == [12, 12]
    assert len(kept["clips"]) == 6
    mean = np.mean([clip["areas"]["centre"]["all"] for clip in kept["clips"]])
    assert kept["areas"]["centre"]["all"]["overall"]["mean"] == pytest.approx(mean)
    assert (tmp_path / "maps.png").read_bytes()[:4] == b"\x89PNG"


def test_a_corpus_without_truth_or_captions_is_refused(corpus: Corpus, tmp_path: Path, capsys) -> None:
    with pytest.raises(CorpusError, match="fewer than 2 different captions of source 'nobody'"):
        measure_aligner(corpus, Oracle(corpus), source="nobody")
    assert main(["maps", str(corpus.folder), "--source", "subject", "--every", "0"]) == 2
    assert "--every must be at least 1" in capsys.readouterr().err
