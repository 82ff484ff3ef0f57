"""A cell is one way with one seed on one corpus. It is known by what decides its numbers, whoever runs it and where.

A finished cell is one small JSON file. It counts for another study, another machine and another day while its hash is
the same and no field that it recorded has another value now; where the folder lies, its file's name and the place of
corpus and run mean nothing.
"""

import hashlib
import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypedDict

from tubelet.checksums import read_json, write_json
from tubelet.config import changed, override, plain
from tubelet.corpus.table import Corpus
from tubelet.errors import RecipeError, RunError
from tubelet.files import file_name
from tubelet.recipes.find import find
from tubelet.recipes.pretrain import Pretrain
from tubelet.runs.folder import FREE
from tubelet.studies.base import LOG, Measure, Study
from tubelet.studies.price import price

FORMAT = 1
CORPUS, RUN = "CORPUS", "RUN"  # stand in a cell's commands for the folders


@dataclass(frozen=True)
class Cell:
    study: str
    way: str
    seed: int
    recipe: str  # its name, as `tubelet pretrain` takes it
    words: tuple[str, ...]
    config: Pretrain
    corpus: Mapping[str, str]  # name, fingerprint
    asked: tuple[tuple[str, ...], ...]  # the words of each `tubelet evaluate`
    then: tuple[str, ...] = ()

    @cached_property
    def values(self) -> dict[str, Any]:
        """The whole recipe, but for what decides no weight."""
        return {name: value for name, value in plain(self.config).items() if name not in FREE}

    @cached_property
    def hash(self) -> str:
        """Of what is not the default, and of which losses there are. So a field that is new to tubelet changes no hash
        while it has its default."""
        told = {name: self.values[name] for name in sorted(set(changed(self.config)) & set(self.values))}
        question = [FORMAT, told, sorted(self.config.objectives), self.seed, dict(self.corpus), self.asked, self.then]
        return hashlib.blake2b(json.dumps(question, sort_keys=True, default=str).encode(), digest_size=6).hexdigest()

    @property
    def name(self) -> str:
        """Of its run folder and its file."""
        words = "".join(letter if letter.isalnum() else "-" for letter in self.way.lower())
        return file_name(f"{'-'.join(filter(None, words.split('-')))}-{self.seed}-{self.hash}")

    def commands(self, corpus: str = CORPUS, run: str = RUN) -> list[list[str]]:
        """What makes the cell, in order, without the first word `tubelet`."""
        evaluate = [["evaluate", run, "--on", corpus, *words] for words in self.asked]
        pretrain = ["pretrain", self.recipe, *self.words, "--on", corpus, "--out", run]
        return [pretrain, *evaluate, *self.further(corpus, run)]

    def further(self, corpus: str = CORPUS, run: str = RUN) -> list[list[str]]:
        filled = {"run": run, "corpus": corpus, "seed": str(self.seed)}
        return [[word.format_map(filled) for word in line.split()] for line in self.then]

    @property
    def lines(self) -> list[str]:
        return [shlex.join(["tubelet", *words]) for words in self.commands()]


def cells_of(name: str, study: Study, corpus: Corpus, seeds: Sequence[int]) -> list[Cell]:
    """All of a study, seed by seed, so that every way is there once before any is there twice."""
    from tubelet.recipes import RECIPES

    recipe, function = find(study.recipe, RECIPES)
    base = function()
    about = {"name": corpus.name, "fingerprint": corpus.fingerprint()}
    asked = asked_of(study.measures)
    words_of = {way: words_in(study, way, base, corpus) for way in study.ways}
    found = []
    for seed in seeds:
        for way, words in words_of.items():
            told = (*words, f"seed={seed}")
            found.append(Cell(name, way, seed, recipe, told, override(base, told), about, asked, study.ways[way].then))
    return found


def words_in(study: Study, way: str, base: Pretrain, corpus: Corpus) -> list[str]:
    """The words of a way, with the steps that make it equal to the reference in what it asks for."""
    declared = study.ways[way]
    words = declared.words.split()
    if declared.equal == "steps":
        return words
    if study.reference is None or study.reference not in study.ways:
        raise RecipeError(f"{way!r} has equal {declared.equal}, and the study names no way as its reference")
    reference, own = (override(base, some) for some in (study.ways[study.reference].words.split(), words))
    steps = reference.total(len(reference.data.select(corpus)), 1)
    share = price(reference).of(declared.equal) / price(own).of(declared.equal)
    return [
        *(word for word in words if not word.startswith(("steps=", "epochs="))),
        f"steps={max(1, round(steps * share))}",
    ]


def asked_of(measures: Sequence[Measure]) -> tuple[tuple[str, ...], ...]:
    """One `tubelet evaluate` for each kind of label, with what is asked of it."""
    groups: dict[str | None, dict[str, None]] = {}
    for measure in measures:
        if measure.evaluation in ("finetune", LOG):
            continue  # what a further command of the way measures, or the run's own log says
        words = groups.setdefault(measure.label, {})
        words |= dict.fromkeys((measure.evaluation, *measure.settings))
    return tuple((*words, "--baselines", *(("--label", label) if label else ())) for label, words in groups.items())


class Finished:
    """The finished cells of a folder, by hash, those that another process adds too. Files that are no cells are left
    alone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cells = {str(content["hash"]): content for content in read_cells(folder)}

    def find(self, cell: Cell) -> dict[str, Any] | None:
        """What was found for the cell; None where it is not finished, or was, with other defaults than today's."""
        if cell.hash not in self.cells and (content := read_cell(self.path(cell))):
            self.cells[cell.hash] = content
        found = self.cells.get(cell.hash)
        if found is None or self.differences(cell, found):
            return None
        return found

    def path(self, cell: Cell) -> Path:
        return self.folder / f"{cell.name}.json"

    @staticmethod
    def differences(cell: Cell, found: Mapping[str, Any]) -> list[str]:
        """Fields that were recorded with another value: a default that has changed since."""
        now = json.loads(json.dumps(cell.values, default=str))
        return [name for name, value in found["values"].items() if name in now and now[name] != value]

    def add(self, cell: Cell, content: Mapping[str, Any]) -> Path:
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.path(cell)
        write_json(path, content)
        self.cells[cell.hash] = dict(content)
        return path


def read_cells(folder: Path) -> Iterator[dict[str, Any]]:
    return filter(None, map(read_cell, sorted(folder.glob("*.json"))))


def read_cell(path: Path) -> dict[str, Any] | None:
    """None where there is no file, or one that is no cell."""
    if not path.exists():
        return None
    remedy = "restore it, or delete it to run the cell again"
    try:
        said = json.loads(path.read_bytes())
    except ValueError as error:
        raise RunError(f"{path} is damaged ({error}); {remedy}") from error
    if not isinstance(said, dict) or not said.keys() & {"hash", "values", "way"}:
        return None
    return dict(read_json(path, Trial, RunError, remedy))


class Trial(TypedDict):
    """What the file of a finished cell says."""

    format: Literal[1]
    hash: str
    way: str
    seed: int
    values: dict[str, Any]
    results: dict[str, dict[str, Any]]
