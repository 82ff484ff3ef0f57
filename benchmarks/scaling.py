"""How cost grows: a step over tokens; saliency, embedding and probing over clips; the exponents, fitted.

    python -m benchmarks scaling --rounds 3
    python -m benchmarks scaling --videos 100,1000,10000 --clips 100,1000,20000

A step is compared with its own arithmetic by the closed formula: it may not grow faster. Jobs run on copies of small
videos, and count the processor time of the processes that they start too. Each job has a process of its own.
"""

import argparse
import os
import resource
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks import plots, tables, timing
from benchmarks.cases import DTYPES, Dtype, Size, step_flops
from benchmarks.corpora import CLASSES, corpus_of
from benchmarks.implementations import Clips, Tubelet, batch_of, recipe_at
from benchmarks.options import common, in_a_process, words_of
from benchmarks.saved import saved_bytes
from tubelet.corpus.table import Corpus
from tubelet.evaluations import Linear
from tubelet.evaluations.base import Context
from tubelet.evaluations.features import Features
from tubelet.loading.data import Data
from tubelet.maskers import Random
from tubelet.models.decoder import Decoder
from tubelet.models.encoder import Small, Vit
from tubelet.types import Clip

CLIPS = (
    Clip(frames=8, size=64), Clip(frames=16, size=64), Clip(frames=16, size=128), Clip(frames=16, size=224),
    Clip(frames=32, size=224), Clip(frames=64, size=224),
)  # fmt: skip
"""64, 128, 512, 1568, 3136 and 6272 tokens."""
RATIO = 0.75
WHAT = ("step", "saliency", "embedding", "probing")
WIDTH = 384  # of the features that are probed


@dataclass(frozen=True)
class Point:
    """One measurement: of how many tokens or clips, seconds, bytes, and the FLOPs by the formula where there is one."""

    what: str
    size: int
    seconds: float
    memory: int
    flops: float | None = None


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--what", type=words_of(WHAT), default=[*WHAT], help=f"of {', '.join(WHAT)}")
    parser.add_argument("--dtype", type=words_of(DTYPES), default=[*DTYPES], help=f"of {', '.join(DTYPES)}")
    parser.add_argument("--videos", type=counts, default=[100, 300, 1000, 3000], help="of saliency and embedding")
    parser.add_argument("--clips", type=counts, default=[100, 300, 1000, 3000, 10000, 20000], help="of probing")
    parser.add_argument("--most-tokens", type=int, default=6272, help="(default: %(default)s)")
    common(parser, rounds=3)


def counts(text: str) -> list[int]:
    return [int(word) for word in text.split(",")]


def run(options: argparse.Namespace) -> None:
    points: list[Point] = []
    if "step" in options.what:
        clips = [clip for clip in CLIPS if clip.num_tubelets <= options.most_tokens]
        for dtype in options.dtype:
            points += in_a_process(steps, clips, dtype, options.rounds, options.threads, options.device)
    for what, sizes in (("saliency", options.videos), ("embedding", options.videos), ("probing", options.clips)):
        if what in options.what:
            points += [in_a_process(job, what, size, options.threads) for size in sizes]
    rows = rows_of(points)
    figures = [vars(point) for point in points]
    note = (
        "Exponents are slopes of straight lines through logarithms, over all sizes and over the last two. Memory of a "
        "step is what it keeps for the backward pass; of a job, by how much the process grew."
    )
    tables.write(options.out, rows, figures, [note], options.threads, options.device)
    if options.out:
        lines = {what: [(p.size, p.seconds) for p in points if p.what == what] for what in names(points)}
        plots.lines(lines, "tokens or clips", "processor time, s", options.out.with_suffix(".svg"))


def steps(
    clips: Sequence[Clip], dtype: Dtype, rounds: int, threads: int, device: str, encoder: Vit | None = None
) -> list[Point]:
    """ViT-S and its decoder on a clip, a quarter of which is visible."""
    torch.set_num_threads(threads)
    points = []
    for clip in clips:
        size = Size(clip, encoder or Small(), Decoder(width=192, heads=3))
        masker = Random(ratio=RATIO)
        tubelet = Tubelet(recipe_at(size, masker), dtype, torch.device(device))
        batch = Clips.of_batch(batch_of(clip, 1).to(device))
        kept = saved_bytes(partial(tubelet.loss, batch), tubelet.model)
        taken = timing.in_turns({"step": partial(tubelet.step, batch)}, torch.device(device), rounds, least=0.2)
        visible = clip.num_tubelets - masker.budget(clip).total
        seconds = timing.median(taken["step"])
        points.append(Point(f"step {dtype}", clip.num_tubelets, seconds, kept, step_flops(size, visible)))
    return points


def job(what: str, size: int, threads: int) -> Point:
    """A job on so many clips, in this process."""
    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as folder:
        work = {"saliency": saliency, "embedding": embedding, "probing": probing}[what](Path(folder), size)
        grown, spent = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, tree_seconds()
        work()
        spent = tree_seconds() - spent
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - grown
    return Point(what, size, spent, grown * 1024)


def saliency(folder: Path, size: int) -> Callable[[], object]:
    """Text maps of every frame, by an aligner of random weights."""
    from benchmarks.methods import random_aligner
    from tubelet.jobs.runner import Running
    from tubelet.saliency_maps import Text
    from tubelet.video.limits import Limits

    corpus, source = corpus_of(folder / "corpus", size), Text(aligner=str(random_aligner(folder)), rate=4.0)
    return lambda: source.fill(corpus, Running(limits=Limits(workers=1)))


def embedding(folder: Path, size: int) -> Callable[[], object]:
    """A table of features, by the encoder of `tiny`."""
    from tubelet.inference.features import write_features
    from tubelet.jobs.runner import Running
    from tubelet.recipes import tiny
    from tubelet.video.limits import Limits
    from tubelet.video.sampling import Sampling

    corpus, config = corpus_of(folder / "corpus", size), tiny()
    encoder = config.encoder.build(config.clip).eval()
    data, running = Data(sampling=Sampling(stride=1)), Running(limits=Limits(workers=1))
    return lambda: write_features(encoder, [corpus.folder], folder / "features.parquet", data, running=running)


def probing(folder: Path, size: int) -> Callable[[], object]:
    """The linear probe, whole: its grid, its choice, its test of half as many, its intervals."""
    context = context_of(features_of(size, 0), features_of(max(size // 2, 2 * CLASSES), 1))
    return partial(Linear(pools=("mean",)).run, context)


def context_of(train: Features, test: Features) -> Context:
    """An evaluation finds these features computed."""
    labels = {
        name: f.classes[label] for f in (train, test) for name, label in zip(f.ids, f.label.tolist(), strict=True)
    }
    computed = {"train": train, "test": test}
    return Context(nn.Identity(), Corpus(Path(), {}), Clip(), Data(), labels=labels, computed=computed)


def features_of(count: int, seed: int) -> Features:
    """Features in which classes lie apart, but not wholly; every clip a group."""
    random = torch.Generator().manual_seed(seed)
    label = torch.arange(count) % CLASSES
    centres = torch.randn(CLASSES, WIDTH, generator=torch.Generator().manual_seed(9))
    values = 0.15 * centres[label] + torch.randn(count, WIDTH, generator=random)
    names = tuple(f"{seed}-{number}" for number in range(count))
    return Features(values, values, label, names, names, tuple(f"class {number}" for number in range(CLASSES)))


def tree_seconds() -> float:
    """Processor time of this process and of all that it started, ended ones included."""
    parents: dict[int, list[tuple[int, int]]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        # After the name: state, parent; 11th to 14th: its own user and system time, those of children it waited for.
        parents.setdefault(int(fields[1]), []).append((int(path.parent.name), sum(map(int, fields[11:15]))))
    ticks, waiting = 0, [os.getpid()]
    while waiting:
        for child, spent in parents.get(waiting.pop(), []):
            ticks += spent
            waiting.append(child)
    return sum(os.times()[:4]) + ticks / os.sysconf("SC_CLK_TCK")


def names(points: Sequence[Point]) -> list[str]:
    return list(dict.fromkeys(point.what for point in points))


def exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    """The slope of a straight line through the logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def rows_of(points: Sequence[Point]) -> list[dict[str, Any]]:
    rows = []
    for what in names(points):
        some = [point for point in points if point.what == what]
        sizes, seconds = [p.size for p in some], [p.seconds for p in some]
        flops = [p.flops for p in some if p.flops is not None]
        rows.append(
            {
                "what": what,
                "over": f"{sizes[0]} to {sizes[-1]} {'tokens' if flops else 'clips'}",
                "seconds": f"{seconds[0]:.3g} to {seconds[-1]:.3g}",
                "exponent of time": f"{exponent(sizes, seconds):.2f}",
                "at the end": f"{exponent(sizes[-2:], seconds[-2:]):.2f}",
                "of its arithmetic": f"{exponent(sizes, flops):.2f}, at the end {exponent(sizes[-2:], flops[-2:]):.2f}"
                if flops
                else "1",
                "memory, MiB": f"{some[0].memory / 2**20:.0f} to {some[-1].memory / 2**20:.0f}",
                "exponent of memory at the end": f"{exponent(sizes[-2:], memories(some)[-2:]):.2f}",
            }
        )
    return rows


def memories(points: Sequence[Point]) -> list[float]:
    return [max(float(point.memory), 1.0) for point in points]
