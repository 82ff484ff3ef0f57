"""Clips a second and core that the loader makes: from mp4 with short and long GOP, from the frame cache, repeated.

    python -m benchmarks pipeline --videos 8 --rounds 5

Videos are written for it (H.264, 256x340, 30 frames a second, 10 s); clips are 16 frames of 224 pixels at stride 4. The
processor time of everything that a batch takes, by the loader that training uses; then how many cores would feed a GPU
that computes at half of 790 TF/s, by the closed formula.
"""

import argparse
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import chz
import numpy as np
import torch

from benchmarks import plots, tables, timing
from benchmarks.cases import SIZES, step_flops
from benchmarks.options import common
from tubelet.corpus.table import Corpus
from tubelet.corpus.write import write_corpus
from tubelet.loading.augment import Augment
from tubelet.loading.data import Data
from tubelet.loading.loader import train_batches
from tubelet.types import Batch, Clip
from tubelet.video.sampling import Sampling
from tubelet.video.writer import write_video

HEIGHT, WIDTH, FPS, SECONDS = 256, 340, 30, 10
GOPS = {"mp4, GOP 30": 30, "mp4, GOP 250": 250}
REPEATS = 4
GPU, SHARE = 790e12, 0.5  # an H200 in bf16 by its data sheet, and the part of it that is used


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--videos", type=int, default=8, help="(default: %(default)s)")
    parser.add_argument("--batch", type=int, default=8, help="clips of a figure (default: %(default)s)")
    common(parser, rounds=5)


def run(options: argparse.Namespace) -> None:
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        works = works_in(Path(folder), options.videos, options.batch)
        taken = timing.in_turns(works, torch.device("cpu"), options.rounds, least=0.0)
    rates = {name: options.batch / timing.median(times) for name, times in taken.items()}
    rows = [{"from": name, "clips a second and core": f"{rate:.1f}", **cores(rate)} for name, rate in rates.items()]
    figures = [
        {"from": name, "round": number, "clips": options.batch, "seconds": one.seconds, "wall": one.wall}
        for name, times in taken.items()
        for number, one in enumerate(times)
    ]
    note = f"Cores: what feeds ViT-B at {SHARE:.0%} of {GPU / 1e12:.0f} TF/s. A GPU was not measured."
    tables.write(options.out, rows, figures, [note], options.threads)
    if options.out:
        plots.values(rates, "clips a second and core", options.out.with_suffix(".svg"))


def cores(rate: float) -> dict[str, str]:
    """How many cores a GPU would need."""
    size = SIZES["B224"]
    return {
        f"cores for ViT-B .{ratio * 10:.0f}": f"{GPU * SHARE / step_flops(size, size.visible(ratio)) / rate:.0f}"
        for ratio in (0.9, 0.6)
    }


def works_in(folder: Path, videos: int, batch: int) -> dict[str, timing.Work]:
    """A batch each, from endless batches of the loader."""
    clip, data = Clip(), Data(sampling=Sampling(stride=4))
    found: dict[str, timing.Work] = {}
    for name, gop in GOPS.items():
        corpus = corpus_in(folder / f"gop-{gop}", gop, videos)
        found[name] = partial(next, batches(corpus, clip, data, batch))
        repeated = chz.replace(data, augment=Augment(repeats=REPEATS))
        found[f"{name}, {REPEATS} clips of a decoded piece"] = partial(next, batches(corpus, clip, repeated, batch))
    cached = chz.replace(data, cache=True, cache_size=HEIGHT)
    found["frame cache"] = partial(next, batches(corpus, clip, cached, batch))
    return found


def batches(corpus: Corpus, clip: Clip, data: Data, batch: int) -> Iterator[Batch]:
    return train_batches(corpus, clip, data, batch=batch, seed=0, first_step=0, last_step=1 << 20)


def corpus_in(folder: Path, gop: int, count: int) -> Corpus:
    """Videos whose picture moves and has noise, so that decoding has work."""
    folder.mkdir(parents=True)
    rows: list[dict[str, Any]] = []
    for number in range(count):
        path = folder / f"{number}.mp4"
        write_video(path, film(number), FPS, gop=gop, crf=23, options={"sc_threshold": "0"})
        rows.append(
            {"id": path.name, "path": path, "end": SECONDS, "duration": SECONDS, "fps": FPS, "frames": SECONDS * FPS,
             "width": WIDTH, "height": HEIGHT, "split": "train"}
        )  # fmt: skip
    return write_corpus(folder, folder.name, rows)


def film(seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    ground = random.integers(0, 256, (HEIGHT // 8 + 40, WIDTH // 8 + 40, 3)).repeat(8, 0).repeat(8, 1)
    frames = []
    for frame in range(FPS * SECONDS):
        top, left = frame % 300, (2 * frame) % 300
        view = ground[top : top + HEIGHT, left : left + WIDTH].astype(np.int16)
        frames.append((view + random.integers(-6, 7, view.shape, dtype=np.int16)).clip(0, 255).astype(np.uint8))
    return np.stack(frames)
