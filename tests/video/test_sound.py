"""The sound of real files: every sample where its timestamp says, whatever codec, rate and channels."""

from fractions import Fraction

import av
import numpy as np
import pytest

from support.sounds import CODECS, SECONDS, burst, write, write_drifting
from tubelet.errors import VideoError
from tubelet.video.sound import read_sound


@pytest.mark.parametrize(("ending", "frames", "codec", "rate", "channels", "start"), CODECS.values(), ids=CODECS.keys())
def test_a_burst_is_heard_when_it_was_written_at_its_loudness(tmp_path, ending, frames, codec, rate, channels, start):
    path = tmp_path / f"one.{ending}"
    write(path, burst(rate, channels), rate, codec, start)
    wave = read_sound(path, 0.0, 5.0)
    assert wave.heard
    assert len(wave.samples) == 5 * wave.rate
    seconds = np.arange(len(wave.samples)) / wave.rate
    loud = seconds[np.abs(wave.samples) > 0.15]
    assert loud[0] == pytest.approx(1.0 + start, abs=0.002)
    assert loud[-1] == pytest.approx(1.5 + start, abs=0.002)
    inside = (seconds > 1.1 + start) & (seconds < 1.4 + start)
    assert np.sqrt(2 * np.square(wave.samples[inside]).mean()) == pytest.approx(0.3, rel=0.06)
    assert np.abs(wave.samples[seconds > SECONDS + start + 0.05]).max() == 0, "after the sound there is silence"


def test_sound_without_loss_comes_back_sample_for_sample_from_any_moment(tmp_path):
    noise = np.random.default_rng(0).uniform(-0.9, 0.9, (1, 48000))
    write(tmp_path / "one.mkv", noise)
    whole = read_sound(tmp_path / "one.mkv", 0.0, 3.0).samples
    np.testing.assert_allclose(whole, noise[0], atol=1e-4)
    for start in (0.0, 0.25, 1.0, 2.0):
        part = read_sound(tmp_path / "one.mkv", start, start + 0.5).samples
        np.testing.assert_array_equal(part, whole[round(start * 16000) : round(start * 16000) + 8000])
    before = read_sound(tmp_path / "one.mkv", -0.5, 0.5).samples
    assert (before[:8000] == 0).all()
    np.testing.assert_array_equal(before[8000:], whole[:8000])


def test_channels_are_averaged(tmp_path):
    left = burst(16000)
    write(tmp_path / "one.mkv", np.concatenate([left, 0 * left]))
    np.testing.assert_allclose(read_sound(tmp_path / "one.mkv", 0.0, 3.0).samples, left[0] / 2, atol=1e-4)


@pytest.mark.parametrize("speed", [0.97, 1.03])
def test_sound_whose_clock_runs_wrong_stays_beside_what_is_seen(tmp_path, speed):
    write_drifting(tmp_path / "one.mkv", 16000, speed)
    wave = read_sound(tmp_path / "one.mkv", 0.0, 6.0)
    seconds = np.arange(len(wave.samples)) / wave.rate
    for number in range(1, 5):
        loud = seconds[(wave.samples > 0.2) & (np.abs(seconds - number) < 0.5)]
        assert loud[0] == pytest.approx(number, abs=0.022), "within a block and the tolerance"


def test_a_file_without_sound_has_none_and_one_that_cannot_be_opened_says_so(tmp_path):
    write(tmp_path / "one.mkv", None)
    assert read_sound(tmp_path / "one.mkv", 0.0, 1.0) is None
    (tmp_path / "two.mkv").write_bytes(b"no video")
    with pytest.raises(VideoError, match="cannot be opened"):
        read_sound(tmp_path / "two.mkv", 0.0, 1.0)


def test_what_is_left_of_a_file_that_was_cut_short_is_heard(tmp_path):
    write(tmp_path / "one.mkv", np.full((1, 48000), 0.5))
    content = (tmp_path / "one.mkv").read_bytes()
    (tmp_path / "two.mkv").write_bytes(content[: len(content) * 9 // 10])
    wave = read_sound(tmp_path / "two.mkv", 0.0, 3.0)
    assert wave is None or wave.samples.max() <= 0.51


def test_sound_of_frames_that_begin_later_counts_from_the_first_frame(tmp_path):
    """As the times of frames do: 0 is the declared start of the video."""
    path = tmp_path / "one.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        voice = container.add_stream("flac", rate=16000, layout="mono")
        for number in range(20):
            frame = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")
            frame.pts, frame.time_base = number + 5, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        values = (burst(16000) * 32767).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(values, format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 16000, 0, Fraction(1, 16000)
        container.mux(voice.encode(frame))
        container.mux(voice.encode(None))
    with av.open(str(path)) as container:
        first = container.streams.video[0].start_time * container.streams.video[0].time_base
    assert float(first) == pytest.approx(0.5, abs=0.01)
    wave = read_sound(path, 0.0, 2.0)
    loud = np.flatnonzero(np.abs(wave.samples) > 0.1) / wave.rate
    assert loud[0] == pytest.approx(0.5, abs=0.002)
