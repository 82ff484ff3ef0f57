"""A user's own arrays as maps."""

from pathlib import Path

import numpy as np
import pytest

from support.moving import moving_corpus
from tubelet.cli import main
from tubelet.corpus.table import Corpus
from tubelet.corpus.write import write_corpus
from tubelet.errors import CorpusError, RecipeError
from tubelet.saliency_maps.imported import import_maps
from tubelet.stores.maps import Maps


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return moving_corpus(tmp_path)


def save(path: Path, **arrays: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **arrays)
    return path


def test_one_file_by_id_with_times_of_its_own_or_those_of_the_frames(corpus: Corpus, tmp_path: Path, capsys) -> None:
    rng = np.random.default_rng(0)
    arrays = {"clip 0": rng.random((16, 3, 4)), "clip 1": rng.random((4, 6, 8)), "clip 2": rng.random((2, 5, 5))}
    path = save(tmp_path / "mine.npz", **arrays, **{"clip 2:times": np.array([0.5, 1.0])})
    assert main(["saliency", str(tmp_path), "Imported", "name=mine", f"files={path}"]) == 0
    assert "3 maps computed now; 3 videos are complete (imported, 3 of 4 videos)" in capsys.readouterr().out
    maps = Maps.open(corpus, "mine")
    assert maps.kind == "scalar"
    for video in corpus.videos[:3]:
        np.testing.assert_allclose(maps.layers(video)[0], arrays[video.id], atol=1e-3)
    stamps = [maps.layers(video)[1] for video in corpus.videos[:3]]
    np.testing.assert_allclose(stamps[0], np.arange(16) / 10, atol=1e-6)
    np.testing.assert_allclose(stamps[1], [0.2, 0.6, 1.0, 1.4])
    np.testing.assert_allclose(stamps[2], [0.5, 1.0])
    assert maps.missing(corpus.videos, None) == ["clip 3"]
    assert main(["saliency", str(tmp_path), "Imported", "name=mine", f"files={path}"]) == 0
    assert "0 maps computed now; 3 videos are complete" in capsys.readouterr().out


def test_a_file_a_video_named_after_it_and_vectors_with_or_without_an_end(corpus: Corpus, tmp_path: Path) -> None:
    steps = np.full((16, 3, 4, 2), 0.01)
    np.save(tmp_path / "clip 0.npy", steps)
    save(tmp_path / "clip 1.npz", values=steps[:2], times=np.array([0.0, 0.5, 1.0]))
    save(tmp_path / "clip 2.npz", values=steps[:2], times=np.array([0.0, 0.5]))
    filled = import_maps(corpus, "flow", [tmp_path / "clip 0.npy", tmp_path / "clip 1.npz", tmp_path / "clip 2.npz"])
    assert filled.computed == 3
    maps = Maps.open(corpus, "flow")
    assert maps.kind == "vector"
    ends = [maps.layers(video)[1] for video in corpus.videos[:3]]
    np.testing.assert_allclose(ends[0], np.arange(17) / 10, atol=1e-6)
    np.testing.assert_allclose(ends[1], [0, 0.5, 1.0])
    np.testing.assert_allclose(ends[2], [0, 0.5, 1.6])


def test_parts_are_shares_of_as_many_parts_in_every_video(corpus: Corpus, tmp_path: Path) -> None:
    shares = np.random.default_rng(0).dirichlet(np.ones(2), (4, 3, 5))
    path = save(tmp_path / "mine.npz", **{"clip 0": shares, "clip 1": shares[:2]})
    assert import_maps(corpus, "parts", [path]).computed == 2
    maps = Maps.open(corpus, "parts")
    assert (maps.kind, maps.channels) == ("parts", 2)
    np.testing.assert_allclose(maps.layers(corpus.videos[0])[0], shares, atol=1e-3)
    wrong = {
        "must hold shares from 0 to 1": shares - 0.5,
        "has 3 parts, but that of clip 0 has 2": np.full((4, 3, 5, 3), 1 / 3),
        r"it must be \(layers, rows, columns, parts\), of two or more": shares[..., 0],
    }
    for message, values in wrong.items():
        with pytest.raises(CorpusError, match=message):
            import_maps(corpus, "parts", [save(tmp_path / "wrong.npz", **{"clip 0": shares, "clip 1": values})])


def test_a_changed_array_replaces_the_old_one(corpus: Corpus, tmp_path: Path) -> None:
    for level in (1.0, 2.0):
        import_maps(corpus, "mine", [save(tmp_path / "mine.npz", **{"clip 0": np.full((1, 2, 2), level)})])
        assert (Maps.open(corpus, "mine").layers(corpus.videos[0])[0] == level).all()


def test_names_with_folders_are_told_apart_by_folders(tmp_path: Path) -> None:
    rows = [{"id": f"{part}/a.mp4", "path": f"{part}/a.mp4", "end": 1.0} for part in ("x", "y")]
    corpus = write_corpus(tmp_path, "folders", rows, [])
    for part in ("x", "y"):
        (tmp_path / part).mkdir()
        (tmp_path / part / "a.mp4").write_bytes(part.encode())
        save(tmp_path / "maps of mine" / part / "a.npz", values=np.zeros((2, 2, 2)), times=np.array([0.0, 0.5]))
    files = sorted((tmp_path / "maps of mine").rglob("*.npz"))
    assert import_maps(corpus, "mine", files).computed == 2
    alone = save(tmp_path / "alone" / "a.npz", values=np.zeros((2, 2, 2)))
    with pytest.raises(CorpusError, match=r"could be the map of x/a.mp4 or y/a.mp4; put maps into folders"):
        import_maps(corpus, "mine", [alone])


def test_a_map_in_the_folder_of_another_video_is_no_map_of_this_one(tmp_path: Path) -> None:
    rows = [{"id": f"jump/{name}.mp4", "path": f"jump/{name}.mp4", "end": 1.0} for name in "ab"]
    corpus = write_corpus(tmp_path, "folders", rows, [])
    (tmp_path / "jump").mkdir()
    for name in "ab":
        (tmp_path / "jump" / f"{name}.mp4").write_bytes(name.encode())
    files = [
        save(tmp_path / "maps" / name, values=np.zeros((2, 2, 2)), times=np.array([0.0, 0.5]))
        for name in ("run/a.npz", "jump/b.npz")
    ]
    with pytest.raises(CorpusError, match=r"run/a.npz is named after no usable video"):
        import_maps(corpus, "mine", files)
    assert import_maps(corpus, "mine", files[1:]).computed == 1


GOOD = np.zeros((2, 3, 4))
WRONG = {
    "a flat array": (np.zeros((3, 4)), r"has shape 3x4; it must be \(layers, rows, columns\)"),
    "three components": (np.zeros((2, 3, 4, 3)), "has shape 2x3x4x3; it must be"),
    "nothing": (np.zeros((0, 3, 4)), "has shape 0x3x4; it must be"),
    "text": (np.array([[["a"]]]), "holds <U1, not numbers"),
    "NaN": (GOOD + np.nan, "holds NaN or infinite values"),
    "too much": (GOOD + 1e6, "holds 1e[+]06, beyond the largest number that can be stored"),
    "pixels": (np.full((2, 3, 4, 2), 5.0), "moves by up to 5 frames a step; divide pixels"),
}


@pytest.mark.parametrize("what", WRONG)
def test_an_array_that_is_no_map_is_refused_in_one_line_and_nothing_is_written(
    corpus: Corpus, tmp_path: Path, capsys, what: str
) -> None:
    values, message = WRONG[what]
    path = save(tmp_path / "mine.npz", **{"clip 0": values})
    with pytest.raises(CorpusError, match=message):
        import_maps(corpus, "mine", [path])
    assert main(["saliency", str(tmp_path), "Imported", "name=mine", f"files={path}"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "maps").exists()


def test_what_does_not_fit_together_is_refused(corpus: Corpus, tmp_path: Path) -> None:
    vector = np.zeros((2, 3, 4, 2))
    cases = [
        ({"clip 0": GOOD, "clip 1": vector}, "mine", "is a vector map, of shape 2x3x4x2, but that of clip 0 is scalar"),
        ({"clip 0": GOOD}, "flow", "is a scalar map, of shape 2x3x4, but flow maps are vector"),
        ({"clip 9": GOOD}, "mine", "holds a map of 'clip 9', which is no usable video"),
        (
            {"clip 0": GOOD, "clip 0:times": np.zeros(3)},
            "mine",
            "has 2 layers and times of shape 3; they must be 2 asc",
        ),
        ({"clip 0": GOOD, "clip 0:times": np.array([1.0, 0.0])}, "mine", "they must be 2 ascending seconds"),
        ({"clip 0": vector, "clip 0:times": np.zeros(4)}, "mine", "they must be 2 or 3 ascending seconds"),
    ]
    for arrays, name, message in cases:
        with pytest.raises(CorpusError, match=message):
            import_maps(corpus, name, [save(tmp_path / "mine.npz", **arrays)])
    twice = [save(tmp_path / "one.npz", **{"clip 0": GOOD}), save(tmp_path / "two.npz", **{"clip 0": GOOD})]
    with pytest.raises(CorpusError, match="both hold a map of clip 0"):
        import_maps(corpus, "mine", twice)
    for name, message in (("text", "text maps belong to captions"), ("../mine", "is not a name for maps")):
        with pytest.raises(RecipeError, match=message):
            import_maps(corpus, name, twice[:1])
    with pytest.raises(RecipeError, match="no file to import mine maps from"):
        import_maps(corpus, "mine", [])
    with pytest.raises(CorpusError, match="no such file"):
        import_maps(corpus, "mine", [tmp_path / "none.npz"])
    (tmp_path / "bad.npz").write_bytes(b"PK no")
    with pytest.raises(CorpusError, match=r"cannot be read as \.npy or \.npz"):
        import_maps(corpus, "mine", [tmp_path / "bad.npz"])
    np.save(tmp_path / "stranger.npy", GOOD)
    with pytest.raises(CorpusError, match="is named after no usable video of the corpus, whose ids are like 'clip 0'"):
        import_maps(corpus, "mine", [tmp_path / "stranger.npy"])
