"""From a pretrained run and labels to a classifier that is measured. Start reading at `finetune`.

The same loop as in pretraining, once for every learning rate of the grid, each in a folder below the run's. Kept are
the weights of the rate and the step that were best on the held-out part of train; test is looked at once, after that.
"""

import contextlib
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import chz
import torch
from torch import Tensor
from torch.nn.functional import nll_loss

from tubelet.checkpoint import CHECKPOINT, checkpoint_step, load_strictly, part
from tubelet.checksums import Damaged, read_safetensors, write_safetensors
from tubelet.corpus.table import Corpus, Video
from tubelet.distributed import DistributedContext, broadcast_from_rank0, is_rank0, process_group
from tubelet.errors import RecipeError, RunError, WeightsError
from tubelet.evaluations.classification import chance, measure_scores
from tubelet.evaluations.contamination import Leaks
from tubelet.evaluations.duplicates import Shared, looked_at
from tubelet.evaluations.familiarity import familiar_with, write_familiarity
from tubelet.evaluations.features import outline
from tubelet.evaluations.intervals import TOLD
from tubelet.evaluations.multiview import Predicted, predict
from tubelet.evaluations.results import merge_result, view
from tubelet.evaluations.trained_on import FILE, TrainedOn
from tubelet.files import remove_leftovers, write_atomically
from tubelet.loading.loader import train_batches
from tubelet.log import Log, read_log, versions
from tubelet.progress import Progress, silent
from tubelet.recipes.finetune import Finetune
from tubelet.runs.division import Division
from tubelet.runs.folder import (
    CLASSIFIER,
    LOG,
    RunConfig,
    RunLock,
    lock_run,
    read_run_config,
    read_weights_of,
    weights_file,
    where,
    write_run_config,
)  # fmt: skip
from tubelet.runs.record import begin_tuning, finish, of_run
from tubelet.runs.selection import HELD_OUT, Chosen, below, best, measured, standing
from tubelet.runs.start import reading, say
from tubelet.seeds import key
from tubelet.tasks import Classification
from tubelet.train import train
from tubelet.video.views import CENTRE, parse

BEST = "best.safetensors"
REFIT = "refit"  # the folder of the training on all of train


def finetune(
    recipe: str,
    config: Finetune,
    corpus: Path | str,
    folder: Path | str,
    command: Iterable[str] = (),
    labels: Mapping[str, str] | None = None,
    progress: Progress = silent,
    allow_seen: bool = False,
    allow_changed: bool = False,
) -> bool:
    """Fine-tunes into `folder`, or goes on with the same run that stands there. False when it was asked to stop.

    Refused where the run's aligner was trained on clips of the test split, unless `allow_seen`; and where videos hold
    something else than when the run began, unless `allow_changed`.
    """
    folder = Path(folder)
    with process_group(), contextlib.ExitStack() as stack:
        context = DistributedContext.here(config.precision)
        rates = config.grid
        if not config.held_out and len(rates) > 1:
            raise RecipeError(
                f"held_out=0 leaves no clips to select one of the learning rates {', '.join(map(str, rates))} on; give "
                f"one, as optim.base_lr={rates[0]}"
            )
        table = Corpus.open(Path(corpus))
        division = Division.of(table, config.data, labels, config.labels_share, config.held_out, config.seed, rates)
        origin = read_run_config(config.init)
        leaks = Leaks.of(
            table, of_run(config.init), guided=origin.config.guided_by_text, compared=False,
            source=origin.config.data.captions.source, labels=labels,
        )  # fmt: skip
        if division.test and not config.scratch:
            leaks.refuse("test", allow_seen)
        steps = config.total(len(division.fit), context.world_size)
        decided = {"weights": fingerprint(Path(config.init)), **digest_of(labels)}
        plan = RunConfig(
            recipe, config, where(table), steps, context.world_size, context.precision, None, decided, tuple(command)
        )
        parts = {"fit": division.fit, "select": division.select}
        tell = partial(say, context)

        def take() -> tuple[RunLock[Finetune], bool, TrainedOn]:
            held = stack.enter_context(lock_run(folder, plan))
            if (folder / CLASSIFIER).exists():
                return held, True, TrainedOn()
            init = None if config.scratch else config.init
            return held, False, begin_tuning(folder, table, parts, init, held.begun, allow_changed, tell)

        held, finished, record = broadcast_from_rank0(take)
        if finished:
            if context.rank == 0:
                tidy(config, folder)
            say(context, f"{folder} is finished; {following(folder)}")
            return True
        context = replace(context, precision=held.plan.precision)
        if context.rank == 0 and not held.begun:
            write_run_config(folder, plan)
        if context.rank == 0:
            record.write(folder / FILE)
        for rate in rates:
            if not tune(Tuning(config, table, division, rate, steps, folder, context)):
                say(context, "stopped and saved; the same command goes on from there")
                return False
        chosen = broadcast_from_rank0(lambda: best(rates, folder, len(division.select)))
        kept = Tuning(config, table, division, chosen.rate, steps, folder, context)
        if config.refit and division.select:
            kept = refitted(kept, chosen.step)
            if not tune(kept):
                say(context, "stopped and saved; the same command goes on from there")
                return False
        finish(folder, record, table, tell)
        conclude(kept, division, leaks, chosen, folder, progress)
        if context.rank == 0:
            print(f"{folder}: {chosen.told}; {following(folder)}")
        return True


@dataclass(frozen=True)
class Tuning:
    """One learning rate of the grid."""

    config: Finetune
    corpus: Corpus
    division: Division
    rate: float
    steps: int
    root: Path
    context: DistributedContext
    until: int | None = None  # the step at which its schedule is left; None: the last

    @property
    def folder(self) -> Path:
        return below(self.root, self.rate)

    @property
    def last(self) -> int:
        return self.steps if self.until is None else self.until


def refitted(selected: Tuning, step: int) -> Tuning:
    """The same on all of train, where nothing is held out any more: at the selected rate, left at the same share of
    its schedule."""
    division = selected.division
    every = replace(division, fit=(*division.fit, *division.select), select=())
    steps = selected.config.total(len(every.fit), selected.context.world_size)
    until = max(1, round(steps * step / selected.steps))
    return replace(selected, division=every, steps=steps, root=selected.root / REFIT, until=until)


def tune(tuning: Tuning) -> bool:
    """Trains at one learning rate, from its checkpoint if there is one; keeps the weights that were best on the way."""
    config, context, steps, folder = tuning.config, tuning.context, tuning.steps, tuning.folder
    last = tuning.last
    folder.mkdir(exist_ok=True, parents=True)

    def standing_of() -> tuple[int, bool]:
        first = checkpoint_step(folder / CHECKPOINT)
        return first, first == last and any(record["step"] == last for record in measured(folder))

    first, finished = broadcast_from_rank0(standing_of)
    if finished:
        return True
    what = "" if tuning.until is None else "all of train, "
    say(context, f"{what}learning rate {tuning.rate:g}: {f'going on from step {first}' if first else f'{last} steps'}")
    task = fresh(config, len(tuning.division.classes), first == 0)
    batches = train_batches(
        tuning.corpus, config.clip, config.data, videos=tuning.division.fit, classes=tuning.division.classes,
        batch=config.batch, seed=config.seed, rank=context.rank, world=context.world_size,
        first_step=first * config.accumulate, last_step=last * config.accumulate, 
        progress=reading(context, tuning.corpus, config.clip, config.data),
    )  # fmt: skip
    loop = chz.replace(
        config,
        optim=chz.replace(config.optim, base_lr=tuning.rate),
        evaluate_every=(config.evaluate_every or max(1, round(steps / 10))) if tuning.division.select else 0,
    )
    with Log(folder / LOG if context.rank == 0 else None, keep=first, tensorboard=config.tensorboard) as log:
        look = Looking(tuning, task, log)
        if train(loop, task, batches, look, folder, log, steps, context, tuning.until) < last:
            return False
        task.eval()
        look(last)
    return True


def fresh(config: Finetune, classes: int, from_run: bool) -> Classification:
    """The task at step 0: head and (from scratch) encoder from the seed, else the encoder of the run."""
    torch.manual_seed(key(config.seed, "weights"))
    task = config.build(classes)
    if from_run and not config.scratch:
        tensors = part(read_weights_of(config.init), "encoder")
        encoder = {name: value for name, value in tensors.items() if not name.startswith("norm.")}
        for model in {task.model, task.tested}:
            load_strictly(model.encoder, encoder, weights_file(config.init))
    return task


class Looking:
    """Measures the task on the held-out part of train, and keeps its weights where they are the best so far."""

    def __init__(self, tuning: Tuning, task: Classification, log: Log) -> None:
        self.tuning, self.task, self.log = tuning, task, log
        self.top = broadcast_from_rank0(lambda: max((standing(one) for one in measured(tuning.folder)), default=None))

    def __call__(self, step: int) -> None:
        tuning, model = self.tuning, self.task.tested
        model.eval()
        if not tuning.division.select:
            self.keep(step)
            self.log.write("evaluation", step, name=HELD_OUT, metrics={}, failed=[])
            return
        found = on_videos(tuning, model.forward, tuning.division.select, CENTRE_ONLY)
        metrics = compared(found, tuning.division.select, tuning.division.classes)
        if self.top is None or standing({"step": step, "metrics": metrics}) > self.top:
            self.top = standing({"step": step, "metrics": metrics})
            self.keep(step)
        self.log.write("evaluation", step, name=HELD_OUT, metrics=metrics, failed=list(found.failed))

    def keep(self, step: int) -> None:
        if not is_rank0():
            return
        tensors = {name: value.detach().cpu().contiguous() for name, value in self.task.tested.state_dict().items()}
        write_safetensors(self.tuning.folder / BEST, tensors, {"step": str(step)})


CENTRE_ONLY = (CENTRE,)


def on_videos(
    tuning: Tuning, scores: Any, videos: Iterable[Video], views: Any, progress: Progress = silent
) -> Predicted:
    config, context = tuning.config, tuning.context

    def forward(video: Tensor) -> Tensor:
        with context.autocast():
            return scores(video)

    return predict(
        forward, tuning.corpus, list(videos), config.clip, config.data,
        views=views, batch=config.batch, device=context.device, progress=progress,
    )  # fmt: skip


def compared(found: Predicted, videos: Iterable[Video], classes: tuple[str, ...]) -> dict[str, float]:
    """Accuracy and cross-entropy of the videos that could be read."""
    there = set(found.ids)
    label = outline([video for video in videos if video.id in there], classes).label
    if not there:
        raise RunError(f"not one of the held-out videos could be read; first: {found.failed[0]}")
    return {
        "accuracy": float((found.probabilities.argmax(1) == label).float().mean()),
        "cross_entropy": float(nll_loss(found.probabilities.clamp(min=1e-12).log(), label)),
        "majority": float((label == label.mode().values).float().mean()),
    }


def conclude(
    tuning: Tuning, division: Division, leaks: Leaks, chosen: Chosen, folder: Path, progress: Progress
) -> None:
    """Measures the weights that are kept on test, writes the result, and last the classifier; then the scaffolding
    goes. `division` is that of the selection."""
    config, corpus = tuning.config, tuning.corpus
    step = chosen.step if tuning.until is None else tuning.until
    weights = broadcast_from_rank0(lambda: best_weights(tuning.folder, step))
    model = config.build(len(division.classes)).model
    load_strictly(model, weights, tuning.folder / BEST)
    model.to(tuning.context.device).eval()
    result = result_of(tuning, division, leaks, chosen, step)
    if division.test:
        found = on_videos(tuning, model.forward, division.test, parse(config.views), progress)
        result |= tested(found, tuning, result) | (shared(tuning, found, result) if found.ids else {})
    else:
        split = config.data.split
        known = f"was trained on (data.split={split})" if split in ("all", "test") else "has no labelled video"
        result["remarks"] = [f"the test split of {corpus.name} {known}: nothing is measured on it"]
    merge_result(folder, "finetune", result)
    familiarity = familiar_with(
        model.features, corpus, tuning.division.fit, config.clip, config.data, config.batch, tuning.context.device
    )
    write_familiarity(folder, "finetune", familiarity)
    if not is_rank0():
        return
    write_atomically(folder / LOG, (below(folder, chosen.rate) / LOG).read_bytes())
    about = {"classes": "\n".join(division.classes), "step": str(step), "rate": f"{chosen.rate:g}"}
    write_safetensors(folder / CLASSIFIER, weights, about)
    tidy(config, folder)


def tidy(config: Finetune, folder: Path) -> None:
    """Removes what was needed on the way: the weights of every rate."""
    for root in (folder, folder / REFIT):
        for rate in config.grid:
            for name in (CHECKPOINT, BEST):
                (below(root, rate) / name).unlink(missing_ok=True)
            remove_leftovers(below(root, rate))


def best_weights(folder: Path, step: int) -> dict[str, Tensor]:
    """Of the step that the log calls the best."""
    path = folder / BEST
    try:
        weights, metadata = read_safetensors(path)
        kept = metadata["step"]
    except (OSError, KeyError, Damaged) as error:
        raise WeightsError(f"{path} is damaged ({error}); delete {folder} and give the same command again") from None
    if kept != str(step):
        raise RunError(
            f"{path} holds the weights of step {kept} and step {step} was the best that is logged; delete "
            f"{folder} and give the same command again"
        )
    return weights


def result_of(tuning: Tuning, division: Division, leaks: Leaks, chosen: Chosen, step: int) -> dict[str, Any]:
    """What was decided, before test is looked at; `division` is that of the selection."""
    config = tuning.config
    contamination = leaks.of_split("test")
    fit, select = (outline(part, division.classes) for part in (division.fit, division.select))
    failed = unread(tuning)
    names = {line.partition(": ")[0] for line in failed}
    used = fit.rows(torch.tensor([name not in names for name in fit.ids]))
    return {
        "step": step,
        "seed": config.seed,
        "versions": versions(),
        "view": view(config.clip, config.data),
        "corpus": {"name": tuning.corpus.name, "fingerprint": tuning.corpus.fingerprint()},
        "seen": leaks.seen,
        "trained_on": contamination.as_json(),
        "marks": [] if config.scratch else [*leaks.marks(), *contamination.marks()],
        "protocol": {
            "encoder": "fresh weights" if config.scratch else f"all weights, beginning with {config.init}",
            "head": "mean of all tokens, LayerNorm, linear",
            "labels": f"{config.labels_share:.0%} of train's labelled groups of every class: {len(fit)} clips fit, "
            f"{len(select)} select",
            "selection": f"learning rate and step of the highest accuracy on the {len(select)} held-out clips of train "
            f"({config.held_out:.0%} of the groups of every label, by a keyed hash), ties by cross-entropy"
            if len(select)
            else "none: one learning rate, and its last step",
            "refit": "no: the selected weights, which the held-out clips did not fit"
            if tuning.until is None
            else f"trained once more on all {len(fit) + len(select)} clips at the selected rate, left at the same "
            f"share of its schedule: step {step} of {tuning.steps}",
            "steps": tuning.steps,
            "selected": {"rate": chosen.rate, "step": chosen.step},
            "held_out_accuracy": {f"{rate:g}": f"{top:.4f} at step {at}" for rate, (top, at) in chosen.grid.items()},
            "test": f"{config.views} views (pieces x squares), softmax, then the mean, by video id",
            "intervals": f"95 %, {config.samples} bootstrap samples of whole test groups; {TOLD}",
            "seed": config.seed,
        },
        "metrics": {} if chosen.accuracy is None else {"held_out.accuracy": chosen.accuracy},
        "intervals": {},
        "counts": {
            "train": {
                "used": len(used), "failed": len(failed), "unlabelled": division.unlabelled[config.data.split],
                "groups": len(set(used.groups)),
            },
            "selecting": sum(name not in names for name in select.ids),
        },
        "failed": {"train": failed},
        "warnings": list(chosen.ties),
        "classes": list(division.classes),
    }  # fmt: skip


def unread(tuning: Tuning) -> list[str]:
    """The labelled videos of train that could not be read, by indexing or on the way: "id: reason", each once."""
    found = {video.id: f"{video.id}: {video.reason or video.status}" for video in tuning.division.unreadable}
    for record in read_log(tuning.folder / LOG):
        found |= {line.partition(": ")[0]: line for line in record.get("failed") or ()}
    return list(found.values())


def shared(tuning: Tuning, found: Predicted, result: Mapping[str, Any]) -> dict[str, Any]:
    """What train and test have in common though they should not."""
    config, division, there = tuning.config, tuning.division, set(found.ids)
    test = [video for video in division.test if video.id in there]
    parts = [
        looked_at(tuning.corpus, outline(part, division.classes), config.clip, config.data, config.batch)
        for part in ((*division.fit, *division.select), test)
    ]
    said = Shared.between(tuning.corpus, *parts)
    return {"shared": said.as_json(), "marks": [*result["marks"], *said.marks(len(test))]}


def tested(found: Predicted, tuning: Tuning, result: Mapping[str, Any]) -> dict[str, Any]:
    """What test says of the weights that were chosen without it."""
    division = tuning.division
    there = set(found.ids)
    missing = [video for video in division.test if video.id not in there and not video.path.exists()]
    test = outline([video for video in division.test if video.id in there], division.classes)
    fit = outline(division.fit, division.classes)
    count = {
        "used": len(test), "failed": len(found.failed), "missing": len(missing),
        "unlabelled": division.unlabelled["test"], "short": len(found.short), "groups": len(set(test.groups)),
    }  # fmt: skip
    named = {
        "counts": {**result["counts"], "test": count},
        "failed": {**result["failed"], "test": list(found.failed)},
    }
    if not there:
        return {**named, "remarks": [f"none of {len(division.test)} test videos could be read: nothing is measured"]}
    numbers = measure_scores(found.probabilities, test, seed=tuning.config.seed, samples=tuning.config.samples)
    return {**numbers, **named, "metrics": {**result["metrics"], **numbers["metrics"], **chance(fit, test)}}


def fingerprint(run: Path) -> str:
    """Which weights a run holds."""
    path = weights_file(run)
    if not path.exists():
        raise RunError(f"{run} has no checkpoint yet; train it first, with `tubelet pretrain`")
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=12)).hexdigest()


def digest_of(labels: Mapping[str, str] | None) -> dict[str, str]:
    """Labels that are not the table's decide the weights too."""
    if labels is None:
        return {}
    return {"labels": hashlib.blake2b(repr(sorted(labels.items())).encode(), digest_size=12).hexdigest()}


def following(folder: Path) -> str:
    return f"next: `tubelet predict {folder} VIDEOS --out labels.parquet` and `tubelet report {folder}`"
