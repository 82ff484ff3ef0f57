"""What the linear probe and kNN share: selection on a part of train, one look at test, and a classifier's numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import chz
import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from tubelet.corpus.table import Corpus
from tubelet.errors import CorpusError, RecipeError
from tubelet.evaluations.base import Context, Evaluation
from tubelet.evaluations.features import POOLED, POOLS, Features, outline_of
from tubelet.evaluations.folds import DOC, CrossValidation, Fold, folds_of, refuse_bad
from tubelet.evaluations.folds import in_words as folds_in_words
from tubelet.evaluations.intervals import (
    Interval,
    bootstrap_weights,
    exact,
    in_words,
    of_mean,
    percentiles,
    says_too_little,
)
from tubelet.evaluations.selection import (
    MEASURE_DOC,
    Measure,
    best,
    hold_out_for,
    measure_of,
    said_of_uneven,
    score,
    tie,
)
from tubelet.loading.data import Data
from tubelet.results import Details, Metric, Result
from tubelet.wording import and_more

TOP = 5  # answers that count, where there are more classes
WHAT = f"frozen encoder, one centre clip a video; {POOLED}"


@chz.chz
class Probe(Evaluation):
    """A classifier on frozen features with one setting, chosen on a held-out part of train. Test is seen once, last."""

    reads_features: ClassVar[bool] = True
    what: ClassVar[str] = WHAT
    tried: ClassVar[str] = "grid"  # the field that holds the settings

    pools: tuple[str, ...] = chz.field(default=POOLS, doc=POOLED)
    held_out: float = chz.field(default=0.25, doc="share of train's groups that selects")
    cv: CrossValidation = chz.field(default=None, doc=DOC)
    measure: Measure = chz.field(default="auto", doc=MEASURE_DOC)
    samples: int = chz.field(default=1000, doc="bootstrap samples of the intervals")

    @chz.validate
    def _cv(self) -> None:
        refuse_bad(self.cv, f"{self.name}.cv")
        if not 0 < self.held_out < 1:
            raise RecipeError(f"{self.name}.held_out={self.held_out} must be a share between 0 and 1")

    @property
    def split(self) -> str:
        """The clips that are measured on."""
        return "test" if self.cv is None else "all"

    def about(self) -> dict[str, Any]:
        """The protocol's own part: what classifies, on what, the grid, how ties are broken."""
        raise NotImplementedError

    def settings(self, clips: int) -> Sequence[Any]:
        """The grid for so many clips, the setting that wins ties first."""
        raise NotImplementedError

    def check(self, corpus: Corpus, data: Data, labels: Mapping[str, str] | None, seed: int) -> None:
        if self.cv is None:
            self.selecting(labelled_outline(corpus, data, labels, "train", "test", self.name), seed)
            return
        clips = outline_of(corpus, data, "all", labels)
        for fold in folds_of(with_labels(clips, "all", self.name), self.cv):
            self.selecting(fold.train, seed)

    def selecting(self, train: Features, seed: int) -> Bool[Tensor, "v"] | None:
        """The clips of train that select; None where nothing has to be selected."""
        settings = self.settings(len(train))
        return hold_out_for(settings, train, self.held_out, seed, f"{self.name}.{self.tried}={settings[0]}")

    def given(self, context: Context, split: str) -> Features:
        """What is classified."""
        return context.features(split)

    def scores(
        self, train: Features, queries: Features, pool: str, settings: Sequence[Any]
    ) -> list[Float[Tensor, "q classes"]]:
        """A score a class of each query by each setting, learned from all of `train`."""
        raise NotImplementedError

    def predict(
        self, train: Features, queries: Features, pool: str, settings: Sequence[Any]
    ) -> list[Int64[Tensor, "q"]]:
        """The class of each query by each setting."""
        return [scores.argmax(1) for scores in self.scores(train, queries, pool, settings)]

    def run(self, context: Context) -> Result:
        folds, tested, given = self.divide(context)
        held = [self.selecting(fold.train, context.seed) for fold in folds]
        selecting = sum(0 if some is None else int(some.sum()) for some in held)
        about, levels = self.about(), chance_over(folds)
        known = folds[0].train if self.cv is None else tested  # whose labels decide
        measure = measure_of(known.label, self.measure)
        selected: dict[str, Any] = {}
        accuracies: dict[str, dict[str, float]] = {}
        metrics: dict[str, Metric] = {}
        details: dict[str, Details] = {}
        notes = said_of_uneven(known.label, measure) + said_of_classes(folds)
        for pool in self.pools:
            found = [self.select(fold.train, some, pool) for fold, some in zip(folds, held, strict=True)]
            if self.cv is None:
                notes += tie(pool, found[0][1], selecting, about["ties"], measure)
            chosen = [setting for setting, _ in found]
            numbers, details[pool] = self.measured(folds, tested, pool, chosen, context.seed)
            if len(tested) > 1 and len(answers := set(details[pool]["predicted"].values())) == 1:
                notes.append(f"{pool}: every test clip is predicted to be {answers.pop()}")
            metrics |= with_chance(headed_by(measure, numbers), levels, f"{pool}.")
            selected[pool] = chosen[0] if self.cv is None else chosen
            accuracies[pool] = mean_over_folds([scores for _, scores in found])
        name = measure.replace("_", " ")
        groups = f"({self.held_out:.0%} of the groups of every label, by a keyed hash)"
        return Result(
            metrics=metrics,
            protocol={
                "split": "fitted and selected on train, measured once on test"
                if self.cv is None
                else folds_in_words(self.cv, len(folds)),
                "measure": measure,
                "features": self.what,
                **about,
                "selection": "none: the setting was given, and train is one group; fitted on all of train"
                if not selecting
                else f"highest {name} on {selecting} held-out clips of train {groups}; then all of train"
                if self.cv is None
                else f"in each fold the highest {name} on held-out clips of train {groups}; then all of its train",
                "selected": selected,
                "held_out_accuracy": accuracies,
                "chance": CHANCE,
                "intervals": in_words(self.samples, "whole test groups"),
                "seed": context.seed,
            },
            counts={split: features.counts() for split, features in given.items()} | {"selecting": selecting},
            failed={split: list(features.failed) for split, features in given.items()},
            classes=tested.classes,
            details=details,
            notes=notes,
        )

    def divide(self, context: Context) -> tuple[list[Fold], Features, dict[str, Features]]:
        """What fits and what is tested; all that is tested; and what was read, by split."""
        if self.cv is None:
            given = {split: self.given(context, split) for split in ("train", "test")}
            train, test = two_splits(given["train"], given["test"], self.name)
            return [Fold(train, test, torch.arange(len(test)))], test, given
        every = self.given(context, "all")
        clips = with_labels(every, "all", self.name)
        return folds_of(clips, self.cv), clips, {"all": every}

    def measured(
        self, folds: Sequence[Fold], tested: Features, pool: str, settings: Sequence[Any], seed: int
    ) -> tuple[dict[str, Metric], Details]:
        """The numbers of one setting a fold on all that is tested; a probe of one's own need not score, it may only
        `predict`."""
        order = torch.cat([fold.index for fold in folds]).argsort()
        answers = self.predict if type(self).scores is Probe.scores else self.scores
        parts = [answers(fold.train, fold.test, pool, [one])[0] for fold, one in zip(folds, settings, strict=True)]
        measure = measure_predictions if answers == self.predict else measure_scores
        return measure(torch.cat(parts)[order], tested, seed=seed, samples=self.samples)

    def select(self, train: Features, held: Bool[Tensor, "v"] | None, pool: str) -> tuple[Any, dict[Any, float]]:
        """The setting that is best on the held-out part of train, and the (balanced) accuracy of each; the only one
        where nothing is held out."""
        if held is None:
            return self.settings(len(train))[0], {}
        fitting, selecting = train.rows(~held), train.rows(held)
        settings = self.settings(len(fitting))
        predictions = self.predict(fitting, selecting, pool, settings)
        measure = measure_of(train.label, self.measure)
        scores = {
            setting: score(predicted, selecting.label, measure)
            for setting, predicted in zip(settings, predictions, strict=True)
        }
        return best(scores)[0], scores


def mean_over_folds(scores: Sequence[Mapping[Any, float]]) -> dict[str, float]:
    """Of each setting, over the folds in which it was tried."""
    tried = dict.fromkeys(setting for some in scores for setting in some)
    found = {setting: [some[setting] for some in scores if setting in some] for setting in tried}
    return {str(setting): sum(values) / len(values) for setting, values in found.items()}


def headed_by(measure: str, metrics: Mapping[str, Metric]) -> dict[str, Metric]:
    """The same with this one first."""
    return {name: metrics[name] for name in (measure, *metrics) if name in metrics}


def with_labels(features: Features, split: str, what: str) -> Features:
    """The labelled clips, or a sentence that says what is missing."""
    if not (found := features.with_label()).ids:
        raise CorpusError(
            f"{what} needs labels, and no readable video of split {split} has one; "
            "index again with `--labels CSV`, or give `--labels CSV` here"
        )
    return found


def two_splits(train: Features, test: Features, what: str) -> tuple[Features, Features]:
    """The labelled clips of both splits."""
    return with_labels(train, "train", what), with_labels(test, "test", what)


def labelled_outline(
    corpus: Corpus, data: Data, labels: Mapping[str, str] | None, first: str, second: str, what: str
) -> Features:
    """The outline of the first split, as `two_splits` would have it, before a video is read."""
    first_outline, second_outline = (outline_of(corpus, data, split, labels) for split in (first, second))
    return two_splits(first_outline, second_outline, what)[0]


def measure_predictions(
    predicted: Int64[Tensor, "v"], test: Features, *, seed: int, samples: int
) -> tuple[dict[str, Metric], Details]:
    """Accuracy and its mean over classes, with intervals over whole groups; then each class, the confusion matrix and
    every prediction."""
    confusion = confusion_matrix(predicted, test.label, len(test.classes))
    totals = confusion.sum(1)
    recall = confusion.diagonal() / totals.clamp(min=1)
    intervals = bootstrap(predicted, test, seed=seed, samples=samples)
    values = {
        "accuracy": float(confusion.diagonal().sum() / totals.sum()),
        "balanced_accuracy": float(recall[totals > 0].mean()),
    }
    return {name: Metric(value, intervals.get(name)) for name, value in values.items()}, {
        "per_class": {name: float(r) for name, r, t in zip(test.classes, recall, totals, strict=True) if t > 0},
        "by_group": by_group(predicted, test),
        "confusion": confusion.int().tolist(),
        "predicted": {i: test.classes[p] for i, p in zip(test.ids, predicted.tolist(), strict=True)},
    }


def by_group(predicted: Int64[Tensor, "v"], test: Features) -> dict[str, dict[str, list[int]]]:
    """By group and class: how many clips are right, of how many."""
    found: dict[str, dict[str, list[int]]] = {}
    right = (predicted == test.label).tolist()
    for group, own, hit in sorted(zip(test.groups, test.label.tolist(), right, strict=True)):
        cell = found.setdefault(group, {}).setdefault(test.classes[own], [0, 0])
        cell[0] += hit
        cell[1] += 1
    return found


def measure_scores(
    scores: Float[Tensor, "v classes"], test: Features, *, seed: int, samples: int
) -> tuple[dict[str, Metric], Details]:
    """The same of the highest scores; of more than five classes also how often the right one is among the five highest.
    Wrong classes of an equal score come before it, so that classes without a vote are no answer."""
    metrics, details = measure_predictions(scores.argmax(1), test, seed=seed, samples=samples)
    if scores.shape[1] > TOP:
        own = scores.gather(1, test.label[:, None])
        among = ((scores >= own).sum(1) <= TOP).double().numpy()
        bounds = of_mean(among, test.groups, seed=seed, samples=samples)
        metrics["top5_accuracy"] = Metric(float(among.mean()), bounds, TOP / scores.shape[1])
    return metrics, details


CHANCE = "of accuracy the commonest class of train, or a guess among the classes of train where that is better"


def chance(train: Features, test: Features) -> dict[str, float]:
    """What needs no features: always the commonest class of train, or a guess among the classes of train."""
    return chance_over([Fold(train, test, torch.arange(len(test)))])


def chance_over(folds: Sequence[Fold]) -> dict[str, float]:
    """The same over all folds."""
    clips, guess, commonest = sum(len(fold.test) for fold in folds), 0.0, 0.0
    for fold in folds:
        share = len(fold.test) / clips
        guess += share / len(fold.train.label.unique())
        commonest += share * float((fold.test.label == fold.train.label.mode().values).float().mean())
    return {"accuracy": max(guess, commonest), "balanced_accuracy": guess}


def said_of_classes(folds: Sequence[Fold]) -> list[str]:
    """Where the classes of test make its figures mean less: some that train lacks, or one alone."""
    untaught: dict[str, int] = {}
    for fold in folds:
        for label in fold.test.label[~torch.isin(fold.test.label, fold.train.label)].tolist():
            untaught[fold.test.classes[label]] = untaught.get(fold.test.classes[label], 0) + 1
    clips, tested = sum(len(fold.test) for fold in folds), torch.cat([fold.test.label for fold in folds]).unique()
    notes = []
    if untaught:
        count = f"{sum(untaught.values())} of {clips} test clips"
        notes.append(f"{count} are of classes that train lacks ({and_more(untaught, 3)}): none of them can be right")
    if len(tested) == 1:
        only = folds[0].test.classes[int(tested)]
        notes.append(f"every test clip is {only}: these figures do not show whether classes are told apart")
    return notes


def with_chance(metrics: Mapping[str, Metric], levels: Mapping[str, float], prefix: str = "") -> dict[str, Metric]:
    """The metrics under their pool's name, each with what chance scores."""
    return {prefix + name: replace(metric, chance=levels.get(name, metric.chance)) for name, metric in metrics.items()}


def confusion_matrix(
    predicted: Int64[Tensor, "v"], actual: Int64[Tensor, "v"], classes: int
) -> Float[Tensor, "{classes} {classes}"]:
    """Rows are the actual classes, columns the predicted ones."""
    return torch.bincount(actual * classes + predicted, minlength=classes**2).view(classes, classes).double()


def bootstrap(predicted: Int64[Tensor, "v"], test: Features, *, seed: int, samples: int) -> dict[str, Interval]:
    """95 % intervals of accuracy and balanced accuracy: percentiles, whole groups drawn again with replacement; exact
    where that says too little.

    Empty with fewer than two groups: nothing can be said then; none of balanced accuracy where every prediction is the
    same, since that is 1 / classes in whatever is drawn. What is kept of a group is how many clips of each class
    it has and how many of them are right, so that 20,000 groups of 400 classes are no burden.
    """
    number = {group: index for index, group in enumerate(sorted(set(test.groups)))}
    if len(number) < 2:
        return {}
    if says_too_little((predicted == test.label).double().numpy(), test.groups):
        return exactly(predicted, test)
    draws = bootstrap_weights(len(number), seed=seed, samples=samples)
    shape = len(number), len(test.classes)
    cell = np.array([number[group] for group in test.groups]) * shape[1] + test.label.numpy()
    hits = (predicted == test.label).double().numpy()
    right, totals = (
        draws @ np.bincount(cell, weights=weights, minlength=shape[0] * shape[1]).reshape(shape)
        for weights in (hits, np.ones_like(hits))
    )  # samples classes
    accuracy = right.sum(1) / totals.sum(1)
    recall = np.where(totals > 0, right / np.maximum(totals, 1), np.nan)
    balanced = {} if len(predicted.unique()) == 1 else {"balanced_accuracy": np.nanmean(recall, axis=1)}
    return {name: percentiles(values) for name, values in ({"accuracy": accuracy} | balanced).items()}


def exactly(predicted: Int64[Tensor, "v"], test: Features) -> dict[str, Interval]:
    """The exact intervals over groups; of balanced accuracy for as many as its mean over classes is worth."""
    right = (predicted == test.label).double()
    classes = test.label.unique().tolist()
    groups_of = [len({group for group, own in zip(test.groups, test.label.tolist(), strict=True) if own == c})
                 for c in classes]  # fmt: skip
    recall = [float(right[test.label == c].mean()) for c in classes]
    worth = len(classes) ** 2 / sum(1 / count for count in groups_of)
    return {
        "accuracy": exact(float(right.mean()), len(set(test.groups))),
        "balanced_accuracy": exact(sum(recall) / len(recall), min(worth, len(set(test.groups)))),
    }
