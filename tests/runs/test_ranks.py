"""Two processes under torchrun are one process with twice the batch."""

import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.small_runs import (
    assert_close,
    assert_identical,
    kill_ranks,
    make_corpus,
    pretrain,
    start,
    start_ranks,
    steps,
    torchrun,
    wait_for_step,
)  # fmt: skip
from tubelet.runs.folder import read_run_config

pytestmark = pytest.mark.timeout(600)

THREADS = """
import atexit, os
from pathlib import Path

def write_threads():
    names = [(task / "comm").read_text().strip() for task in Path("/proc/self/task").iterdir()]
    Path(__file__).with_name(f"threads {os.environ['RANK']}").write_text(" ".join(names))

atexit.register(write_threads)
"""
BROKEN = """
import os
import chz

@chz.chz
class Broken(Tube):
    def scores(self, batch, clip, key, tokens=None):
        if os.environ["RANK"] == "1":
            raise ZeroDivisionError("the mask of this rank fell over")
        return super().scores(batch, clip, key, tokens)

def broken():
    return chz.replace(pixels(), masker=Broken(ratio=0.5))
"""


REFUSING = BROKEN.replace("raise ZeroDivisionError(", "from tubelet.errors import RecipeError; raise RecipeError(")


@pytest.mark.parametrize(
    ("recipe", "terms"),
    [
        ("both", ("pixels", "pixels.baseline", "contrast", "contrast.temperature")),
        pytest.param("adaptive", ("pixels", "masker", "masker.entropy"), marks=pytest.mark.slow),
    ],
)
def test_two_ranks_train_what_one_trains_on_the_same_clips(tmp_path, corpus, recipes, recipe, terms):
    """Pixels, the contrast's gathered candidates and a learned masker, with gradients accumulated."""
    two, one = tmp_path / "two", tmp_path / "one"
    words = (f"{recipes}:{recipe}", "steps=6", "accumulate=2", "--on", corpus)
    code, said = torchrun(*words, "batch=2", "--out", two)
    assert code == 0, said
    assert pretrain(*words, "batch=4", "--out", one) == 0

    assert [record["step"] for record in steps(two)] == list(range(1, 7))
    assert_close(one, two, terms)


def test_every_clip_counts_the_same_when_one_rank_has_fewer_that_can_be_read(tmp_path, recipes):
    """Of six clips one cannot be read, so that in some steps one rank has fewer clips than the other."""
    corpus = make_corpus(tmp_path / "corpus")
    corpus.select("train")[2].path.write_bytes(b"no video")
    two, one = tmp_path / "two", tmp_path / "one"
    words = (f"{recipes}:both", "masker=Tube", "masker.ratio=0.5", "steps=2", "max_failed=1", "data.cache=False")
    words = (*words, "--on", corpus.folder)
    code, said = torchrun(*words, "batch=2", "--out", two)
    assert code == 0, said
    assert pretrain(*words, "batch=4", "--out", one) == 0
    assert sum(len(record["failed"]) for record in steps(two)) == 1
    assert_close(one, two, ("pixels", "pixels.baseline", "contrast", "contrast.temperature"))


def test_no_thread_of_the_group_is_alive_when_a_rank_ends(tmp_path, corpus, recipes):
    """One that is, and still holds a tensor, aborts the process while Python shuts down."""
    mine = tmp_path / "mine.py"
    mine.write_text(recipes.read_text() + THREADS)
    code, said = torchrun(f"{mine}:both", "steps=2", "--on", corpus, "--out", tmp_path / "run")
    assert code == 0, said
    for rank in range(2):
        assert "gloo" not in (tmp_path / f"threads {rank}").read_text()


def test_an_error_of_one_rank_ends_both_at_once_with_its_message(tmp_path, corpus, recipes):
    mine = tmp_path / "mine.py"
    mine.write_text(recipes.read_text() + BROKEN)
    began = time.monotonic()
    code, said = torchrun(f"{mine}:broken", "--on", corpus, "--out", tmp_path / "run")
    assert time.monotonic() - began < 120  # and not after the half hour that a rank waits for another
    assert code == 1
    assert "the mask of this rank fell over" in said
    assert "terminate called" not in said
    assert "(exitcode: 1)" in said


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_fifty_runs_of_two_ranks_end_with_code_0(tmp_path, corpus, recipes):
    """Every other one beside two processes that keep the processor busy."""
    for number in range(50):
        with busy(2 * (number % 2)):
            code, said = torchrun(f"{recipes}:both", "steps=2", "--on", corpus, "--out", tmp_path / str(number))
        assert code == 0, said
        assert "terminate called" not in said


@contextlib.contextmanager
def busy(processes: int) -> Iterator[None]:
    started = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)]
    try:
        yield
    finally:
        for process in started:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, corpus, recipes) -> Path:
    run = tmp_path_factory.mktemp("trained") / "run"
    assert pretrain(f"{recipes}:pixels", "steps=1", "--on", corpus, "--out", run) == 0
    return run


def test_a_refusal_ends_every_rank_with_one_line(tmp_path, corpus, recipes):
    (tmp_path / "notes.txt").write_text("mine")
    code, said = torchrun(f"{recipes}:pixels", "--on", corpus, "--out", tmp_path)
    assert code != 0
    assert said.count("tubelet: ") == 1
    assert f"{tmp_path} holds notes.txt and is no run" in said
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize(
    ("verb", "words", "expected"),
    [
        ("evaluate", ("RUN", "lienar"), "there is no evaluation 'lienar'; did you mean linear?"),
        pytest.param(
            "evaluate", ("RUN", "knn", "--bach", "2"), "unknown option --bach, did you mean", marks=pytest.mark.slow
        ),
        pytest.param(
            "evaluate", ("RUN", "zero_shot"), "zero_shot needs a run with a contrast head", marks=pytest.mark.slow
        ),
        ("pretrain", ("nobody", "--on", "CORPUS", "--out", "NEW"), "nobody"),
    ],
)
def test_an_error_that_every_rank_raises_is_told_once(tmp_path, corpus, recipes, trained, verb, words, expected):
    filled = {"RUN": trained, "CORPUS": corpus, "NEW": tmp_path / "new"}
    code, said = torchrun(*(filled.get(word, word) for word in words), verb=verb)
    assert code != 0
    assert "(exitcode: 2)" in said
    assert said.count("tubelet: ") == 1
    assert expected in next(line for line in said.splitlines() if line.startswith("tubelet: "))


@pytest.mark.slow
def test_an_error_of_the_second_rank_alone_is_told_with_its_number(tmp_path, corpus, recipes):
    mine = tmp_path / "mine.py"
    mine.write_text(recipes.read_text() + REFUSING)
    code, said = torchrun(f"{mine}:broken", "--on", corpus, "--out", tmp_path / "run")
    assert code != 0
    assert "(exitcode: 2)" in said
    assert said.count("tubelet: rank 1 of 2: the mask of this rank fell over") == 1
    assert said.count("fell over") == 1


@pytest.mark.slow
def test_two_ranks_go_on_bit_for_bit_after_a_kill(tmp_path, corpus, recipes):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    words = (f"{recipes}:both", "steps=80", "save_every=7", "--on", corpus)
    code, said = torchrun(*words, "--out", whole)
    assert code == 0, said
    process = start_ranks("pretrain", *words, "--out", cut)
    wait_for_step(process, cut, 20)
    kill_ranks(process)
    code, said = torchrun(*words, "--out", cut)
    assert code == 0, said
    assert "resuming from step" in said
    assert_identical(whole, cut)


@pytest.mark.parametrize("by", ["RANK", pytest.param("srun", marks=pytest.mark.slow)])
def test_processes_that_another_launcher_started_together_are_one_run(tmp_path, corpus, recipes, by):
    run, words = tmp_path / "run", ("steps=3", "--on", corpus)
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = str(found.getsockname()[1])
    common = {"MASTER_PORT": port}
    if by == "RANK":
        common |= {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
        ranks = [{**common, "RANK": str(rank)} for rank in range(2)]
    else:
        common |= {"SLURM_JOB_ID": "9", "SLURM_STEP_ID": "0", "SLURM_NTASKS": "2", "SLURM_JOB_NODELIST": "here"}
        ranks = [{**common, "SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank)} for rank in range(2)]
    started = [start(f"{recipes}:both", *words, "--out", run, env=env) for env in ranks]
    try:
        told = [process.communicate(timeout=300) for process in started]
    finally:
        for process in started:
            process.kill()
    assert [process.returncode for process in started] == [0, 0], told
    assert [record["step"] for record in steps(run)] == [1, 2, 3]
    assert read_run_config(run).world == 2
    assert told[1] == ("", "")  # the first rank alone tells
