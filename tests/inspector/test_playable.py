"""What a browser does not play, or plays otherwise than tubelet reads it, is encoded anew with the table's times."""

from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

import tubelet
from support.bars import moving
from support.made import Kind, make
from tubelet.corpus.table import Corpus
from tubelet.corpus.write import write_corpus
from tubelet.evaluations.trained_on import video_of
from tubelet.inspector.playable import PART, Playable, encode, even, part_of, plays
from tubelet.video.reader import read_span, timestamps
from tubelet.video.writer import write_video


@pytest.mark.parametrize(
    ("kind", "as_it_is"),
    [
        (Kind("libx264", "mp4", 3, 12), True),
        (Kind("libx264", "mov", 0, 12), True),
        (Kind("libvpx", "webm", 0, 12, options=(("deadline", "realtime"), ("cpu-used", "8"))), True),
        (Kind("libx264", "mp4", 0, 12, start=2.4), False),
        (Kind("libx264", "mkv", 0, 12), False),
        (Kind("libx264", "ts", 3, 12), False),
        (Kind("libx264", "avi", 0, 12), False),
        (Kind("mpeg4", "avi", 2, 12), False),
        (Kind("mpeg4", "mp4", 0, 12), False),
        (Kind("mjpeg", "avi", 0, 12), False),
        (Kind("prores", "mov", 0, 12), False),
        (Kind("gif", "gif", 0, 12), False),
    ],
    ids=lambda value: value.name if isinstance(value, Kind) else "",
)
def test_what_plays_everywhere_is_served_as_it_is_and_all_else_has_the_frames_and_times_of_the_table(
    tmp_path, kind, as_it_is
):
    path = make(tmp_path, kind)
    times = timestamps(path)
    video = video_of("v", path, 0.0, float(times[-1]) + 0.04)
    playing = plays(video)
    assert (playing is not None) == as_it_is
    encode(replace(video, fps=25.0), tmp_path / "out.mp4")
    assert plays(video_of("v", tmp_path / "out.mp4", 0.0, None)) is not None
    found = timestamps(tmp_path / "out.mp4")
    assert found == pytest.approx(times - times[0], abs=1e-4)
    assert Playable().playing(video, 0.0, encoded=True).offset == times[0]
    ours, theirs = read_span(path)[0].astype(int), read_span(tmp_path / "out.mp4")[0].astype(int)
    assert np.abs(ours - theirs).mean() < 12


def test_a_correction_a_remark_or_a_second_stream_is_a_reason_to_encode(tmp_path):
    path = make(tmp_path, Kind("libx264", "mp4", 0, 12))
    video = video_of("v", path, 0.0, None)
    assert plays(video) is not None
    assert plays(replace(video, reading="square-pixels")) is None
    assert plays(replace(video, reason="ends after 28 of 50 frames")) is None
    with av.open(str(tmp_path / "two.mp4"), "w") as container:
        for side in (32, 64):
            stream = container.add_stream("libx264", rate=25)
            stream.height = stream.width = side
            stream.pix_fmt = "yuv420p"
        for stream in container.streams.video:
            for frame in moving(8, stream.height, stream.width):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            container.mux(stream.encode(None))
    assert plays(video_of("v", tmp_path / "two.mp4", 0.0, None)) is None


def test_of_a_long_video_the_part_about_the_moment_is_encoded_and_the_page_knows_where_it_begins():
    video = replace(video_of("v", "v.mp4", 0.0, 3600.0), start=0.0)
    assert part_of(video, 0.0) == (0.0, PART)
    assert part_of(video, 1800.5) == (1800.0, 1800.0 + PART)
    assert part_of(video, 1e9) == (3540.0, 3600.0)
    assert part_of(replace(video, start=30.0, end=100.0), 50.0) == (30.0, 100.0)
    for moment in np.linspace(0, 3599.9, 50):
        begin, end = part_of(video, float(moment))
        assert begin <= moment < end


def test_a_segment_of_a_file_is_played_at_its_own_times(tmp_path, api, get):
    write_video(tmp_path / "a.avi", moving(50, 40, 48), 25, codec="mpeg4")
    rows = [
        {"id": f"a#{start}", "path": tmp_path / "a.avi", "start": start, "end": start + 1.0, "fps": 25.0, "frames": 25,
         "width": 48, "height": 40} for start in (0.0, 1.0)
    ]  # fmt: skip
    with tubelet.inspect(write_corpus(tmp_path / "c", "segments", rows)) as inspector:
        playing = api(inspector, "video", "row=1")["playing"]
        assert (playing["encoded"], playing["offset"]) == (True, 1.0)
        (tmp_path / "b.mp4").write_bytes(get(f"{inspector.url}video/1?encoded=1&moment=1.5")[2])
        assert timestamps(tmp_path / "b.mp4") == pytest.approx(np.arange(25) / 25, abs=1e-4)


@pytest.mark.parametrize(
    ("size", "expected"), [((48, 64), (48, 64)), ((47, 63), (48, 64)), ((1, 1), (2, 2)), ((2160, 3840), (720, 1280))]
)
def test_what_is_encoded_is_of_even_size_and_not_too_tall(size, expected):
    assert all(side % 2 == 0 for side in even(*size))
    assert even(*size) == pytest.approx(expected, abs=2)


def test_every_real_file_that_can_be_read_can_be_played(real_data, tmp_path, api, get):
    """Of a folder of awkward ones: 10 bits, 4:4:4, HEVC, AV1, rotated, odd sizes, no key frame, another 0."""
    corpus: Corpus = tubelet.index([real_data / "awkward"], tmp_path / "corpus")
    count = 0
    with tubelet.inspect(corpus) as inspector:
        for video in corpus.select("all"):
            playing = api(inspector, "video", f"row={video.row}")["playing"]
            status, headers, content = get(f"{inspector.url}video/{video.row}")
            assert status == 200
            assert headers["Content-Type"] == playing["kind"]
            count += playing["encoded"]
            path = Path(tmp_path / "played")
            path.write_bytes(content)
            assert len(timestamps(path)) > 0
    assert 20 < count < len(corpus.select("all"))
