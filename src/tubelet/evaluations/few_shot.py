"""Few-shot classification: n-way k-shot episodes on frozen features. Nothing is trained and nothing is selected.

The protocol, whole. An episode draws `ways` classes; of each, k clips of `support` and at most `queries` clips of
`split`, none of a group that the support of the episode holds. A class's prototype is the mean of its k features,
each of length 1 after subtracting the mean of all features of `support`; a query gets the class with the nearest
prototype by cosine. The accuracy is over all queries of all episodes, whose draws are keyed, so that every encoder is
asked the same. Its interval draws whole groups of query clips again; `half_width` is that of the papers, 1.96 standard
errors over episodes, which says how many episodes were drawn and nothing of how many clips there are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import chz
import numpy as np
from jaxtyping import Float64, Int64
from torch.nn.functional import normalize

from tubelet.corpus.table import Corpus
from tubelet.distributed import map_over_ranks
from tubelet.errors import CorpusError, RecipeError
from tubelet.evaluations.base import Context, Evaluation
from tubelet.evaluations.classification import WHAT, labelled_outline, two_splits
from tubelet.evaluations.features import POOLED, POOLS, Features
from tubelet.evaluations.intervals import in_words, of_mean
from tubelet.loading.data import Data
from tubelet.results import Details, Metric, Result
from tubelet.seeds import generator


@chz.chz
class FewShot(Evaluation):
    name: ClassVar[str] = "few_shot"
    reads_features: ClassVar[bool] = True

    ways: int = chz.field(default=5, doc="classes of an episode (all of them where there are fewer)")
    shots: tuple[int, ...] = chz.field(default=(1, 5), doc="labelled clips of each class")
    queries: int = chz.field(default=15, doc="largest number of clips of each class to classify")
    episodes: int = chz.field(default=600, doc="episodes of each number of shots")
    support: str = chz.field(default="train", doc="the split of the labelled clips")
    split: str = chz.field(default="test", doc="the split of the queries; that of the support keeps groups apart")
    pools: tuple[str, ...] = chz.field(default=POOLS, doc=POOLED)
    samples: int = chz.field(default=1000, doc="bootstrap samples of the intervals")

    @chz.validate
    def _sensible(self) -> None:
        if self.ways < 2 or self.queries < 1 or self.episodes < 1 or not self.shots or min(self.shots) < 1:
            raise RecipeError("few_shot needs ways of at least 2, and at least 1 shot, query and episode")

    def check(self, corpus: Corpus, data: Data, labels: Mapping[str, str] | None, seed: int) -> None:
        labelled_outline(corpus, data, labels, self.support, self.split, self.name)

    def run(self, context: Context) -> Result:
        all_support, all_queries = context.features(self.support), context.features(self.split)
        support, queries = two_splits(all_support, all_queries, self.name)
        metrics: dict[str, Metric] = {}
        half_width: dict[str, float] = {}
        details: dict[str, Details] = {}
        notes: list[str] = []
        for shots in self.shots:
            plan = draw_episodes(support, queries, self, shots, context.seed)
            if plan is None:
                notes.append(
                    f"{shots} shots are not measured: fewer than two classes have {shots} labelled clips of "
                    f"{self.support} and a query of {self.split} in another group"
                )
                continue
            for pool in self.pools:
                name = f"{plan.ways}way_{shots}shot.{pool}"
                right, asked, episodes = play(plan, support, queries, pool)
                if not len(episodes):
                    notes.append(f"{name} is not measured: every query is of a group of its episode's support")
                    continue
                accuracy = right / np.maximum(asked, 1)
                bounds = of_mean(accuracy, queries.groups, seed=context.seed, samples=self.samples, weights=asked)
                metrics[f"{name}.accuracy"] = Metric(float(right.sum() / asked.sum()), bounds, 1 / plan.ways)
                half_width[name] = float(1.96 * episodes.std() / len(episodes) ** 0.5)
                label = queries.label.numpy()
                details[name] = {
                    "per_class": {
                        queries.classes[c]: float(right[label == c].sum() / asked[label == c].sum())
                        for c in np.unique(label[asked > 0]).tolist()
                    }
                }
        if not metrics:
            raise CorpusError("few_shot has nothing to measure: " + "; ".join(notes))
        return Result(
            metrics=metrics,
            protocol={
                "split": f"shots of {self.support}, queries of {self.split}",
                "features": WHAT,
                "classifier": "nearest class mean by cosine, after subtracting the mean feature of the support's split",
                "selection": "none: nothing is trained",
                "episodes": self.episodes,
                "queries": f"at most {self.queries} a class, of no group of the episode's support",
                "intervals": in_words(self.samples, "whole groups of query clips"),
                "half_width": half_width,
                "seed": context.seed,
            },
            counts={self.support: all_support.counts(), self.split: all_queries.counts()},
            failed={self.support: list(all_support.failed), self.split: list(all_queries.failed)},
            classes=support.classes,
            details=details,
            notes=notes,
        )


@dataclass(frozen=True)
class Plan:
    """The draws of all episodes: rows of the support and of the queries, with their class in the episode."""

    ways: int
    shots: list[Int64[np.ndarray, "ways k"]]
    queries: list[Int64[np.ndarray, "_"]]  # no episode has to have as many as another
    classes: list[Int64[np.ndarray, "_"]]


def draw_episodes(support: Features, queries: Features, settings: FewShot, shots: int, seed: int) -> Plan | None:
    """The episodes; None where fewer than two classes have enough clips."""
    same = settings.support == settings.split
    rows = {c: np.flatnonzero(support.label.numpy() == c) for c in support.label.unique().tolist()}
    asked = {c: np.flatnonzero(queries.label.numpy() == c) for c in queries.label.unique().tolist()}
    groups, query_groups = np.array(support.groups), np.array(queries.groups)
    able = [c for c in sorted(rows) if len(rows[c]) >= shots and c in asked]
    if same:  # the smallest groups hold the shots, and something must be left
        able = [c for c in able if enough(groups[rows[c]].tolist(), shots)]
    ways = min(settings.ways, len(able))
    if ways < 2:
        return None

    def draw_one(episode: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rng = generator(seed, "episode", episode, shots)
        chosen = rng.permutation(able)[:ways]
        shown = np.stack([of_few_groups(rng.permutation(rows[c]), groups, shots, same) for c in chosen])
        known = set(groups[shown.ravel()].tolist())
        indices, classes = [], []
        for number, c in enumerate(chosen):
            free = asked[c][[group not in known for group in query_groups[asked[c]]]]
            some = rng.permutation(free)[: settings.queries]
            indices.append(some)
            classes.append(np.full(len(some), number))
        return shown, np.concatenate(indices).astype(np.int64), np.concatenate(classes)

    drawn = map_over_ranks(range(settings.episodes), draw_one, f"episodes of {shots} shots")
    return Plan(ways, *map(list, zip(*drawn, strict=True)))


def enough(groups: Sequence[str], shots: int) -> bool:
    """Whether `shots` clips, taken group by group, leave a group for the queries."""
    sizes = sorted(groups.count(group) for group in set(groups))
    return sum(sizes[:-1]) >= shots


def of_few_groups(
    rows: Int64[np.ndarray, "r"], groups: np.ndarray, shots: int, same: bool
) -> Int64[np.ndarray, "{shots}"]:
    """The first rows; where the queries are of the same split, those of the first groups, never of the last one."""
    if same:
        order = {group: index for index, group in enumerate(dict.fromkeys(groups[rows].tolist()))}
        sizes = {group: int((groups[rows] == group).sum()) for group in order}
        last = max(order, key=lambda group: (sizes[group], order[group]))
        rows = rows[[group != last for group in groups[rows]]]
        rows = rows[np.argsort([order[group] for group in groups[rows]], kind="stable")]
    return rows[:shots]


def play(
    plan: Plan, support: Features, queries: Features, pool: str
) -> tuple[Float64[np.ndarray, "q"], Float64[np.ndarray, "q"], Float64[np.ndarray, "episodes"]]:
    """How often each query was right and was asked, and the accuracy of each episode."""
    shift = support.pooled(pool).double().mean(0)
    known = normalize(support.pooled(pool).double() - shift, dim=1).numpy()
    asked = normalize(queries.pooled(pool).double() - shift, dim=1).numpy()
    right, count = np.zeros(len(queries)), np.zeros(len(queries))
    episodes = []
    for shots, rows, classes in zip(plan.shots, plan.queries, plan.classes, strict=True):
        prototypes = known[shots].mean(1)  # ways d
        prototypes /= np.maximum(np.linalg.norm(prototypes, axis=1, keepdims=True), 1e-12)
        hit = (asked[rows] @ prototypes.T).argmax(1) == classes
        right[rows] += hit
        count[rows] += 1
        episodes += [hit.mean()] if len(hit) else []
    return right, count, np.array(episodes)
