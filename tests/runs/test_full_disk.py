"""A disk that takes no more (here: a limit on the size of files): one line, nothing half written, and it goes on."""

import subprocess
import sys

import pytest

from tubelet.cli import main
from tubelet.corpus.table import Corpus
from tubelet.log import read_log

LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
from tubelet.cli import main
sys.exit(main(sys.argv[2:]))
"""


def limited(size: int, words: list[str]) -> str:
    """What is said where no file may be longer."""
    command = [sys.executable, "-c", LIMITED, str(size), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("tubelet: ")
    assert "file too large; make room, and the same command resumes from what is done" in last
    assert "Traceback" not in done.stderr
    return last


def test_a_corpus_is_rendered_on_once_there_is_room(tmp_path):
    words = ["synth", "--out", str(tmp_path / "synth"), "--train", "2", "--test", "1", "--workers", "1"]
    limited(4_000, words)
    assert not (tmp_path / "synth" / "corpus.json").exists()
    assert main(words) == 0
    assert len(Corpus.open(tmp_path / "synth").select("all")) == 3


@pytest.mark.parametrize(("size", "begun"), [(1_000, False), (20_000, True)])
def test_a_run_goes_on_once_its_checkpoint_has_room(tmp_path, corpus, recipes, size, begun):
    out = tmp_path / "run"
    words = ["pretrain", f"{recipes}:pixels", "steps=4", "--on", str(corpus), "--out", str(out)]
    limited(size, words)
    assert (out / "recipe.json").exists() is begun
    assert not list(tmp_path.glob("**/*.part"))
    assert main(words) == 0
    assert read_log(out / "log.jsonl")[-1]["kind"] == "end"
