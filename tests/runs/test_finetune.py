"""Fine-tuning through the command line: it learns, resumes bit for bit, selects without test, and is kept."""

import json
import os
import shutil
import signal
import threading
import time
from pathlib import Path

import chz
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from support.small_runs import kill_ranks, pretrain, start_ranks, wait_for_step
from tubelet.cli import main
from tubelet.corpus.table import Corpus
from tubelet.corpus.write import write_corpus
from tubelet.errors import CorpusError, RunError
from tubelet.loading.data import Data
from tubelet.log import read_log
from tubelet.recipes import tiny as tiny_pretraining
from tubelet.recipes.finetune import FINETUNES
from tubelet.results import Result, read_results
from tubelet.run_record import Evaluated, read_log_parts
from tubelet.runs.division import Division
from tubelet.runs.measure_test import best_weights
from tubelet.runs.record import of_run
from tubelet.video.writer import write_video

SMALL = (
    "tiny", "batch=4", "steps=12", "save_every=5", "evaluate_every=4", "log_every=1", "rates=0.3,0.1", "samples=50",
    "views=2x1", "data.cache=False", "mix.cutmix=1.0", "drop_path=0.2",
)  # fmt: skip


def parts_of(run: Path) -> dict[str, str]:
    """By id, what a video was learned from for: to fit or to select."""
    return {clip.id: clip.part for clip in of_run(run).of("classifier").clips}


def make_labelled(folder: Path, test_labels: tuple[str, str] = ("dark", "light"), like: Path | None = None) -> Corpus:
    """24 videos to train on, 8 to test; dark or light noise; one test video is corrupt. `like` has them already: x264
    does not write the same bytes each time."""
    rng = np.random.default_rng(0)
    (folder / "videos").mkdir(parents=True)
    if like is not None:
        shutil.copytree(like / "videos", folder / "videos", dirs_exist_ok=True)
    rows = []
    for number in range(32):
        light = number % 2
        frames = rng.integers(0, 90, (10, 3, 3, 3)).repeat(16, 1).repeat(16, 2).astype(np.uint8) + np.uint8(160 * light)
        path = folder / "videos" / f"clip {number}.mp4"
        if like is None:
            write_video(path, frames, 10.0)
        split = "train" if number < 24 else "test"
        names = ("dark", "light") if split == "train" else test_labels
        rows.append({"id": path.name, "path": path, "end": 1.0, "fps": 10.0, "frames": 10, "width": 48, "height": 48,
                     "label": names[light], "split": split, "group": f"group {number // 2 * 2 + light}"})  # fmt: skip
    (folder / "videos" / "clip 30.mp4").write_bytes(b"no video")
    return write_corpus(folder, "labelled", rows)


@pytest.fixture(scope="module")
def labelled(tmp_path_factory) -> Path:
    return make_labelled(tmp_path_factory.mktemp("labelled") / "corpus").folder


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory, labelled, recipes) -> Path:
    run = tmp_path_factory.mktemp("pretrained") / "run"
    assert pretrain(f"{recipes}:pixels", "steps=4", "--on", labelled, "--out", run) == 0
    return run


def finetune(*words: object) -> int:
    """`tubelet finetune ...` in this process; its exit code."""
    try:
        return main(["finetune", *map(str, words)])
    except SystemExit as error:
        return int(error.code or 0)


@pytest.fixture(scope="module")
def tuned(tmp_path_factory, pretrained, labelled) -> Path:
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("tuned") / "run"
    assert finetune(pretrained, *SMALL, "average=0.9", "--on", labelled, "--out", out) == 0
    return out


def result(run: Path) -> Result:
    return read_results(run)["finetune"]


def predicted(run: Path) -> dict[str, str]:
    return result(run).details["all weights"]["predicted"]


def held_out(run: Path, rate: str) -> list[Evaluated]:
    return read_log_parts(run / f"rate-{rate}" / "log.jsonl")[1]


def test_it_tells_light_from_dark_and_says_how(tuned):
    found = result(tuned)
    assert found.metrics["accuracy"].value == 1.0
    assert found.metrics["held_out.accuracy"].value == 1.0
    low, high = found.metrics["accuracy"].interval
    assert low <= 1 <= high
    assert found.counts["train"]["used"] + found.counts["selecting"] == 24
    protocol = found.protocol
    assert "2x1 views" in protocol["test"]
    assert set(protocol["held_out_accuracy"]) == {"0.3", "0.1"}
    assert protocol["selected"]["rate"] in (0.3, 0.1)


def test_a_corrupt_test_clip_is_named_and_lowers_used(tuned):
    found = result(tuned)
    assert found.counts["test"]["used"] == 7
    assert found.counts["test"]["failed"] == 1
    assert [line.split(":")[0] for line in found.failed["test"]] == ["clip 30.mp4"]
    assert "clip 30.mp4" not in predicted(tuned)


def test_what_cannot_be_read_is_named_wherever_it_was_wanted(tmp_path, pretrained, labelled, tuned):
    """A video that fits, one that selects, one that indexing could not read, and all of test, one of them gone."""
    parts = parts_of(tuned)
    fits, selects = (min(video for video, part in parts.items() if part == name) for name in ("fit", "select"))
    corpus = make_labelled(tmp_path / "corpus")
    rows = []
    for video in corpus.videos:
        rows.append(
            {"id": video.id, "path": video.path, "end": 1.0, "fps": 10.0, "frames": 10, "width": 48, "height": 48,
             "label": video.label, "split": video.split, "group": video.group}
        )  # fmt: skip
        if video.split == "test" or video.id in (fits, selects):
            video.path.write_bytes(b"no video")
    corpus.videos[24].path.unlink()
    rows.append({"id": "bad", "path": corpus.videos[0].path, "label": "dark", "split": "train", "status": "unreadable",
                 "reason": "no frame"})  # fmt: skip
    broken = write_corpus(tmp_path / "broken", "broken", rows)
    words = ("tiny", "batch=4", "steps=8", "rates=0.1", "data.cache=False", "max_failed=1", "data.limit=25")
    assert finetune(pretrained, *words, "--on", broken.folder, "--out", tmp_path / "run") == 0
    found = result(tmp_path / "run")
    assert sorted(line.split(":")[0] for line in found.failed["train"]) == sorted(["bad", fits, selects])
    assert found.counts["train"]["failed"] == 3
    assert found.counts["train"]["used"] + found.counts["selecting"] == 22
    test = found.counts["test"]
    assert (test["used"], test["failed"], test["missing"]) == (0, 8, 1)
    assert "none of 8 test videos could be read: nothing is measured" in found.notes
    assert "accuracy" not in found.metrics
    assert (tmp_path / "run" / "classifier.safetensors").exists()


def test_what_data_selects_is_what_is_trained_and_tested(labelled):
    corpus = Corpus.open(labelled)
    parity = {video.id: video.group[-1] for video in corpus.videos}
    some = Division.of(corpus, Data(where="label=dark", limit=7), parity, 1.0, 0.25, 0)
    assert len(some.fit) + len(some.select) == 7
    dark = {video.id for video in corpus.videos if video.label == "dark"}
    assert {video.id for video in (*some.fit, *some.select, *some.test)} < dark
    assert len(some.test) == 4


def test_weights_of_another_step_than_the_best_are_not_kept_as_the_best(tmp_path):
    save_file({"a": torch.zeros(1)}, tmp_path / "best.safetensors", metadata={"step": "8"})
    assert set(best_weights(tmp_path, 8)) == {"a"}
    with pytest.raises(RunError, match="holds the weights of step 8 and step 12 was the best"):
        best_weights(tmp_path, 12)


def test_what_is_kept_is_the_best_of_the_grid(tuned):
    def standing(record: Evaluated) -> tuple[float, float]:
        return record.metrics["accuracy"].value, -record.metrics["cross_entropy"].value

    every = [(standing(record), rate, record.step) for rate in ("0.3", "0.1") for record in held_out(tuned, rate)]
    assert {step for _, _, step in every} == {0, 4, 8, 12}
    top = max(standing for standing, _, _ in every)
    selected = result(tuned).protocol["selected"]
    assert (top, f"{selected['rate']:g}", selected["step"]) in every


def test_no_group_both_fits_and_selects_and_all_are_named(tuned, labelled):
    parts = parts_of(tuned)
    corpus = Corpus.open(labelled)
    assert parts.keys() == {video.id for video in corpus.select("train")}
    groups = {part: {v.group for v in corpus.videos if parts.get(v.id) == part} for part in ("fit", "select")}
    assert not groups["fit"] & groups["select"]
    assert groups["select"]


def test_labels_of_test_change_nothing_of_what_is_selected(tmp_path, tuned, pretrained, labelled):
    """The same files with the test labels swapped: the same weights, another accuracy."""
    swapped = make_labelled(tmp_path / "corpus", test_labels=("light", "dark"), like=labelled)
    out = tmp_path / "run"
    assert finetune(pretrained, *SMALL, "average=0.9", "--on", swapped.folder, "--out", out) == 0
    assert result(out).metrics["accuracy"].value == 0.0
    for part in ("selected", "held_out_accuracy"):
        assert result(out).protocol[part] == result(tuned).protocol[part]
    same(out, tuned)


def same(one: Path, other: Path) -> None:
    first, second = (load_file(run / "classifier.safetensors") for run in (one, other))
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


def interrupt_at(log: Path, step: int) -> None:
    for _ in range(20_000):
        if any(record["step"] >= step for record in read_log(log)):
            os.kill(os.getpid(), signal.SIGINT)
            return
        time.sleep(0.002)


@pytest.mark.parametrize(("rate", "step"), [("0.3", 7), ("0.1", 2)])
def test_a_run_that_was_stopped_and_goes_on_is_the_one_that_never_stopped(
    tmp_path, tuned, pretrained, labelled, rate, step
):
    out = tmp_path / "run"
    command = (pretrained, *SMALL, "average=0.9", "--on", labelled, "--out", out)
    stopper = threading.Thread(target=interrupt_at, args=(out / f"rate-{rate}" / "log.jsonl", step), daemon=True)
    stopper.start()
    assert finetune(*command) == 130
    stopper.join()
    assert not (out / "classifier.safetensors").exists()
    assert finetune(*command) == 0
    same(out, tuned)
    assert held_out(out, "0.3")[-1].metrics == held_out(tuned, "0.3")[-1].metrics
    assert predicted(out) == predicted(tuned)


def test_a_finished_run_is_left_alone_and_another_in_its_folder_is_refused(tuned, pretrained, labelled, capsys):
    before = (tuned / "results.json").read_bytes()
    assert finetune(pretrained, *SMALL, "average=0.9", "--on", labelled, "--out", tuned) == 0
    assert "is finished" in capsys.readouterr().err
    assert (tuned / "results.json").read_bytes() == before
    assert finetune(pretrained, *SMALL, "average=0.9", "labels_share=0.5", "--on", labelled, "--out", tuned) == 2
    assert "labels_share: 1.0 -> 0.5" in capsys.readouterr().err
    assert finetune(pretrained, *SMALL, "--on", labelled, "--out", pretrained) == 2
    assert "is a run of `tubelet pretrain`" in capsys.readouterr().err


def test_from_scratch_nothing_of_the_run_is_used_but_its_shape(tmp_path, pretrained, labelled):
    out = tmp_path / "run"
    still = ("steps=1", "rates=1e-9", "optim.floor_lr=0", "mix.mixup=0", "views=1x1", "data.sampling.stride=1")
    words = ("tiny", "batch=4", *still, "--labels-share", "0.5")
    assert finetune(pretrained, *words, "--scratch", "--on", labelled, "--out", out) == 0
    other = tmp_path / "other"
    assert finetune(pretrained, *words, "--on", labelled, "--out", other) == 0
    task = load_file(pretrained / "checkpoint.safetensors")
    fresh, begun = (load_file(run / "classifier.safetensors") for run in (out, other))
    name = "encoder.embed.weight"
    torch.testing.assert_close(begun[name], task[f"task.{name}"], atol=1e-6, rtol=0)
    assert (fresh[name] - begun[name]).abs().max() > 1e-3
    assert result(out).counts["train"]["used"] + result(out).counts["selecting"] == 12
    assert "fresh weights" in result(out).protocol["encoder"]


def test_a_share_of_the_labels_is_of_every_class_and_part_of_a_larger_one(labelled):
    corpus = Corpus.open(labelled)
    shares = [Division.of(corpus, Data(), None, share, 0.25, 0) for share in (0.2, 0.5, 1.0)]
    used = [{video.id for video in (*one.fit, *one.select)} for one in shares]
    assert used[0] < used[1] < used[2]
    for one in shares:
        labels = [video.label for video in (*one.fit, *one.select)]
        assert labels.count("dark") == labels.count("light")
        assert {video.label for video in one.select} == {"dark", "light"}


def test_a_share_that_leaves_one_class_to_train_on_is_refused_before_training(tmp_path):
    corpus = make_labelled(tmp_path / "corpus")
    few = {"clip 0.mp4": "dark", "clip 1.mp4": "light"}
    with pytest.raises(CorpusError, match=r"leave 1 videos of 1 class to train on, of 2 labelled ones"):
        Division.of(corpus, Data(), few, 1.0, 0.5, 0, rates=(0.1, 0.01))


def test_a_mirror_is_refused_where_a_class_names_a_side(tmp_path, pretrained, labelled, capsys):
    sides = tmp_path / "sides.csv"
    rows = [
        f"{video.id},{'moves left' if i % 2 else 'moves right'}" for i, video in enumerate(Corpus.open(labelled).videos)
    ]
    sides.write_text("\n".join(["id,label", *rows]) + "\n")
    words = (*SMALL, "data.augment.flip=True", "--labels", sides, "--on", labelled, "--out", tmp_path / "run")
    assert finetune(pretrained, *words) == 2
    assert "moves" in (said := capsys.readouterr().err)
    assert "flip" in said


def test_what_the_run_was_pretrained_on_does_not_decide_what_fine_tuning_learns_from():
    run = chz.replace(tiny_pretraining(), data=Data(split="all", where="camera=pan", limit=5, workers=3))
    for recipe in FINETUNES:
        data = recipe(run).data
        assert (data.split, data.where, data.limit, data.workers) == ("train", None, None, 3)


def test_one_learning_rate_takes_the_place_of_the_grid_and_what_is_trained_on_is_no_test(
    tmp_path, pretrained, labelled
):
    words = ("tiny", "batch=4", "steps=1", "optim.base_lr=0.2", "data.cache=False", "data.split=all")
    assert finetune(pretrained, *words, "--on", labelled, "--out", tmp_path / "run") == 0
    assert result(tmp_path / "run").protocol["selected"]["rate"] == 0.2
    [remark] = result(tmp_path / "run").notes
    assert remark == "the test split of labelled was trained on (data.split=all): nothing is measured on it"
    assert [path.name for path in (tmp_path / "run").glob("rate-*")] == ["rate-0.2"]


def test_labels_are_needed(tmp_path, pretrained, corpus, labelled, capsys):
    one = tmp_path / "one.csv"
    one.write_text("id,label\n" + "\n".join(f"{video.id},same" for video in Corpus.open(labelled).videos) + "\n")
    out = tmp_path / "run"
    assert finetune(pretrained, *SMALL, "--labels", one, "--on", labelled, "--out", out) == 2
    assert "two classes" in capsys.readouterr().err
    assert not out.exists()


def test_pretraining_does_not_go_on_in_a_fine_tuned_folder(tuned, labelled, recipes, capsys):
    assert pretrain(f"{recipes}:pixels", "--on", labelled, "--out", tuned) == 2
    assert "is a run of `tubelet finetune`" in capsys.readouterr().err


def test_a_group_on_both_sides_is_said(tmp_path, pretrained):
    corpus = make_labelled(tmp_path / "corpus")
    rows = [
        {"id": video.id, "path": video.path, "end": 1.0, "fps": 10.0, "frames": 10, "width": 48, "height": 48,
         "label": video.label, "split": video.split, "group": "both" if video.id in SIDES else video.group}
        for video in corpus.videos
    ]  # fmt: skip
    cut = write_corpus(tmp_path / "cut", "cut", rows)
    words = ("tiny", "batch=4", "steps=2", "rates=0.1", "data.cache=False")
    assert finetune(pretrained, *words, "--on", cut.folder, "--out", tmp_path / "run") == 0
    assert result(tmp_path / "run").contamination["shared"]["same_group"] == ["both"]
    assert list(result(tmp_path / "run").warnings) == ["1 group in train and in test at once (first: both)"]


SIDES = ("clip 1.mp4", "clip 31.mp4")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_two_processes_one_of_which_tells_are_killed_and_go_on_bit_for_bit(tmp_path, pretrained, labelled):
    """Killed in the second learning rate, after its first checkpoint and before its best step."""
    command = ["finetune", pretrained, *(word for word in SMALL if word != "batch=4"), "batch=2", "average=0.9"]
    command += ["steps=24", "--on", labelled, "--out"]
    command.remove("steps=12")
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    said, error = start_ranks(*command, whole).communicate(timeout=900)
    assert said.count("written to") == 1, error
    assert result(whole).metrics["accuracy"].value == 1.0
    assert json.loads((whole / "recipe.json").read_text())["processes"] == 2

    process = start_ranks(*command, cut)
    wait_for_step(process, cut / "rate-0.1", 7)
    kill_ranks(process)
    assert not (cut / "classifier.safetensors").exists()
    stopped = max(record["step"] for record in read_log(cut / "rate-0.1" / "log.jsonl"))
    assert 7 <= stopped < 24
    said, error = start_ranks(*command, cut).communicate(timeout=900)
    assert said.count("written to") == 1, error
    assert "learning rate 0.1: resuming from step" in error
    same(cut, whole)
    for part in ("details", "metrics", "protocol"):
        assert getattr(result(cut), part) == getattr(result(whole), part)
    for rate in ("0.3", "0.1"):
        assert [one.metrics for one in held_out(cut, rate)] == [one.metrics for one in held_out(whole, rate)]
