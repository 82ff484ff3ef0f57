"""The log-mel spectrogram: an independent loop gives the same, and it lies in time where the file says."""

import math

import numpy as np
import pytest
import torch

import tubelet
from support.sounds import burst, sound_corpus, write
from tubelet.cli import main
from tubelet.corpus.table import Corpus
from tubelet.corpus.write import write_corpus
from tubelet.errors import CorpusError
from tubelet.stores.tracks import Tracks
from tubelet.tracks import SoundTrack
from tubelet.tracks.sound import log_mel
from tubelet.types import Sound


def loop(samples, centre, bands=64, rate=16000, window=400, points=2048, low=0.0):
    """One column: the discrete Fourier transform as its sum, the triangles one by one."""
    weights = [0.5 - 0.5 * math.cos(2 * math.pi * n / window) for n in range(window)]
    piece = [
        (samples[centre - window // 2 + n] if 0 <= centre - window // 2 + n < len(samples) else 0.0) * weights[n]
        for n in range(window)
    ]
    time = np.arange(window)
    power = []
    for k in range(points // 2 + 1):
        angle = -2j * np.pi * k * time / points
        power.append(4 * abs(np.sum(np.array(piece) * np.exp(angle))) ** 2 / (points * sum(w * w for w in weights)))

    def mel(hertz):
        return 2595 * math.log10(1 + hertz / 700)

    edges = [
        700 * (10 ** ((mel(low) + (mel(rate / 2) - mel(low)) * i / (bands + 1)) / 2595) - 1) for i in range(bands + 2)
    ]
    column = []
    for band in range(bands):
        below, middle, above = edges[band : band + 3]
        total = 0.0
        for k, value in enumerate(power):
            hertz = k * rate / points
            if below < hertz <= middle:
                total += value * (hertz - below) / (middle - below)
            elif middle < hertz < above:
                total += value * (above - hertz) / (above - middle)
        column.append(1 + max(10 * math.log10(max(total, 1e-30)), -80) / 40)
    return column


def test_columns_are_those_of_an_independent_loop():
    rng = np.random.default_rng(0)
    samples = (0.1 * rng.standard_normal(2000)).astype(np.float32)
    centres = torch.tensor([0, 160, 777, 1999])
    found = log_mel(torch.from_numpy(samples), centres, SoundTrack()).numpy()
    expected = np.array([loop(samples, int(centre)) for centre in centres])
    np.testing.assert_allclose(found, expected, atol=2e-4)


@pytest.mark.parametrize("hertz", [220.0, 1000.0, 5000.0])
def test_a_sine_of_full_scale_is_1_in_its_bands_together_and_silence_is_minus_1(hertz):
    seconds = np.arange(16000) / 16000
    sine = torch.from_numpy(np.sin(2 * np.pi * hertz * seconds).astype(np.float32))
    column = log_mel(sine, torch.tensor([8000]), SoundTrack())[0]
    power = 10 ** ((column.double() - 1) * 4)
    assert power.sum() == pytest.approx(1.0, abs=0.02), "triangles add up to 1 everywhere"
    assert (log_mel(torch.zeros(16000), torch.tensor([8000]), SoundTrack()) == -1).all()


def one(folder, samples, rate=16000, codec="flac", start=0.0, end=3.0, ending="mkv") -> Corpus:
    write(folder / f"one.{ending}", samples, rate, codec, start)
    row = {
        "id": "one", "path": folder / f"one.{ending}", "start": 0.0, "end": end, "duration": end, "fps": 10.0,
        "frames": 30, "width": 64, "height": 48, "split": "train",
    }  # fmt: skip
    return write_corpus(folder / "corpus", "one", [row], [])


@pytest.mark.parametrize(
    ("rate", "codec", "ending"),
    [
        (16000, "flac", "mkv"), (96000, "flac", "mkv"), (8000, "flac", "mkv"), (44100, "aac", "mp4"),
        (48000, "libopus", "mkv"),
    ],
)  # fmt: skip
def test_a_tone_stands_in_its_band_and_at_its_time_whatever_the_rate(tmp_path, rate, codec, ending):
    corpus = one(tmp_path, burst(rate), rate, codec, ending=ending)
    filled = tubelet.track(corpus, "sound")
    assert (filled.videos, filled.computed, dict(filled.failed)) == (1, 1, {})
    values, times = Tracks.open(corpus, "sound").stored(corpus.videos[0])
    assert values.shape == (300, 64, 1, 1)
    np.testing.assert_allclose(times, np.arange(300) / 100)
    loud = times[values[:, :, 0, 0].max(1) > 0]
    assert loud[0] == pytest.approx(1.0, abs=0.02)
    assert loud[-1] == pytest.approx(1.5, abs=0.02)
    columns = values[(times > 1.1) & (times < 1.4), :, 0, 0].astype(float)
    edges = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + 8000 / 700), 66) / 2595) - 1)
    band = columns.mean(0).argmax()
    assert edges[band] < 1000 < edges[band + 2]


def test_a_long_file_is_read_in_pieces_that_fit_without_a_seam(tmp_path):
    rng = np.random.default_rng(0)
    noise = rng.uniform(-0.5, 0.5, (1, 16000 * 130))
    corpus = one(tmp_path, noise, end=130.0)
    tubelet.track(corpus, "sound")
    values, times = Tracks.open(corpus, "sound").stored(corpus.videos[0])
    assert len(times) == 13000
    np.testing.assert_allclose(times, np.arange(13000) / 100)
    samples = np.rint(noise[0] * 32767) / 32768
    centres = torch.arange(13000) * 160
    whole = log_mel(torch.from_numpy(samples.astype(np.float32)), centres, SoundTrack()).numpy()
    np.testing.assert_allclose(values[:, :, 0, 0], whole, atol=2e-3)


def test_files_without_sound_cost_one_line_and_nothing_else(tmp_path, capsys):
    corpus = sound_corpus(tmp_path, 6, silent=(1, 4))
    assert main(["track", str(corpus.folder), "sound"]) == 0
    said = capsys.readouterr().out
    assert "6 computed now; 6 videos are complete" in said
    assert "NOTE: 2 of 6 videos (first: 1) have no sound; training leaves them out" in said
    tracks = Tracks.open(corpus, "sound")
    assert tracks.without(corpus.videos) == ["1", "4"]
    assert tracks.missing(corpus.videos) == []
    assert main(["track", str(corpus.folder)]) == 0
    assert "sound         64x1x1, 4 of 6 videos" in capsys.readouterr().out


def test_a_file_whose_sound_cannot_be_decoded_fails_alone(tmp_path):
    corpus = sound_corpus(tmp_path, 3)
    corpus.videos[1].path.write_bytes(b"no video")
    filled = tubelet.track(corpus, "sound")
    assert list(filled.failed) == ["1"]
    assert filled.videos == 2
    said = r"needs the track 'sound' of 1 of 3 videos \(first: 1\); make it with `tubelet track "
    with pytest.raises(CorpusError, match=said):
        Tracks.open(corpus, "sound").check(corpus.videos, Sound(), "streams.sound.signal", corpus.folder)


def test_a_renamed_file_keeps_its_track_and_a_changed_one_does_not(tmp_path):
    corpus = sound_corpus(tmp_path, 3)
    tubelet.track(corpus, "sound")
    for video in corpus.videos[:1]:
        video.path.write_bytes((tmp_path / "1.mkv").read_bytes())
    again = tubelet.track(Corpus.open(corpus.folder), "sound")
    assert again.computed == 0, "its content is that of another, whose track is there"
    write(corpus.videos[0].path, burst(16000, hertz=3000.0))
    assert tubelet.track(Corpus.open(corpus.folder), "sound").computed == 1
