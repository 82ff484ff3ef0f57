"""The truth of the synthetic dataset as maps."""

from pathlib import Path

import numpy as np
import pytest

from tubelet.cli import main
from tubelet.corpus.table import Corpus
from tubelet.saliency_maps import Oracle, Parts
from tubelet.stores.maps import Maps
from tubelet.synthetic import Size, truth, write_synth
from tubelet.types import Clip
from tubelet.video.crop import Crop


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    folder = tmp_path_factory.mktemp("synth") / "corpus"
    write_synth(folder, Size(train=3, test=1, frames=6))
    found = Corpus.open(folder)
    assert Oracle(cells=12).fill(found).computed == 8
    return found


def test_cells_are_the_mean_of_their_pixels_of_cover_and_of_flow(corpus: Corpus) -> None:
    cover, flow = Maps.open(corpus, "oracle"), Maps.open(corpus, "oracle_flow")
    for video in corpus.videos:
        known = truth(corpus, video)
        layers, times = cover.layers(video)
        expected = known.mask.reshape(6, 12, 8, 12, 8).mean((2, 4))
        np.testing.assert_allclose(layers, expected, atol=1e-3)
        np.testing.assert_allclose(times, np.arange(6) / 15, atol=1e-6)
        moves, edges = flow.layers(video)
        expected = known.flow.reshape(6, 12, 8, 12, 8, 2).mean((2, 4)) / 96
        np.testing.assert_allclose(moves, expected, atol=1e-4)
        np.testing.assert_allclose(edges, np.arange(7) / 15, atol=1e-6)


def test_a_clip_finds_the_subject_where_its_pixels_are(corpus: Corpus) -> None:
    clip = Clip(frames=2, size=48, tubelet_size=16)
    video = corpus.videos[0]
    got = Maps.open(corpus, "oracle").sample(video, None, np.arange(2) / 15, Crop(0.0, 0.5, 0.5, 0.5, True), clip)
    corner = truth(corpus, video).mask[:2, :48, 48:][:, :, ::-1].reshape(2, 3, 16, 3, 16).mean((0, 2, 4))
    np.testing.assert_allclose(got.reshape(3, 3), corner, atol=1e-3)


def test_parts_are_the_shares_of_every_owner(corpus: Corpus) -> None:
    assert Parts(cells=12).fill(corpus).computed == 4
    maps = Maps.open(corpus, "parts")
    for video in corpus.videos:
        owner = truth(corpus, video).owner
        layers, times = maps.layers(video)
        expected = [(owner == part).reshape(6, 12, 8, 12, 8).mean((2, 4)) for part in range(5)]
        np.testing.assert_allclose(layers, np.stack(expected, -1), atol=1e-3)
        np.testing.assert_allclose(layers.sum(-1), 1, atol=2e-3)
        np.testing.assert_allclose(times, np.arange(6) / 15, atol=1e-6)


def test_what_exists_is_kept_and_a_corpus_without_truth_is_refused(corpus: Corpus, tmp_path: Path, capsys) -> None:
    assert Oracle(cells=12).fill(corpus).computed == 0
    assert main(["saliency", str(corpus.folder), "Oracle"]) == 0
    assert "8 maps computed now; 4 videos are complete" in capsys.readouterr().out, "on the grid of 14"
    (tmp_path / "videos").mkdir()
    from tubelet.corpus.write import write_corpus

    write_corpus(tmp_path, "plain", [{"id": "a", "path": "a.mp4", "end": 1.0}], [])
    assert main(["saliency", str(tmp_path), "Oracle"]) == 2
    assert "has no ground truth; only corpora of `tubelet synth` have" in capsys.readouterr().err
