"""From a recipe and a corpus to a finished run. Start reading at `pretrain`."""

import contextlib
import sys
import time
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from tubelet.corpus.estimate import size
from tubelet.corpus.table import Corpus
from tubelet.distributed import DistributedContext, broadcast_from_rank0, is_rank0, process_group
from tubelet.errors import RecipeError, TubeletError
from tubelet.evaluations import Context
from tubelet.evaluations.cache import FOLDER
from tubelet.evaluations.contamination import Leaks
from tubelet.evaluations.results import complete, merge_result
from tubelet.evaluations.trained_on import FILE, TrainedOn
from tubelet.loading.loader import Data, shorter, train_batches
from tubelet.log import Log, against_trivial, read_log
from tubelet.progress import Progress
from tubelet.recipes.pretrain import Pretrain
from tubelet.runs.folder import LOG, RunConfig, RunLock, lock_run, write_run_config
from tubelet.runs.init import load_init_weights, resolve_init
from tubelet.runs.record import begin, finish, say_unread
from tubelet.seeds import key
from tubelet.stores.embeddings import Embeddings
from tubelet.stores.frame_cache import FOLDER as FRAMES
from tubelet.stores.frame_cache import expected_bytes
from tubelet.tasks import Pretraining
from tubelet.train import train
from tubelet.types import Clip


def pretrain(
    recipe: str,
    config: Pretrain,
    corpus: Path | str,
    folder: Path | str,
    command: Iterable[str] = (),
    allow_changed: bool = False,
) -> bool:
    """Trains into `folder`, or goes on with the same run that stands there. False when it was asked to stop.

    Refused where videos hold something else than when the run began, unless `allow_changed`.
    """
    folder = Path(folder)
    if not any(objective.factor for objective in config.objectives.values()):
        raise RecipeError("nothing to train: give one of the objectives a weight above 0")
    config, found = resolve_init(config, folder)
    with process_group(), contextlib.ExitStack() as stack:
        context = DistributedContext.here(config.precision)
        table = Corpus.open(Path(corpus))
        config.check(table)
        text_width = Embeddings.open(table).width if config.needs_text else None
        plan = RunConfig.make(recipe, config, table, context, text_width, list(command))
        tell = partial(say, context)

        def take() -> tuple[RunLock[Pretrain], TrainedOn]:
            held = stack.enter_context(lock_run(folder, plan))
            if held.finished:
                return held, TrainedOn()
            say_unread(config.data.select(table), tell)
            return held, begin(folder, config, table, held.step > 0, allow_changed, tell)

        held, record = broadcast_from_rank0(take)
        if held.finished:
            done = f"all {plan.steps} steps are done and measured"
            say(context, f"{folder} is finished: {done}; {following(folder, corpus, table, config)}")
            return True
        context = replace(context, precision=held.plan.precision)
        task = fresh(config, text_width)
        for line in [] if found is None or held.step else load_init_weights(task, found):
            say(context, line)
        batches = train_batches(
            table, config.clip, config.data, needs=task.needs, text=task.needs_text,
            batch=config.batch, seed=config.seed, rank=context.rank, world=context.world_size,
            first_step=held.step * config.accumulate, last_step=plan.steps * config.accumulate,
            progress=reading(context, table, config.clip, config.data),
        )  # fmt: skip
        if context.rank == 0 and not held.begun:
            write_run_config(folder, plan)
        if context.rank == 0:
            record.write(folder / FILE)
        leaks = partial(
            Leaks.of, table, guided=config.guided_by_text, compared=config.needs_text,
            source=config.data.captions.source,
        )  # fmt: skip
        while_training = leaks(record)
        say_short(context, table, config)
        say_negatives(context, config)
        say_refused(context, table, config)
        if held.step:
            say(context, f"{folder}: going on from step {held.step} of {plan.steps}")

        log = stack.enter_context(
            Log(
                folder / LOG if context.rank == 0 else None,
                keep=held.step,
                tensorboard=config.tensorboard,
                again=held.step == plan.steps,
            )
        )
        evaluated = partial(
            Context, encoder=task.encoder, task=task, corpus=table, clip=config.clip, data=config.data, seed=config.seed
        )
        reached = train(
            config, task, batches,
            lambda step: measure(config, evaluated(limit=config.evaluate_limit), while_training, log, step),
            folder, log, plan.steps, context,
        )  # fmt: skip
        if reached < plan.steps:
            say(context, f"stopped and saved at step {reached} of {plan.steps}; the same command goes on from there")
            return False
        task.eval()
        whole = evaluated(folder=folder, keep=folder / FOLDER)
        known = leaks(finish(folder, record, table, tell))
        for name, result in measure(config, whole, known, log, plan.steps).items():
            merge_result(folder, name, complete(config.evaluations[name], result, whole, known, plan.steps))
        log.write("end", plan.steps)
        if context.rank == 0:
            print(f"{folder}: {summary(folder)}; {following(folder, corpus, table, config)}")
        return True


def fresh(config: Pretrain, text_width: int | None) -> Pretraining:
    """The task at step 0, its weights from the seed."""
    torch.manual_seed(key(config.seed, "weights"))
    return config.build(text_width)


def measure(config: Pretrain, context: Context, leaks: Leaks, log: Log, step: int) -> dict[str, dict[str, Any]]:
    """Runs the recipe's evaluations and logs their metrics. What this corpus does not allow is said, and left out:
    training needs no labels."""
    results = {}
    for name, evaluation in config.evaluations.items():
        try:
            leaks.refuse(getattr(evaluation, "split", "test"), False, evaluation.compares_text)
            results[name] = evaluation.run(context)
        except TubeletError as error:
            if is_rank0():
                print(f"{name} is not measured: {error}", file=sys.stderr)
        else:
            log.write("evaluation", step, name=name, metrics=results[name]["metrics"])
    return results


def reading(context: DistributedContext, corpus: Corpus, clip: Clip, data: Data) -> Progress:
    """Says what the cache of decoded frames takes before it is made, and how far that is."""
    spoke = [time.monotonic()]

    def progress(done: int, total: int, what: str) -> None:
        if done == 0:
            videos, short_side = corpus.select("all"), data.kept_side(clip)
            say(
                context,
                f"data.cache keeps the decoded frames of {len(videos)} videos at {short_side} pixels: about "
                f"{size(expected_bytes(videos, short_side))} in {corpus.folder / FRAMES}, for this and later runs",
            )
        if done == 0 or done == total or time.monotonic() - spoke[0] > 10:
            spoke[0] = time.monotonic()
            say(context, f"decoding the videos once: {done} of {total}")

    return progress


def say_short(context: DistributedContext, corpus: Corpus, config: Pretrain) -> None:
    """How many videos cannot fill a clip, and what is done about it."""
    videos, sampling = config.data.select(corpus), config.data.sampling
    if short := shorter(videos, config.clip, sampling):
        done = "their last frame is repeated" if sampling.short == "repeat" else "their frames are spread over it"
        say(context, f"{len(short)} of {len(videos)} videos are shorter than a clip's span (first: {short[0]}); {done}")


def say_refused(context: DistributedContext, corpus: Corpus, config: Pretrain) -> None:
    """Which of the recipe's evaluations the tables do not allow, before the time of a training is spent."""
    for name, evaluation in config.evaluations.items():
        try:
            evaluation.check(corpus, config.data, None, config.seed)
        except TubeletError as error:
            say(context, f"{name} will not be measured: {error}")


def say_negatives(context: DistributedContext, config: Pretrain) -> None:
    """What accumulation does not enlarge."""
    together = config.batch * context.world_size
    ranks = f" on each of {context.world_size} ranks" if context.world_size > 1 else ""
    for name, objective in config.objectives.items():
        if config.accumulate > 1 and objective.needs_text and objective.factor:
            say(
                context,
                f"objectives.{name} compares each clip with the {together - 1} others of its forward pass (batch="
                f"{config.batch}{ranks}), not with the {config.accumulate * together - 1} of its step: "
                f"accumulate={config.accumulate} adds no negatives; a larger batch does",
            )


def say(context: DistributedContext, line: str) -> None:
    if context.rank == 0:
        print(line, file=sys.stderr)


def summary(folder: Path) -> str:
    """The last losses against their trivial levels."""
    steps = [record for record in read_log(folder / LOG) if record["kind"] == "step"]
    if not steps:
        return "its log of steps is lost"
    last = steps[-1]
    return f"{last['step']} steps, {against_trivial(last)}"


def following(folder: Path, corpus: Path | str, table: Corpus, config: Pretrain) -> str:
    """What to type next: a measure that such a table and such a run allow."""
    labelled = any(video.label for video in table.select("train"))
    measure = "linear" if labelled else "retrieval" if config.needs_text else "reconstruction"
    return f"next: `tubelet evaluate {folder} --on {corpus} {measure}` and `tubelet report {folder}`"
