"""Runs pushed to a stand-in for the Hugging Face hub, and encoders opened from it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tubelet
from support.hub import TOKEN, Hub, running_hub
from tubelet.cli import main
from tubelet.errors import WeightsError

pytest.importorskip("transformers")
SMALL = [
    "clip.frames=4", "clip.size=32", "encoder.width=32", "encoder.depth=1", "encoder.heads=2", "data.cache=False",
    "objectives.pixels.decoder.width=16", "objectives.pixels.decoder.heads=2", "data.sampling.stride=3", "steps=2",
    "batch=4",
]  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hub")
    corpus = tubelet.synth(folder / "c", 8, 4, size=32, frames=12)
    words = ["pretrain", "miniature", "--on", str(corpus.folder), "--out", str(folder / "run"), *SMALL]
    assert main(words) == 0
    assert main(["evaluate", str(folder / "run"), "knn", "--on", str(corpus.folder)]) == 0
    return folder / "run"


@pytest.fixture
def hub(tmp_path, monkeypatch):
    import huggingface_hub.constants as constants

    with running_hub() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.address)
        monkeypatch.setattr(constants, "ENDPOINT", running.address)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield running


def test_a_pushed_run_opens_from_the_hub_with_equal_features(run: Path, hub: Hub, tmp_path, capsys) -> None:
    assert main(["push", str(run), "lab/waves", "--license", "apache-2.0", "--private"]) == 0
    out = capsys.readouterr().out
    assert f"pushed: {hub.address}/lab/waves" in out
    assert "lab/waves" in hub.private
    files = hub.repositories["lab/waves"]
    assert {"README.md", "config.json", "model.safetensors", "preprocessor_config.json", "sampling.json"} <= set(files)
    card = files["README.md"].decode()
    assert 'tubelet.load_encoder("hf://lab/waves")' in card
    assert "knn" in card
    clip, found = tmp_path / "clip.npy", tmp_path / "found.npz"
    np.save(clip, np.random.default_rng(0).integers(0, 256, (12, 32, 32, 3), np.uint8))
    opened = f"""
import numpy, tubelet
encoder = tubelet.load_encoder("hf://lab/waves")
features = tubelet.embed(encoder, numpy.load({str(clip)!r}))
numpy.savez({str(found)!r}, features=features, stride=encoder.sampling.stride, clip=repr(encoder.clip))
"""
    environment = {"HF_ENDPOINT": hub.address, "HF_HUB_CACHE": str(tmp_path / "fresh"), "HF_TOKEN": TOKEN}
    subprocess.run([sys.executable, "-c", opened], check=True, env={**os.environ, **environment})
    there, own = np.load(found), tubelet.load_encoder(run)
    assert np.allclose(there["features"], tubelet.embed(own, np.load(clip)), atol=1e-5)
    assert there["stride"] == own.sampling.stride == 3
    assert there["clip"] == repr(own.clip)


def test_what_is_pushed_names_no_folder_of_this_machine(run: Path, hub: Hub) -> None:
    tubelet.push(run, "lab/quiet")
    for name, content in hub.repositories["lab/quiet"].items():
        assert str(run.parent).encode() not in content, name


def test_a_dry_run_sends_nothing(run: Path, hub: Hub, capsys) -> None:
    assert main(["push", str(run), "lab/none", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "model.safetensors" in out
    assert "nothing was uploaded" in out
    assert hub.requests == []


def test_a_repository_with_files_is_left_alone_unless_it_is_to_be_updated(run: Path, hub: Hub, capsys) -> None:
    hub.repositories["lab/full"] = {"model.safetensors": b"precious"}
    assert main(["push", str(run), "lab/full"]) != 0
    assert "holds model.safetensors already" in capsys.readouterr().err
    assert hub.repositories["lab/full"] == {"model.safetensors": b"precious"}
    assert main(["push", str(run), "lab/full", "--update"]) == 0
    assert len(hub.repositories["lab/full"]) >= 5


def test_without_a_token_one_sentence_says_how_to_log_in(run: Path, hub: Hub, capsys, monkeypatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_of_somebody_else")
    assert main(["push", str(run), "lab/closed"]) != 0
    error = capsys.readouterr().err
    assert "log in with `hf auth login` or set HF_TOKEN" in error
    assert "hf_of_somebody_else" not in error
    assert "lab/closed" not in hub.repositories


@pytest.mark.parametrize("name", ["waves", "a/b/c", "lab/wa ves"])
def test_a_name_that_is_no_repository_is_refused(run: Path, name, capsys) -> None:
    assert main(["push", str(run), name]) != 0
    assert "give owner/name" in capsys.readouterr().err


def test_what_is_not_on_the_hub_is_one_sentence(hub: Hub) -> None:
    with pytest.raises(WeightsError, match="lab/absent"):
        tubelet.load_encoder("hf://lab/absent")


def test_evaluating_and_exporting_open_no_socket(run: Path, tmp_path) -> None:
    """In a process in which every connection beyond loopback is an error."""
    code = f"""
import socket
def refuse(self, address, *more):
    raise AssertionError(f"connects to {{address}}")
socket.socket.connect = refuse
socket.socket.connect_ex = refuse
from tubelet.cli import main
assert main(["export", {str(run)!r}, "--to", "transformers", "--out", {str(tmp_path / "e")!r}]) == 0
assert main(["push", {str(run)!r}, "lab/none", "--dry-run"]) == 0
assert main(["report", {str(run)!r}, "--out", {str(tmp_path / "r.html")!r}]) == 0
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "e" / "config.json").read_text())["model_type"] == "videomae"
