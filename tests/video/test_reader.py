"""Decoding by time: against plain sequential decoding, on files made to be difficult and on difficult real ones."""

import math
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import UInt8

from support.bars import FPS, FRAMES, HEIGHT, WIDTH, moving
from tubelet.corpus.probe import probe
from tubelet.errors import VideoError
from tubelet.video.limits import Undecodable
from tubelet.video.reader import Reader, read_frames, read_span, timestamps
from tubelet.video.writer import write_video


def in_sequence(path: Path) -> tuple[list[float], list[np.ndarray]]:
    """Times and frames as PyAV yields them from the first to the last."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = list(container.decode(stream))
        return [float(f.pts * stream.time_base) for f in frames], [f.to_ndarray(format="rgb24") for f in frames]


def test_times_and_frames_equal_those_of_sequential_decoding(video_file: Path) -> None:
    times, frames = in_sequence(video_file)
    np.testing.assert_allclose(timestamps(video_file), times, atol=1e-9)
    np.testing.assert_allclose(times, np.arange(FRAMES) / FPS, atol=1e-4)
    got, when = read_span(video_file)
    np.testing.assert_array_equal(got, frames)
    np.testing.assert_allclose(when, times, atol=1e-9)


@settings(max_examples=12, deadline=None)
@given(asked=st.lists(st.floats(-1, 3), min_size=1, max_size=8))
def test_any_times_in_any_order_give_the_frame_shown_then(video_file: Path, asked: list[float]) -> None:
    times, frames = in_sequence(video_file)
    got = read_frames(video_file, asked)
    for time, frame in zip(asked, got, strict=True):
        shown = max((i for i, t in enumerate(times) if t <= time + 1e-6), default=0)
        np.testing.assert_array_equal(frame, frames[shown])


def test_a_span_holds_the_frames_that_start_in_it(video_file: Path) -> None:
    _, frames = in_sequence(video_file)
    got, when = read_span(video_file, 0.7, 1.3)
    np.testing.assert_allclose(when, [0.7, 0.8, 0.9, 1.0, 1.1, 1.2], atol=1e-6)
    np.testing.assert_array_equal(got, frames[7:13])
    with pytest.raises(VideoError, match="no frame from 7 s to 8 s"):
        read_span(video_file, 7.0, 8.0)


def test_a_variable_frame_rate_is_honoured(tmp_path: Path) -> None:
    times = [0.0, 0.1, 0.15, 0.5, 1.2, 1.25]
    write_video(tmp_path / "vfr.mp4", moving(6, HEIGHT, WIDTH), 10, times=times)
    np.testing.assert_allclose(timestamps(tmp_path / "vfr.mp4"), times, atol=1e-4)
    frames, _ = read_span(tmp_path / "vfr.mp4")
    np.testing.assert_array_equal(read_frames(tmp_path / "vfr.mp4", [1.19, 0.49, 0.51]), frames[[3, 2, 3]])
    found = probe(tmp_path / "vfr.mp4")
    assert found.frames == 6
    assert found.fps == pytest.approx(5 / 1.25, rel=1e-3)


def test_one_wrong_timestamp_is_a_remark_and_an_uneven_rate_is_none(tmp_path: Path) -> None:
    write_video(
        tmp_path / "far.mp4", moving(FRAMES, HEIGHT, WIDTH), FPS, times=[*(n / FPS for n in range(FRAMES - 1)), 2e4]
    )
    assert probe(tmp_path / "far.mp4").note.startswith("no frame from ")
    assert "to 20000 s" in probe(tmp_path / "far.mp4").note
    write_video(
        tmp_path / "uneven.mp4", moving(FRAMES, HEIGHT, WIDTH), FPS, times=[n**1.5 / FPS for n in range(FRAMES)]
    )
    assert not probe(tmp_path / "uneven.mp4").note


def test_a_start_that_is_not_zero_counts_from_zero(tmp_path: Path) -> None:
    times = [3.0 + i / 10 for i in range(6)]
    write_video(tmp_path / "late.mkv", moving(6, HEIGHT, WIDTH), 10, times=times)
    with av.open(str(tmp_path / "late.mkv")) as container:
        assert container.streams.video[0].start_time * container.streams.video[0].time_base >= 2.9
    found = probe(tmp_path / "late.mkv")
    assert (found.start, found.frames) == (0.0, 6)
    np.testing.assert_allclose(timestamps(tmp_path / "late.mkv"), np.arange(6) / 10, atol=2e-3)


@pytest.mark.parametrize("turn", [90, 180, 270])
def test_rotated_files_come_upright(tmp_path: Path, turn: int) -> None:
    frames = moving(4, HEIGHT, WIDTH)
    write_video(tmp_path / "plain.mp4", frames, 10)
    write_video(tmp_path / "turned.mp4", frames, 10, rotation=turn)
    plain, _ = read_span(tmp_path / "plain.mp4")
    turned, _ = read_span(tmp_path / "turned.mp4")
    np.testing.assert_array_equal(turned, np.rot90(plain, turn // 90, axes=(1, 2)))
    found = probe(tmp_path / "turned.mp4")
    assert (found.height, found.width) == turned.shape[1:3]


def test_a_mirrored_display_matrix_is_applied(tmp_path: Path) -> None:
    frames = moving(3, HEIGHT, WIDTH)
    with av.open(str(tmp_path / "mirror.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.options = {"crf": "18", "g": "12", "threads": "1"}
        stream.set_display_rotation(0, hflip=True)
        for values in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(values, format="rgb24")))
        container.mux(stream.encode(None))
    write_video(tmp_path / "plain.mp4", frames, 10)
    mirrored, _ = read_span(tmp_path / "mirror.mp4")
    plain, _ = read_span(tmp_path / "plain.mp4")
    np.testing.assert_array_equal(mirrored, plain[:, :, ::-1])


@pytest.mark.parametrize(
    ("codec", "suffix", "pix_fmt", "size"),
    [("ffv1", ".mkv", "bgra", (1, 1)), ("ffv1", ".mkv", "yuv444p10le", (7, 5)), ("gif", ".gif", "rgb8", (3, 9))],
)
def test_tiny_deep_and_transparent_frames_become_8_bit_rgb(
    tmp_path: Path, codec: str, suffix: str, pix_fmt: str, size: tuple[int, int]
) -> None:
    path = tmp_path / f"odd{suffix}"
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10)
        stream.height, stream.width = size
        stream.pix_fmt = pix_fmt
        for shade in (40, 200):
            frame = av.VideoFrame.from_ndarray(np.full((*size, 3), shade, np.uint8), format="rgb24")
            container.mux(stream.encode(frame.reformat(format=pix_fmt)))
        container.mux(stream.encode(None))
    frames, _ = read_span(path)
    assert frames.shape == (2, *size, 3)
    assert frames.dtype == np.uint8
    assert abs(frames.reshape(2, -1).mean(1) - [40, 200]).max() < 20


def test_a_file_without_timestamps_is_counted_at_its_rate(tmp_path: Path) -> None:
    frames = moving(8, HEIGHT, WIDTH)
    write_video(tmp_path / "plain.mp4", frames, 25)
    with av.open(str(tmp_path / "plain.mp4")) as source, av.open(str(tmp_path / "raw.h264"), "w") as raw:
        stream = raw.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                raw.mux(packet)
    found = probe(tmp_path / "raw.h264")
    assert found.frames == 8
    plain, _ = read_span(tmp_path / "plain.mp4")
    np.testing.assert_array_equal(read_frames(tmp_path / "raw.h264", timestamps(tmp_path / "raw.h264")), plain)


def backwards(path: Path) -> UInt8[np.ndarray, "t h w 3"]:
    """An AVI-like file whose timestamps step back twice, while its frames are stored in order."""
    frames = moving(8, HEIGHT, WIDTH)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.gop_size = 100
        packets = []
        for values in frames:
            packets += stream.encode(av.VideoFrame.from_ndarray(values, format="rgb24"))
        packets += stream.encode(None)
        for index, stamp in enumerate([0, 1, 3, 2, 4, 6, 5, 7]):
            packets[index].pts = stamp * 100
            packets[index].dts = index * 100 - 200
            packets[index].time_base = Fraction(1, 1000)
            container.mux(packets[index])
    return frames


def test_timestamps_that_run_backwards_are_put_in_order(tmp_path: Path) -> None:
    path = tmp_path / "backwards.mkv"
    backwards(path)
    with av.open(str(path)) as container:
        stamps = [frame.pts for frame in container.decode(video=0)]
    assert stamps != sorted(stamps), "the file must be as bad as it is meant to be"
    _, stored = in_sequence(path)
    frames, times = read_span(path)
    assert (np.diff(times) > 0).all()
    np.testing.assert_array_equal(frames, stored)  # as stored, with the times in order
    np.testing.assert_array_equal(read_frames(path, times[[6, 2, 3]]), np.stack(stored)[[6, 2, 3]])
    assert "backwards at 2 frames" in probe(path).note


@pytest.mark.parametrize(
    ("suffix", "codec", "options"),
    [
        (".avi", "libx264", {"bf": "3"}),
        (".avi", "mpeg4", {"bf": "2"}),
        (".mpg", "mpeg1video", {}),
        (".ts", "libx264", {}),
    ],
)
def test_old_containers_give_the_same_frame_whatever_was_read_before(
    tmp_path: Path, suffix: str, codec: str, options: dict[str, str]
) -> None:
    path = tmp_path / f"old{suffix}"
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.options = {**options, "g": "12", "threads": "1"}
        for values in moving(50, HEIGHT, WIDTH):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(values, format="rgb24")))
        container.mux(stream.encode(None))
    _, stored = in_sequence(path)
    frames, times = read_span(path)
    np.testing.assert_array_equal(frames, stored)
    np.testing.assert_allclose(np.diff(times), 0.04, atol=1e-3)
    part, when = read_span(path, float(times[20]), float(times[30]))
    np.testing.assert_array_equal(part, stored[20:30])
    np.testing.assert_array_equal(when, times[20:30])
    for index in range(1, 50, 7):
        np.testing.assert_array_equal(read_frames(path, [times[index]])[0], stored[index])


def test_a_file_cut_short_ends_where_it_decodes(tmp_path: Path) -> None:
    write_video(tmp_path / "whole.mkv", moving(60, HEIGHT, WIDTH), 10)
    content = (tmp_path / "whole.mkv").read_bytes()
    (tmp_path / "cut.mkv").write_bytes(content[: len(content) // 2])
    found = probe(tmp_path / "cut.mkv")
    assert 10 < found.frames < 50
    frames, _ = read_span(tmp_path / "cut.mkv", found.start, found.end)
    assert len(frames) == found.frames


def test_damage_in_the_middle_ends_the_video_there_with_a_reason(tmp_path: Path) -> None:
    write_video(tmp_path / "damaged.mp4", moving(60, HEIGHT, WIDTH), 10)
    with av.open(str(tmp_path / "damaged.mp4")) as container:
        packets = [(p.pos, p.size) for p in container.demux(video=0) if p.size]
    content = bytearray((tmp_path / "damaged.mp4").read_bytes())
    for position, size in packets[24:40]:
        content[position : position + size] = bytes(size)
    (tmp_path / "damaged.mp4").write_bytes(content)
    found = probe(tmp_path / "damaged.mp4")
    assert 15 < found.frames < 30
    assert f"ends after {found.frames} of 60 frames" in found.note
    assert found.end == pytest.approx(found.frames / 10, abs=0.31)
    with pytest.raises(VideoError, match=r"cannot be decoded at 3\.5 s"):
        read_frames(tmp_path / "damaged.mp4", [3.5])


def test_files_without_a_frame_say_why(clips_folder: Path) -> None:
    for name, status in (("cut.mp4", "unreadable"), ("empty.mp4", "empty"), ("text.avi", "unreadable")):
        with pytest.raises(Undecodable) as caught:
            probe(clips_folder / "broken" / name)
        assert caught.value.status == status
        assert str(caught.value)
    with pytest.raises(Undecodable, match="no such file"):
        probe(clips_folder / "nothing.mp4")


def test_a_long_file_is_judged_by_its_ends_alone(video_file: Path) -> None:
    quick, whole = probe(video_file, cheap=0), probe(video_file)
    assert quick.decoded < whole.decoded == FRAMES
    np.testing.assert_array_equal(quick.times, whole.times)
    assert (quick.frames, quick.width, quick.height, quick.end) == (FRAMES, WIDTH, HEIGHT, whole.end)


def test_only_the_asked_part_of_a_long_file_is_read(tmp_path: Path) -> None:
    write_video(tmp_path / "long.mp4", moving(300, HEIGHT, WIDTH), 10, gop=10)
    with Reader(tmp_path / "long.mp4", 20.0, 21.0) as reader:
        assert len(reader._packets) < 40
        np.testing.assert_allclose(reader.times, np.arange(200, 210) / 10, atol=1e-6)
        frames = reader.frames(reader.times)
    np.testing.assert_array_equal(frames, read_span(tmp_path / "long.mp4")[0][200:210])


def test_a_seek_that_lands_too_late_is_noticed(real_data: Path) -> None:
    path = (
        real_data / "awkward" / "torchcodec-test" / "h265_video.mp4"
    )  # frames shown before the key frame ahead of them
    frames, times = read_span(path)
    for time, frame in zip(times, frames, strict=True):
        np.testing.assert_array_equal(read_frames(path, [time])[0], frame)


def test_of_two_streams_the_video_is_chosen_not_the_cover(real_data: Path) -> None:
    found = probe(real_data / "awkward" / "mp4parse" / "mp4parse__metadata.mp4")  # a picture of 413x414 beside it
    assert (found.codec, found.width, found.height) == ("h264", 320, 240)


def test_every_awkward_real_file_decodes_alike_both_ways_or_says_why(real_data: Path) -> None:
    files = [p for p in sorted((real_data / "awkward").rglob("*")) if p.is_file()]
    statuses: dict[str, int] = {}
    rng = np.random.default_rng(0)
    for path in files:
        try:
            found = probe(path)
        except Undecodable as error:
            statuses[error.status] = statuses.get(error.status, 0) + bool(error.reason)
            continue
        statuses["ok"] = statuses.get("ok", 0) + 1
        assert found.frames == len(found.times)
        assert (np.diff(found.times) >= 0).all()
        if found.frames * found.width * found.height < 20_000_000:
            frames, times = read_span(path, found.start, found.end)
            assert frames.shape == (found.frames, found.height, found.width, 3), path
            picked = rng.choice(found.frames, min(3, found.frames))
            np.testing.assert_array_equal(read_frames(path, times[picked]), frames[picked], err_msg=str(path))
    assert statuses == {"ok": 67, "no video": 8, "encrypted": 4, "unreadable": 3, "empty": 2}


def test_rotated_phone_videos_come_upright(real_data: Path) -> None:
    for turn, size in ((0, (320, 568)), (90, (568, 320)), (180, (320, 568)), (270, (568, 320))):
        frames, _ = read_span(real_data / "awkward" / "decord" / f"video_{turn}.mov")
        assert frames.shape[1:3] == size


def test_asking_for_no_times_is_our_mistake(video_file: Path) -> None:
    with Reader(video_file) as reader, pytest.raises(ValueError, match="no times"):
        reader.frames([])
    assert math.isinf(Reader(video_file)._end)


def test_any_awkward_file_has_a_first_frame_or_a_reason(real_data: Path) -> None:
    found = [first_frames(path) for path in sorted((real_data / "awkward" / "mp4parse").iterdir())]
    assert 1 in found
    assert all(one == 1 or str(one) for one in found)


def first_frames(path: Path) -> int | str:
    """How many frames are shown at the beginning, or why none is."""
    try:
        with Reader(path) as reader:
            return len(reader.frames([0.0]))
    except VideoError as error:
        return str(error)
