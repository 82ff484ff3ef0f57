"""Threads that wait spin for a moment or sleep, and `--threads` says how many there are."""

import os
import subprocess
import sys

import pytest
import torch

from tubelet.cli import main
from tubelet.corpus.write import write_corpus
from tubelet.threads import SLEEPING, SPINNING, waiting

RECIPE = """
import json, os
import torch
from tubelet.recipes.tiny import tiny

def shown():
    names = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "OMP_NUM_THREADS")
    print(json.dumps([torch.get_num_threads(), *map(os.environ.get, names)]))
    return tiny()
"""


@pytest.mark.parametrize(
    ("words", "env", "shown"),
    [
        (("--threads", "1"), {"OMP_NUM_THREADS": "2"}, '[1, "PASSIVE", "0", "0", "1"]'),
        ((), {"OMP_NUM_THREADS": "1"}, '[1, "PASSIVE", "0", "0", "1"]'),
        (("--threads", "1"), {"OMP_WAIT_POLICY": "ACTIVE"}, '[1, "ACTIVE", null, null, "1"]'),
    ],
)
def test_threads_are_as_many_as_asked_for_and_wait_asleep_unless_the_user_says_how(tmp_path, words, env, shown):
    """As torch finds it when it is first imported, by which OpenMP reads it."""
    (tmp_path / "mine.py").write_text(RECIPE)
    given = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_", "KMP_"))}
    done = subprocess.run(
        [sys.executable, "-m", "tubelet", "pretrain", f"{tmp_path}/mine.py:shown", "--on", "x", "--out", "y", *words],
        env=given | env, cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout.strip() == shown, done.stderr


AT_THE_FIRST_IMPORT_OF_TORCH = """
import os, sys
from tubelet.cli import main

class Watch:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == "torch":
            print(os.environ.get("OMP_WAIT_POLICY"))
            os._exit(0)

sys.stdout.reconfigure(line_buffering=True)
sys.meta_path.insert(0, Watch)
main(sys.argv[1:])
"""


@pytest.mark.parametrize(
    "words",
    [
        ("pretrain", "tiny", "--on", "corpus", "--out", "run"),
        ("evaluate", "run", "linear", "--on", "corpus"),
        ("align", "corpus"),
    ],
    ids=lambda words: words[0],
)
def test_how_threads_wait_is_decided_before_a_corpus_or_a_run_is_opened(tmp_path, words):
    """OpenMP asks when torch is loaded, and opening a corpus loads it."""
    write_corpus(tmp_path / "corpus", "none", [])
    given = {name: value for name, value in os.environ.items() if name not in SLEEPING}
    done = subprocess.run(
        [sys.executable, "-c", AT_THE_FIRST_IMPORT_OF_TORCH, *words], env=given, cwd=tmp_path, capture_output=True,
        text=True,
    )  # fmt: skip
    assert done.stdout == "PASSIVE\n", done.stderr


def test_threads_are_given_back_after_a_command_of_a_python_program(tmp_path, capsys):
    before, count = dict(os.environ), torch.get_num_threads()
    assert main(["pretrain", "tiny", "--on", str(tmp_path), "--out", str(tmp_path / "run"), "--threads", "2"]) == 2
    assert (dict(os.environ), torch.get_num_threads()) == (before, count)
    assert main(["evaluate", str(tmp_path), "--threads", "0"]) == 2
    assert "--threads 0 must be at least 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("running", "threads", "spins"),
    [
        ("1", 2, True),  # this one alone
        ("2", 2, False),  # a neighbour, and two threads on two processors
        ("2", None, False),  # a thread a processor
        ("3", 2, False),
        ("1", 3, False),  # more threads than processors
        ("1", 1, False),  # nobody to wait for
        ("", 2, False),  # a machine that does not say it
    ],
)
def test_threads_spin_where_each_has_a_processor_to_itself_and_sleep_beside_neighbours(
    tmp_path, monkeypatch, running, threads, spins
):
    (tmp_path / "loadavg").write_text(f"0.08 0.03 0.05 {running}/297 4711\n" if running else "")
    monkeypatch.setattr("tubelet.threads.LOAD", tmp_path / "loadavg")
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1}, raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delitem(sys.modules, "torch")
    assert waiting(threads) == (SPINNING if spins else SLEEPING)
