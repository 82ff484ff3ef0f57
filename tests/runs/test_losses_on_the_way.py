"""What a run does when clips cannot be read, when its folder goes, and when accumulation adds no negatives."""

import shutil

import pytest

from support.small_runs import (
    assert_identical,
    kill_ranks,
    make_corpus,
    pretrain,
    start,
    start_ranks,
    steps,
    wait_for_step,
)

pytestmark = pytest.mark.timeout(600)
ALONE = ("batch=1", "log_every=1", "max_failed=0.5", "data.cache=False")


def test_a_batch_of_one_unreadable_clip_takes_the_next_and_goes_on_as_an_uninterrupted_run(tmp_path, recipes, capsys):
    corpus = make_corpus(tmp_path / "corpus")
    bad = corpus.select("train")[2]
    bad.path.write_bytes(b"no video")
    words = (f"{recipes}:pixels", *ALONE, "steps=14", "save_every=2", "--on", corpus.folder)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert pretrain(*words, "--out", whole) == 0
    failed = [record["step"] for record in steps(whole) if record["failed"]]
    assert len(failed) in (2, 3)  # once in each of the epochs of six clips
    assert f"{len(failed)} clips could not be read while training, first {bad.id}: " in capsys.readouterr().err
    process = start(*words, "--out", cut)
    wait_for_step(process, cut, failed[0])
    kill_ranks(process)
    assert pretrain(*words, "data.workers=1", "--out", cut) == 0
    assert_identical(whole, cut)


def test_a_rank_without_a_readable_clip_does_not_hold_up_the_other(tmp_path, recipes):
    corpus = make_corpus(tmp_path / "corpus")
    corpus.select("train")[2].path.write_bytes(b"no video")
    run = tmp_path / "run"
    process = start_ranks(
        "pretrain", f"{recipes}:both", *ALONE, "masker=Tube", "masker.ratio=0.5", "steps=6",
        "--on", corpus.folder, "--out", run,
    )  # fmt: skip
    try:
        said = process.communicate(timeout=300)[1]
    finally:
        kill_ranks(process)
    assert process.returncode == 0, said
    assert sum(len(record["failed"]) for record in steps(run)) == 2  # two epochs of six clips


def test_a_run_of_which_no_clip_can_be_read_still_ends_with_a_line(tmp_path, recipes, capsys):
    corpus = make_corpus(tmp_path / "corpus")
    for video in corpus.select("train"):
        video.path.write_bytes(b"no video")
    assert pretrain(f"{recipes}:pixels", *ALONE, "--on", corpus.folder, "--out", tmp_path / "run") == 2
    assert "not one clip of step 1 could be read" in capsys.readouterr().err


@pytest.mark.parametrize("how", ["deleted", "moved"])
def test_a_run_whose_folder_goes_stops_with_one_line(tmp_path, corpus, recipes, how):
    run = tmp_path / "run"
    process = start(f"{recipes}:pixels", "steps=100000", "save_every=20", "--on", corpus, "--out", run)
    try:
        wait_for_step(process, run, 2)
        if how == "deleted":
            shutil.rmtree(run, ignore_errors=True)  # the run may remove its own files meanwhile
        else:
            run.rename(tmp_path / "elsewhere")
        told = process.communicate(timeout=60)[1]
    finally:
        process.kill()
    assert process.returncode == 2
    assert told.count("tubelet: ") == 1
    assert f"{run / 'log.jsonl'} was deleted or moved" in told
    assert "Traceback" not in told
    assert not run.exists()


@pytest.mark.parametrize(("accumulate", "said"), [(2, True), (1, False)])
def test_a_contrast_says_at_the_start_that_accumulation_adds_no_negatives(
    tmp_path, corpus, recipes, capsys, accumulate, said
):
    words = (f"{recipes}:both", "steps=1", "batch=3", f"accumulate={accumulate}", "--on", corpus)
    assert pretrain(*words, "--out", tmp_path / "run") == 0
    told = capsys.readouterr().err
    sentence = "objectives.contrast compares each clip with the 2 others of its forward pass (batch=3), not with the 5"
    assert (sentence in told) == said


def test_a_source_of_captions_that_is_not_there_is_named_where_nothing_reads_it_and_refused_where_something_does(
    tmp_path, corpus, recipes, capsys
):
    words = ("steps=1", "data.captions.source=nobody", "--on", corpus, "--out")
    assert pretrain(f"{recipes}:pixels", *words, tmp_path / "pixels") == 0
    assert (
        "data.captions.source=nobody: small has captions of subject, verb; nothing in this run reads them"
        in capsys.readouterr().err
    )
    assert pretrain(f"{recipes}:both", *words, tmp_path / "both") == 2
    assert "nobody" in capsys.readouterr().err
