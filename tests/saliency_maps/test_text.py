"""Text maps: what is computed, kept, and not computed again."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tubelet.cli import main
from tubelet.corpus.table import Corpus
from tubelet.errors import CorpusError, VideoError
from tubelet.jobs.runner import Limits, Running
from tubelet.saliency_maps import frames as looking
from tubelet.saliency_maps.frames import decode_piece, decode_whole, pieces
from tubelet.saliency_maps.text import fill_text
from tubelet.stores.embeddings import Embeddings
from tubelet.stores.maps import Maps
from tubelet.types import Clip
from tubelet.video.crop import Crop
from tubelet.video.reader import read_span


def test_every_caption_of_every_video_gets_the_cosine_of_each_patch_at_each_frame(corpus: Corpus, colours) -> None:
    filled = fill_text(corpus, colours, rate=None)
    assert (filled.videos, filled.computed, filled.captions, dict(filled.failed)) == (4, 8, 6, {})
    maps, embeddings = Maps.open(corpus, "text"), Embeddings.open(corpus)
    assert maps.about["method"] == {"model": "colours", "rate": "all"}
    for caption in corpus.captions:
        video = corpus.videos[int(caption.video.split()[1])]
        layers, times = maps.layers(video, caption)
        shown, stamps = read_span(video.path)
        patches = colours.patches(shown).numpy().astype(np.float64)
        text = embeddings.vector(caption).astype(np.float64)
        assert np.allclose(text, colours.colour(caption.text.lower().rstrip(".")).numpy())
        expected = patches @ text / np.linalg.norm(patches, axis=-1) / np.linalg.norm(text)
        np.testing.assert_allclose(layers, expected, atol=1e-3)
        np.testing.assert_allclose(times, stamps)
    assert maps.missing(corpus.videos, corpus.captions) == []
    assert embeddings.missing(corpus.captions) == []


def test_a_clip_reads_the_named_half_through_its_flip_and_its_time(corpus: Corpus, colours) -> None:
    fill_text(corpus, colours, rate=None)
    maps = Maps.open(corpus, "text")
    clip = Clip(frames=4, size=32, tubelet_frames=2, tubelet_size=8)
    video, caption = corpus.videos[0], corpus.captions[0]  # red on the left until second 1
    times = np.array([0.25, 0.5, 1.25, 1.5])
    for flip in (False, True):
        got = maps.sample(video, caption, times, Crop(0.0, 0.0, 1.0, 1.0, flip), clip).reshape(2, 4, 4)
        on_left = got[:, :, :2].mean((1, 2)) > got[:, :, 2:].mean((1, 2))
        assert on_left.tolist() == ([False, True] if flip else [True, False])


def test_what_exists_is_not_looked_at_again(corpus: Corpus, colours) -> None:
    fill_text(corpus, colours, rate=None, sources=["left"])
    assert colours.looked == 64
    assert fill_text(corpus, colours, rate=None, sources=["left"]).computed == 0
    assert colours.looked == 64, "nothing is missing"
    assert fill_text(corpus, colours, rate=None).computed == 4
    assert colours.looked == 128, "the other captions need the frames once more"
    fill_text(corpus, colours, rate=4.0)
    assert colours.looked == 160, "another rate is another method"
    assert Maps.open(corpus, "text").about["method"]["rate"] == 4.0


@pytest.mark.parametrize("rate", [4.0, 3.0, 100.0, 0.1])
def test_layers_are_the_frames_shown_at_the_rate_each_once(corpus: Corpus, rate: float) -> None:
    video = corpus.videos[0]
    shown, times = decode_whole(video, rate)
    every, stamps = read_span(video.path)
    asked = np.arange(0, 2, 1 / rate)
    indices = np.unique(np.searchsorted(stamps, asked + 1e-6, side="right") - 1)
    np.testing.assert_allclose(times, stamps[indices])
    assert (shown == every[indices]).all()


@pytest.mark.parametrize("rate", [None, 4.0, 3.0])
def test_a_video_in_pieces_is_the_same_video(corpus: Corpus, monkeypatch, rate: float | None) -> None:
    video = corpus.videos[1]
    whole, times = decode_whole(video, rate)
    monkeypatch.setattr(looking, "PIECE_BYTES", 32 * 48 * 3 * 3)
    assert len(pieces(video, rate)) > 1
    parts, stamps = decode_whole(video, rate)
    np.testing.assert_allclose(stamps, times)
    assert (parts == whole).all()


def test_a_segment_is_looked_at_from_its_own_start(corpus: Corpus) -> None:
    segment = replace(corpus.videos[0], id="clip 0#1", start=1.0, end=2.0)
    times = decode_whole(segment, 4.0)[1]
    np.testing.assert_allclose(times, [1.0, 1.25, 1.5, 1.75])
    with pytest.raises(VideoError, match="no frame of clip 0#1"):
        decode_whole(replace(segment, start=7.0, end=8.0), 4.0)
    assert decode_piece(pieces(segment, None)[0])[0].shape == (8, 32, 48, 3)


def test_a_video_in_pieces_gets_one_map_and_a_broken_piece_no_map_at_all(corpus: Corpus, colours, monkeypatch) -> None:
    monkeypatch.setattr(looking, "PIECE_BYTES", 32 * 48 * 3 * 4)
    path = corpus.videos[2].path
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])
    filled = fill_text(corpus, colours, rate=None)
    assert list(filled.failed) == ["clip 2"]
    maps = Maps.open(corpus, "text")
    assert maps.missing(corpus.videos, corpus.captions) == ["clip 2"]
    assert maps.layers(corpus.videos[0], corpus.captions[0])[0].shape == (16, 4, 6)


def test_a_file_that_goes_or_a_map_of_no_numbers_costs_that_video_alone(corpus: Corpus, colours, monkeypatch) -> None:
    patches = colours.patches

    def spoilt(frames: np.ndarray) -> torch.Tensor:
        if colours.looked == 16:
            (corpus.folder / "clip 0.mp4").unlink()
        return patches(frames) * (np.nan if colours.looked == 32 else 1.0)

    monkeypatch.setattr(colours, "patches", spoilt)
    filled = fill_text(corpus, colours, rate=None, running=Running(Limits(workers=1)))
    assert "disappeared during the job" in filled.failed["clip 0"]
    assert "NaN or values beyond float16" in filled.failed["clip 1"]
    assert (filled.videos, len(filled.failed)) == (2, 2)


def test_unknown_sources_and_silent_corpora_are_said(corpus: Corpus, colours) -> None:
    with pytest.raises(CorpusError, match="no captions of source 'middle'; it has: left, right"):
        fill_text(corpus, colours, None, ["middle"])


# The command


def save_aligner(folder: Path) -> None:
    import torch

    from tubelet.aligners.config import Shape
    from tubelet.aligners.small import SmallAligner, Towers
    from tubelet.aligners.vocabulary import Vocabulary

    torch.manual_seed(0)
    shape, words = Shape(side=32, width=8, depth=1, text_width=8, joint=8), Vocabulary.of(["a red half"])
    SmallAligner(shape, words, Towers(shape, words.size)).save(folder)


def test_the_command_names_failed_videos_and_its_exit_code_tells(corpus: Corpus, capsys) -> None:
    assert main(["saliency", str(corpus.folder), "Text"]) == 2
    assert "has no aligner; train one with `tubelet align" in capsys.readouterr().err
    save_aligner(corpus.folder / "aligner")
    good = corpus.videos[1].path.read_bytes()
    corpus.videos[1].path.write_bytes(b"no video")
    assert main(["saliency", str(corpus.folder), "Text"]) == 2
    said = capsys.readouterr()
    assert "6 maps computed now; 3 videos and 6 captions are complete" in said.out
    assert "4 maps a second" in said.out
    assert "no map: clip 1: " in said.out
    assert "1 of 4 videos have no text maps (first: clip 1:" in said.err
    corpus.videos[1].path.write_bytes(good)
    assert main(["saliency", str(corpus.folder), "Text"]) == 0
    assert "2 maps computed now; 4 videos" in capsys.readouterr().out
    assert main(["saliency", str(corpus.folder), "Text", "rate=all"]) == 0
    assert main(["saliency", str(corpus.folder), "Text", "rate=often"]) == 2
    assert "rate=often does not fit: it must be float | all | None" in capsys.readouterr().err


SLOW = """
import sys, time
from tubelet.aligners.base import open_aligner
from tubelet.corpus.table import Corpus
from tubelet.jobs import tasks
from tubelet.saliency_maps import text
tasks.FEWEST = 1
corpus = Corpus.open(sys.argv[1])
aligner = open_aligner(sys.argv[1] + "/aligner")
def progress(done, total, remark=""):
    print(done, flush=True)
    if done == 2:
        time.sleep(100)
text.fill_text(corpus, aligner, 4.0, progress=progress)
"""


def test_a_killed_call_is_gone_on_with(corpus: Corpus, capsys) -> None:
    save_aligner(corpus.folder / "aligner")
    child = subprocess.Popen([sys.executable, "-c", SLOW, str(corpus.folder)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    while child.stdout.readline().strip() != "2":
        assert child.poll() is None
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    child.stdout.close()
    assert main(["saliency", str(corpus.folder), "Text"]) == 0, "at once, though its workers may live for a moment"
    said = capsys.readouterr().out
    assert "4 maps computed now; 4 videos" in said
    assert Maps.open(corpus, "text").missing(corpus.videos, corpus.captions) == []
