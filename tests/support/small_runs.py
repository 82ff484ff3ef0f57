"""A corpus of eight short videos with captions, text maps and embeddings; a recipe of a user's own; the commands."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tubelet.cli import main
from tubelet.corpus.table import Corpus, normalise_text
from tubelet.corpus.write import write_corpus
from tubelet.log import read_log
from tubelet.stores.embeddings import EmbeddingsWriter
from tubelet.stores.maps import MapsWriter
from tubelet.video.writer import write_video

RECIPE = '''
from tubelet.corpus.captions import CaptionChoice
from tubelet.loading.data import Data
from tubelet.video.sampling import Sampling
from tubelet.maskers import Adaptive, RunningCell, Schedule, Text, Tube
from tubelet.models.decoder import Decoder
from tubelet.models.encoder import Vit
from tubelet.objectives import Contrast, Pixels
from tubelet.optim import Optim
from tubelet.recipes import Pretrain
from tubelet.types import Clip


def pixels():
    """Pixels alone, as small as it gets."""
    return Pretrain(
        precision="fp32",
        clip=Clip(frames=4, size=32),
        data=Data(sampling=Sampling(stride=1)),
        encoder=Vit(width=32, depth=2, heads=2),
        masker=Tube(ratio=0.5),
        objectives={"pixels": Pixels(decoder=Decoder(width=32, depth=1, heads=2))},
        optim=Optim(base_lr=0.1, floor_lr=0.0),
        steps=12,
        batch=2,
        log_every=1,
        save_every=5,
    )


def both():
    """Pixels and contrast under text masks."""
    import chz

    base = pixels()
    return chz.replace(
        base,
        data=chz.replace(base.data, cache=True, captions=CaptionChoice(source="subject")),
        masker=Text(ratio=0.5),
        objectives={**base.objectives, "contrast": Contrast(width=16)},
    )


def adaptive():
    """Pixels under masks that are learned, half of the hidden decoded."""
    import chz

    return chz.replace(pixels(), masker=Adaptive(ratio=0.5, weight=1.0), decode=RunningCell())


def scheduled():
    """Pixels under text masks that hide more and more, and choose ever more by the text."""
    import chz

    first = Text(ratio=0.25, pick="sample", temperature=3.0)
    return chz.replace(both(), masker=Schedule(first=first, last=chz.replace(first, ratio=0.75, temperature=0.0)))
'''
CAPTIONS = ("a red square", "a blue disc", "a red star", "a green square", "a red square", "a blue star", "a ring", "x")


def make_corpus(folder: Path, maps_for: int = 8) -> Corpus:
    """Eight videos, six of them to train on; text maps for the first so many."""
    rng = np.random.default_rng(0)
    rows, captions = [], []
    (folder / "videos").mkdir(parents=True)
    for number, caption in enumerate(CAPTIONS):
        frames = rng.integers(0, 255, (10, 3, 3, 3)).repeat(16, 1).repeat(16, 2).astype(np.uint8)
        path = folder / "videos" / f"clip {number}.mp4"
        write_video(path, frames, 10.0)
        rows.append(
            {
                "id": path.name, "path": path, "start": 0.0, "end": 1.0, "duration": 1.0, "fps": 10.0, "frames": 10,
                "width": 48, "height": 48, "codec": "h264", "label": f"verb {number % 2}",
                "split": "train" if number < 6 else "test",
            }
        )  # fmt: skip
        captions.append({"video": path.name, "text": caption, "source": "subject"})
        captions.append({"video": path.name, "text": f"verb {number % 2}", "source": "verb"})
    corpus = write_corpus(folder, "small", rows, captions)
    with MapsWriter(corpus, "text", "scalar", {"reading": "random numbers"}) as maps:
        for video in corpus.select("all")[:maps_for]:
            for caption in corpus.captions_of(video):
                values = rng.random((2, 3, 3), dtype=np.float32)
                maps.add(video, normalise_text(caption.text), values, np.array([0.0, 0.5]))
        maps.finish()
    with EmbeddingsWriter(corpus, "random numbers", 8) as embeddings:
        for text in sorted({normalise_text(caption.text) for caption in corpus.captions}):
            embeddings.add(text, rng.standard_normal(8).astype(np.float32))
        embeddings.finish()
    return corpus


def start(*words: object, env: dict[str, str] | None = None) -> subprocess.Popen[str]:
    """`tubelet pretrain ...` in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "tubelet", "pretrain", *map(str, words)],
        env={**os.environ, "OMP_NUM_THREADS": "1", **(env or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def start_ranks(verb: str, *words: object, options: Sequence[str] = ()) -> subprocess.Popen[str]:
    """`torchrun -m tubelet VERB ...` with two processes, in a session of their own."""
    return subprocess.Popen(
        [
            sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone", *options,
            "-m", "tubelet", verb, *map(str, words),
        ],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip


def kill_ranks(process: subprocess.Popen[str]) -> None:
    """The launcher and its ranks at once, each of which leads a session of its own."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    ranks = children.read_text().split() if children.exists() else []
    process.kill()
    for number in map(int, ranks):
        with contextlib.suppress(ProcessLookupError):
            os.kill(number, signal.SIGKILL)
    process.communicate()


def wait_for_step(process: subprocess.Popen[str], run: Path, step: int) -> None:
    """Until the log says that this step is done."""
    for _ in range(20_000):
        if process.poll() is not None:
            pytest.fail(f"the run ended before step {step}: {process.communicate()}")
        if any(record["step"] >= step for record in read_log(run / "log.jsonl")):
            return
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    pytest.fail(f"step {step} never came")


def pretrain(*words: object) -> int:
    """`tubelet pretrain ...` in this process; its exit code."""
    try:
        return main(["pretrain", *map(str, words)])
    except SystemExit as error:
        return int(error.code or 0)


def tensors(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "checkpoint.safetensors")


def assert_identical(one: Path, other: Path) -> None:
    """Every weight and every state of the optimizer, bit for bit."""
    first, second = tensors(one), tensors(other)
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


def steps(run: Path) -> list[dict]:
    return [record for record in read_log(run / "log.jsonl") if record["kind"] == "step"]


def torchrun(*words: object, verb: str = "pretrain") -> tuple[int, str]:
    """The exit code, and what was said."""
    process = start_ranks(verb, *words)
    try:
        said = process.communicate(timeout=500)[1]
        return process.returncode, said
    finally:
        kill_ranks(process)


def assert_close(one: Path, two: Path, terms: tuple[str, ...]) -> None:
    """The same losses at every step, and the same running mean of every parameter's gradients.

    Weights are not compared: AdamW divides a gradient by its own size, so a gradient that is 0 but for rounding moves
    its weight by a whole step in either direction. Gradients and losses are sums of the same numbers in another order:
    each sum rounds at 6e-8, and six steps make at most 3e-6 of a tensor's largest gradient of it. A rank left out, or a
    mean over ranks that counts clips unequally, changes them by a tenth and more.
    """
    for ours, theirs in zip(steps(one), steps(two), strict=True):
        assert ours["gradient_norm"] == pytest.approx(theirs["gradient_norm"], rel=1e-5)
        for term in ("loss", "lr", *terms):
            assert ours[term] == pytest.approx(theirs[term], abs=2e-6), (term, ours["step"])
    ours, theirs = tensors(one), tensors(two)
    assert ours.keys() == theirs.keys()
    means = [name for name in ours if name.endswith(".exp_avg")]
    assert len(means) == sum(name.endswith(".exp_avg_sq") for name in ours) > 50
    for name in means:
        allowed = 5e-5 * float(ours[name].abs().max()) + 1e-9
        torch.testing.assert_close(ours[name], theirs[name], atol=allowed, rtol=0, msg=name)
