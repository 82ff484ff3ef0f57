"""Nothing that a folder holds keeps a command for ever: the same limits and words for all that opens a user's files."""

import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tubelet.cli import main
from tubelet.corpus.table import Corpus
from tubelet.corpus.write import write_corpus
from tubelet.errors import VideoError
from tubelet.jobs.pool import run_each
from tubelet.loading.data import Data
from tubelet.loading.loader import eval_batches, train_batches
from tubelet.types import Clip
from tubelet.video.limits import Limits, limited, within
from tubelet.video.reader import Reader, read_frames
from tubelet.video.sampling import Sampling
from tubelet.video.writer import write_video

DATA = Data(sampling=Sampling(stride=1))
CLIP = Clip(frames=4, size=32)


@pytest.fixture
def videos(tmp_path: Path) -> Corpus:
    rows = []
    for number in range(4):
        frames = np.random.default_rng(number).integers(0, 256, (8, 32, 40, 3)).astype(np.uint8)
        write_video(tmp_path / f"{number}.mp4", frames, 8.0)
        rows.append({"id": f"{number}.mp4", "path": tmp_path / f"{number}.mp4", "end": 1.0, "fps": 8.0, "frames": 8,
                     "width": 40, "height": 32, "split": "train"})  # fmt: skip
    return write_corpus(tmp_path, "four", rows)


def pipe(path: Path) -> None:
    os.mkfifo(path)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def folder(path: Path) -> None:
    path.mkdir()


def listening(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(path))


@pytest.mark.parametrize("make", [pipe, device, folder, listening])
def test_what_is_no_file_is_refused_before_it_is_opened(make: Callable[[Path], None], tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    make(path)
    with pytest.raises(VideoError, match="not a file") as found:
        Reader(path)
    assert found.value.status == "not a file"  # type: ignore[attr-defined]
    [(_, failure)] = run_each(read_first, [path], 1, 10.0)
    assert failure.status == "not a file"


def read_first(path: Path) -> np.ndarray:
    return read_frames(path, [0.0])


@pytest.mark.parametrize("workers", [0, 1])
def test_a_pipe_in_the_place_of_a_training_clip_costs_that_clip_alone(videos: Corpus, workers: int) -> None:
    (videos.folder / "1.mp4").unlink()
    os.mkfifo(videos.folder / "1.mp4")
    data = Data(sampling=Sampling(stride=1), workers=workers)
    [batch] = train_batches(videos, CLIP, data, batch=4, seed=0, first_step=0, last_step=1)
    assert len(batch) == 3
    assert [line for line in batch.failed if "1.mp4: a named pipe, not a file" in line]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_clip_that_hangs_while_it_is_read_is_too_slow_and_training_goes_on(
    videos: Corpus, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a network drive that does not answer: the kernel never gives the read back."""
    never = threading.Event()
    whole = Reader._read_packets

    def hangs(self: Reader, start: float, end: float) -> None:
        if self.path.name == "2.mp4":
            never.wait()
        whole(self, start, end)

    monkeypatch.setattr(Reader, "_read_packets", hangs)
    monkeypatch.setattr("tubelet.loading.loader.start_method", lambda: "fork")  # so that the workers have it too
    data = Data(sampling=Sampling(stride=1), workers=workers)
    with limited(Limits(seconds=1.5)):
        steps = list(train_batches(videos, CLIP, data, batch=4, seed=0, first_step=0, last_step=1))
    never.set()
    assert [len(batch) for batch in steps] == [3]
    assert steps[0].failed == ("2.mp4: took longer than 1.5 s",)


def test_a_decoder_that_never_ends_stops_at_its_limit(videos: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small file of very many frames: the thread that reads it ends too, and burns nothing afterwards."""
    path = videos.folder / "0.mp4"

    def endless() -> None:
        while True:
            read_frames(path, [0.9])

    before = threading.active_count()
    began = time.monotonic()
    with pytest.raises(VideoError, match=r"took longer than 0\.2 s"):
        within(Limits(seconds=0.2), endless)
    assert time.monotonic() - began < 20
    for _ in range(200):
        if threading.active_count() == before:
            return
        time.sleep(0.05)
    pytest.fail("the reading goes on")


def test_frames_that_take_more_memory_than_allowed_are_too_large(videos: Corpus) -> None:
    with limited(Limits(memory=1000)):
        batches = list(eval_batches(videos, videos.videos, CLIP, DATA, batch=4))
    assert [len(batch) for batch in batches] == [0]
    assert all("GiB of memory" in line for line in batches[0].failed)


def test_an_error_of_a_reading_is_raised_where_it_was_asked_for() -> None:
    with pytest.raises(ZeroDivisionError):
        within(Limits(), lambda: 1 // 0)
    assert within(Limits(), lambda: 21) == 21


@pytest.mark.parametrize("words", [["--limit", "0"], ["--memory", "-1"]])
def test_limits_are_positive_numbers_everywhere(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in (["evaluate", "run"], ["search", "run", "words"], ["masks", "corpus"], ["index", str(tmp_path)]):
        assert main([*command, *words, *(["--out", str(tmp_path / "out")] if command[0] == "index" else [])]) == 2
        assert "must be positive" in capsys.readouterr().err
