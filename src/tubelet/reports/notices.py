"""What a reader must know before the numbers: what gave answers away, what failed, what is missing."""

import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from tubelet.reports.pictures import has_samples, has_thumbnails
from tubelet.run_record import RunRecord, finite

Kind = Literal["verdict", "warning", "failed", "short", "trained_on", "note", "missing"]
EVALUATIONS = {
    "linear": "linear probe", "knn": "kNN", "retrieval": "retrieval", "reconstruction": "held-out reconstruction"
}  # fmt: skip
NAMED = 12  # clips that are named before the rest is counted


@dataclass(frozen=True)
class Notice:
    """One thing to know about a run; `command` makes what is missing."""

    kind: Kind
    run: str
    text: str
    details: tuple[str, ...] = ()
    command: str = ""


def notices(run: RunRecord) -> list[Notice]:
    """Whether it helps, then what gave answers away, what failed, and what is missing."""
    found = [*verdicts(run), *warnings(run), *splits(run), *failures(run), *shorts(run), *notes(run), *missing(run)]
    return sorted(found, key=lambda notice: (notice.kind != "verdict", notice.kind != "warning"))


def verdicts(run: RunRecord) -> Iterator[Notice]:
    for name, result in run.results.items():
        if result.verdict:
            yield Notice("verdict", run.name, f"{name}: {result.verdict}.")


def warnings(run: RunRecord) -> Iterator[Notice]:
    """Those of every result, each with the names of the entries that it concerns."""
    found: dict[str, list[str]] = {}
    for name, result in run.results.items():
        for text in result.warnings:
            found.setdefault(text, []).append(name)
    for text, names in found.items():
        yield Notice("warning", run.name, f"{', '.join(names)}: {text}.")


def splits(run: RunRecord) -> Iterator[Notice]:
    """Which splits the encoder and the aligner were trained on, where a result says so."""
    said: dict[str, dict[str, None]] = {}
    for result in run.results.values():
        corpus = result.corpus.get("name", "the corpus")
        for part, names in result.trained_on.items():
            if part == "aligner" and not names:  # it is not used, or of other videos
                continue
            known = ["clips that nobody recorded" if name == "unknown" else name for name in names]
            said.setdefault(f"Of {corpus}, the {part} was trained on", {})[", ".join(known) or "nothing"] = None
    for who, parts in said.items():
        test = any("test" in words.split(", ") for words in parts)
        yield Notice("warning" if test else "trained_on", run.name, f"{who} {' or '.join(parts)}.")


def failures(run: RunRecord) -> Iterator[Notice]:
    training = unique(name for record in run.steps for name in record.get("failed") or ())
    if training:
        yield named(run, training, "could not be read while training; left out, never replaced")
    measured: dict[str, list[str]] = {}
    for result in run.results.values():
        for split, names in result.failed.items():
            measured.setdefault(split, []).extend(names)
    for split, names in measured.items():
        if names:
            yield named(run, unique(names), f"of {split} could not be measured; left out, never replaced")


def named(run: RunRecord, names: list[str], what: str) -> Notice:
    rest = len(names) - NAMED
    details = tuple(names[:NAMED]) + ((f"and {rest} more",) if rest > 0 else ())
    return Notice("failed", run.name, f"{len(names)} {plural('clip', len(names))} {what}:", details)


def shorts(run: RunRecord) -> Iterator[Notice]:
    trained = sum(int(record["short"]) for record in run.steps if finite(record.get("short")))
    if trained:
        where = f"in the {len(run.steps):,} logged of {run.last_step:,} steps"
        text = f"{trained:,} {plural('clip', trained)} {where} came from a source shorter than the span."
        yield Notice("short", run.name, text)
    said: dict[str, None] = {}
    for result in run.results.values():
        for split, counts in result.counts.items():
            if isinstance(counts, dict) and counts.get("short"):
                used = counts.get("used", 0) + counts.get("unlabelled", 0)
                said[f"{counts['short']:,} of {used:,} measured clips of {split} are shorter than the span."] = None
    for text in said:
        yield Notice("short", run.name, text)


def notes(run: RunRecord) -> Iterator[Notice]:
    for text in run.notes:
        yield Notice("note", run.name, text)
    for evaluation, result in run.results.items():
        for text in result.notes:
            yield Notice("note", run.name, f"{evaluation}: {text}.")


def trust_option(run: RunRecord) -> list[str]:
    """What a command on this run needs where parts of it are a user's own."""
    return ["--trust-code"] if run.recipe.get("own") else []


def missing(run: RunRecord) -> Iterator[Notice]:
    """What this page would show and cannot yet, with the command that makes it."""
    folder, corpus = str(run.folder), str(run.corpus.get("path") or "CORPUS")

    def evaluate(*names: str) -> str:
        return shlex.join(["tubelet", "evaluate", folder, "--on", corpus, *names, *trust_option(run)])

    if not run.pretrained:
        if "finetune" not in run.results:
            again = shlex.join(map(str, run.recipe.get("command") or ["tubelet", "finetune"]))
            yield Notice("missing", run.name, "Not finished yet:", command=again)
        return
    if not run.steps:
        recipe = str(run.recipe.get("recipe", "RECIPE"))
        again = shlex.join(["tubelet", "pretrain", recipe, "--on", corpus, "--out", folder])
        yield Notice("missing", run.name, "No training log yet:", command=again)
    absent = [name for name in EVALUATIONS if not any(belongs(entry, name) for entry in run.results)]
    if absent:
        named = ", ".join(EVALUATIONS[name] for name in absent[:-1]) + (" and " if absent[1:] else "")
        text = f"No {named}{EVALUATIONS[absent[-1]]} yet:"
        yield Notice("missing", run.name, text, command=evaluate(*absent))
    if not has_samples(run.folder) and "reconstruction" in run.results:
        yield Notice("missing", run.name, "No sample clips yet:", command=evaluate("reconstruction"))
    if not has_thumbnails(run.folder) and any(result.examples for result in run.results.values()):
        yield Notice("missing", run.name, "No pictures of the retrieval examples yet:", command=evaluate("retrieval"))


def belongs(entry: str, evaluation: str) -> bool:
    """Whether an entry of results.json is of this evaluation: `linear`, or `linear as NAME on OTHER, label COLUMN`."""
    return entry == evaluation or entry.startswith((f"{evaluation} as ", f"{evaluation} on ", f"{evaluation}, label "))


def unique(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(str(name) for name in names))


def plural(word: str, count: int) -> str:
    return word if count == 1 else word + "s"
