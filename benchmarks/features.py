"""Frozen evaluation: extraction beside the encoder alone, a linear probe of 10,000 clips with its grid, a bootstrap.

    python -m benchmarks features --rounds 3

Extraction is what an evaluation computes for a batch that was read: tokens, their means, small pictures. The probe is
the protocol whole, on random features of ViT-S: settings on a held-out quarter, all of train, test, intervals.
"""

import argparse
from functools import partial

import torch

from benchmarks import plots, tables, timing
from benchmarks.cases import SIZES
from benchmarks.implementations import batch_of
from benchmarks.options import common
from benchmarks.scaling import context_of, features_of
from tubelet.evaluations import Linear
from tubelet.evaluations.classification import bootstrap
from tubelet.evaluations.features import encode, summaries


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--size", choices=[*SIZES], default="S224", help="of the encoder (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=2, help="clips that are encoded (default: %(default)s)")
    parser.add_argument("--clips", type=int, default=10_000, help="of the probe, and groups (default: %(default)s)")
    common(parser, rounds=3)


def run(options: argparse.Namespace) -> None:
    torch.set_num_threads(options.threads)
    device = torch.device("cpu")
    works = extraction(options.size, options.batch)
    taken = timing.in_turns(works, device, options.rounds)
    taken |= timing.in_turns(heads(options.clips), device, options.rounds, least=0.0)
    whole, alone = works
    rows = [
        {
            "what": name,
            "s": f"{timing.median(times):.3g}",
            "wall / processor": f"{timing.wall_over_processor(times):.2f}",
        }
        for name, times in taken.items()
    ]
    figures = [
        {"what": name, "round": number, "seconds": one.seconds, "wall": one.wall}
        for name, times in taken.items()
        for number, one in enumerate(times)
    ]
    note = f"Extraction over the encoder alone: {timing.ratio(taken[whole], taken[alone])}."
    tables.write(options.out, rows, figures, [note], options.threads)
    if options.out:
        middle = {name: timing.median(times) for name, times in taken.items()}
        plots.values(middle, "processor time, s", options.out.with_suffix(".svg"))


def extraction(name: str, count: int) -> dict[str, timing.Work]:
    size = SIZES[name]
    encoder = size.encoder.build(size.clip).eval()
    batch = batch_of(size.clip, count)

    def whole() -> object:
        with torch.inference_mode():
            return summaries(encode(encoder, batch.video).float(), batch, size.clip)

    def alone() -> object:
        with torch.inference_mode():
            return encoder.encode(batch.video)

    return {f"extraction of {count} clips, {name} fp32": whole, f"its encoder alone, {name} fp32": alone}


def heads(clips: int) -> dict[str, timing.Work]:
    train, test = features_of(clips, 0), features_of(clips, 1)
    context = context_of(train, test)
    predicted = torch.where(torch.arange(clips) % 3 > 0, test.label, (test.label + 1) % 10)
    return {
        f"linear probe of {clips} clips, lbfgs": partial(Linear(pools=("mean",)).run, context),
        f"bootstrap of {clips} groups": partial(bootstrap, predicted, test, seed=0, samples=1000),
    }
