"""Low-label curves: the linear probe with 1, 2, 5, 10 and 100 % of train's labels, measured on all of test.

The protocol, whole. A share takes that share of the groups of every label, rounded, at least one; the choice is keyed
by the group and by the draw, and a smaller share is part of a larger one of the same draw. Smaller shares than all are
drawn `draws` times; the accuracy is the mean over draws, `spread` its deviation. The setting is selected within the
share: on held-out groups as in the linear probe where every label has at least `folds` groups, else by
cross-validation over groups. Where a label has a single group nothing can be held out of it, and where that leaves
nothing to fit, the middle of the grid is taken. No label outside the share is looked at.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import ClassVar, TypeAlias

import chz
import numpy as np
import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from tubelet.corpus.table import Corpus
from tubelet.distributed import map_over_ranks
from tubelet.errors import RecipeError
from tubelet.evaluations.base import Context
from tubelet.evaluations.classification import CHANCE, chance, labelled_outline, said_of_classes, two_splits
from tubelet.evaluations.features import Features
from tubelet.evaluations.folds import Fold
from tubelet.evaluations.intervals import METHOD, of_mean
from tubelet.evaluations.linear import Linear
from tubelet.evaluations.selection import Measure, best, hold_out
from tubelet.loading.data import Data
from tubelet.results import ACCURACY, Details, Metric, Result
from tubelet.seeds import key

Answer: TypeAlias = tuple[float, np.ndarray, int]  # a setting, which of test it has right, how many settings tie


@chz.chz
class LowLabel(Linear):
    name: ClassVar[str] = "low_label"

    shares: tuple[float, ...] = chz.field(default=(0.01, 0.02, 0.05, 0.1, 1.0), doc="of train's groups of every label")
    draws: int = chz.field(default=3, doc="draws of every share below all")
    folds: int = chz.field(default=4, doc="of the cross-validation, where there are few labels")
    measure: Measure = chz.field(default="accuracy", doc="what selects and is measured: accuracy")

    @chz.validate
    def _shares(self) -> None:
        if not self.shares or not all(0 < share <= 1 for share in self.shares) or self.draws < 1 or self.folds < 2:
            raise RecipeError(
                "low_label.shares lie above 0 and are at most 1; draws is at least 1 and folds at least 2"
            )
        if self.cv is not None or self.measure != ACCURACY:
            raise RecipeError(
                "low_label draws shares of train and measures accuracy on test: it takes no cv or measure"
            )

    def check(self, corpus: Corpus, data: Data, labels: Mapping[str, str] | None, seed: int) -> None:
        labelled_outline(corpus, data, labels, "train", "test", self.name)

    def run(self, context: Context) -> Result:
        all_train, all_test = context.features("train"), context.features("test")
        train, test = two_splits(all_train, all_test, self.name)
        about, level = self.about(), chance(train, test)["accuracy"]
        metrics: dict[str, Metric] = {}
        details: dict[str, Details] = {}
        labels: dict[str, list[int]] = {}
        selected: dict[str, list[float]] = {}
        spread: dict[str, float] = {}
        notes = said_of_classes([Fold(train, test, torch.arange(len(test)))])
        parts = {
            share: [train.rows(share_of_groups(train, share, draw)) for draw in range(1 if share == 1 else self.draws)]
            for share in sorted(self.shares)
        }
        answers = self.answers(parts, test, context.seed)
        for share, drawn in parts.items():
            labels[f"{100 * share:g}%"] = [len(part) for part in drawn]
            for pool in self.pools:
                name = f"{100 * share:g}%.{pool}"
                found = [answers[share, draw, pool] for draw in range(len(drawn))]
                selected[name], hits = [setting for setting, _, _ in found], [right for _, right, _ in found]
                if unclear := sum(equal > 1 for _, _, equal in found):
                    notes.append(
                        f"{name}: in {unclear} of {len(drawn)} draws several settings tie within the share; taken is "
                        f"{about['ties']}, or the middle of the grid where none was ever right"
                    )
                right = np.mean(hits, axis=0)
                bounds = of_mean(right, test.groups, seed=context.seed, samples=self.samples)
                metrics[f"{name}.accuracy"] = Metric(float(right.mean()), bounds, level)
                label = test.label.numpy()
                per_class = {test.classes[c]: float(right[label == c].mean()) for c in np.unique(label).tolist()}
                details[name] = {"per_class": per_class}
                if len(hits) > 1:
                    spread[name] = float(np.std([hit.mean() for hit in hits], ddof=1))
        return Result(
            metrics=metrics,
            protocol={
                "split": "fitted and selected within a share of train, measured on all of test",
                "features": self.what,
                **about,
                "shares": f"of the groups of every label, at least one; {self.draws} draws of every share below all",
                "selection": f"highest accuracy within the share: on {self.held_out:.0%} held-out groups where every "
                f"label has {self.folds}, else by {self.folds}-fold cross-validation over groups; the middle of the "
                "grid where a share is too small for that",
                "selected": selected,
                "spread": spread,
                "chance": CHANCE,
                "intervals": f"95 %, {self.samples} bootstrap samples of whole test groups, of the mean over "
                f"draws; {METHOD}",
                "seed": context.seed,
            },
            counts={"train": all_train.counts(), "test": all_test.counts(), "labels": labels},
            failed={"train": list(all_train.failed), "test": list(all_test.failed)},
            classes=train.classes,
            details=details,
            notes=notes,
        )

    def answers(
        self, parts: Mapping[float, Sequence[Features]], test: Features, seed: int
    ) -> dict[tuple[float, int, str], Answer]:
        """By share, draw and pool. Ranks share the draws; what takes as long as all of them, the whole of train, is
        fitted by every rank, so that none waits for it."""

        def answer(asked: tuple[float, int, str]) -> Answer:
            share, draw, pool = asked
            part = parts[share][draw]
            setting, equal = self.within(part, pool, seed)
            [predicted] = self.predict(part, test, pool, [setting])
            return setting, (predicted == test.label).double().numpy(), equal

        every = [
            (share, draw, pool) for share, drawn in parts.items() for draw in range(len(drawn)) for pool in self.pools
        ]
        small = [asked for asked in every if asked[0] < 1]
        small.sort(key=lambda asked: parts[asked[0]][asked[1]].pooled(asked[2]).numel(), reverse=True)
        found = dict(zip(small, map_over_ranks(small, answer, "shares of the labels"), strict=True))
        return found | {asked: answer(asked) for asked in every if asked[0] == 1}

    def within(self, part: Features, pool: str, seed: int) -> tuple[float, int]:
        """The setting that is best within these clips, and how many are as good."""
        groups_of = groups_by_label(part)
        settings = self.settings(len(part))
        if min(len(groups) for groups in groups_of.values()) >= self.folds:
            setting, scores = self.select(part, hold_out(part, self.held_out, seed), pool)
            return float(setting), len(best(scores))
        fold = fold_of(part, groups_of, self.folds, seed)
        right = np.zeros(len(settings))
        for number in range(self.folds):
            fitting, asked = part.rows(fold != number), part.rows(fold == number)
            if len(asked) and len(fitting.label.unique()) > 1:
                predictions = self.predict(fitting, asked, pool, settings)
                right += [float((predicted == asked.label).sum()) for predicted in predictions]
        equal = best(dict(zip(settings, right.tolist(), strict=True)))
        return (equal[0] if right.any() else settings[len(settings) // 2]), len(equal)


def groups_by_label(features: Features) -> dict[int, list[str]]:
    """The groups of every label; a group with several belongs to its commonest."""
    members: dict[str, list[int]] = defaultdict(list)
    for index, group in enumerate(features.groups):
        members[group].append(index)
    found: dict[int, list[str]] = defaultdict(list)
    for group, rows in members.items():
        found[int(features.label[rows].mode().values)].append(group)
    return dict(found)


def share_of_groups(train: Features, share: float, draw: int) -> Bool[Tensor, "v"]:
    """Which clips a share of the labels takes: whole groups, at least one of every label."""
    taken: set[str] = set()
    for groups in groups_by_label(train).values():
        order = sorted(groups, key=lambda group: (key(draw, "share " + group), group))
        taken |= set(order[: max(round(share * len(order) + 1e-9), 1)])
    return torch.tensor([group in taken for group in train.groups])


def fold_of(part: Features, groups_of: dict[int, list[str]], folds: int, seed: int) -> Int64[Tensor, "v"]:
    """The fold of every clip: the groups of each label are dealt out in a keyed order."""
    number: dict[str, int] = {}
    for groups in groups_of.values():
        order = sorted(groups, key=lambda group: (key(seed, "fold " + group), group))
        number |= {group: index % folds for index, group in enumerate(order)}
    return torch.tensor([number[group] for group in part.groups])
