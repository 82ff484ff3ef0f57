"""Two runs beside each other, a run on another corpus, and the command itself from its address to Ctrl-C."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

import pytest

import tubelet
from tubelet.corpus.table import Corpus
from tubelet.errors import TubeletError
from tubelet.runs.run import Run


def test_two_runs_of_one_name_stand_side_by_side_each_with_its_own_answers(run, tmp_path, api):
    shutil.copytree(run, tmp_path / run.name)
    with tubelet.inspect(run, Run(tmp_path / run.name)) as inspector:
        told = api(inspector, "about")["settings"]
        assert [one["name"] for one in told] == [run.name, run.name]
        assert all(one["pixels"] and one["text"] for one in told)
        first, second = (api(inspector, "reconstruction", f"row=6&masker=own&run={number}") for number in ("", "1"))
        assert first == second
        for number in ("", "1"):
            answer = {"working": ()}
            while "working" in answer:
                answer = api(inspector, "near", f"row=1&run={number}")
            assert len(answer["hits"]) == 7
        assert len(inspector.api.nearest.works) == 2
        roles = next(row["trained_on"] for row in api(inspector, "videos")["rows"] if row["trained_on"])
        assert roles == f"{run.name}: encoder; {run.name}: encoder"


def test_a_run_is_inspected_on_another_corpus_and_a_corpus_that_is_open_is_taken_as_it_is(run, corpus, api):
    opened = Corpus.open(corpus)
    for inspector in (tubelet.inspect(run, on=opened), tubelet.inspect(opened)):
        with inspector:
            assert inspector.api.subject.corpus is opened
            assert api(inspector, "about")["videos"] == 8


def test_a_run_whose_code_is_not_trusted_is_refused_at_the_door(run, tmp_path):
    folder = tmp_path / "strange"
    shutil.copytree(run, folder)
    recipe = json.loads((folder / "recipe.json").read_text())
    recipe.pop("checksum", None)
    recipe["recipe"] = f"{tmp_path / 'evil.py'}:both"
    recipe["values"]["masker"] = "Evil"
    recipe["own"] = ["masker"]
    (folder / "recipe.json").write_text(json.dumps(recipe))
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'owned')!r}, 'w')")
    with pytest.raises(TubeletError, match="--trust-code"):
        tubelet.inspect(folder)
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_the_command_prints_its_address_serves_and_ends_with_nothing_left(corpus, how, tmp_path):
    words = [sys.executable, "-m", "tubelet", "inspect", str(corpus), "--no-open"]
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as command:
        line = command.stdout.readline()
        url = re.search(r"http://127\.0\.0\.1:\d+/[\w-]{32}/", line)[0]
        assert urllib.request.urlopen(url).status == 200
        assert urllib.request.urlopen(f"{url}video/0?encoded=1").status == 200
        made = [path for path in Path(tmp_path).iterdir() if path.name.startswith("tubelet-inspect-")]
        assert len(made) == 1
        command.send_signal(how)
        try:
            out, error = command.communicate(timeout=60)
        finally:
            command.kill()  # else it is waited for without end
        assert (command.returncode, error) == (0, "")
        assert "closed" in out
    assert not made[0].exists()
    assert tempfile.gettempdir() != str(tmp_path)
