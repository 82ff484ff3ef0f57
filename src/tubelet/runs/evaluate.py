"""Measure an encoder: any run, on any corpus, by any of the evaluations. Start reading at `evaluate`."""

import difflib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from tubelet.checkpoint import checkpoint_step
from tubelet.config import override
from tubelet.corpus.table import Corpus
from tubelet.distributed import is_rank0
from tubelet.errors import CorpusError, OtherRankError, PartlyMeasured, RecipeError, TubeletError
from tubelet.evaluations import EVALUATIONS, Context, Evaluation, Linear, Reconstruction
from tubelet.evaluations.baselines import BASELINES, baseline_result, ceiling
from tubelet.evaluations.cache import FOLDER
from tubelet.evaluations.contamination import Contamination
from tubelet.evaluations.familiarity import Familiarity, write_familiarity
from tubelet.evaluations.heads import FOLDER as CLASSIFIERS
from tubelet.evaluations.heads import best_head, write_head
from tubelet.evaluations.labels import labels_of
from tubelet.evaluations.looks import looks_or_reason
from tubelet.evaluations.results import complete_result, entry_name, merge_result
from tubelet.evaluations.trained_on import PROBES, TrainedOn
from tubelet.evaluations.tuned import FineTuned, TunedContext
from tubelet.files import file_name, within
from tubelet.loading.data import Data
from tubelet.progress import Progress, silent
from tubelet.recipes.finetune import Finetune
from tubelet.recipes.pretrain import Pretrain
from tubelet.reports.pictures import has_looks
from tubelet.results import Result
from tubelet.runs.best import said_of_best
from tubelet.runs.folder import (
    corpus_of,
    load_task,
    read_kind,
    read_run_config,
    read_run_config_of,
    run_folder,
    weights_file,
)
from tubelet.runs.record import of_probe, of_run
from tubelet.runs.tuned import measured_anew, tuned_of


def evaluate(
    run: str | os.PathLike[str],
    *protocols: str,
    on: str | os.PathLike[str] | None = None,
    labels: Path | str | None = None,
    label: str | None = None,
    baselines: bool | Iterable[str] = False,
    stream: str | None = None,
    progress: Progress = silent,
    **settings: Any,
) -> Result | dict[str, Result]:
    """Measures the encoder of a run and writes `RUN/results.json`: one result of one protocol, else by entry.

    `protocols` are names of evaluations (where none is given `linear`, of a fine-tuned run `finetune`: its classifier
    on test), and settings such as "linear.grid=0.01,0.1" or "data.sampling.stride=2"; `settings` are those of the one
    protocol that is named. `on` is another corpus than the run's own, `labels` a CSV or Parquet file with a column
    `label`. `stream` measures one of the run's streams, as sound, in place of its clips. `baselines`: True measures the
    encoder at random initialisation, a mean image, the raw pixels and a difference image too; or some of them by name.
    """
    run = run_folder(run)
    named = [word for word in protocols if "=" not in word] or [
        FineTuned.name if read_kind(run) == "finetune" else "linear"
    ]
    if settings and len(named) > 1:
        raise RecipeError(f"settings of {len(named)} evaluations are given by name, as in '{named[0]}.samples=100'")
    words = [*protocols, *(f"{named[0]}.{name}={written(value)}" for name, value in settings.items())]
    found = measure(
        run, words, on=on, labels=labels, label=label, baselines=baselines, stream=stream, progress=progress
    )
    if found.error is not None:
        raise found.error
    return next(iter(found.results.values())) if len(found.results) == 1 else found.results


def written(value: Any) -> str:
    """A value as the command line takes it."""
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


@dataclass(frozen=True)
class Evaluated:
    """What was measured and written, by entry of results.json; what could not be, and why."""

    results: dict[str, Result]
    refused: Mapping[str, TubeletError] = field(default_factory=dict)
    lines: Sequence[str] = ()  # of the table of labels, and what the encoder was trained on

    @property
    def error(self) -> TubeletError | None:
        """Which evaluations could not be measured, and why; the error of the only one that was asked for as it is."""
        if not self.refused:
            return None
        if not is_rank0():
            return None if self.results else OtherRankError("nothing is measured")
        if not self.results and len(self.refused) == 1:
            [error] = self.refused.values()
            return TubeletError(str(error)) if isinstance(error, OtherRankError) else error  # reported here or nowhere
        why = "; ".join(f"{name} is not measured: {error}" for name, error in self.refused.items())
        if not self.results:
            return TubeletError(why)
        return PartlyMeasured(f"{why}; measured and written: {', '.join(self.results)}")


def measure(
    run: str | os.PathLike[str],
    words: Sequence[str],
    *,
    on: str | os.PathLike[str] | None = None,
    labels: Path | str | None = None,
    label: str | None = None,
    baselines: bool | Iterable[str] = False,
    own: str | None = None,
    strict: bool = False,
    allow_seen: bool = False,
    stream: str | None = None,
    batch: int = 16,
    progress: Progress = silent,
) -> Evaluated:
    """The same, with what the command line adds: `own` names the entries, `strict` refuses unused rows of labels."""
    folder = run_folder(run)
    if own and not re.fullmatch(r"[\w.+-]+", own):
        raise RecipeError(f"--as {own} must be one word of letters, digits and . + - _, as in --as sgd")
    plan = read_run_config(folder)
    tuned = read_run_config_of(folder, Finetune).config if read_kind(folder) == "finetune" else None
    evaluations, data = choose_evaluations(words, plan.config, tuned)
    wanted = baselines_named(baselines)
    corpus = corpus_of(folder, plan, on)
    lines: list[str] = []
    given = labels_of(corpus, labels, label, strict, lines.append)
    column = (label or "label") if labels or label else None
    config, task = load_task(folder)
    step = checkpoint_step(weights_file(folder))
    record = of_run(folder)
    contamination = Contamination.of(
        corpus, record,
        guided=config.guided_by_text, compared=config.needs_text, source=config.data.captions.source, labels=given,
    )  # fmt: skip
    task.to(torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else "cpu")
    context = Context(
        encoder=task.encoder, corpus=corpus, clip=config.clip, data=data, task=task, texts=plan.texts, folder=folder,
        keep=folder / FOLDER, seed=config.seed, batch=batch, labels=given, progress=progress,
    )  # fmt: skip
    if stream is not None:
        context = context.of_stream(stream)
        for name, evaluation in evaluations.items():
            if not (evaluation.reads_features or evaluation.reads_tokens):
                raise RecipeError(f"{name} is not measured of a stream; measure its features, as by linear or knn")
    others = {name: BASELINES[name](context) for name in wanted}
    if FineTuned.name in evaluations:
        context = TunedContext(**vars(context), tuned=tuned_of(folder, corpus, given))
    options = {"labels": labels, "label": label, "as": own, "stream": stream}
    results: dict[str, Result] = {}
    refused: dict[str, TubeletError] = {}
    for known, evaluation in evaluations.items():
        try:
            split = getattr(evaluation, "split", "test")
            contamination.raise_if_trained_on(split, allow_seen, evaluation.compares_text)
            evaluation.check(corpus, data, given, config.seed)
            found = evaluation.run(context)
            if isinstance(evaluation, FineTuned):
                found = measured_anew(folder, found)
        except TubeletError as error:
            refused[known] = error
            continue
        result = complete_result(evaluation, found, context, contamination, step)
        settings = [word for word in words if word.startswith((f"{known}.", "data."))]
        for option, value in options.items():
            settings += [f"--{option}", str(value)] if value else []
        settings += ["--allow-seen"] if allow_seen else []
        if config.keep_best is not None and known != FineTuned.name:
            result = replace(result, notes=[*result.notes, said_of_best(folder, config.keep_best)])
            if getattr(evaluation, "cv", None) is not None:
                text = "the step of this run was selected by labels of clips of train, which are among those tested"
                result = replace(result, warnings=[*result.warnings, text])
        result = replace(result, asked={"evaluation": known, "on": str(corpus.folder), "settings": settings})
        if evaluation.reads_features or evaluation.reads_tokens:
            result = add_baselines(evaluation, result, others, corpus, column)
        name = entry_name(known, context.identity, plan.corpus, column, own, stream)
        results[name] = merge_result(folder, name, result)
        if type(evaluation) is Linear and evaluation.cv is None and stream is None:  # no fold is fitted on all of train
            keep_classifier(evaluation, context, result, folder, name, record)
    if corpus.fingerprint() == plan.corpus["fingerprint"] and (
        not has_looks(folder) or any(one.evaluation == Reconstruction.name for one in results.values())
    ):
        lines += looks_or_reason(context)
    return Evaluated(results, refused, [*lines, *contamination.lines()])


def choose_evaluations(
    words: Sequence[str], config: Pretrain, tuned: Finetune | None = None
) -> tuple[dict[str, Evaluation], Data]:
    """The evaluations named, with their settings, and how clips are read, with those of `data.`.

    Known are those of tubelet and those of the run's own recipe, which begin with the settings they have there; and of
    a fine-tuned run its classifier's, which is measured where none is named.
    """
    known = {cls.name: cls() for cls in EVALUATIONS} | dict(config.evaluations)
    if tuned is not None:
        known[FineTuned.name] = FineTuned(views=tuned.views, samples=tuned.samples, measure=tuned.measure)
    unnamed = "linear" if tuned is None else FineTuned.name
    settings: dict[str, list[str]] = {"data": []}
    named: dict[str, None] = {}
    for word in words:
        part, setting = word.split(".", 1) if "=" in word and "." in word.split("=")[0] else (word, None)
        if part not in known and (setting is None or part != "data"):
            if part == "finetune":
                raise RecipeError("fine-tuning is a run of its own: `tubelet finetune RUN --on CORPUS --out FOLDER`")
            near = difflib.get_close_matches(part.split("=")[0], known, n=1)
            if not near and "=" in part and named:  # a setting without its evaluation
                near = [f"{list(named)[-1]}.{part}"]
            hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
            raise RecipeError(f"there is no evaluation {part!r}; {hint}")
        if setting is not None:
            settings.setdefault(part, []).append(setting)
        if part != "data":
            named[part] = None
    return (
        {name: override(known[name], settings.get(name, [])) for name in named or [unnamed]},
        override(config.data, settings["data"]),
    )


def baselines_named(asked: bool | Iterable[str]) -> list[str]:
    """Those that are wanted, in the order of their list."""
    names = set(BASELINES if asked is True else asked or ())
    if unknown := names - set(BASELINES):
        raise RecipeError(f"there is no baseline {sorted(unknown)[0]!r}; one of: {', '.join(BASELINES)}")
    return [name for name in BASELINES if name in names]


def add_baselines(
    evaluation: Evaluation, result: Result, others: Mapping[str, Context], corpus: Corpus, label: str | None
) -> Result:
    """With the same measure of what needs no training; and the ceiling of the synthetic dataset, where it is known."""
    found: dict[str, Result] = {}
    notes = list(result.notes)
    for name, context in others.items():
        try:
            found[name] = baseline_result(evaluation, context)
        except CorpusError as error:  # text and video without a contrast head: nothing to compare the run with
            notes.append(f"no baseline {name.replace('_', ' ')}: {error}")
    if label is None and (known := ceiling(corpus, result.metrics)) is not None:
        found["ceiling"] = known
    return replace(result, baselines=found, notes=notes)


def keep_classifier(
    probe: Linear, context: Context, result: Result, folder: Path, name: str, record: TrainedOn
) -> None:
    """The classifier of a linear probe, for new videos, with what it and the run were trained on."""
    head, train = best_head(probe, context, result, result.step or 0), context.features("train").with_label()
    familiar = Familiarity.of(train.pooled(head.pool), train.ids, train.groups)
    write_familiarity(folder, file_name(name), familiar)
    write_head(head, within(folder, CLASSIFIERS, f"{file_name(name)}.safetensors"))
    record += of_probe(context)
    if is_rank0():
        record.write(within(folder, PROBES, f"{file_name(name)}.parquet"))
