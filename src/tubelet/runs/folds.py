"""Fine-tuning cross-validated by group: the same training once more for every fold, each tested on groups that it saw
nothing of. The classifier that the run keeps is none of theirs. Start reading at `cross_validate`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from tubelet.checkpoint import load_strictly
from tubelet.corpus.schema import Video
from tubelet.corpus.table import Corpus
from tubelet.distributed import broadcast_from_rank0, is_rank0
from tubelet.evaluations.classification import CHANCE, chance_over, headed_by, measure_predictions, with_chance
from tubelet.evaluations.contamination import Contamination
from tubelet.evaluations.features import outline
from tubelet.evaluations.folds import Fold, groups_of_folds, in_words
from tubelet.evaluations.results import merge_result
from tubelet.evaluations.selection import measure_of, said_of_uneven
from tubelet.evaluations.tuned import FineTuned, TunedContext
from tubelet.recipes.finetune import Finetune
from tubelet.results import Result, read_results, write_result
from tubelet.runs.candidate import Candidate, refitted, tune
from tubelet.runs.division import Division
from tubelet.runs.measure_test import best_weights, tidy
from tubelet.runs.selection import best_candidate
from tubelet.runs.tuned import tuned_inputs

FOLDS = "folds"  # the folder of their trainings, below the run's
NAME = FineTuned.name


@dataclass(frozen=True)
class FoldRun:
    """What a fold fits and tests, and the folder of its training."""

    division: Division
    folder: Path

    def result(self) -> Result | None:
        """What it measured, where it is finished."""
        return read_results(self.folder).get(NAME) if self.folder.exists() else None


def fold_runs(config: Finetune, corpus: Corpus, labels: Mapping[str, str] | None, folder: Path) -> list[FoldRun]:
    """One a fold, of the labelled clips of all splits."""
    assert config.cv is not None
    known = corpus.label_of if labels is None else labels
    groups = [video.group for video in corpus.select("all") if video.id in known]
    return [
        FoldRun(
            Division.of(
                corpus, config.data, labels, config.labels_share, config.held_out, config.seed, config.grid, tested
            ),
            folder / FOLDS / str(number),
        )
        for number, tested in enumerate(groups_of_folds(groups, config.cv), 1)
    ]


def cross_validate(first: Candidate, folds: list[FoldRun], contamination: Contamination) -> bool:
    """Trains and measures every fold that is not yet, then writes what all of them say. Whether it came to its end."""
    root = first.root
    for number, fold in enumerate(folds, 1):
        if broadcast_from_rank0(lambda fold=fold: fold.result() is not None):  # type: ignore[misc]
            continue
        first.tell(f"fold {number} of {len(folds)}: tests {', '.join(sorted({v.group for v in fold.division.test}))}")
        steps = first.config.total(len(fold.division.fit), first.context.world_size)
        if not tune_and_measure(replace(first, division=fold.division, root=fold.folder, steps=steps)):
            return False
    merge_result(root, f"{NAME} as {first.config.cv}", pooled(first, folds, contamination))
    return True


def tune_and_measure(fold: Candidate) -> bool:
    """Selects, trains and tests one fold."""
    config, division = fold.config, fold.division
    for rate in config.grid:
        if not tune(replace(fold, rate=rate)):
            return False
    chosen = broadcast_from_rank0(lambda: best_candidate(config.grid, fold.root, len(division.select)))
    kept, step = replace(fold, rate=chosen.rate), chosen.step
    if config.refit and division.select:
        kept = refitted(kept, chosen.step)
        if not tune(kept):
            return False
        step = kept.last
    model = config.build(len(division.classes)).model
    load_strictly(model, best_weights(kept.folder, step), kept.folder)
    model.to(fold.context.device).eval()
    context = TunedContext(
        encoder=model.encoder, corpus=fold.corpus, clip=config.clip, data=config.data, seed=config.seed,
        progress=fold.progress, tuned=tuned_inputs(model, kept.division, fold.context, config.batch),
    )  # fmt: skip
    result = FineTuned(views=config.views, samples=config.samples, measure=config.measure).run(context)
    if is_rank0():
        selected = {"rate": chosen.rate, "step": chosen.step}
        write_result(fold.root, NAME, replace(result, protocol={**result.protocol, "selected": selected}))
        tidy(config, fold.root)
    broadcast_from_rank0(lambda: None)  # the first rank has written
    return True


def pooled(first: Candidate, folds: list[FoldRun], contamination: Contamination) -> Result:
    """Every clip by the classifier that was fitted without its group."""
    config = first.config
    found = [(fold, result) for fold in folds if (result := fold.result()) is not None]
    answers = {
        name: own for _, result in found for part in result.details.values() for name, own in part["predicted"].items()
    }
    classes = folds[0].division.classes
    tested: list[Video] = [video for fold, _ in found for video in fold.division.test if video.id in answers]
    test = outline(tested, classes)
    predicted = torch.tensor([classes.index(answers[video.id]) for video in tested])
    numbers, details = measure_predictions(predicted, test, seed=config.seed, samples=config.samples)
    parts = [
        Fold(
            outline([*fold.division.fit, *fold.division.select], classes),
            outline([video for video in fold.division.test if video.id in answers], classes),
            torch.empty(0, dtype=torch.int64),
        )
        for fold, _ in found
    ]
    measure, known = measure_of(test.label, config.measure), contamination.of_split("all")
    failed = [line for _, result in found for line in result.failed["test"]]
    return Result(
        metrics=with_chance(headed_by(measure, numbers), chance_over([part for part in parts if len(part.test)])),
        protocol={
            **FineTuned(views=config.views, samples=config.samples).protocol,
            "split": in_words(config.cv, len(folds)),
            "measure": measure,
            "selected": {
                str(number): result.protocol["selected"] for number, (_, result) in enumerate(found, 1)
            },
            "chance": CHANCE,
        },
        counts={"all": {"used": len(test), "failed": len(failed), "groups": len(set(test.groups))}},
        failed={"all": failed},
        classes=classes,
        details={"all weights": details},
        evaluation=NAME,
        corpus={"name": first.corpus.name, "fingerprint": first.corpus.fingerprint()},
        contamination=known.as_json(),
        warnings=list(
            dict.fromkeys([*known.warnings(), *(text for _, result in found for text in result.warnings)])
        ),
        notes=said_of_uneven(test.label, measure),
        seed=config.seed,
    )  # fmt: skip
