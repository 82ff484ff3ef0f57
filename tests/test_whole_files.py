"""A file is written whole or not at all, and one lock is held by one living process."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tubelet.errors import TubeletError
from tubelet.files import lock, remove_leftovers, write_atomically, writing


def test_a_crash_while_writing_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def crash(*_):
        raise OSError("no space left")

    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", crash)
        with pytest.raises(OSError, match="no space"):
            write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    write_atomically(path, b"newer")
    assert path.read_bytes() == b"newer"
    assert [found.name for found in tmp_path.iterdir()] == ["file"]


HOLDING = """
import os, sys, time
from pathlib import Path
from tubelet.errors import TubeletError
from tubelet.files import lock, writing
what, path = sys.argv[1], Path(sys.argv[2])
with lock(path, TubeletError("busy")) if what == "lock" else writing(path, folder=what == "folder") as part:
    (part / "inside" if what == "folder" else part or path).write_text("half")
    if what != "lock" or os.fork() == 0:  # of the lock, a worker says so
        print("holding", flush=True)
    time.sleep(600)
"""


def holding(what: str, path: Path) -> subprocess.Popen[str]:
    """Another process that is writing, or has the lock."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDING, what, str(path)], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "holding\n"
    return process


def kill(*processes: subprocess.Popen[str]) -> None:
    for process in processes:
        process.send_signal(signal.SIGKILL)
        process.communicate()


@pytest.mark.parametrize("what", ["file", "folder"])
def test_the_next_writer_removes_what_dead_ones_left_and_leaves_living_ones_alone(tmp_path, what):
    path = tmp_path / "result"
    first, second, third = (holding(what, path) for _ in range(3))
    kill(first, third)
    remove_leftovers(tmp_path)
    assert [found.name for found in tmp_path.iterdir()] == [".result.1.part"]  # the second's, alive
    with writing(path, folder=what == "folder") as part:
        (part / "whole" if what == "folder" else part).write_text("whole")
    assert {found.name for found in tmp_path.iterdir()} == {"result", ".result.1.part"}
    kill(second)
    remove_leftovers(tmp_path)
    assert [found.name for found in tmp_path.iterdir()] == ["result"]


def test_writers_of_one_file_at_once_leave_one_whole_file(tmp_path):
    path = tmp_path / "file"
    with writing(path) as one, writing(path) as other:
        one.write_text("one")
        other.write_text("other")
        assert one != other
    assert path.read_text() == "one"  # whose block ended last
    assert [found.name for found in tmp_path.iterdir()] == ["file"]


def test_a_link_at_a_temporary_name_is_never_written_through(tmp_path):
    (tmp_path / "precious").write_text("precious")
    (tmp_path / ".file.part").symlink_to(tmp_path / "precious")
    write_atomically(tmp_path / "file", b"new")
    assert (tmp_path / "precious").read_text() == "precious"
    assert {found.name for found in tmp_path.iterdir()} == {"file", "precious"}


def test_a_lock_is_waited_for_and_ends_with_its_process_though_a_worker_of_it_lives_on(tmp_path):
    held = tmp_path / ".lock"
    process = holding("lock", held)
    with pytest.raises(TubeletError, match="another has it"), lock(held, TubeletError("another has it"), patience=0.2):
        pytest.fail("both have it")
    process.send_signal(signal.SIGKILL)
    process.wait()
    try:
        with lock(held, TubeletError("another has it"), patience=0.0):
            assert held.exists()
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    assert not held.exists()


def test_the_lock_of_a_dead_process_is_a_leftover_and_that_of_a_living_one_is_not(tmp_path):
    dead, living = holding("lock", tmp_path / ".lock"), holding("lock", tmp_path / ".results.lock")
    try:
        os.killpg(dead.pid, signal.SIGKILL)
        dead.communicate()
        remove_leftovers(tmp_path)
        assert [found.name for found in tmp_path.iterdir()] == [".results.lock"]
    finally:
        os.killpg(living.pid, signal.SIGKILL)
        living.communicate()
    with lock(tmp_path / ".lock", TubeletError("this process has it")):
        remove_leftovers(tmp_path)
        assert [found.name for found in tmp_path.iterdir()] == [".lock"]
    assert not list(tmp_path.iterdir())
