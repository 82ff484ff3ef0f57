"""One learning rate of a fine-tuning: its training, and the weights that were best on the held-out part of train."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import chz
import torch
from torch import Tensor
from torch.nn.functional import nll_loss

from tubelet.checkpoint import BEST, CHECKPOINT, checkpoint_step, load_strictly, part
from tubelet.checksums import write_safetensors
from tubelet.config import to_plain
from tubelet.corpus.schema import Video
from tubelet.corpus.table import Corpus
from tubelet.distributed import DistributedContext, broadcast_from_rank0, is_rank0
from tubelet.errors import RunError
from tubelet.evaluations.features import outline
from tubelet.evaluations.multiview import Predicted, Scores, predict_views
from tubelet.evaluations.selection import measure_of, score
from tubelet.loading.loader import clips_of, train_batches
from tubelet.log import Log
from tubelet.progress import Progress
from tubelet.recipes.finetune import Finetune
from tubelet.results import LOSS, Metric
from tubelet.run_record import Evaluated
from tubelet.runs.alarms import Alarms
from tubelet.runs.division import Division
from tubelet.runs.folder import LOG, read_weights_of, weights_file
from tubelet.runs.selection import HELD_OUT, below, logged_measurements, order_of
from tubelet.runs.start import Tell, decoding
from tubelet.seeds import key
from tubelet.tasks import Classification
from tubelet.train import train

REFIT = "refit"  # the folder of the training on all of train


@dataclass(frozen=True)
class Candidate:
    """One learning rate of the grid."""

    config: Finetune
    corpus: Corpus
    division: Division
    rate: float
    steps: int
    root: Path
    context: DistributedContext
    tell: Tell
    progress: Progress
    until: int | None = None  # the step at which its schedule is left; None: the last

    @property
    def folder(self) -> Path:
        return below(self.root, self.rate)

    @property
    def last(self) -> int:
        return self.steps if self.until is None else self.until


def refitted(selected: Candidate, step: int) -> Candidate:
    """The same on all of train, where nothing is held out any more: at the selected rate, left at the same share of
    its schedule."""
    division = selected.division
    every = replace(division, fit=(*division.fit, *division.select), select=())
    steps = selected.config.total(len(every.fit), selected.context.world_size)
    until = max(1, round(steps * step / selected.steps))
    return replace(selected, division=every, steps=steps, root=selected.root / REFIT, until=until)


def tune(candidate: Candidate) -> bool:
    """Trains at one learning rate, from its checkpoint if there is one; keeps the weights that were best on the way."""
    config, context, steps, folder = candidate.config, candidate.context, candidate.steps, candidate.folder
    last = candidate.last
    folder.mkdir(exist_ok=True, parents=True)

    def standing_of() -> tuple[int, bool]:
        first = checkpoint_step(folder / CHECKPOINT)
        return first, first == last and any(one.step == last for one in logged_measurements(folder))

    first, finished = broadcast_from_rank0(standing_of)
    if finished:
        return True
    what = "" if candidate.until is None else "all of train, "
    candidate.tell(
        f"{what}learning rate {candidate.rate:g}: {f'resuming from step {first}' if first else f'{last} steps'}"
    )
    task = fresh_classifier(config, len(candidate.division.classes), first == 0)
    batches = train_batches(
        candidate.corpus, config.clip, config.data, videos=candidate.division.fit, classes=candidate.division.classes,
        batch=config.batch, seed=config.seed, rank=context.rank, world=context.world_size,
        first_step=first * config.accumulate, last_step=last * config.accumulate, 
        progress=decoding(candidate.tell, candidate.corpus, config.clip, config.data),
    )  # fmt: skip
    loop = chz.replace(
        config,
        optim=chz.replace(config.optim, base_lr=candidate.rate),
        evaluate_every=(config.evaluate_every or max(1, round(steps / 10))) if candidate.division.select else 0,
    )
    path = folder / LOG if context.rank == 0 else None
    loggers, gauges = config.loggers, config.prometheus
    with Log(path, first, config.tensorboard, False, loggers, to_plain(loop), gauges) as log:
        evaluate = SaveBest(candidate, task, log)
        reached = train(
            loop, task, batches, evaluate, folder, log, steps, context, candidate.progress, candidate.until,
            watch=Alarms(candidate.tell, log, loop, context.world_size),
            clips_of=clips_of(
                candidate.division.fit, config.data, batch=config.batch, seed=config.seed, world=context.world_size
            ),
        )  # fmt: skip
        if reached < last:
            return False
        task.eval()
        evaluate(last)
    return True


def fresh_classifier(config: Finetune, classes: int, from_run: bool) -> Classification:
    """The task at step 0: head and (from scratch) encoder from the seed, else the encoder of the run."""
    torch.manual_seed(key(config.seed, "weights"))
    task = config.build(classes)
    if from_run and not config.scratch:
        tensors = part(read_weights_of(config.init), "encoder")
        encoder = {name: value for name, value in tensors.items() if not name.startswith("norm.")}
        for model in {task.model, task.tested}:
            load_strictly(model.encoder, encoder, weights_file(config.init))
    return task


class SaveBest:
    """Measures the task on the held-out part of train, and keeps its weights where they are the best so far."""

    def __init__(self, candidate: Candidate, task: Classification, log: Log) -> None:
        self.candidate, self.task, self.log = candidate, task, log
        self.top = broadcast_from_rank0(
            lambda: max((order_of(one) for one in logged_measurements(candidate.folder)), default=None)
        )

    def __call__(self, step: int) -> None:
        candidate, model = self.candidate, self.task.tested
        model.eval()
        if not candidate.division.select:
            self.keep(step)
            self.log.write("evaluation", step, name=HELD_OUT, metrics={}, failed=[])
            return
        found = on_centre(candidate, model.forward, candidate.division.select)
        fit = outline(candidate.division.fit, candidate.division.classes)
        measure = measure_of(fit.label, candidate.config.measure)
        metrics = held_out_metrics(found, candidate.division.select, candidate.division.classes, measure)
        index = order_of(Evaluated(step, HELD_OUT, metrics))
        if self.top is None or index > self.top:
            self.top = index
            self.keep(step)
        self.log.write("evaluation", step, name=HELD_OUT, metrics=metrics, failed=list(found.failed))

    def keep(self, step: int) -> None:
        if not is_rank0():
            return
        tensors = {name: value.detach().cpu().contiguous() for name, value in self.task.tested.state_dict().items()}
        write_safetensors(self.candidate.folder / BEST, tensors, {"step": str(step)})


def on_centre(candidate: Candidate, scores: Scores, videos: Sequence[Video]) -> Predicted:
    """On the centre clip of each video."""
    config, context = candidate.config, candidate.context

    def forward(video: Tensor) -> Tensor:
        with context.autocast():
            return scores(video)

    return predict_views(
        forward, candidate.corpus, videos, config.clip, config.data, batch=config.batch, device=context.device
    )


def held_out_metrics(
    found: Predicted, videos: Iterable[Video], classes: tuple[str, ...], measure: str
) -> dict[str, Metric]:
    """(Balanced) accuracy, which selects and so comes first, and cross-entropy of the videos that could be read."""
    there = set(found.ids)
    label = outline([video for video in videos if video.id in there], classes).label
    if not there:
        raise RunError(f"not one of the held-out videos could be read; first: {found.failed[0]}")
    level = score(label.mode().values.expand_as(label), label, measure)  # always the commonest
    return {
        measure: Metric(score(found.probabilities.argmax(1), label, measure), chance=level),
        "cross_entropy": Metric(float(nll_loss(found.probabilities.clamp(min=1e-12).log(), label)), unit=LOSS),
    }
