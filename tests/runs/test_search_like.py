"""`search --like`: the clips of a corpus that lie nearest to a clip, for a run that never saw a caption."""

import os
import re
import shutil

import numpy as np
import pytest

import tubelet
from tubelet.cli import main
from tubelet.corpus.table import Corpus
from tubelet.results import read_results


@pytest.fixture(scope="module")
def run(corpus, recipes, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "pixels"
    assert main(["pretrain", f"{recipes}:pixels", "--on", str(corpus), "--out", str(folder), "steps=2"]) == 0
    return folder


def found(capsys) -> list[tuple[str, float, str]]:
    """(id, cosine, split) of each line."""
    lines = re.findall(r"^ *\d+   ([+-]\d\.\d+)   (\w+) +(\S+ ?\S*?)(?:   .*)?$", capsys.readouterr().out, re.MULTILINE)
    return [(name, float(score), split) for score, split, name in lines]


def by_loop(features: np.ndarray, asked: np.ndarray) -> np.ndarray:
    shift = features.mean(0)
    return np.array(
        [
            (row - shift) @ (asked - shift) / np.linalg.norm(row - shift) / np.linalg.norm(asked - shift)
            for row in features
        ]
    )


def test_a_clip_of_the_corpus_finds_the_others_by_the_encoders_features(run, corpus, capsys):
    videos = [video for video in Corpus.open(corpus).videos if video.status == "ok"]
    features = tubelet.embed(tubelet.load_encoder(run), [video.path for video in videos]).double().numpy()
    capsys.readouterr()
    assert main(["search", str(run), "--like", videos[2].id, "--top", "4"]) == 0
    hits = found(capsys)
    scores = by_loop(features, features[2])
    order = [index for index in np.argsort(-scores, kind="stable") if index != 2][:4]
    assert [name for name, _, _ in hits] == [videos[index].id for index in order]
    assert [score for _, score, _ in hits] == pytest.approx(scores[order], abs=2e-3)
    assert [split for _, _, split in hits] == [videos[index].split for index in order]
    result = read_results(run)[f"search like {videos[2].id}"]
    assert result.asked["command"][:4] == ["search", str(run), "--like", videos[2].id]
    assert any(path.name.startswith("search like") for path in (run / "pictures").iterdir())


def test_a_file_outside_and_a_moment_of_it_are_clips_too(run, corpus, tmp_path, capsys):
    video = Corpus.open(corpus).videos[3]
    copy = tmp_path / "a @ b@2.mp4"
    shutil.copy(video.path, copy)
    assert main(["search", str(run), "--like", str(copy), "--top", "1"]) == 0
    assert found(capsys)[0][:2] == (video.id, pytest.approx(1, abs=1e-3))
    for start in ("@0", "@0.2s"):
        assert main(["search", str(run), "--like", f"{copy}{start}", "--top", "2", "--split", "train"]) == 0
        hits = found(capsys)
        assert {split for _, _, split in hits} == {"train"}
        assert main(["search", str(run), "--like", f"{video.id}{start}", "--top", "2", "--split", "train"]) == 0
        assert not {name for name, _, _ in found(capsys)} & {video.id}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "for a text or for a clip"),
        (["a star", "--like", "x"], "for a text or for a clip"),
        (["--like", "nowhere.mp4"], "no such file"),
        (["--like", "nowhere.mp4@3"], "no such file"),
        (["a star"], "trained without captions"),
    ],
)
def test_what_cannot_be_asked_is_one_line(run, words, says, capsys):
    assert main(["search", str(run), *words]) == 2
    assert says in capsys.readouterr().err


def test_a_pipe_is_no_clip(run, tmp_path, capsys):

    os.mkfifo(tmp_path / "pipe.mp4")
    assert main(["search", str(run), "--like", str(tmp_path / "pipe.mp4")]) == 2
    assert "not a file" in capsys.readouterr().err
