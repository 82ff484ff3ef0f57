"""A job in parts: which part does what, what is remembered, and what the page tells a user to submit."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tubelet
from tubelet.cli import main
from tubelet.corpus.table import Corpus
from tubelet.errors import RecipeError, TubeletError, VideoError
from tubelet.jobs import parts, runner
from tubelet.jobs.failures import FAILED, Failures
from tubelet.jobs.parts import Part, PartFinished
from tubelet.jobs.runner import Running, Work, in_parts, run_job
from tubelet.jobs.tasks import Task, share
from tubelet.saliency_maps import Imported, Noise
from tubelet.stores.maps import Maps

PAGE = Path(__file__).resolve().parents[2] / "docs" / "clusters.md"


@given(count=st.integers(0, 3000), of=st.integers(1, 9))
def test_the_parts_share_all_tasks_and_none_twice(count: int, of: int) -> None:
    shares = [share(range(count), Part(number, of)) for number in range(1, of + 1)]
    assert sorted(number for some in shares for number in some) == list(range(count))


@pytest.mark.parametrize("text", ["0/3", "4/3", "1/0", "2", "a/b", "-1/3", "1/3/5"])
def test_a_part_that_there_is_not_is_refused(text: str) -> None:
    with pytest.raises(RecipeError):
        Part.parse(text)


def refuse_odd(piece: int) -> int:
    if piece % 2:
        raise VideoError(f"{piece} is odd")
    return piece


def job(folder: Path, kept: list[int], running: Running) -> runner.Done:
    tasks = [Task(f"{number:032x}", f"video {number}", (number,)) for number in range(40)]
    return run_job(
        Work(refuse_odd),
        tasks,
        lambda results: kept.extend(found for _, (found,) in results),
        there=lambda task: task.pieces[0] in kept,
        failures=Failures.of(folder / FAILED, running.part if running else None),
        running=running,
    )


def test_what_failed_in_a_part_is_remembered_by_it_and_by_the_whole(tmp_path: Path) -> None:
    kept: list[int] = []
    run: Callable[[Running], Any] = lambda running: in_parts(lambda mine: job(tmp_path, kept, mine), running)  # noqa: E731
    for _ in range(2):
        with pytest.raises(PartFinished, match="not yet: 1/2") as said:
            run(Running(part=Part(2, 2)))
        assert not said.value.missing[1:]
    assert "8 of them before" in str(said.value), "not tried again"
    with pytest.raises(TubeletError, match="24 of 40 tasks are not done: run --part 1/2, or without"):
        run(Running(merge=True))
    done = run(Running(part=Part(1, 2)))
    assert (done.there, len(done.failed), sorted(kept)) == (20, 20, list(range(0, 40, 2)))
    assert [path.name for path in tmp_path.iterdir()] == [FAILED], "parts leave nothing of their own"
    assert len(Failures(tmp_path / FAILED).known) == 20
    assert run(Running(merge=True)).made == 0, "merged already"


def test_a_job_that_keeps_nothing_has_no_parts() -> None:
    with pytest.raises(RecipeError, match="cannot be done in parts"):
        run_job(Work(refuse_odd), [], lambda results: None, running=Running(part=Part(1, 2)))


def test_of_parts_that_end_together_one_alone_is_the_last(tmp_path: Path) -> None:
    said = [parts.finish(tmp_path, Part(number, 3)) for number in (2, 3, 1)]
    assert said == [[Part(1, 3), Part(3, 3)], [Part(1, 3)], []]
    parts.begin(tmp_path, Part(3, 3))
    assert parts.missing(tmp_path) == [Part(3, 3)]
    assert parts.missing(tmp_path, of=2) == [Part(1, 2), Part(2, 2)]


def test_what_has_no_parts_says_so(corpus: Corpus, capsys: pytest.CaptureFixture[str]) -> None:
    for words, said in (
        (["saliency", "Imported", "name=mine"], "leave out --part"),
        (["caption", "captioner=Templates"], "leave out --part"),
        (["track", "vectors", "files=x.npy"], "leave out --part"),
        (["saliency", "Noise", "--merge"], "--part computes and --merge does not"),
    ):
        assert main([words[0], str(corpus.folder), *words[1:], "--part", "1/2"]) == 2
        assert said in capsys.readouterr().err
    with pytest.raises(RecipeError):
        Imported(name="mine").fill(corpus, Running(part=Part(1, 2)))


@pytest.mark.slow
def test_the_array_job_of_the_page_makes_the_maps_of_one_command(
    make_corpus: Callable[..., Corpus], tmp_path: Path
) -> None:
    corpus = make_corpus(tmp_path / "corpora" / "mine")
    (script,) = re.findall(r'```bash title="motion.sbatch"\n(.*?)```', PAGE.read_text(), flags=re.DOTALL)
    (count,) = re.findall(r"--array=1-(\d+)", script)
    text = f'tubelet() {{ {sys.executable} -m tubelet "$@" --workers 1; }}\n' + script.replace(
        "Motion", "Noise cells=3"
    )
    for number in range(int(count), 0, -1):
        env = {**os.environ, "SLURM_ARRAY_TASK_ID": str(number), "SLURM_ARRAY_TASK_COUNT": count}
        ended = subprocess.run(["bash", "-c", text], cwd=tmp_path, env=env, capture_output=True, text=True, check=True)
        assert ("not yet" in ended.stderr) == (number > 1)
    maps = Maps.open(corpus, "noise")
    assert maps.missing(corpus.videos, None) == []
    names = {path.name for path in maps.series.paths}
    assert names == {"shard-part-1-of-3-000000.arrow", "shard-part-2-of-3-000000.arrow"}, "10 videos are two shards"
    one = make_corpus(tmp_path / "one")
    Noise(cells=3).fill(one)
    for video in corpus.videos:
        for mine, other in zip(maps.layers(video), Maps.open(one, "noise").layers(one.by_id[video.id]), strict=True):
            np.testing.assert_array_equal(mine, other)


def test_a_track_in_parts_is_that_of_one_command(make_corpus: Callable[..., Corpus], tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path / "c")
    with pytest.raises(PartFinished, match="not yet: 1/2"):
        tubelet.track(corpus, "sound", running=Running(part=Part(2, 2)))
    done = tubelet.track(corpus, "sound", running=Running(part=Part(1, 2))).done
    assert (done.there, done.made) == (len(corpus.videos), 0)


def test_without_ray_the_engine_says_how_to_get_it(
    corpus: Corpus, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main(["saliency", str(corpus.folder), "Noise", "--engine", "ray"]) == 2
    assert "pip install 'tubelet[ray]'" in capsys.readouterr().err
