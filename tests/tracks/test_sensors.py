"""Sensors: what their tables say, an independent transform, and tables that are not as they should be."""

import math

import numpy as np
import pandas as pd
import pytest

import tubelet
from support.sounds import sound_corpus
from tubelet.cli import main
from tubelet.corpus.table import Corpus
from tubelet.errors import CorpusError
from tubelet.stores.tracks import Tracks
from tubelet.synthetic import Size, write_synth
from tubelet.tracks import SensorTrack
from tubelet.types import Sensors

TIMES = np.arange(150) / 50


def table(number: int, devices=("left", "right"), shift: float = 0.0) -> pd.DataFrame:
    rng = np.random.default_rng(number)
    parts = [
        pd.DataFrame({"time": TIMES + shift, "device": device, "x": rng.normal(size=150), "y": np.full(150, 9.81)})
        for device in devices
    ]
    return pd.concat(parts).sample(frac=1.0, random_state=number)  # in any order


@pytest.fixture
def corpus(tmp_path) -> Corpus:
    made = sound_corpus(tmp_path, 4)
    (tmp_path / "tables").mkdir()
    for number in range(4):
        table(number).to_csv(tmp_path / "tables" / f"{number}.csv", index=False)
    return made


def track(corpus: Corpus, **fields):
    return tubelet.track(corpus, SensorTrack(files=(str(corpus.folder.parent / "tables"),), **fields))


def test_columns_are_those_of_an_independent_loop(corpus):
    filled = track(corpus)
    assert (filled.videos, dict(filled.failed), filled.notes) == (4, {}, ())
    tracks = Tracks.open(corpus, "sensors")
    values, times = tracks.stored(corpus.videos[1])
    assert values.shape == (75, 16, 2, 2), "columns, frequencies, devices, axes"
    np.testing.assert_allclose(times, np.arange(75) * 0.04)
    said = table(1)
    for column, device in ((20, 0), (50, 1)):
        own = said[said["device"] == ("left", "right")[device]].sort_values("time")["x"].to_numpy()
        first = round(times[column] * 50) - 16
        window = [own[first + n] * (0.5 - 0.5 * math.cos(2 * math.pi * n / 32)) for n in range(32)]
        for k in range(16):
            total = sum(value * complex(math.cos(2 * math.pi * k * n / 32), -math.sin(2 * math.pi * k * n / 32))
                        for n, value in enumerate(window))  # fmt: skip
            amplitude = abs(total) / 8 * (1 if k else 0.5)
            assert values[column, k, device, 0] == pytest.approx(math.log10(max(amplitude, 0.01)), abs=5e-3)
    assert values[40, 0, :, 1] == pytest.approx(math.log10(9.81), abs=2e-3), "gravity is the mean"
    assert (values[40, 3:, :, 1] < -1.9).all()


@pytest.mark.parametrize("ending", ["csv", "parquet", "npz"])
def test_any_kind_of_table_says_the_same(tmp_path, ending):
    made = sound_corpus(tmp_path, 2)
    (tmp_path / "tables").mkdir()
    for number in range(2):
        path, one = tmp_path / "tables" / f"{number}.{ending}", table(number)
        if ending == "csv":
            one.to_csv(path, index=False)
        elif ending == "parquet":
            one.to_parquet(path)
        else:
            np.savez(path, **{name: one[name].to_numpy().astype(str if name == "device" else float) for name in one})
    track(made)
    values, _ = Tracks.open(made, "sensors").stored(made.videos[0])
    assert values.shape == (75, 16, 2, 2)
    said = table(0)
    left = said[said["device"] == "left"].sort_values("time")["x"].to_numpy()
    window = left[34:66] * (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(32) / 32))
    assert values[25, 1, 0, 0] == pytest.approx(np.log10(abs(np.fft.rfft(window)[1]) / 8), abs=5e-3)


def test_a_video_without_a_table_a_dead_device_and_a_table_out_of_time_cost_a_line_each(corpus, capsys):
    tables = corpus.folder.parent / "tables"
    (tables / "0.csv").unlink()
    still = table(1)
    still.loc[still["device"] == "right", ["x", "y"]] = 0.0
    still.to_csv(tables / "1.csv", index=False)
    table(2, shift=1_700_000_000.0).to_csv(tables / "2.csv", index=False)
    assert main(["track", str(corpus.folder), "sensors", f"files={tables}"]) == 2
    captured = capsys.readouterr()
    assert "NOTE: 1 of 4 videos (first: 0) have no sensors; training leaves them out" in captured.out
    assert "NOTE: device right: 1 of 3 videos (first: 1) have nothing from it" in captured.out
    assert "2.csv is out of time" in captured.err
    tracks = Tracks.open(corpus, "sensors")
    assert tracks.missing(corpus.videos) == ["2"]
    assert tracks.without(corpus.videos) == ["0"]
    values, _ = tracks.stored(corpus.videos[1])
    assert (values[:, :, 1] == -2).all()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda one: one.rename(columns={"time": "when"}), "has no column `time`"),
        (lambda one: one.assign(x="much"), "holds what is no number"),
        (lambda one: one.drop(columns="y"), "has no column 'y', which the first table has"),
        (lambda one: one.assign(device="foot"), "has a device 'foot'; the first table has left, right"),
        (lambda one: one.iloc[:0], "holds no samples"),
    ],
)
def test_a_table_that_is_not_as_the_others_fails_its_video_alone(corpus, change, said):
    change(table(2)).to_csv(corpus.folder.parent / "tables" / "2.csv", index=False)
    filled = track(corpus)
    assert list(filled.failed) == ["2"]
    assert said in filled.failed["2"]
    assert filled.videos == 3


def test_a_file_named_after_no_video_is_refused_and_changed_tables_are_another_track(corpus):
    before = track(corpus)
    assert track(corpus).computed == 0
    table(9).to_csv(corpus.folder.parent / "tables" / "1.csv", index=False)
    assert track(corpus).computed == 4
    assert before.computed == 4
    table(9).to_csv(corpus.folder.parent / "tables" / "stranger.csv", index=False)
    with pytest.raises(CorpusError, match="is named after no usable video"):
        track(corpus)


def test_the_sensors_of_synth_2_fit_the_recipe(tmp_path):
    write_synth(tmp_path / "two", Size(train=4, test=2, pixels=48, frames=32, faces=True))
    corpus = Corpus.open(tmp_path / "two")
    filled = tubelet.track(corpus, "sensors", files=(str(tmp_path / "two" / "sensors"),))
    assert filled.videos == 6
    tracks = Tracks.open(corpus, "sensors")
    tracks.check(corpus.videos, Sensors(), "streams.sensors.signal", corpus.folder)
    with pytest.raises(CorpusError, match=r"set streams\.sensors\.signal\.size=16, .*\.devices=4, .*\.axes=3"):
        tracks.check(corpus.videos, Sensors(devices=2), "streams.sensors.signal", corpus.folder)
