"""Turns the JSON files of trials of format 1 (docs/results/cells) into the table that `tubelet.studies.store` reads.

python benchmarks/migrate_trials.py docs/results/cells docs/results/data
"""

import json
import re
import shlex
import sys
from pathlib import Path
from typing import Any

from tubelet.config import override
from tubelet.recipes import RECIPES
from tubelet.recipes.find import find
from tubelet.studies.store import FORMAT, FinishedTrials
from tubelet.studies.trials import Trial

NAMES = {"way": "variant", "words": "overrides"}
RESULT_NAMES = {"seen": "trained_on", "marks": "warnings"}
VARIANTS = (
    (r"drawn at random", "random per time step"),
    (r"text drawn at ([\d.]+)", r"text, sampled (tau = \1)"),
    (r"text bottom", "text, bottom"),
    (r"contrast observed", "contrast detached"),
    (r"^of another video", "shuffled captions"),
    (r", of another video$", ", shuffled captions"),
)
FIELDS = {  # of recipes, and in commands
    "objectives.contrast.observe": "objectives.contrast.detach",
    "text.exact": "text.online",
}
METRICS = {"skill": "r2", "nearest_skill": "copy_r2", "trivial": "mean_prediction_loss", "nearest": "copy_loss"}
UNITS = {"loss": "loss", "trivial": "loss", "nearest": "loss", "skill": "ratio", "nearest_skill": "ratio"}


def migrated(old: dict[str, Any]) -> dict[str, Any]:
    """A trial of format 1 as format 2 says it; the checksum is left out."""
    new = {NAMES.get(name, name): value for name, value in old.items() if name != "checksum"}
    for pattern, name in VARIANTS:
        new["variant"] = re.sub(pattern, name, new["variant"])
    new |= {
        "values": {FIELDS.get(name, name): value for name, value in old["values"].items()},
        "overrides": [renamed(word) for word in old["words"]],
        "commands": [" ".join(map(renamed, line.split(" "))) for line in old["commands"]],
    }
    return {
        **new,
        "hash": hash_of(new),
        "format": FORMAT,
        "results": {entry: migrated_result(entry, result) for entry, result in old["results"].items()},
        "curves": {term: [[int(step), value] for step, value in points] for term, points in old["curves"].items()},
    }


def renamed(word: str) -> str:
    """An override with the field's name of today; anything else as it is."""
    name, sign, value = word.partition("=")
    return f"{FIELDS.get(name, name)}{sign}{value}"


def hash_of(trial: dict[str, Any]) -> str:
    """By today's recipes: the fields and commands of the trial are all that the hash is made of."""
    _, *others = (shlex.split(line)[1:] for line in trial["commands"])
    return Trial(
        study=trial["study"],
        variant=trial["variant"],
        seed=trial["seed"],
        recipe=trial["recipe"],
        overrides=tuple(trial["overrides"]),
        config=override(find(trial["recipe"], RECIPES)[1](), trial["overrides"]),
        corpus=trial["corpus"],
        evaluations=tuple(tuple(words[4:]) for words in others if words[0] == "evaluate"),
        then=tuple(unfilled(words, trial["seed"]) for words in others if words[0] != "evaluate"),
    ).hash


def unfilled(words: list[str], seed: int) -> str:
    """A further command as the study declares it."""
    line = " ".join(words).replace("RUN", "{run}").replace("CORPUS", "{corpus}")
    return line.replace(f"seed={seed}", "seed={seed}")


def migrated_result(entry: str, old: dict[str, Any]) -> dict[str, Any]:
    return {
        **{RESULT_NAMES.get(name, name): value for name, value in old.items()},
        "evaluation": entry.partition(",")[0],
        "metrics": with_units(old["metrics"]),
        "baselines": {name: {"metrics": with_units(metrics)} for name, metrics in old["baselines"].items()},
    }


def with_units(metrics: dict[str, float]) -> dict[str, dict[str, Any]]:
    return {METRICS.get(name, name): {"value": value, "unit": unit_of(name)} for name, value in metrics.items()}


def unit_of(metric: str) -> str:
    return "rank" if metric.endswith("median_rank") else UNITS.get(metric, "fraction")


def migrate(folder: Path, out: Path) -> int:
    finished = FinishedTrials(out)
    for path in sorted(folder.glob("*.json")):
        finished.keep(migrated(json.loads(path.read_text())))
    return finished.collect(out)


if __name__ == "__main__":
    print(f"{migrate(Path(sys.argv[1]), Path(sys.argv[2]))} trials")
