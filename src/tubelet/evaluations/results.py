"""results.json of a run folder: one entry an evaluation, merged, nothing lost."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from tubelet.checksums import read_json, write_json
from tubelet.distributed import is_rank0
from tubelet.errors import RunError
from tubelet.evaluations.base import Context, Evaluation
from tubelet.evaluations.contamination import Leaks
from tubelet.evaluations.duplicates import Shared
from tubelet.evaluations.verdicts import verdicts
from tubelet.files import lock
from tubelet.loading.data import Data
from tubelet.log import plain, versions
from tubelet.types import Clip

RESULTS = "results.json"


def read_results(run: Path) -> dict[str, Any]:
    path = run / RESULTS
    if not path.exists():
        return {}
    remedy = "restore it, or move it away and evaluate again"
    return dict(read_json(path, dict[str, Result], RunError, remedy))


class Result(TypedDict):
    """What every entry says."""

    metrics: NotRequired[dict[str, float | None]]
    counts: NotRequired[dict[str, Any]]
    marks: NotRequired[list[str]]


def entry_name(
    evaluation: str, corpus: Mapping[str, str], home: Mapping[str, Any], label: str | None, own: str | None = None
) -> str:
    """`linear` on the corpus of the run; `linear on NAME-FINGERPRINT` elsewhere; `, label COLUMN` for other labels;
    `linear as NAME` where a name of its own was asked for."""
    name = evaluation if own is None else f"{evaluation} as {own}"
    if corpus["fingerprint"] != home.get("fingerprint"):
        name += f" on {corpus['name']}-{corpus['fingerprint'][:8]}"
    return name if label is None else f"{name}, label {label}"


def complete(
    evaluation: Evaluation, result: Mapping[str, Any], context: Context, leaks: Leaks, step: int
) -> dict[str, Any]:
    """The result with all that is the same for every evaluation: what was measured when, on what, with what."""
    contamination = leaks.of_split(getattr(evaluation, "split", "test"))
    known = {
        "evaluation": evaluation.name,
        "settings": repr(evaluation),
        "view": view(context.clip, context.data),
        "corpus": context.identity,
        "seed": context.seed,
        "step": step,
        "seen": leaks.seen,
        "trained_on": {**contamination.as_json(), "unknown": list(leaks.trained_on.unknown)},
        "versions": versions(),
    }
    learned = evaluation.reads_features or "train" in result.get("counts", {})
    marks = [*result.get("marks", []), *(leaks.marks() if learned else []), *contamination.marks()]
    if learned and {"train", "test"} <= context.computed.keys():
        train, test = context.features("train"), context.features("test")
        shared = Shared.between(context.corpus, train, test)
        known["shared"] = shared.as_json()
        marks += shared.marks(len(test))
    return {**known, **result, "corpus": context.identity, "marks": marks}


def view(clip: Clip, data: Data) -> dict[str, Any]:
    """Of a video, what is looked at."""
    return {"clip": repr(clip), "sampling": repr(data.sampling), "where": data.where}


SAME = ("corpus", "counts", "settings", "view", "classes")  # of two measurements that may stand beside each other


def merge_result(run: Path, name: str, result: Mapping[str, Any]) -> dict[str, Any]:
    """Writes one entry beside the others. Baselines measured before stay, where they were measured in the same way."""
    if not is_rank0():
        return plain(dict(result))
    with lock(run / ".results.lock", RunError(f"another command is writing the results of {run}: wait until it ends")):
        results = read_results(run)
        before = results.get(name, {})
        new = plain(dict(result))
        same = all(before.get(part) == new.get(part) for part in SAME)
        if same and before.get("baselines"):
            new["baselines"] = {**before["baselines"], **new.get("baselines", {})}
        if told := verdicts(new):
            new["warnings"] = [*(new.get("warnings") or []), *told]
        results[name] = new
        write_json(run / RESULTS, results)
    return new
