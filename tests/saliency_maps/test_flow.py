"""Optical flow as a corpus job, with an engine that finds one vector a frame, and with OpenCV's where it is there."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from support.moving import HEIGHT, WIDTH, Shift, moving_corpus, translated
from tubelet.cli import main
from tubelet.saliency_maps import Flow
from tubelet.saliency_maps import frames as looking
from tubelet.saliency_maps.engines import Dis, Farneback
from tubelet.saliency_maps.frames import pieces
from tubelet.stores.maps import Maps

without_opencv = pytest.mark.skipif(importlib.util.find_spec("cv2") is not None, reason="OpenCV is installed")
without_torchvision = pytest.mark.skipif(
    importlib.util.find_spec("torchvision") is not None, reason="torchvision is installed"
)


@pytest.mark.parametrize("bytes_at_once", [64 << 20, WIDTH * HEIGHT * 3 * 5])
def test_every_frame_has_its_displacement_in_shares_of_the_frame_also_across_pieces(
    tmp_path: Path, monkeypatch, bytes_at_once: int
) -> None:
    monkeypatch.setattr(looking, "PIECE_BYTES", bytes_at_once)
    corpus = moving_corpus(tmp_path)
    assert len(pieces(corpus.videos[0], None)) == (1 if bytes_at_once == 64 << 20 else 4)
    filled = Flow(engine=Shift(), cells=6).fill(corpus)
    assert (filled.videos, filled.computed, dict(filled.failed)) == (4, 4, {})
    maps = Maps.open(corpus, "flow")
    assert maps.kind == "vector"
    assert maps.about["method"] == {"flow": {"engine": "Shift"}, "side": 256, "cells": 6}
    for number, video in enumerate(corpus.videos):
        layers, times = maps.layers(video)
        assert layers.shape == (16, 6, 8, 2)
        np.testing.assert_allclose(times, np.arange(17) / 10, atol=1e-6)
        expected = np.array([(number - 1) / WIDTH, (2 - number) / HEIGHT])
        assert (np.abs(layers - expected).max((1, 2, 3)) < 1e-4).mean() > 0.8, "but where a key frame misleads it"
    assert Flow(engine=Shift(), cells=6).fill(corpus).computed == 0


@without_opencv
def test_without_opencv_the_extra_is_named_before_anything_is_read(tmp_path: Path, capsys) -> None:
    moving_corpus(tmp_path, 1)
    for words in (["Flow"], ["Flow", "engine=Farneback"], ["Motion", "fallback=Dis"]):
        assert main(["saliency", str(tmp_path), *words]) == 2
        assert "install it with `pip install 'tubelet[flow]'`" in capsys.readouterr().err
    assert not (tmp_path / "maps").exists()


@without_torchvision
def test_raft_asks_for_weights_and_for_torchvision(tmp_path: Path, capsys) -> None:
    moving_corpus(tmp_path, 1)
    assert main(["saliency", str(tmp_path), "Flow", "engine=Raft"]) == 2
    assert "give engine.weights=FILE" in capsys.readouterr().err
    assert main(["saliency", str(tmp_path), "Flow", "engine=Raft", "engine.weights=raft.pt"]) == 2
    assert "RAFT needs torchvision" in capsys.readouterr().err


@pytest.mark.parametrize("engine", [Dis, Farneback])
def test_opencvs_engines_find_a_known_translation(engine: type[Dis] | type[Farneback]) -> None:
    pytest.importorskip("cv2")
    one, other = translated(2, 3, -2)
    got = engine()(one, other)
    assert got.shape == (HEIGHT, WIDTH, 2)
    inner = got[16:-16, 16:-16]
    np.testing.assert_allclose(np.median(inner, axis=(0, 1)), [3, -2], atol=0.3)
    assert (np.abs(inner - [3, -2]).max(-1) < 1).mean() > 0.9
    assert engine()(one[:4, :6], other[:4, :6]).shape == (4, 6, 2)
