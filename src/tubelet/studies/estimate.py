"""How long the missing cells will take here: by what cells of the kind took on such a machine, or by a short trial."""

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from tubelet.corpus.table import Corpus
from tubelet.distributed import DistributedContext
from tubelet.errors import TubeletError
from tubelet.loading.loader import eval_batches, train_batches
from tubelet.recipes.pretrain import Pretrain
from tubelet.runs.folder import hardware
from tubelet.stores.embeddings import Embeddings
from tubelet.studies.price import price
from tubelet.studies.trials import Cell, Finished

STEPS = 3  # of a trial, after one that is not counted
SAME = ("processor", "gpu", "threads")


@dataclass(frozen=True)
class Estimate:
    seconds: Mapping[str, float]  # by way, of one cell
    how: str

    def total(self, cells: Sequence[Cell]) -> float | None:
        """None where nothing could be tried."""
        known = [self.seconds[cell.way] for cell in cells if cell.way in self.seconds]
        return statistics.mean(known) * len(cells) if known else None


def estimate(cells: Sequence[Cell], corpus: Corpus, finished: Finished) -> Estimate:
    """Of one cell of every way. Finished cells on such a machine are the better witness: seconds by clips and FLOPs,
    and what measuring took; a trial knows nothing of the solving of probes."""
    here = {name: hardware().get(name) for name in SAME}
    like = [
        content
        for content in finished.cells.values()
        if {name: content["hardware"].get(name) for name in SAME} == here and content["gflop"]
    ]
    ways = {cell.way: cell for cell in cells}
    if like:
        rate = statistics.median(
            content["seconds"]["train"] / work(content["clips"], content["gflop"]) for content in like
        )
        rest = statistics.median(sum(content["seconds"].values()) - content["seconds"]["train"] for content in like)
        seconds = {
            way: rest + rate * work(clips_of(cell.config, corpus), price(cell.config).flops / 1e9)
            for way, cell in ways.items()
        }
        return Estimate(seconds, f"by {len(like)} finished cell{'s' * (len(like) > 1)} on such a machine")
    for cell in ways.values():
        try:
            step, forward = trial(cell.config, corpus)
        except TubeletError:
            continue  # this way cannot be run here; running says why
        unit = (
            step
            * cell.config.total(len(cell.config.data.select(corpus)), 1)
            / work(clips_of(cell.config, corpus), price(cell.config).flops / 1e9)
        )
        rest = forward * len(corpus.select("all"))
        return Estimate(
            {
                way: rest + unit * work(clips_of(other.config, corpus), price(other.config).flops / 1e9)
                for way, other in ways.items()
            },
            f"by {STEPS} steps of {cell.way!r} tried now, without the fitting of probes",
        )
    return Estimate({}, "nothing could be tried")


def work(clips: int, gflop: float) -> float:
    """What training time goes with, roughly."""
    return clips * gflop


def clips_of(config: Pretrain, corpus: Corpus) -> int:
    return config.total(len(config.data.select(corpus)), 1) * config.batch * config.accumulate


def trial(config: Pretrain, corpus: Corpus) -> tuple[float, float]:
    """Seconds of a step, and of encoding one clip whole."""
    machine = DistributedContext.here(config.precision)
    config.check(corpus)
    task = config.build(Embeddings.open(corpus).width if config.needs_text else None).to(machine.device)
    batches = train_batches(
        corpus, config.clip, config.data, needs=task.needs, text=task.needs_text, batch=config.batch,
        seed=config.seed, first_step=0, last_step=(STEPS + 1) * config.accumulate,
    )  # fmt: skip
    for number in range(STEPS + 1):
        if number == 1:
            began = time.perf_counter()
        for _ in range(config.accumulate):
            with machine.autocast():
                step = task(next(batches).to(machine.device))
            step.loss.backward()
        float(step.loss.detach())  # waits for the device
    a_step = (time.perf_counter() - began) / STEPS
    some = next(eval_batches(corpus, corpus.select("all")[:16], config.clip, config.data, batch=16))
    began = time.perf_counter()
    with torch.inference_mode():
        float(task.encoder.encode(some.video.to(machine.device)).float().mean())
    return a_step, (time.perf_counter() - began) / max(len(some), 1)
