"""What a training would be and take is said before it, and when it ends while it goes on."""

import pytest

from support.small_runs import make_corpus, pretrain
from tubelet import log


def files(folder):
    return sorted(str(path) for path in folder.rglob("*"))


def test_a_dry_run_says_clips_tokens_steps_time_and_disk_and_writes_nothing(tmp_path, recipes, capsys):
    corpus = make_corpus(tmp_path / "corpus")
    before = files(tmp_path)
    words = (f"{recipes}:both", "steps=400", "--on", corpus.folder, "--out", tmp_path / "run", "--dry-run")
    assert pretrain(*words) == 0
    told = capsys.readouterr().out
    for part in (
        "clips: 6 to train on, 4x32x32; 4 of 8 tokens are visible",
        "million parameters",
        "steps: 400 of 2 clips",
        "memory: ",
        "checkpoint: ",
        "data.cache: 553 kB of decoded frames of 8 videos",  # 8 x 10 frames of 48x48 pixels
        "training takes ",
        "would end at ",
    ):
        assert part in told
    assert files(tmp_path) == before


def test_a_dry_run_is_refused_as_the_training_would_be(tmp_path, corpus, recipes, capsys):
    assert pretrain(f"{recipes}:pixels", "data.split=none", "--on", corpus, "--out", tmp_path / "r", "--dry-run") == 2
    assert "no usable video in split 'none'" in capsys.readouterr().err
    assert not any(tmp_path.iterdir())


def test_the_disk_of_the_frame_cache_is_said_before_it_is_used(tmp_path, recipes, capsys):
    corpus = make_corpus(tmp_path / "corpus")
    assert pretrain(f"{recipes}:both", "steps=1", "--on", corpus.folder, "--out", tmp_path / "run") == 0
    told = capsys.readouterr().err
    said = "data.cache keeps the decoded frames of 8 videos at 48 pixels: about 553 kB"
    assert 0 <= told.index(said) < told.index("decoding the videos once")


def test_a_frame_cache_above_its_limit_is_refused_with_the_remedy_and_leaves_nothing(tmp_path, recipes, capsys):
    corpus = make_corpus(tmp_path / "corpus")
    words = (f"{recipes}:both", "steps=1", "data.cache_limit=0.0005", "--on", corpus.folder, "--out", tmp_path / "run")
    assert pretrain(*words) == 2
    told = capsys.readouterr().err
    assert "need 0.000553 GB" in told
    assert "data.cache_limit=0.0005; use data.cache=False" in told
    assert not (tmp_path / "run").exists()
    assert not list((corpus.folder / "frames").rglob("*.bin"))


def test_the_end_of_a_run_counts_evaluations_and_not_the_slow_first_step():
    """100 steps of 1 s after a first of 30 s, an evaluation of 20 s every 25 steps and at the start."""
    pace, now = log.Pace(total=100, first=0, every=25, now=0.0), 0.0
    now += 20
    pace.evaluated(20.0)
    for done in range(1, 101):
        now += 30 if done == 1 else 1
        left = pace.left(done, now)
        coming = sum(done < at for at in (25, 50, 75))
        if done > 1:
            assert left == pytest.approx((100 - done) + 20 * (coming), abs=1e-6)
        if done in (25, 50, 75):
            now += 20
            pace.evaluated(20.0)
    assert pace.left(100, now) == 0


def test_the_end_of_a_run_that_goes_on_is_of_its_own_pace():
    pace = log.Pace(total=1000, first=500, every=0, now=0.0)
    assert pace.left(510, 100.0) == pytest.approx(4900)
    assert pace.left(520, 110.0) == pytest.approx(480)
