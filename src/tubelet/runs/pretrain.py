"""From a recipe and a corpus to a pretrained run. Start reading at `pretrain`."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from tubelet.checksums import Record
from tubelet.config import to_plain
from tubelet.corpus.table import Corpus
from tubelet.errors import RecipeError, TubeletError
from tubelet.evaluations import Context, Evaluation
from tubelet.evaluations.cache import FOLDER
from tubelet.evaluations.contamination import Contamination
from tubelet.evaluations.looks import looks_or_reason
from tubelet.evaluations.results import complete_result, merge_result
from tubelet.evaluations.trained_on import TrainedOn
from tubelet.loading.loader import clips_of, train_batches
from tubelet.loading.opening import fewer, shorter
from tubelet.log import Log, read_log
from tubelet.progress import Progress, silent
from tubelet.recipes import resolve_recipe
from tubelet.recipes.pretrain import Pretrain
from tubelet.results import Result
from tubelet.runs.alarms import Alarms
from tubelet.runs.best import KeepBest, said_of_best
from tubelet.runs.folder import LOG, RunConfig
from tubelet.runs.init import load_init_weights, load_teacher, resolve_init, resolve_teacher
from tubelet.runs.lock import RunLock
from tubelet.runs.record import begin, finish, say_unread
from tubelet.runs.run import Run
from tubelet.runs.start import Tell, decoding, quiet, session, start
from tubelet.seeds import key
from tubelet.stores.embeddings import Embeddings
from tubelet.stores.tracks import Tracks
from tubelet.tasks import Pretraining
from tubelet.train import train


def pretrain(
    recipe: str | Pretrain | Callable[[], Pretrain],
    *words: str,
    on: Path | str | Corpus,
    out: Path | str,
    allow_changed: bool = False,
    command: Iterable[str] = (),
    progress: Progress = silent,
    tell: Tell = quiet,
    **fields: Any,
) -> Run:
    """Trains an encoder on the corpus `on` into the run folder `out`, or resumes the same run there.

    The recipe is one of tubelet's by its name, `path/to/file.py:function`, a function or a `Pretrain`. Its fields are
    set as on the command line: `pretrain("tiny", "masker.ratio=0.9", on=corpus, out=folder, steps=20)`. Asked to stop
    (Ctrl-C, SIGTERM) it saves, and the run that it returns is not `finished`. Refused where videos hold something else
    than when the run began, unless `allow_changed`. `progress` is called with the steps done, those in all, and the
    losses; `tell` with each line that the command line prints.
    """
    name, config = resolve_recipe(recipe, *words, **fields)
    folder, run = Path(out), Run(out)
    if not any(objective.factor for objective in config.objectives.values()):
        raise RecipeError("nothing to train: give one of the objectives a weight above 0")
    config, found = resolve_init(config, folder)
    config, teacher = resolve_teacher(config, folder)
    with session(config.precision, tell, progress) as ranks:
        corpus, tell = Corpus.open(Path(on)), ranks.tell
        config.check(corpus)
        if config.keep_best is not None:  # refused here, not after the training
            config.evaluations[config.keep_best].check(corpus, config.data, None, config.seed)
        text_width = Embeddings.open(corpus).width if config.needs_text else None

        def record(lock: RunLock[Pretrain]) -> TrainedOn:
            say_unread(config.data.select(corpus), tell)
            tell_without(tell, corpus, config)
            return begin(folder, config, corpus, lock.step > 0, allow_changed, tell)

        run_config = RunConfig.make(name, config, corpus, ranks.context, text_width, list(command))
        with start(folder, run_config, ranks, lambda lock: lock.finished, record) as begun:
            steps = begun.steps
            if begun.finished:
                tell(f"{folder} is finished: all {steps} steps are done and measured")
                return run
            config = begun.loop
            begun.tell_shared(tell)
            task = fresh_task(config, text_width)
            if not begun.step:
                for line in [] if found is None else load_init_weights(task, found):
                    tell(line)
                for line in [] if teacher is None else load_teacher(task, teacher):
                    tell(line)
            batches = train_batches(
                corpus, config.clip, config.data, videos=config.videos(corpus), needs=task.needs, text=task.needs_text,
                streams=task.reads, batch=config.batch, seed=config.seed,
                rank=begun.context.rank, world=begun.context.world_size,
                first_step=begun.step * config.accumulate, last_step=steps * config.accumulate,
                progress=decoding(tell, corpus, config.clip, config.data),
            )  # fmt: skip
            trained_on = begun.write()
            contamination = partial(
                Contamination.of, corpus, guided=config.guided_by_text, compared=config.needs_text,
                source=config.data.captions.source,
            )  # fmt: skip
            while_training = contamination(trained_on)
            tell_short(tell, corpus, config)
            tell_negatives(tell, config, ranks.context.world_size)
            tell_no_captions(tell, config, corpus)
            allowed = allowed_evaluations(tell, corpus, config)
            if begun.step:
                tell(f"{folder}: resuming from step {begun.step} of {steps}")
            context = partial(
                Context, encoder=task.encoder, task=task, corpus=corpus, clip=config.clip, data=config.data,
                seed=config.seed,
            )  # fmt: skip
            path = folder / LOG if begun.context.rank == 0 else None
            before = steps_logged(path, begun.step) if path is not None and begun.step else []
            again = begun.step == steps
            logged = (config.tensorboard, again, config.loggers, to_plain(config), config.prometheus)
            with Log(path, begun.step, *logged) as log:
                keeper = None if config.keep_best is None else KeepBest(folder, config.keep_best)

                def evaluate(step: int) -> None:
                    glance = context(limit=config.evaluate_limit)
                    found = run_evaluations(allowed, glance, while_training, log, step, tell)
                    if keeper is not None:
                        keeper.see(step, found, task, log)

                reached = train(
                    config, task, batches, evaluate, folder, log, steps, begun.context, progress=ranks.progress,
                    watch=Alarms(tell, log, config, ranks.context.world_size, before),
                    clips_of=clips_of(
                        config.videos(corpus), config.data, batch=config.batch, seed=config.seed,
                        world=begun.context.world_size,
                    ),
                )  # fmt: skip
                if reached < steps:
                    tell(f"stopped and saved at step {reached} of {steps}; the same command resumes from there")
                    return run
                if path is not None:
                    tell_failed(tell, steps_logged(path, steps))
                task.eval()
                kept, notes = steps, list[str]()
                if keeper is not None:
                    evaluate(steps)
                    kept, notes = keeper.load(task, steps), [said_of_best(folder, keeper.name)]
                    tell(notes[0])
                whole = context(folder=folder, keep=folder / FOLDER)
                known = contamination(finish(folder, trained_on, corpus, tell))
                for evaluation, result in run_evaluations(allowed, whole, known, log, kept, tell).items():
                    entry = complete_result(config.evaluations[evaluation], result, whole, known, kept)
                    merge_result(folder, evaluation, replace(entry, notes=[*entry.notes, *notes]))
                for line in looks_or_reason(whole):
                    tell(line)
                log.write("end", steps)
        return run


def fresh_task(config: Pretrain, text_width: int | None) -> Pretraining:
    """The task at step 0, its weights from the seed."""
    torch.manual_seed(key(config.seed, "weights"))
    return config.build(text_width)


def run_evaluations(
    evaluations: Mapping[str, Evaluation],
    context: Context,
    known: Contamination,
    log: Log,
    step: int,
    tell: Tell,
) -> dict[str, Result]:
    """Runs evaluations and logs their metrics. What cannot be measured is said, and left out."""
    results = {}
    for name, evaluation in sorted(evaluations.items()):  # in one order on all ranks
        try:
            known.raise_if_trained_on(getattr(evaluation, "split", "test"), False, evaluation.compares_text)
            results[name] = evaluation.run(context)
        except TubeletError as error:
            tell(f"{name} is not measured: {error}")
        else:
            log.write("evaluation", step, name=name, metrics=results[name].metrics)
    return results


def tell_short(tell: Tell, corpus: Corpus, config: Pretrain) -> None:
    """How many videos cannot fill a clip, and what is done about it."""
    videos, sampling, clip = config.videos(corpus), config.data.sampling, config.clip
    track = Tracks.open(corpus, clip.track) if clip.track else None
    if short := shorter(videos, clip, sampling) if track is None else fewer(videos, clip, sampling, track):
        done = "their last frame is repeated" if sampling.short == "repeat" else "their frames are spread over it"
        tell(f"{len(short)} of {len(videos)} videos are shorter than a clip's span (first: {short[0]}); {done}")


def tell_without(tell: Tell, corpus: Corpus, config: Pretrain) -> None:
    """Which videos have no such signal as is asked for, and are not trained on."""
    used = {video.id for video in config.videos(corpus)}
    every = config.data.select(corpus)
    if left_out := [video.id for video in every if video.id not in used]:
        signals = " or ".join(config.tracks)
        tell(f"{len(left_out)} of {len(every)} videos have no {signals} and are left out (first: {left_out[0]})")


def allowed_evaluations(tell: Tell, corpus: Corpus, config: Pretrain) -> dict[str, Evaluation]:
    """The recipe's evaluations, without those that the tables do not allow, which are named before the time of a
    training is spent: training needs no labels."""
    allowed = {}
    for name, evaluation in config.evaluations.items():
        try:
            evaluation.check(corpus, config.data, None, config.seed)
        except TubeletError as error:
            tell(f"{name} will not be measured: {error}")
        else:
            allowed[name] = evaluation
    return allowed


def steps_logged(path: Path, last: int) -> list[Record]:
    """The records of steps up to this one."""
    return [record for record in read_log(path) if record["kind"] == "step" and record["step"] <= last]


def tell_failed(tell: Tell, records: Sequence[Record]) -> None:
    """How many clips the whole training had to do without."""
    if failed := [name for record in records for name in record.get("failed", ())]:
        clips = "1 clip" if len(failed) == 1 else f"{len(failed)} clips"
        tell(f"{clips} could not be read while training, first {failed[0]}; log.jsonl names them all")


def tell_negatives(tell: Tell, config: Pretrain, world_size: int) -> None:
    """What accumulation does not enlarge."""
    together = config.batch * world_size
    ranks = f" on each of {world_size} ranks" if world_size > 1 else ""
    for name, objective in config.objectives.items():
        if config.accumulate > 1 and objective.compares_clips and objective.factor:
            tell(
                f"objectives.{name} compares each clip with the {together - 1} others of its forward pass (batch="
                f"{config.batch}{ranks}), not with the {config.accumulate * together - 1} of its step: "
                f"accumulate={config.accumulate} adds no negatives; a larger batch does"
            )


def tell_no_captions(tell: Tell, config: Pretrain, corpus: Corpus) -> None:
    """That captions were chosen which are not there; one that reads them was refused before."""
    source = config.data.captions.source
    if source is not None and source not in corpus.sources:
        there = f"captions of {', '.join(corpus.sources)}" if corpus.sources else "no captions"
        tell(f"data.captions.source={source}: {corpus.name} has {there}; nothing in this run reads them")
