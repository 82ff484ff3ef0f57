"""What every listed source of a track promises. It is tested by being listed in `tubelet.tracks.TRACKS`."""

import pickle
import shutil
from pathlib import Path

import chz
import numpy as np
import pytest

import tubelet
from support.sounds import sound_corpus
from tubelet.cli import main, module_of
from tubelet.config import describe, override
from tubelet.corpus.table import Corpus
from tubelet.errors import CorpusError
from tubelet.stores.tracks import Tracks
from tubelet.tracks import TRACKS, ImportedTrack, SensorTrack, TrackSource, VectorTrack

every_source = pytest.mark.parametrize("kind", TRACKS, ids=lambda kind: kind.__name__)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tracks")
    sound_corpus(folder, 4)
    rng = np.random.default_rng(0)
    for name in ("sensors", "arrays"):
        (folder / name).mkdir()
    for number in range(4):
        times = np.arange(150) / 50
        np.savez(folder / "sensors" / f"{number}.npz", time=times, x=rng.normal(size=150), y=rng.normal(size=150))
        np.save(folder / "arrays" / f"{number}.npy", rng.normal(size=(6, 5)))
    return folder


@pytest.fixture
def corpus(made: Path, tmp_path: Path) -> Corpus:
    shutil.copytree(made, tmp_path / "made")
    return Corpus.open(tmp_path / "made" / "corpus")


def config(kind: type[TrackSource], made: Path) -> TrackSource:
    """A config of this class that works on the corpus."""
    given = {
        SensorTrack: {"files": (str(made / "sensors"),)},
        VectorTrack: {"files": (str(made / "arrays"),)},
        ImportedTrack: {"name": "mine", "files": (str(made / "arrays"),)},
    }
    return kind(**given.get(kind, {}))


def layers(corpus: Corpus, name: str) -> list[np.ndarray]:
    tracks = Tracks.open(corpus, name)
    return [tracks.stored(video)[0] for video in corpus.videos]


@every_source
def test_it_makes_the_track_of_every_video_once_and_prints_nothing(kind, made, corpus, capsys) -> None:
    source = config(kind, made)
    capsys.readouterr()
    filled = tubelet.track(corpus.folder, source)
    assert (filled.videos, filled.computed, dict(filled.failed)) == (4, 4, {})
    assert filled.method
    (name,) = filled.maps
    tracks = Tracks.open(corpus, name)
    for video in corpus.videos:
        values, times = tracks.stored(video)
        assert values.shape == (len(times), *tracks.size)
        assert len(times) > 1
        assert np.isfinite(values).all()
        assert (np.diff(times) > 0).all()
    again = tubelet.track(corpus, source)
    assert (again.videos, again.computed) == (4, 0)
    assert "".join(capsys.readouterr()) == ""


@every_source
def test_interrupted_it_resumes_to_the_same_track(kind, made, corpus, tmp_path) -> None:
    source = config(kind, made)

    def interrupt(done: int, total: int, remark: str = "") -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tubelet.track(corpus, source, progress=interrupt)
    filled = tubelet.track(corpus, source)
    assert (filled.videos, dict(filled.failed)) == (4, {})
    shutil.copytree(made, tmp_path / "whole")
    whole = Corpus.open(tmp_path / "whole" / "corpus")
    tubelet.track(whole, source)
    for one, other in zip(layers(corpus, filled.maps[0]), layers(whole, filled.maps[0]), strict=True):
        np.testing.assert_array_equal(one, other)


@every_source
def test_its_track_has_checksums(kind, made, corpus) -> None:
    filled = tubelet.track(corpus, config(kind, made))
    (shard,) = (corpus.folder / "tracks" / filled.maps[0]).rglob("shard-*.arrow")
    content = bytearray(shard.read_bytes())
    values = layers(corpus, filled.maps[0])[0].tobytes()
    content[content.index(values) + len(values) // 2] ^= 1
    shard.write_bytes(bytes(content))
    with pytest.raises(CorpusError, match="damaged"):
        layers(corpus, filled.maps[0])


@every_source
def test_it_is_a_frozen_config_that_travels_to_workers_and_explains_every_field(kind, made) -> None:
    source = config(kind, made)
    assert chz.asdict(pickle.loads(pickle.dumps(source))).keys() == chz.asdict(source).keys()
    for name, field in chz.chz_fields(kind).items():
        assert field._doc, name
        with pytest.raises(Exception, match="Cannot modify field"):
            setattr(source, name, None)
    assert describe(override(kind(), [])) == describe(kind())


@every_source
def test_the_command_names_it_and_lists_its_fields(kind, corpus, capsys) -> None:
    assert f"tubelet track CORPUS {kind.word}" in module_of("track").__doc__
    assert main(["track", str(corpus.folder)]) == 0
    overview = capsys.readouterr().out
    assert "has no tracks" in overview
    assert f"\n{kind.word}: " in overview
    assert main(["track", str(corpus.folder), kind.word, "--help"]) == 0
    fields = capsys.readouterr().out
    assert all(f"  {name}=" in fields for name in chz.chz_fields(kind))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["sond"], "did you mean sound?"),
        (["sound", "band=3"], "did you mean bands?"),
        (["sound", "bands=0"], "bands=0 must be 1 or more"),
        (["sound", "hop_ms=50"], "0 < hop_ms <= window_ms"),
        (["bands=3"], "name one source of a track"),
        (["sensors"], "name the files of the sensors with files=FOLDER"),
        (["sensors", "files=nowhere"], "has no .csv or .parquet or .npz file"),
        (["import", "name=sound"], "is that of a track that `tubelet track CORPUS sound` makes"),
        (["import", "files=nowhere"], "must be a plain name"),
    ],
)
def test_a_wrong_word_is_one_line_with_the_nearest_right_one(words, said, corpus, capsys) -> None:
    assert main(["track", str(corpus.folder), *words]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert said in error
