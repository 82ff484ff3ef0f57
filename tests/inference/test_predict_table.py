"""`tubelet predict`: a label a video, from files, folders, lists and corpora; what cannot be read says why."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save

import tubelet
from tubelet.cli import main
from tubelet.corpus.table import Corpus
from tubelet.corpus.write import write_corpus
from tubelet.errors import CorpusError
from tubelet.inference.rows import Sources
from tubelet.results import read_results
from tubelet.runs.record import of_run
from tubelet.video.reader import Reader
from tubelet.video.writer import write_video

RECIPE = """
from tubelet.loading.data import Data
from tubelet.video.sampling import Sampling
from tubelet.maskers import Tube
from tubelet.models.decoder import Decoder
from tubelet.models.encoder import Vit
from tubelet.objectives import Pixels
from tubelet.recipes import Pretrain
from tubelet.types import Clip


def mine():
    return Pretrain(
        precision="fp32",
        clip=Clip(frames=4, size=32), data=Data(sampling=Sampling(stride=1)), encoder=Vit(width=32, depth=2, heads=2),
        masker=Tube(ratio=0.5), objectives={"pixels": Pixels(decoder=Decoder(width=32, depth=1, heads=2))},
        steps=2, batch=2,
    )
"""


def noise(number: int) -> np.ndarray:
    """Dark in even clips, light in odd ones."""
    rng = np.random.default_rng(number)
    return (rng.integers(0, 90, (10, 3, 4, 3)).repeat(16, 1).repeat(16, 2) + 160 * (number % 2)).astype(np.uint8)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Corpus:
    folder = tmp_path_factory.mktemp("corpus")
    rows = []
    for number in range(20):
        write_video(folder / f"{number:02}.mp4", noise(number), 10.0)
        rows.append({"id": f"{number:02}.mp4", "path": folder / f"{number:02}.mp4", "end": 1.0, "fps": 10.0,
                     "frames": 10, "width": 64, "height": 48, "label": ("dark", "light")[number % 2],
                     "split": "train" if number < 14 else "test"})  # fmt: skip
    (folder / "15.mp4").write_bytes(b"no video")
    rows.append({"id": "gone.mp4", "path": folder / "gone.mp4", "split": "test", "status": "missing",
                 "reason": "no such file"})  # fmt: skip
    return write_corpus(folder, "noise", rows)


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory, corpus) -> Path:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("runs")
    (folder / "mine.py").write_text(RECIPE)
    run = folder / "run"
    assert main(["pretrain", f"{folder}/mine.py:mine", "--on", str(corpus.folder), "--out", str(run)]) == 0
    return run


@pytest.fixture(scope="module")
def tuned(tmp_path_factory, pretrained, corpus) -> Path:
    out = tmp_path_factory.mktemp("tuned") / "run"
    words = ["tiny", "batch=4", "steps=12", "rates=0.3", "views=2x3", "data.cache=False", "--labels-share", "0.6"]
    assert main(["finetune", str(pretrained), *words, "--on", str(corpus.folder), "--out", str(out)]) == 0
    return out


def predict(run: Path, *words: object) -> list[dict]:
    out = Path(str(words[-1]))
    assert main(["predict", str(run), *map(str, words[:-1]), "--out", str(out)]) == 0
    rows: list[dict] = pq.read_table(out).to_pylist()
    return rows


def test_every_video_of_a_corpus_has_a_row_and_the_bad_ones_a_reason(tuned, corpus, tmp_path):
    rows = predict(tuned, corpus.folder, tmp_path / "labels.parquet")
    assert [row["id"] for row in rows] == [video.id for video in corpus.videos]
    truth = {video.id: video.label for video in corpus.videos}
    good = [row for row in rows if row["status"] == "ok"]
    assert len(good) == 19
    assert all(row["label"] == truth[row["id"]] for row in good)
    assert all(0.5 < row["probability"] <= 1 for row in good)
    bad = {row["id"]: row for row in rows if row["status"] != "ok"}
    assert {name: row["status"] for name, row in bad.items()} == {"15.mp4": "unreadable", "gone.mp4": "missing"}
    assert bad["gone.mp4"]["reason"] == "no such file"
    assert bad["15.mp4"]["reason"]
    assert all(row["label"] is None and row["probability"] is None for row in bad.values())


def test_a_table_says_what_the_result_says(tuned, corpus, tmp_path):
    rows = predict(tuned, corpus.folder, "--split", "test", tmp_path / "labels.parquet")
    kept = read_results(tuned)["finetune"].details["all weights"]["predicted"]
    assert {row["id"]: row["label"] for row in rows if row["label"]} == kept


def test_the_rest_is_what_was_not_learned_from(tuned, corpus, tmp_path):
    rows = predict(tuned, corpus.folder, "--unseen", tmp_path / "labels.parquet")
    learned = {clip.id for clip in of_run(tuned).of("classifier").clips}
    assert len(learned) == 8
    assert {row["id"] for row in rows} == {video.id for video in corpus.videos} - learned


def test_files_folders_and_lists_give_what_the_corpus_gives(tuned, corpus, tmp_path):
    folder = tmp_path / "new"
    folder.mkdir()
    for name in ("02.mp4", "03.mp4", "15.mp4"):
        shutil.copy(corpus.folder / name, folder / name)
    (tmp_path / "list.txt").write_text("new/02.mp4\nnew/03.mp4\n")
    every = {row["id"]: row for row in predict(tuned, corpus.folder, "--all", tmp_path / "corpus.parquet")}
    by_folder = predict(tuned, folder, "--all", tmp_path / "folder.parquet")
    by_list = predict(tuned, tmp_path / "list.txt", folder / "03.mp4", tmp_path / "list.parquet")
    assert [row["status"] for row in by_folder] == ["ok", "ok", "unreadable"]
    for row in by_folder[:2]:
        want = every[Path(row["id"]).name]
        assert row["label"] == want["label"]
        assert row["probabilities"] == pytest.approx(want["probabilities"], abs=1e-5)
        assert sum(row["probabilities"]) == pytest.approx(1, abs=1e-5)
    assert [row["label"] for row in by_list] == ["dark", "light", "light"]


def test_what_is_no_file_or_does_not_fit_the_limits_has_its_word_and_nothing_waits(tuned, corpus, tmp_path):
    """A pipe whose other end nobody opens would keep a reader for ever."""
    folder = tmp_path / "new"
    (folder / "inner.mp4").mkdir(parents=True)
    os.mkfifo(folder / "pipe.mp4")
    os.mkfifo(folder / "inner.mp4" / "deep.mkv")
    (folder / "device.mov").symlink_to("/dev/zero")
    (folder / "gone.avi").symlink_to(tmp_path / "nowhere")
    (folder / "nothing.webm").write_bytes(b"")
    shutil.copy(corpus.folder / "02.mp4", folder / "good.mp4")
    out = tmp_path / "labels.parquet"
    words = [sys.executable, "-m", "tubelet", "predict", str(tuned), str(folder), "--out", str(out)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=True)
    assert {row["id"]: row["status"] for row in pq.read_table(out).to_pylist()} == {
        "device.mov": "not a file", "gone.avi": "missing", "good.mp4": "ok", "inner.mp4/deep.mkv": "not a file",
        "nothing.webm": "unreadable", "pipe.mp4": "not a file",
    }  # fmt: skip
    assert "no label: pipe.mp4: a named pipe, not a file" in done.stdout
    assert main(["predict", str(tuned), str(folder), "--limit", "0", "--out", str(tmp_path / "no.parquet")]) == 2


def test_a_file_that_takes_too_long_is_too_slow(tuned, corpus, tmp_path, monkeypatch):
    whole = Reader._read_packets

    def hangs(self: Reader, start: float, end: float) -> None:
        while self.path.name == "03.mp4":
            time.sleep(0.1)
        whole(self, start, end)

    monkeypatch.setattr(Reader, "_read_packets", hangs)
    monkeypatch.setattr("tubelet.jobs.pool.start_method", lambda: "fork")
    files = [corpus.folder / "02.mp4", corpus.folder / "03.mp4"]
    rows = predict(tuned, *files, "--limit", "4", tmp_path / "labels.parquet")
    assert [row["status"] for row in rows] == ["ok", "too slow"]
    assert rows[1]["reason"] == "took longer than 4 s"


def test_files_of_one_name_are_told_apart_by_the_shortest_end_of_their_paths(tuned, corpus, tmp_path):
    """Also folders that hold the same names, and segments; whatever has a name of its own keeps it."""
    for number, name in enumerate(["cam_a", "cam_b", "day/cam_b"]):
        (tmp_path / name).mkdir(parents=True)
        shutil.copy(corpus.folder / f"{number + 2:02}.mp4", tmp_path / name / "clip.mp4")
    shutil.copy(corpus.folder / "05.mp4", tmp_path / "own.mp4")
    files = [tmp_path / name for name in ("cam_a/clip.mp4", "cam_b/clip.mp4", "own.mp4")]
    rows = predict(tuned, *files, tmp_path / "labels.parquet")
    assert [row["id"] for row in rows] == ["cam_a/clip.mp4", "cam_b/clip.mp4", "own.mp4"]
    assert [row["path"] for row in rows] == [str(file) for file in files]
    assert [row["label"] for row in rows] == ["dark", "light", "light"]
    rows = predict(tuned, *(tmp_path / name for name in ("cam_b", "day/cam_b")), tmp_path / "folders.parquet")
    assert [row["id"] for row in rows] == [f"{tmp_path.name}/cam_b/clip.mp4", "day/cam_b/clip.mp4"]
    for name in ("cam_a", "cam_b"):
        (tmp_path / name / "list.csv").write_text("path,start,end\nclip.mp4,0.2,0.9\nclip.mp4,0,0.9\n")
    lists = [tmp_path / name / "list.csv" for name in ("cam_a", "cam_b")]
    rows = predict(tuned, *lists, tmp_path / "segments.parquet")
    assert [(row["id"], row["start"]) for row in rows] == [
        ("cam_a/clip.mp4#0.2", 0.2), ("cam_a/clip.mp4#0", 0.0), ("cam_b/clip.mp4#0.2", 0.2), ("cam_b/clip.mp4#0", 0.0),
    ]  # fmt: skip


def test_a_video_unlike_all_that_was_learned_from_stands_under_a_caution(pretrained, corpus, tmp_path, capsys):
    """Of twenty clips and more the features are kept; these are fourteen, so that is said in place of a caution."""
    from tubelet.evaluations.familiarity import Familiarity, write_familiarity

    run = shutil.copytree(pretrained, tmp_path / "run")
    assert main(["evaluate", str(run), "linear"]) == 0
    capsys.readouterr()
    rows = predict(run, corpus.folder, "--split", "test", tmp_path / "few.parquet")
    assert {row["caution"] for row in rows} == {"", None}
    assert "features of the training clips were not saved" in capsys.readouterr().out
    encoder = tubelet.load_encoder(run)
    known = tubelet.embed(encoder, [video.path for video in corpus.select("train")])
    ids = [f"{index}" for index in range(2 * len(known))]
    near = Familiarity.of(known.repeat(2, 1) + 1e-3 * torch.randn(28, 32), ids, ids)
    head = load_file(run / "classifiers" / "linear.safetensors")
    if head["shift"].shape != known.shape[1:]:
        near = None  # the other pool was the better one
    write_familiarity(run, "linear", near)
    write_video(
        tmp_path / "strange.mp4", np.tile(np.eye(64, dtype=np.uint8)[None, :48, :, None] * 255, (10, 1, 1, 3)), 10.0
    )
    rows = predict(run, corpus.folder / "00.mp4", tmp_path / "strange.mp4", tmp_path / "labels.parquet")
    if near is not None:
        assert rows[0]["caution"] == ""
        assert rows[1]["caution"].startswith("unlike the clips that were learned from")
        assert rows[1]["label"] in ("dark", "light")
        assert "1 of these videos are unlike" in capsys.readouterr().out


def test_other_views_are_other_probabilities(tuned, corpus, tmp_path):
    one = predict(tuned, corpus.folder, "--views", "1x1", "--split", "test", tmp_path / "one.parquet")
    six = predict(tuned, corpus.folder, "--split", "test", tmp_path / "six.parquet")
    assert [row["label"] for row in one] == [row["label"] for row in six]
    assert [row["probability"] for row in one] != [row["probability"] for row in six]


def test_what_stands_there_is_not_overwritten_and_a_run_without_a_classifier_says_so(
    tuned, pretrained, corpus, tmp_path, capsys
):
    out = tmp_path / "labels.parquet"
    out.write_text("mine")
    assert main(["predict", str(tuned), str(corpus.folder), "--out", str(out)]) == 2
    assert "--force" in capsys.readouterr().err
    assert out.read_text() == "mine"
    bare = shutil.copytree(pretrained, tmp_path / "bare", ignore=shutil.ignore_patterns("classifiers"))
    assert main(["predict", str(bare), str(corpus.folder), "--out", str(tmp_path / "a.parquet")]) == 2
    assert "tubelet evaluate" in capsys.readouterr().err


def test_a_linear_probe_is_a_classifier_too(pretrained, corpus, tmp_path, capsys):
    """It labels as the pool labelled whose held-out accuracy was the highest; an encoder of another step is refused."""
    assert main(["evaluate", str(pretrained), "linear", "knn"]) == 0
    result = read_results(pretrained)["linear"]
    held_out = result.protocol["held_out_accuracy"]
    pool = max(held_out, key=lambda pool: max(held_out[pool].values()))
    rows = predict(pretrained, corpus.folder, "--split", "test", tmp_path / "labels.parquet")
    assert {row["id"]: row["label"] for row in rows if row["label"]} == result.details[pool]["predicted"]
    assert [path.name for path in (pretrained / "classifiers").iterdir()] == ["linear.safetensors"]

    moved = shutil.copytree(pretrained, tmp_path / "moved")
    tensors = load_file(moved / "checkpoint.safetensors")
    (moved / "checkpoint.safetensors").write_bytes(save(tensors, metadata={"format": "1", "step": "1"}))
    assert main(["predict", str(moved), str(corpus.folder), "--out", str(tmp_path / "b.parquet")]) == 2
    assert "measure again" in capsys.readouterr().err


def test_several_views_of_a_linear_probe_are_measured(pretrained, corpus):
    assert main(["evaluate", str(pretrained), "multiview", "multiview.views=2x3"]) == 0
    result = read_results(pretrained)["multiview"]
    assert result.counts["test"]["used"] == 5
    assert 0 <= result.metrics["accuracy"].value <= 1
    assert "2x3" in result.protocol["test"]
    assert main(["evaluate", str(pretrained), "multiview", "multiview.views=1x1"]) == 0
    result = read_results(pretrained)["multiview"]
    assert result.metrics["accuracy"].value == result.metrics["one_view.accuracy"].value


def test_every_awkward_file_has_a_label_or_a_reason(tuned, real_data, tmp_path):
    files = [path for path in (real_data / "awkward" / "mp4parse").rglob("*") if path.is_file()]
    rows = predict(tuned, real_data / "awkward" / "mp4parse", "--views", "1x1", tmp_path / "labels.parquet")
    assert len(rows) == len(files)
    for row in rows:
        assert (row["label"] in ("dark", "light")) == (row["status"] == "ok") == (row["reason"] == "")
    assert {row["status"] for row in rows} == {"ok", "unreadable", "no video"}


def test_a_split_of_videos_that_have_none_is_refused_and_a_list_can_say_it(tmp_path):
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / name).touch()
    with pytest.raises(CorpusError, match=r"says no split of a.mp4, and --split test is of corpora and of lists with"):
        Sources.of([tmp_path], "test")
    (tmp_path / "list.csv").write_text("path,split\na.mp4,train\nb.mp4,testing\n")
    assert [row.id for row, _ in Sources.of([tmp_path / "list.csv"], "test").videos()] == ["b.mp4"]
    with pytest.raises(CorpusError, match=r"has no video in split 'val'; it has: test, train"):
        Sources.of([tmp_path / "list.csv"], "val")


def test_files_that_were_learned_from_are_left_out_too(tmp_path):
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / name).touch()
    found = Sources.of([tmp_path], without=lambda videos: {video.id for video in videos if video.path.stem == "a"})
    assert [row.id for row, _ in found.videos()] == ["b.mp4"]


def test_a_list_of_which_no_file_is_there_gives_its_rows_and_fails(tuned, tmp_path, capsys):
    (tmp_path / "list.csv").write_text("path\na.mp4\nb.mp4\n")
    out = tmp_path / "labels.parquet"
    assert main(["predict", str(tuned), str(tmp_path / "list.csv"), "--out", str(out)]) == 2
    assert f"none of these videos could be read; the reasons are in {out}" in capsys.readouterr().err
    assert [row["status"] for row in pq.read_table(out).to_pylist()] == ["missing", "missing"]
