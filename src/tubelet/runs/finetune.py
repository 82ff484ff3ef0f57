"""From a pretrained run and labels to a classifier that is measured. Start reading at `finetune`.

The same loop as in pretraining, once for every learning rate of the grid, each in a folder below the run's. Kept are
the weights of the rate and the step that were best on the held-out part of train; test is measured once, after that.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tubelet.corpus.table import Corpus
from tubelet.distributed import broadcast_from_rank0, is_rank0
from tubelet.errors import RecipeError, RunError
from tubelet.evaluations.contamination import Contamination
from tubelet.evaluations.labels import labels_of
from tubelet.evaluations.trained_on import TrainedOn
from tubelet.progress import Progress, silent
from tubelet.recipes.finetune import Finetune, resolve_finetune
from tubelet.runs.candidate import Candidate, refitted, tune
from tubelet.runs.division import Division
from tubelet.runs.folder import CLASSIFIER, RunConfig, corpus_of, read_run_config, weights_file, where
from tubelet.runs.folds import cross_validate, fold_runs
from tubelet.runs.lock import RunLock
from tubelet.runs.measure_test import conclude, tidy
from tubelet.runs.record import begin_tuning, finish, of_run
from tubelet.runs.run import Run
from tubelet.runs.selection import best_candidate
from tubelet.runs.start import Tell, quiet, session, start


def finetune(
    run: Path | str | Run,
    *words: str,
    on: Path | str | Corpus | None = None,
    out: Path | str,
    labels: Mapping[str, str] | str | Path | None = None,
    label: str | None = None,
    strict: bool = False,
    allow_seen: bool = False,
    allow_changed: bool = False,
    command: Iterable[str] = (),
    progress: Progress = silent,
    tell: Tell = quiet,
    **fields: Any,
) -> Run:
    """Fine-tunes the encoder of a run to labels, into the run folder `out`, or resumes the same run there.

    `words` are the name of a recipe (`videomae` without one) and fields of it, as on the command line:
    `finetune(run, "tiny", "labels_share=0.1", out=folder, steps=50)`. `on` is the corpus, that of the run where it is
    not named; `labels`, by video id or a table with a column `label`, stand in place of the corpus's own (`strict`
    refuses a table of which a row names no video). Asked to stop (Ctrl-C, SIGTERM) it saves, and
    the run that it returns is not `finished`. Refused where the run's aligner was trained on clips of the test split,
    unless `allow_seen`; and where videos hold something else than when the run began, unless `allow_changed`.
    `progress` is called with the steps done, those in all, and the losses; `tell` with each line that the command line
    prints.
    """
    source = Path(run)
    origin = read_run_config(source)
    name, config = resolve_finetune(source, origin.config, *words, **fields)
    folder, rates = Path(out), config.grid
    if not config.held_out and len(rates) > 1:
        raise RecipeError(
            f"held_out=0 leaves no clips to select one of the learning rates {', '.join(map(str, rates))} on; give "
            f"one, as optim.base_lr={rates[0]}"
        )
    with session(config.precision, tell, progress) as ranks:
        corpus, tell = corpus_of(source, origin, on), ranks.tell
        given = labels_of(corpus, labels, label, strict, tell)
        division = Division.of(corpus, config.data, given, config.labels_share, config.held_out, config.seed, rates)
        folds = [] if config.cv is None else fold_runs(config, corpus, given, folder)
        contamination = Contamination.of(
            corpus, of_run(config.init), guided=origin.config.guided_by_text, compared=False,
            source=origin.config.data.captions.source, labels=given,
        )  # fmt: skip
        if division.test and not config.scratch:
            contamination.raise_if_trained_on("test" if config.cv is None else "all", allow_seen)
        context = ranks.context
        steps = config.total(len(division.fit), context.world_size)
        decided = {"weights": fingerprint(Path(config.init)), **digest_of(given)}
        run_config = RunConfig(
            name, config, where(corpus), steps, context.world_size, context.precision, None, decided, tuple(command)
        )
        parts = {"fit": division.fit, "select": division.select}

        def is_finished(lock: RunLock[Finetune]) -> bool:
            return (folder / CLASSIFIER).exists()

        def record(lock: RunLock[Finetune]) -> TrainedOn:
            init = None if config.scratch else config.init
            return begin_tuning(folder, corpus, parts, init, lock.begun, allow_changed, tell)

        with start(folder, run_config, ranks, is_finished, record) as begun:
            if begun.finished:
                if is_rank0():
                    tidy(config, folder)
                tell(f"{folder} is finished")
                return Run(folder)
            config = begun.loop
            begun.tell_shared(tell)
            trained_on = begun.write()
            first = Candidate(
                config, corpus, division, rates[0], begun.steps, folder, begun.context, tell=tell,
                progress=ranks.progress,
            )  # fmt: skip
            if folds and not cross_validate(first, folds, contamination):
                tell("stopped and saved; the same command resumes from there")
                return Run(folder)
            for rate in rates:
                if not tune(replace(first, rate=rate)):
                    tell("stopped and saved; the same command resumes from there")
                    return Run(folder)
            chosen = broadcast_from_rank0(lambda: best_candidate(rates, folder, len(division.select)))
            kept = replace(first, rate=chosen.rate)
            if config.refit and division.select:
                kept = refitted(kept, chosen.step)
                if not tune(kept):
                    tell("stopped and saved; the same command resumes from there")
                    return Run(folder)
            finish(folder, trained_on, corpus, tell)
            conclude(kept, division, contamination, chosen, folder)
        return Run(folder)


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
