"""A trial is one variant with one seed on one corpus. It is known by what decides its numbers, whoever runs it and
where.

A finished trial counts for another study, another machine and another day while its hash is the same and no field that
it recorded has another value now; where its folder lies and the paths of corpus and run mean nothing.
"""

import hashlib
import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from tubelet.config import changed, override, to_plain
from tubelet.corpus.table import Corpus
from tubelet.errors import RecipeError
from tubelet.files import file_name
from tubelet.recipes.find import find
from tubelet.recipes.pretrain import Pretrain
from tubelet.runs.folder import FREE
from tubelet.studies.base import LOG, Measure, Study
from tubelet.studies.cost import cost

HASHED = 1  # the version of what the hash is made of
CORPUS, RUN = "CORPUS", "RUN"  # placeholders of the folders in a trial's commands


@dataclass(frozen=True)
class Trial:
    study: str
    variant: str
    seed: int
    recipe: str  # its name, as `tubelet pretrain` takes it
    overrides: tuple[str, ...]
    config: Pretrain
    corpus: Mapping[str, str]  # name, fingerprint
    evaluations: tuple[tuple[str, ...], ...]  # the arguments of each `tubelet evaluate`
    first: tuple[str, ...] = ()
    then: tuple[str, ...] = ()

    @cached_property
    def values(self) -> dict[str, Any]:
        """Every field of the recipe that has an effect on the weights."""
        return {name: value for name, value in to_plain(self.config).items() if name not in FREE}

    @cached_property
    def hash(self) -> str:
        """Of what is not the default, and of which losses there are. So a field that is new to tubelet changes no hash
        while it has its default."""
        named = {name: self.values[name] for name in sorted(set(changed(self.config)) & set(self.values))}
        losses = sorted(self.config.objectives)
        question = [HASHED, named, losses, self.seed, dict(self.corpus), self.evaluations, self.then]
        question += [self.first] if self.first else []
        return hashlib.blake2b(json.dumps(question, sort_keys=True, default=str).encode(), digest_size=6).hexdigest()

    @property
    def name(self) -> str:
        """Of its run folder and its file."""
        words = "".join(letter if letter.isalnum() else "-" for letter in self.variant.lower())
        return file_name(f"{'-'.join(filter(None, words.split('-')))}-{self.seed}-{self.hash}")

    def commands(self, corpus: str = CORPUS, run: str = RUN) -> list[list[str]]:
        """What makes the trial, in order, without the first word `tubelet`."""
        own = filled(self.overrides, self.seed, corpus, run)
        pretrain = ["pretrain", self.recipe, *own, "--on", corpus, "--out", run]
        evaluate = [["evaluate", run, "--on", corpus, *words] for words in self.evaluations]
        return [*self.before(corpus, run), pretrain, *evaluate, *self.further(corpus, run)]

    def before(self, corpus: str = CORPUS, run: str = RUN) -> list[list[str]]:
        return [filled(line.split(), self.seed, corpus, run) for line in self.first]

    def further(self, corpus: str = CORPUS, run: str = RUN) -> list[list[str]]:
        return [filled(line.split(), self.seed, corpus, run) for line in self.then]

    @property
    def lines(self) -> list[str]:
        return [shlex.join(["tubelet", *words]) for words in self.commands()]


def filled(words: Iterable[str], seed: int, corpus: str = CORPUS, run: str = RUN) -> list[str]:
    return [word.format(run=run, corpus=corpus, seed=seed) for word in words]


def trials_of(name: str, study: Study, corpus: Corpus, seeds: Sequence[int]) -> list[Trial]:
    """All of a study, seed by seed, so that every variant is there once before any is there twice."""
    from tubelet.recipes import RECIPES

    found_by = {name: find(name, RECIPES) for name in {study.recipe_of(variant) for variant in study.variants}}
    bases = {variant: found_by[study.recipe_of(variant)][1]() for variant in study.variants}
    about = {"name": corpus.name, "fingerprint": corpus.fingerprint()}
    evaluations = evaluations_of(study.measures)
    overrides = {variant: overrides_of(study, variant, bases, corpus) for variant in study.variants}
    found = []
    for seed in seeds:
        for variant, words in overrides.items():
            given, declared = (*words, f"seed={seed}"), study.variants[variant]
            recipe, base = found_by[study.recipe_of(variant)][0], bases[variant]
            config = override(base, filled(given, seed))
            found.append(
                Trial(name, variant, seed, recipe, given, config, about, evaluations, declared.first, declared.then)
            )
    return found


def overrides_of(study: Study, variant: str, bases: Mapping[str, Pretrain], corpus: Corpus) -> list[str]:
    """The overrides of a variant, with the steps that make it equal to the reference in what it asks for."""
    declared = study.variants[variant]
    words = declared.overrides.split()
    if declared.equal == "steps":
        return words
    if study.reference is None or study.reference not in study.variants:
        raise RecipeError(f"{variant!r} has equal {declared.equal}, and the study names no variant as its reference")
    reference = override(bases[study.reference], study.variants[study.reference].overrides.split())
    own = override(bases[variant], words)
    steps = reference.total(len(reference.videos(corpus)), 1)
    share = cost(reference).of(declared.equal) / cost(own).of(declared.equal)
    return [
        *(word for word in words if not word.startswith(("steps=", "epochs="))),
        f"steps={max(1, round(steps * share))}",
    ]


def evaluations_of(measures: Sequence[Measure]) -> tuple[tuple[str, ...], ...]:
    """One `tubelet evaluate` for each kind of label, with what is asked of it."""
    groups: dict[str | None, dict[str, None]] = {}
    for measure in measures:
        if measure.evaluation in ("finetune", LOG):
            continue  # measured by a further command of the variant, or read from the run's own log
        words = groups.setdefault(measure.label, {})
        words |= dict.fromkeys((measure.evaluation, *measure.settings))
    return tuple((*words, "--baselines", *(("--label", label) if label else ())) for label, words in groups.items())
