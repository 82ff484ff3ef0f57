"""What a step of every method costs: the recipes at the size of `miniature` in turns, against plain VideoMAE.

    python -m benchmarks methods --rounds 7
    python -m benchmarks methods --recipe vjepa,siam_mae --dtype bf16

A step is forward, backward and AdamW on random clips; teachers and aligners have random weights. Loading is no part of
it. FLOPs are those by which studies make methods equal.
"""

import argparse
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import chz
import torch

from benchmarks import plots, tables, timing
from benchmarks.cases import DTYPES, Dtype
from benchmarks.implementations import Clips, Tubelet
from benchmarks.options import common, words_of
from benchmarks.saved import saved_bytes
from benchmarks.synthetic_batches import TEXT_WIDTH, batch_for
from tubelet.config import override
from tubelet.recipes import RECIPES
from tubelet.recipes.pretrain import Pretrain
from tubelet.studies.cost import cost
from tubelet.teachers import Aligned, Frozen, FrozenJoint, Tokenizer

PLAIN = "miniature"
LARGE = ("tiny", "videomae", "text_guided")  # of another size than the others
METHODS = tuple(recipe.__name__ for recipe in RECIPES if recipe.__name__ not in LARGE)
SIZES = (
    "teacher.encoder=Vit", "teacher.encoder.width=128", "teacher.encoder.depth=2", "teacher.encoder.heads=4",
    "teacher.clip=Clip", "teacher.clip.frames=8", "teacher.clip.size=64",
)  # fmt: skip


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--recipe", type=words_of(METHODS), default=[*METHODS], help="(default: all)")
    parser.add_argument("--dtype", choices=DTYPES, default="fp32", help="(default: %(default)s)")
    parser.add_argument("--batch", type=int, default=32, help="clips of a step (default: %(default)s)")
    common(parser)


def run(options: argparse.Namespace) -> None:
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    with tempfile.TemporaryDirectory() as folder:
        configs = configs_of(options.recipe, Path(folder))
        works, saved = {}, {}
        for name, config in configs.items():
            works[name], saved[name] = step_of(config, options.dtype, options.batch, device)
        taken = timing.in_turns(works, device, options.rounds, least=0.05)
    rows = rows_of(configs, taken, saved, options.batch)
    figures = [
        {"recipe": name, "round": number, "seconds": one.seconds, "wall": one.wall, "batch": options.batch}
        for name, times in taken.items()
        for number, one in enumerate(times)
    ]
    note = f"A step of {options.batch} clips, {options.dtype}. `{PLAIN}` is VideoMAE: tube masks at .6, pixels alone."
    tables.write(options.out, rows, figures, [note], options.threads, options.device)
    if options.out:
        against = {name: timing.ratio(times, taken[PLAIN]) for name, times in taken.items() if name != PLAIN}
        plots.bars(against, f"time of a step over that of {PLAIN}", options.out.with_suffix(".svg"))


def configs_of(names: list[str], folder: Path) -> dict[str, Pretrain]:
    """The recipes, with teachers that need no run and an aligner of random weights; plain VideoMAE first."""
    known = {recipe.__name__: recipe for recipe in RECIPES}
    found: dict[str, Pretrain] = {}
    for name in dict.fromkeys([PLAIN, *names]):
        config = known[name]()
        words: tuple[str, ...] = ()
        if isinstance(config.teacher, Aligned):
            words = (f"teacher.aligner={random_aligner(folder)}",)
        elif isinstance(config.teacher, Frozen):
            words = ("teacher.init=none", *SIZES)
            if isinstance(config.teacher, Tokenizer):
                words += ("teacher.codebook=512,32",)
        config = override(config, list(words))
        if isinstance(config.teacher, FrozenJoint):
            config = chz.replace(config, teacher=chz.replace(config.teacher, streams=config.streams))
        found[name] = config
    return found


def random_aligner(folder: Path) -> Path:
    """An aligner of the size that `tubelet align` trains."""
    from tubelet.aligners.config import Shape
    from tubelet.aligners.small import SmallAligner, Towers
    from tubelet.aligners.vocabulary import Vocabulary

    words = Vocabulary.of(["a red square moves left"])
    shape = Shape(joint=TEXT_WIDTH)
    SmallAligner(shape, words, Towers(shape, words.size)).save(folder / "aligner")
    return folder / "aligner"


def step_of(config: Pretrain, dtype: Dtype, count: int, device: torch.device) -> tuple[timing.Work, int]:
    """A training step of a recipe, and the bytes that it keeps for the backward pass."""
    tubelet = Tubelet(config, dtype, device, TEXT_WIDTH)
    batch = batch_for(config, count).to(device)
    clips = Clips.of_batch(batch)
    kept = saved_bytes(lambda: tubelet.loss(clips), tubelet.model)
    return partial(tubelet.step, clips), kept


def rows_of(
    configs: Mapping[str, Pretrain], taken: Mapping[str, list[timing.Taken]], saved: Mapping[str, int], batch: int
) -> list[dict[str, Any]]:
    plain = cost(configs[PLAIN]).flops
    rows = []
    for name, times in sorted(taken.items(), key=lambda item: timing.median(item[1])):
        against = None if name == PLAIN else timing.ratio(times, taken[PLAIN])
        flops = cost(configs[name]).flops
        rows.append(
            {
                "recipe": f"`{name}`",
                "s a step": f"{timing.median(times):.3f}",
                f"time over `{PLAIN}`": "1" if against is None else str(against),
                "FLOPs over it": f"{flops / plain:.2f}",
                "MiB a clip": f"{saved[name] / batch / 2**20:.2f}",
            }
        )
    return rows
