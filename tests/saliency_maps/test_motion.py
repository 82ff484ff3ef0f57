"""Codec motion vectors: recovered from real files, of every codec and arrangement of frames that tells of them."""

import os
import signal
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from av.codec.context import Flags2
from hypothesis import given, settings
from hypothesis import strategies as st

from support.moving import HEIGHT, WIDTH, Shift, moving_corpus, row_of, translated, write_moving
from tubelet.cli import main
from tubelet.corpus.table import Corpus
from tubelet.corpus.write import write_corpus
from tubelet.saliency_maps import Motion, motion
from tubelet.saliency_maps.frames import pieces
from tubelet.saliency_maps.vectors import nearest_in_time
from tubelet.stores.maps import Maps
from tubelet.types import Clip
from tubelet.video.crop import Crop
from tubelet.video.reader import read_span
from tubelet.video.writer import write_video

PYRAMID = {"bf": "3", "b-pyramid": "normal"}
ARRANGEMENTS = {
    "without B-frames": ("clip.mp4", {"options": {"bf": "0", "refs": "1"}}),
    "B-frames that none refers to": ("clip.mp4", {"options": {"bf": "2", "b-pyramid": "none", "refs": "1"}}),
    "a pyramid of B-frames": ("clip.mp4", {"options": PYRAMID}),
    "H.264 in AVI, whose packets have no times": ("clip.avi", {"options": PYRAMID}),
    "H.264 in a transport stream": ("clip.ts", {"options": PYRAMID}),
    "MPEG-4": ("clip.mp4", {"codec": "mpeg4"}),
    "MPEG-4 with B-frames": ("clip.mp4", {"codec": "mpeg4", "options": {"bf": "2"}}),
    "MPEG-4 with B-frames in AVI": ("clip.avi", {"codec": "mpeg4", "options": {"bf": "2"}}),
    "MPEG-2": ("clip.mpg", {"codec": "mpeg2video", "options": {"bf": "2"}, "fps": 25}),
}


def one_corpus(folder: Path, name: str, dx: int, dy: int, **how: object) -> Corpus:
    return write_corpus(folder, "one", [write_moving(folder, name, dx, dy, **how)], [])


def in_pixels(corpus: Corpus) -> np.ndarray:
    layers, _ = Maps.open(corpus, "motion").layers(corpus.videos[0])
    return layers * np.array([WIDTH, HEIGHT])


@pytest.mark.parametrize("arrangement", ARRANGEMENTS)
def test_a_moving_texture_moves_by_the_known_vector_at_every_frame(tmp_path: Path, arrangement: str) -> None:
    name, how = ARRANGEMENTS[arrangement]
    corpus = one_corpus(tmp_path, name, -3, 1, **how)
    filled = Motion(cells=6).fill(corpus)
    assert (filled.videos, filled.computed, dict(filled.failed)) == (1, 1, {})
    got = in_pixels(corpus)
    assert got.shape == (16, 6, 8, 2), "key frames too have a layer"
    inner = got[:, 1:-1, 1:-1]
    np.testing.assert_allclose(np.median(inner, axis=(1, 2)), np.broadcast_to([-3, 1], (16, 2)), atol=0.15)
    assert (np.abs(inner - [-3, 1]).max(-1) < 0.5).mean() > 0.9


@pytest.mark.parametrize("options", [{"bf": "0", "refs": "1"}, {"bf": "2", "b-pyramid": "none", "refs": "1"}], ids=str)
def test_the_map_is_that_of_a_plain_loop_over_the_same_vectors(tmp_path: Path, options: dict[str, str]) -> None:
    """An uneven grid, a size that is no multiple of a block, a key frame in the middle; times of unequal steps."""
    frames = translated(14, 2, -1)[:, :90, :118]
    frames[7:] = frames[7:, ::-1]  # a cut
    times = [0.1 * n + 0.03 * (n % 3) for n in range(14)]
    write_video(tmp_path / "clip.mp4", frames, 10, times=times, gop=8, options=options)
    row = {"id": "clip", "path": "clip.mp4", "end": 1.5, "fps": 10.0, "frames": 14, "height": 90, "width": 118}
    corpus = write_corpus(tmp_path, "one", [row], [])
    Motion(cells=5).fill(corpus)
    got, stamps = Maps.open(corpus, "motion").layers(corpus.videos[0])
    rows, columns = 5, 7
    with av.open(str(tmp_path / "clip.mp4")) as container:
        stream = container.streams.video[0]
        stream.codec_context.flags2 |= Flags2.export_mvs
        shown = [
            (float(frame.pts * frame.time_base), int(frame.pict_type), frame.side_data.get("MOTION_VECTORS"))
            for frame in container.decode(stream)
        ]
        shown = [(time, kind, None if data is None else data.to_ndarray()) for time, kind, data in shown]
    start = shown[0][0]
    np.testing.assert_allclose(stamps[:-1], [time - start for time, _, _ in shown], atol=1e-4)
    found = np.full((14, rows, columns, 2), np.nan)
    for number, (time, _, vectors) in enumerate(shown):
        if vectors is None:
            continue
        before = [t for t, kind, _ in shown[:number] if kind != 3]
        after = [t for t, kind, _ in shown[number + 1 :] if kind != 3]
        for row in range(rows):
            for column in range(columns):
                moved, area = np.zeros(2), 0.0
                for v in vectors:
                    height = overlap(v["dst_y"] - v["h"] / 2, v["h"], 90 / rows * row, 90 / rows, 90)
                    width = overlap(v["dst_x"] - v["w"] / 2, v["w"], 118 / columns * column, 118 / columns, 118)
                    if height * width > 0:
                        span = (before[-1] if v["source"] < 0 else after[0]) - time
                        pointer = np.array([v["motion_x"] / 118, v["motion_y"] / 90]) / v["motion_scale"]
                        moved += height * width * pointer / span
                        area += height * width
                if area > 1e-3:
                    found[number, row, column] = moved / area
    steps = [b - a for a, b in pairwise(stamps)]
    known = ~np.isnan(found).any(-1)
    assert known.mean() > 0.7
    expected = found * np.array(steps)[:, None, None, None]
    np.testing.assert_allclose(got[known], expected[known], atol=2e-4)


def overlap(start: float, length: float, other: float, extent: float, limit: float) -> float:
    return max(min(start + length, other + extent, limit) - max(start, other, 0), 0.0)


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_the_vectors_of_a_turned_file_are_those_of_what_a_viewer_sees(tmp_path: Path, rotation: int) -> None:
    corpus = one_corpus(tmp_path, "clip.mp4", -3, 1, rotation=rotation)
    Motion(cells=6).fill(corpus)
    layers, _ = Maps.open(corpus, "motion").layers(corpus.videos[0])
    shown, _ = read_span(corpus.videos[0].path)
    height, width = shown.shape[1:3]
    assert layers.shape[1:3] == ((8, 6) if rotation != 180 else (6, 8))
    seen = Shift()(shown[4], shown[5])[0, 0]
    got = np.median(layers[4] * np.array([width, height]), axis=(0, 1))
    np.testing.assert_allclose(got, seen, atol=0.2)


def test_crop_flip_and_stride_of_a_real_files_vectors(tmp_path: Path) -> None:
    corpus = one_corpus(tmp_path, "clip.mp4", -3, 1, options={"bf": "0", "refs": "1"})
    Motion().fill(corpus)
    maps, clip = Maps.open(corpus, "motion"), Clip(frames=4, size=32, tubelet_size=8)
    for stride in (1, 3):
        times = 0.1 * (2 + stride * np.arange(4))
        for flip in (False, True):
            got = maps.sample(corpus.videos[0], None, times, Crop(0.25, 0.25, 0.5, 0.5, flip), clip)
            expected = stride * np.array([3 if flip else -3, 1]) / np.array([WIDTH, HEIGHT]) / 0.5
            np.testing.assert_allclose(np.median(got, axis=(1, 2)), np.broadcast_to(expected, (4, 2)), atol=6e-3)


@given(
    known=st.lists(st.booleans(), min_size=1, max_size=12), gaps=st.lists(st.integers(1, 3), min_size=12, max_size=12)
)
@settings(max_examples=60, deadline=None)
def test_a_frame_without_vectors_takes_the_nearest_in_time_and_of_two_the_later(known, gaps) -> None:
    times = np.cumsum(gaps[: len(known)]).astype(np.float64)
    values = np.where(known, np.arange(1.0, len(known) + 1), np.nan).astype(np.float32)
    got = nearest_in_time(np.repeat(values[:, None, None, None], 2, axis=-1), times)[:, 0, 0, 0]
    for number in range(len(known)):
        there = [other for other in range(len(known)) if known[other]]
        best = min(there, key=lambda other: (abs(times[other] - times[number]), -times[other]), default=None)
        assert got[number] == (0 if best is None else best + 1)


def test_a_video_in_pieces_has_the_map_of_the_whole(tmp_path: Path, monkeypatch) -> None:
    how = {"gop": 5, "options": PYRAMID}
    corpus = one_corpus(tmp_path, "clip.mp4", -3, 1, frames=24, **how)
    Motion(cells=6).fill(corpus)
    whole = in_pixels(corpus)
    monkeypatch.setattr(motion, "SECONDS", 0.7)
    assert len(pieces(corpus.videos[0], None, motion.SECONDS)) == 4
    (corpus.folder / "maps" / "motion" / "current").unlink()
    Motion(cells=6).fill(corpus)
    again = write_corpus(tmp_path / "again", "again", [row_of(corpus.videos[0])], [])
    Motion(cells=6).fill(again)
    assert np.abs(in_pixels(again) - whole).max() < 0.05


def test_a_segment_of_a_long_video_has_its_own_frames(tmp_path: Path) -> None:
    corpus = one_corpus(tmp_path, "clip.mp4", -3, 1, frames=24, options=PYRAMID)
    part = write_corpus(tmp_path / "part", "part", [row_of(corpus.videos[0], id="clip#1", start=1.0, end=1.8)], [])
    Motion(cells=6).fill(part)
    layers, times = Maps.open(part, "motion").layers(part.videos[0])
    np.testing.assert_allclose(times, np.arange(10, 19) / 10, atol=1e-6)
    np.testing.assert_allclose(np.median(layers * [WIDTH, HEIGHT], axis=(1, 2))[:, 0], -3, atol=0.2)


# The command


def test_a_codec_that_tells_of_no_vectors_is_named_and_flow_is_offered(tmp_path: Path, capsys) -> None:
    rows = [write_moving(tmp_path, "good.mp4", 4, 0), write_moving(tmp_path, "other.webm", 4, 0, codec="libvpx-vp9")]
    rows.append(write_moving(tmp_path, "still.mp4", 4, 0, gop=1, crf=8))
    corpus = write_corpus(tmp_path, "mixed", rows, [])
    assert main(["saliency", str(tmp_path), "Motion"]) == 2
    said = capsys.readouterr()
    assert "1 maps computed now; 1 videos are complete (codec motion vectors)" in said.out
    assert (
        "no map: other: vp9 has no motion vectors in FFmpeg; optical flow can be used instead: fallback=Dis" in said.out
    )
    assert "no map: still: h264 with key frames only has no motion vectors" in said.out
    assert "2 of 3 videos have no motion maps (first: " in said.err
    assert "optical flow can be used instead: fallback=Dis" in said.err
    filled = Motion(fallback=Shift(), cells=6).fill(corpus)
    assert (filled.videos, dict(filled.failed)) == (3, {})
    maps = Maps.open(corpus, "motion")
    assert maps.about["method"] == {"vectors": "codec", "cells": 6, "fallback": {"engine": "Shift"}}
    for video in corpus.videos:
        layers, _ = maps.layers(video)
        assert np.median(layers[..., 0]) * WIDTH == pytest.approx(4, abs=0.2), video.id


def test_what_exists_is_not_computed_again_and_a_bad_file_costs_its_own_map(tmp_path: Path, capsys) -> None:
    corpus = moving_corpus(tmp_path)
    good = corpus.videos[1].path.read_bytes()
    corpus.videos[1].path.write_bytes(b"no video")
    assert main(["saliency", str(tmp_path), "Motion"]) == 2
    said = capsys.readouterr()
    assert "3 maps computed now; 3 videos are complete" in said.out
    assert "1 of 4 videos have no motion maps (first: clip 1: cannot be opened" in said.err
    corpus.videos[1].path.write_bytes(good)
    assert main(["saliency", str(tmp_path), "Motion"]) == 0
    assert "1 maps computed now; 4 videos are complete" in capsys.readouterr().out
    assert main(["saliency", str(tmp_path), "Motion", "more"]) == 2
    assert "name one source of maps" in capsys.readouterr().err


SLOW = """
import sys, time
from tubelet.corpus.table import Corpus
from tubelet.jobs import tasks
from tubelet.saliency_maps import Motion, motion
tasks.FEWEST = 1
def progress(done, total, remark=""):
    print(done, flush=True)
    if done == 2:
        time.sleep(100)
motion.Motion().fill(Corpus.open(sys.argv[1]), progress=progress)
"""


def test_a_killed_call_is_gone_on_with(tmp_path: Path, capsys) -> None:
    corpus = moving_corpus(tmp_path)
    child = subprocess.Popen([sys.executable, "-c", SLOW, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    while child.stdout.readline().strip() != "2":
        assert child.poll() is None
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    child.stdout.close()
    assert main(["saliency", str(tmp_path), "Motion"]) == 0
    assert "2 maps computed now; 4 videos are complete" in capsys.readouterr().out
    assert Maps.open(corpus, "motion").missing(corpus.videos, None) == []
