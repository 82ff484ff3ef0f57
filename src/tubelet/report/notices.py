"""What a reader must know before the numbers: what failed, what was short, what leaks, what is not there yet."""

import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from tubelet.report.folder import Run, number

Kind = Literal["leak", "failed", "short", "remark", "missing"]
NAMED = 12  # clips that are named before the rest is counted
MARKS = ("caption names the label",)


@dataclass(frozen=True)
class Notice:
    """One thing to know about a run; `command` makes what is missing."""

    kind: Kind
    run: str
    text: str
    details: tuple[str, ...] = ()
    command: str = ""


def notices(run: Run) -> list[Notice]:
    """Leaks first, then what failed, then what is missing."""
    return [*leaks(run), *splits(run), *failures(run), *shorts(run), *remarks(run), *missing(run)]


def leaks(run: Run) -> Iterator[Notice]:
    for name, result in run.results.items():
        for mark in marks(result):
            yield Notice("leak", run.name, f"{name}: {mark}. Read it only beside a run whose captions do not name it.")


def marks(result: dict[str, Any]) -> list[str]:
    """Marks that an evaluation put on its own result."""
    found = [str(mark) for mark in result.get("marks") or []]
    protocol = result.get("protocol") or {}
    found += [mark for mark in MARKS if mark not in found and (result.get(key(mark)) or protocol.get(key(mark)))]
    return found


def key(mark: str) -> str:
    return mark.replace(" ", "_")


def splits(run: Run) -> Iterator[Notice]:
    """Which splits the encoder and the aligner have seen, where a result says so."""
    said: dict[str, None] = {}
    for result in run.results.values():
        seen = result.get("seen") or (result.get("protocol") or {}).get("seen") or {}
        for part, names in seen.items() if isinstance(seen, dict) else ():
            words = ", ".join(map(str, names)) if isinstance(names, list) else str(names)
            said[f"The {part} has seen split {words or 'none'}."] = None
            if "test" in words or "all" in words:
                yield Notice("leak", run.name, f"The {part} has seen the test split ({words}).")
    if said:
        yield Notice("remark", run.name, " ".join(said))


def failures(run: Run) -> Iterator[Notice]:
    training = unique(name for record in run.steps for name in record.get("failed") or ())
    if training:
        yield named("failed", run, training, "could not be read while training; left out, never replaced")
    for evaluation, result in run.results.items():
        failed = result.get("failed") or ()
        if isinstance(failed, dict):
            failed = [f"{name} [{split}]" for split, names in failed.items() for name in names]
        if failed:
            yield named("failed", run, unique(map(str, failed)), f"could not be read by {evaluation}; left out")


def named(kind: Kind, run: Run, names: list[str], what: str) -> Notice:
    rest = len(names) - NAMED
    details = tuple(names[:NAMED]) + ((f"and {rest} more",) if rest > 0 else ())
    return Notice(kind, run.name, f"{len(names)} {plural('clip', len(names))} {what}:", details)


def shorts(run: Run) -> Iterator[Notice]:
    trained = sum(int(record["short"]) for record in run.steps if number(record.get("short")))
    if trained:
        times = plural("time", trained)
        yield Notice(
            "short", run.name, f"A source shorter than the clip's span was drawn {trained:,} {times} in training."
        )
    said: set[tuple[int, int]] = set()
    for evaluation, result in run.results.items():
        short, used = counted(result.get("counts") or {}, "short"), counted(result.get("counts") or {}, "used")
        if short and (short, used) not in said:
            said.add((short, used))
            share = f" of {used:,}" if used else ""
            yield Notice(
                "short", run.name, f"{short:,}{share} clips of {evaluation} were shorter than the clip's span."
            )


def counted(counts: dict[str, Any], name: str) -> int:
    """A count, over all splits where it is kept by split."""
    own = int(counts[name]) if number(counts.get(name)) else 0
    return own + sum(counted(part, name) for part in counts.values() if isinstance(part, dict))


def remarks(run: Run) -> Iterator[Notice]:
    for text in run.remarks:
        yield Notice("remark", run.name, text)


def missing(run: Run) -> Iterator[Notice]:
    """What this page would show and cannot yet, with the command that makes it."""
    folder, corpus = str(run.folder), str(run.corpus.get("path") or "CORPUS")

    def evaluate(name: str) -> str:
        return shlex.join(["tubelet", "evaluate", folder, "--on", corpus, name])

    if not run.steps:
        again = shlex.join(
            ["tubelet", "pretrain", str(run.recipe.get("recipe", "RECIPE")), "--on", corpus, "--out", folder]
        )
        yield Notice("missing", run.name, "No training log yet:", command=again)
    for evaluation, what in (
        ("linear", "No linear probe yet:"),
        ("knn", "No kNN yet:"),
        ("retrieval", "No retrieval yet:"),
        ("reconstruction", "No held-out reconstruction yet:"),
    ):
        if evaluation not in run.results:
            yield Notice("missing", run.name, what, command=evaluate(evaluation))
    if run.samples is None and "reconstruction" in run.results:
        yield Notice("missing", run.name, "No sample clips yet:", command=evaluate("reconstruction"))
    if run.retrieval is None and "retrieval" in run.results:
        yield Notice("missing", run.name, "No retrieval examples yet:", command=evaluate("retrieval"))


def unique(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(str(name) for name in names))


def plural(word: str, count: int) -> str:
    return word if count == 1 else word + "s"
