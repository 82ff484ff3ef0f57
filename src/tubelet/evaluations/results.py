"""What is the same for every evaluation: the name of its entry, what was measured when, on what, with what."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tubelet.distributed import is_rank0
from tubelet.evaluations.base import Context, Evaluation
from tubelet.evaluations.contamination import Contamination
from tubelet.evaluations.duplicates import SharedClips
from tubelet.evaluations.folds import folds_of
from tubelet.evaluations.verdicts import judged
from tubelet.loading.data import Data
from tubelet.log import versions
from tubelet.results import Result, write_result
from tubelet.types import Clip


def entry_name(
    evaluation: str,
    corpus: Mapping[str, str],
    home: Mapping[str, Any],
    label: str | None,
    own: str | None = None,
    stream: str | None = None,
) -> str:
    """`linear` on the corpus of the run; `linear on NAME-FINGERPRINT` elsewhere; `, label COLUMN` for other labels;
    `linear as NAME` where a name of its own was asked for; `linear, stream sound` of one of the run's streams."""
    name = evaluation if own is None else f"{evaluation} as {own}"
    if corpus["fingerprint"] != home.get("fingerprint"):
        name += f" on {corpus['name']}-{corpus['fingerprint'][:8]}"
    name = name if stream is None else f"{name}, stream {stream}"
    return name if label is None else f"{name}, label {label}"


def complete_result(
    evaluation: Evaluation, result: Result, context: Context, contamination: Contamination, step: int
) -> Result:
    """The result with all that is the same for every evaluation."""
    known = contamination.of_split(getattr(evaluation, "split", "test"))
    found = {**result.contamination, **known.as_json(), "unknown": list(contamination.trained_on.unknown)}
    learned = evaluation.reads_features or "train" in result.counts
    warnings = [*(contamination.warnings() if learned else []), *known.warnings()]
    cv = getattr(evaluation, "cv", None)
    if learned and cv is not None:
        folds = folds_of(context.features("all").with_label(), cv)
        shared = SharedClips.of_folds([SharedClips.between(context.corpus, fold.train, fold.test) for fold in folds])
    elif learned and {"train", "test"} <= context.computed.keys():
        shared = SharedClips.between(context.corpus, context.features("train"), context.features("test"))
    else:
        shared = None
    if shared is not None:
        found["shared"] = shared.as_json()
        warnings += shared.warnings(len(context.features("test" if cv is None else "all")))
    return replace(
        result,
        evaluation=evaluation.name,
        settings=repr(evaluation),
        view=view(context.clip, context.data),
        corpus=context.identity,
        seed=context.seed,
        step=step,
        trained_on=contamination.splits,
        contamination=found,
        versions=versions(),
        warnings=[*result.warnings, *warnings],
    )


def view(clip: Clip, data: Data) -> dict[str, Any]:
    """Which frames and pixels of a video are read."""
    return {"clip": repr(clip), "sampling": repr(data.sampling), "where": data.where}


def merge_result(run: Path, name: str, result: Result) -> Result:
    """Writes one entry next to the others, with what its numbers do not show."""
    if not is_rank0():
        return result
    return write_result(run, name, result, judged)
