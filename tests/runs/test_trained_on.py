"""Which clips were trained on is known by what they hold: whatever their names, splits, corpora and codecs."""

import hashlib
import shutil
from pathlib import Path

import pandas
import pytest

import tubelet
from support.small_runs import make_corpus, pretrain
from tubelet.cli import main
from tubelet.corpus.table import Corpus
from tubelet.corpus.write import write_corpus
from tubelet.results import read_results
from tubelet.video.reader import read_span
from tubelet.video.writer import write_video

FILE = "trained_on.parquet"
SHORT = ("steps=2", "save_every=2")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, recipes: Path) -> Path:
    """A folder with the corpus `small` and the run `run` of pixels that was trained on its first six videos."""
    index = tmp_path_factory.mktemp("trained")
    make_corpus(index / "small")
    assert pretrain(f"{recipes}:pixels", *SHORT, "--on", index / "small", "--out", index / "run") == 0
    return index


@pytest.fixture
def index(trained: Path, tmp_path: Path) -> Path:
    shutil.copytree(trained, tmp_path / "p")
    return tmp_path / "p"


def command(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    code = main([str(word) for word in words])
    shown = capsys.readouterr()
    return code, shown.out, shown.err


def measured(index: Path, capsys: pytest.CaptureFixture[str], on: Path) -> tuple[dict, str]:
    """What reconstruction on the test split of a corpus says of the clips."""
    code, out, err = command(capsys, "evaluate", index / "run", "reconstruction", "--on", on)
    assert code == 0, err
    [result] = [result for name, result in read_results(index / "run").items() if name.startswith("reconstruction")]
    return result, out


def test_a_run_keeps_what_it_was_trained_on(index: Path) -> None:
    record = pandas.read_parquet(index / "run" / FILE)
    train = Corpus.open(index / "small").select("train")
    assert record["id"].tolist() == [video.id for video in train]
    digests = [hashlib.blake2b(video.path.read_bytes(), digest_size=16).hexdigest() for video in train]
    assert record["content"].tolist() == digests
    assert record["looks"].notna().all()


def test_nothing_of_the_test_split_was_trained_on(index: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result, out = measured(index, capsys, index / "small")
    assert result.trained_on == {"encoder": ["train"], "aligner": []}
    assert not result.contamination["same_content"]
    assert not result.warnings
    assert "of small, the encoder was trained on: train" in out


def test_swapped_splits_are_seen_through(index: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [f"clip {n}.mp4,{'test' if n < 3 else 'train'}" for n in range(8)]
    (index / "splits.csv").write_text("\n".join(["path,split", *lines]))
    code, _, err = command(
        capsys, "index", index / "small" / "videos", "--labels", index / "splits.csv", "--update",
        "--out", index / "small",
    )  # fmt: skip
    assert code == 0, err
    result, out = measured(index, capsys, index / "small")
    assert "3 of 3 clips of test were trained on by the encoder (clip 0.mp4, clip 1.mp4, clip 2.mp4)" in out
    assert sorted(result.contamination["same_content"]) == ["clip 0.mp4", "clip 1.mp4", "clip 2.mp4"]
    assert "of small, the encoder was trained on: test, train" in out


def test_a_corpus_made_anew_of_the_same_files_is_recognised(index: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (index / "new").mkdir()
    for number in range(8):
        shutil.copy(index / "small" / "videos" / f"clip {number}.mp4", index / "new" / f"{7 - number}.mp4")
    shutil.rmtree(index / "small")
    lines = [f"{n}.mp4,{'test' if n in (0, 7) else 'train'}" for n in range(8)]
    (index / "splits.csv").write_text("\n".join(["path,split", *lines]))
    code, _, err = command(
        capsys, "index", index / "new", "--labels", index / "splits.csv", "--name", "other", "--out", index / "c"
    )
    assert code == 0, err
    result, out = measured(index, capsys, index / "c")
    assert "1 of 2 clips of test were trained on by the encoder (7.mp4)" in out
    assert list(result.contamination["same_content"]) == ["7.mp4"], "clip 0 under another name; 0.mp4 was a test clip"
    assert result.contamination["same_content"]["7.mp4"][0]["id"] == "clip 0.mp4"


def test_a_video_that_was_encoded_anew_is_recognised_without_the_corpus_that_was_trained_on(
    index: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frames, _ = read_span(index / "small" / "videos" / "clip 2.mp4")
    (index / "new").mkdir()
    write_video(index / "new" / "again.mp4", frames, 10.0, options={"crf": "28"})
    for number in (6, 7):
        shutil.copy(index / "small" / "videos" / f"clip {number}.mp4", index / "new" / f"{number}.mp4")
    shutil.rmtree(index / "small")
    rows = [
        {"id": path.name, "path": path, "end": 1.0, "frames": 10, "fps": 10.0, "split": "test"}
        for path in sorted((index / "new").iterdir())
    ]
    write_corpus(index / "c", "c", rows)
    result, out = measured(index, capsys, index / "c")
    assert result.contamination["same_content"] == {}
    assert [(name, clip["id"]) for name, clip in result.contamination["looks_alike"].items()] == [
        ("again.mp4", "clip 2.mp4")
    ]
    assert "1 of 3 clips of test look like clips that the encoder was trained on (again.mp4 ~ clip 2.mp4)" in out


def test_a_moved_folder_changes_nothing(index: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (index / "small").rename(index / "elsewhere")
    result, _ = measured(index, capsys, index / "elsewhere")
    assert result.trained_on == {"encoder": ["train"], "aligner": []}
    assert not result.contamination["same_content"]


def test_what_a_run_began_with_was_trained_on_counts(
    index: Path, recipes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        {"id": f"{n}.mp4", "path": index / "small" / "videos" / f"clip {n}.mp4", "end": 1.0, "fps": 10.0, "frames": 10,
         "split": "train" if n > 5 else "test"}
        for n in (1, 6, 7)
    ]  # fmt: skip
    write_corpus(index / "c", "c", rows)
    words = (f"{recipes}:pixels", *SHORT, f"init={index / 'run'}", "--on", index / "c", "--out", index / "second")
    assert pretrain(*words) == 0
    shutil.rmtree(index / "run")
    (index / "second").rename(index / "run")
    capsys.readouterr()
    result, out = measured(index, capsys, index / "c")
    assert list(result.contamination["same_content"]) == ["1.mp4"]
    assert f"were trained on by the encoder of {index / 'run'} (1.mp4)" in out


def test_a_run_without_its_record_says_that_it_is_unknown(index: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (index / "run" / FILE).unlink()
    rows = [{"id": "a.mp4", "path": index / "small" / "videos" / "clip 6.mp4", "end": 1.0, "split": "test"}]
    write_corpus(index / "c", "c", rows)
    shutil.rmtree(index / "small" / "maps")
    (index / "small" / "corpus.json").unlink()
    result, out = measured(index, capsys, index / "c")
    assert result.trained_on["encoder"] == ["unknown"]
    assert "keeps no record: what it was trained on is unknown" in out
    assert "of c, the encoder was trained on: nothing" not in out


def test_retrieval_on_pairs_that_a_contrast_was_trained_on_is_refused(
    index: Path, recipes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (f"{recipes}:both", *SHORT, "data.split=all", "--on", index / "small", "--out", index / "both")
    assert pretrain(*words) == 0
    capsys.readouterr()
    code, _, err = command(capsys, "evaluate", index / "both", "retrieval")
    assert code != 0
    assert "the encoder was trained on 2 of 2 clips of split 'test' of small (clip 6.mp4, clip 7.mp4)" in err
    code, out, err = command(capsys, "evaluate", index / "both", "retrieval", "--allow-seen")
    assert code == 0, err
    assert "2 of 2 clips of test were trained on by the encoder (clip 6.mp4, clip 7.mp4)" in out


def test_a_run_goes_on_only_with_the_videos_that_it_began_with(
    index: Path, recipes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (f"{recipes}:pixels", "steps=4", "save_every=2", "--on", index / "small", "--out", index / "longer")
    assert pretrain(*words) == 0
    log = index / "longer" / "log.jsonl"
    log.write_text("".join(line for line in log.read_text().splitlines(True) if '"end"' not in line))
    shutil.copy(index / "small" / "videos" / "clip 7.mp4", index / "small" / "videos" / "clip 3.mp4")
    capsys.readouterr()
    assert pretrain(*words) == 2
    err = capsys.readouterr().err
    assert "began with other content of 1 video (clip 3.mp4)" in err
    assert "--allow-changed" in err
    assert pretrain(*words, "--allow-changed") == 0
    record = pandas.read_parquet(index / "longer" / FILE)
    assert (record["id"] == "clip 3.mp4").sum() == 2, "both contents were trained on"


def test_labels_that_are_predicted_say_which_clips_the_classifier_and_the_encoder_learned_from(
    index: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(capsys, "evaluate", index / "run", "linear")[0] == 0
    (index / "new").mkdir()
    for number in (0, 6):
        shutil.copy(index / "small" / "videos" / f"clip {number}.mp4", index / "new" / f"other {number}.mp4")
    code, _, err = command(capsys, "predict", index / "run", index / "new", "--out", index / "labels.parquet")
    assert code == 0, err
    said = pandas.read_parquet(index / "labels.parquet").set_index("id")["trained_on"]
    assert said["other 0.mp4"] == "classifier, encoder"
    assert pandas.isna(said["other 6.mp4"])
    rows = [
        {"id": f"{n}.mp4", "path": index / "new" / f"other {n}.mp4", "end": 1.0, "frames": 10, "fps": 10.0}
        for n in (0, 6)
    ]
    write_corpus(index / "c", "c", rows)
    out = index / "rest.parquet"
    assert command(capsys, "predict", index / "run", index / "c", "--unseen", "--out", out)[0] == 0
    assert pandas.read_parquet(out)["id"].tolist() == ["6.mp4"]


def test_a_copy_that_was_encoded_anew_is_not_unseen_to_predict(index: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(capsys, "evaluate", index / "run", "linear")[0] == 0
    frames, _ = read_span(index / "small" / "videos" / "clip 2.mp4")
    (index / "new").mkdir()
    write_video(index / "new" / "again.mp4", frames, 10.0, options={"crf": "28"})
    shutil.copy(index / "small" / "videos" / "clip 6.mp4", index / "new" / "other.mp4")
    shutil.rmtree(index / "small")
    words = ("predict", index / "run", index / "new", "--out", index / "labels.parquet")
    code, _, err = command(capsys, *words)
    assert code == 0, err
    said = pandas.read_parquet(index / "labels.parquet").set_index("id")["trained_on"]
    assert said["again.mp4"] == "classifier (look-alike), encoder (look-alike)"
    assert pandas.isna(said["other.mp4"])
    code, out, err = command(capsys, *words, "--unseen", "--force")
    assert code == 0, err
    assert "left out: 1 video that look" in out
    assert pandas.read_parquet(index / "labels.parquet")["id"].tolist() == ["other.mp4"]


def test_search_names_of_a_hit_that_a_copy_of_it_was_trained_on(index: Path) -> None:
    frames, _ = read_span(index / "small" / "videos" / "clip 2.mp4")
    (index / "new").mkdir()
    write_video(index / "new" / "again.mp4", frames, 10.0, options={"crf": "28"})
    for name, number in (("same.mp4", 3), ("other.mp4", 6), ("asked.mp4", 7)):
        shutil.copy(index / "small" / "videos" / f"clip {number}.mp4", index / "new" / name)
    names = ["again.mp4", "same.mp4", "other.mp4", "asked.mp4"]
    write_corpus(
        index / "c", "c", [{"id": n, "path": index / "new" / n, "end": 1.0, "frames": 10, "fps": 10.0} for n in names]
    )
    found = tubelet.search(index / "run", like="asked.mp4", on=index / "c").to_pandas().set_index("id")["trained_on"]
    assert found.dropna().to_dict() == {"again.mp4": "encoder (look-alike)", "same.mp4": "encoder"}
    assert sorted(found.index) == ["again.mp4", "other.mp4", "same.mp4"]
