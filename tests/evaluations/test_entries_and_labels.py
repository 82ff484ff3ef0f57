"""results.json loses nothing; other labels find their videos."""

import json
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tubelet.corpus.write import write_corpus
from tubelet.errors import CorpusError, RunError
from tubelet.evaluations.labels import other_labels
from tubelet.evaluations.results import entry_name, merge_result
from tubelet.results import Metric, Result, read_results

HERE = {"name": "synth-1", "fingerprint": "aaaaaaaabbbb"}
THERE = {"name": "real", "fingerprint": "ccccccccdddd"}


def test_results_of_several_commands_stand_side_by_side(tmp_path):
    merge_result(tmp_path, "linear", Result({"a": Metric(1.0)}))
    merge_result(tmp_path, "knn", Result({"a": Metric(2.0)}))
    merge_result(tmp_path, "linear", Result({"a": Metric(3.0)}))
    assert read_results(tmp_path) == {"linear": Result({"a": Metric(3.0)}), "knn": Result({"a": Metric(2.0)})}


def test_another_corpus_and_other_labels_have_entries_of_their_own():
    assert entry_name("linear", HERE, HERE, None) == "linear"
    assert entry_name("linear", THERE, HERE, None) == "linear on real-cccccccc"
    assert entry_name("linear", THERE, HERE, "colour") == "linear on real-cccccccc, label colour"


def test_baselines_stay_while_they_were_measured_on_the_same_clips(tmp_path):
    same = Result(corpus=HERE, counts={"test": {"used": 4}})
    random, ceiling = Result({"a": Metric(0.2)}), Result({"a": Metric(0.9)})
    merge_result(tmp_path, "linear", replace(same, baselines={"random": random}))
    merged = merge_result(tmp_path, "linear", replace(same, baselines={"ceiling": ceiling}))
    assert merged.baselines == {"random": random, "ceiling": ceiling} == read_results(tmp_path)["linear"].baselines
    merge_result(tmp_path, "linear", replace(same, counts={"test": {"used": 3}}))
    assert not read_results(tmp_path)["linear"].baselines


@pytest.mark.parametrize("content", ["{", "[]"])
def test_a_damaged_file_is_left_alone_and_named(tmp_path, content):
    (tmp_path / "results.json").write_text(content)
    with pytest.raises(RunError, match=r"results\.json is damaged"):
        merge_result(tmp_path, "linear", Result())
    assert (tmp_path / "results.json").read_text() == content


@pytest.fixture
def corpus(tmp_path):
    videos = [{"id": f"a/v{i}", "path": f"videos/v{i}.mp4", "split": "train"} for i in range(3)]
    videos.append({"id": "b/v0", "path": "more/v0.mp4", "split": "train"})
    return write_corpus(tmp_path / "corpus", "named", videos)


def test_labels_come_from_a_csv_by_id_path_or_a_file_name_that_is_one_videos_alone(corpus, tmp_path):
    table = tmp_path / "labels.csv"
    table.write_text(
        f'path,label\n"a/v0",zero\n{corpus.folder / "videos" / "v1.mp4"},one\nv2.mp4,"t,wo"\nv0.mp4,many\n'
    )
    assert other_labels(corpus, table, None) == {"a/v0": "zero", "a/v1": "one", "a/v2": "t,wo"}


def test_rows_of_labels_that_are_not_used_are_counted_and_refused_where_asked(corpus, tmp_path):
    table = tmp_path / "labels.csv"
    table.write_bytes("path;class\na/v0;zero\nv1.mp4;one\ngone.mp4;two\n".encode("utf-16"))
    remarks = []
    assert other_labels(corpus, table, None, remarks) == {"a/v0": "zero", "a/v1": "one"}
    assert remarks == ["labels.csv: 2 rows used, 1 unused (line 4: gone.mp4 is none of the videos)"]
    with pytest.raises(CorpusError, match=r"1 of 3 rows cannot be used .line 4: gone.mp4"):
        other_labels(corpus, table, None, strict=True)
    table.write_text("v0.mp4 0\nvideos/v1.mp4 1\n")
    with pytest.raises(CorpusError, match=r"v0.mp4 could be"):
        other_labels(corpus, table, None, strict=True)
    table.write_text("path,label\nother/v1.mp4,one\n")
    with pytest.raises(CorpusError, match=r"other/v1.mp4 is none of the videos"):
        other_labels(corpus, table, None)
    table.write_text("path,label\na/v0,zero\nvideos/v0.mp4,one\n")
    with pytest.raises(CorpusError, match=r"two values of label: 'zero' and 'one' .lines 2 and 3"):
        other_labels(corpus, table, None)


def test_labels_of_a_file_are_those_of_all_its_segments(tmp_path):
    rows = [
        {"id": f"long.mp4#{start}", "path": "long.mp4", "start": float(start), "split": "train"} for start in (0, 5)
    ]
    corpus = write_corpus(tmp_path / "c", "long", rows)
    (tmp_path / "labels.csv").write_text("path,label\nlong.mp4,run\nlong.mp4#5,sit\n")
    assert other_labels(corpus, tmp_path / "labels.csv", None) == {"long.mp4#0": "run", "long.mp4#5": "sit"}


def test_labels_come_from_a_column_of_the_truth(corpus):
    truth = corpus.folder / "truth"
    truth.mkdir()
    pq.write_table(pa.table({"video": ["a/v0", "a/v1"], "colour": ["red", "blue"]}), truth / "clips.parquet")
    assert other_labels(corpus, None, "colour") == {"a/v0": "red", "a/v1": "blue"}
    with pytest.raises(CorpusError, match=r"no column shape; its columns are video, colour"):
        other_labels(corpus, None, "shape")


@pytest.mark.parametrize(
    ("text", "match"),
    [("place,label\na,b\n", "has no column path .or video"), ("path,label\nx,b\n", "line 2: x is none of the videos")],
)
def test_labels_that_fit_nothing_are_one_line(corpus, tmp_path, text, match):
    table = tmp_path / "labels.csv"
    table.write_text(text)
    with pytest.raises(CorpusError, match=match):
        other_labels(corpus, table, "label")


def test_a_missing_table_of_labels_is_one_line(corpus):
    with pytest.raises(CorpusError, match=r"there is no file nowhere.csv"):
        other_labels(corpus, Path("nowhere.csv"), None)
    with pytest.raises(CorpusError, match="--labels FILE"):
        other_labels(corpus, None, "colour")


def test_results_are_readable_text(tmp_path):
    merge_result(tmp_path, "linear", Result(classes=["größer"]))
    assert "größer" in (tmp_path / "results.json").read_text(encoding="utf-8")
    assert json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
