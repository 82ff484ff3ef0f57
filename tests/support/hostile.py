"""Texts of a stranger who wants a page of ours to run his script, and every page that shows them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from support.strangers import PAYLOADS, content_of
from tubelet.reports import aligner, page, study
from tubelet.reports.confusion import LARGEST
from tubelet.reports.pictures import Thumbnails, load_samples, save
from tubelet.results import Metric

NAMES = (
    "metrics", "references", "baselines", "counts", "failed", "details", "examples", "trained_on", "contamination",
    "protocol",
)  # fmt: skip


class Poison:
    """Puts the next payload behind every text of a value, and behind the keys that are names."""

    def __init__(self, first: int = 0) -> None:
        self.next = first

    def text(self, value: str) -> str:
        self.next += 1
        return value + PAYLOADS[self.next % len(PAYLOADS)]

    def __call__(self, value: Any, kept: Callable[[str], bool] = lambda key: False) -> Any:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            return [self(item, kept) for item in value]
        if isinstance(value, dict):
            return {key: item if kept(key) else self(item, kept) for key, item in value.items()}
        return value


def named(values: dict[str, Any], poison: Poison, *names: str) -> dict[str, Any]:
    """The mappings of these names with further entries, the same under a poisoned name."""
    return {
        key: {**item, **{poison.text(name): part for name, part in item.items()}}
        if key in names and isinstance(item, dict)
        else item
        for key, item in values.items()
    }


def poison_run(folder: Path, first: int = 0) -> Path:
    """A run folder in which every text that a page may show is hostile."""
    poison = Poison(first)
    recipe = content_of(folder / "recipe.json")
    recipe = poison(recipe, lambda key: key == "kind")
    recipe["values"] |= {poison.text("optim.name"): poison.text("value"), "evaluate_limit": 100}
    recipe["corpus"]["fingerprint"] = PAYLOADS[first % 2]  # so that some of several runs can be compared
    for part in ("precision", "processes", "derived"):
        recipe[part] = {poison.text(part): poison.text("value")}
    recipe["changed"] = list(recipe["values"])
    recipe["versions"] = {poison.text(name): value for name, value in recipe["versions"].items()}
    (folder / "recipe.json").write_text(json.dumps(recipe))
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    lines = [poison(line, lambda key: key == "kind") for line in lines]
    for line in lines:
        if line["kind"] == "evaluation":
            line["name"] = "linear" + PAYLOADS[first % len(PAYLOADS)]
            line["metrics"] |= {f"{PAYLOADS[first + index]}.accuracy": Metric(0.3).to_json() for index in range(3)}
    (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    results = {}
    for name, result in content_of(folder / "results.json").items():
        result["contamination"] = trained_on()
        made = named(poison(result), poison, *NAMES)
        made["metrics"] |= {f"{payload}.accuracy": Metric(0.25).to_json() for payload in PAYLOADS}
        made["asked"] = {"on": poison.text("corpus"), "settings": [poison.text("a=")], "evaluation": poison.text(name)}
        searched = {
            "metrics": {},
            "asked": {"command": ["search", *PAYLOADS]},
            "counts": {payload: {"used": 1} for payload in PAYLOADS},
        }
        results |= {
            name: result | {"warnings": PAYLOADS, "notes": PAYLOADS},
            poison.text(name): made,
            poison.text("search"): searched | many_classes(poison),
        }
    (folder / "results.json").write_text(json.dumps(results))
    samples = load_samples(folder)
    assert samples is not None
    texts = {
        name: np.array([poison.text(str(one)) for one in getattr(samples, name)])
        for name in ("ids", "captions", "labels")
    }
    fields = vars(samples) | texts | {"corpus": np.array(poison.text("corpus"))}
    save(type(samples)(**fields), folder)
    save(Thumbnails(np.array(PAYLOADS), np.zeros((len(PAYLOADS), 16, 16, 3), np.uint8)), folder)
    return folder


def trained_on() -> dict[str, Any]:
    """What a result says of the clips that were trained on."""
    clip = {"role": "encoder", "told": "captions", "part": "train", "origin": "run", "corpus": "synth", "id": "v_0001"}
    return {
        "split": "test",
        "clips": 3,
        "same_content": {"v_0001": [clip], **{payload: [clip] for payload in PAYLOADS}},
        "looks_alike": {"v_0002": clip, **dict.fromkeys(PAYLOADS, clip)},
        "unknown": ["encoder: nobody recorded it"],
    }


def many_classes(poison: Poison) -> dict[str, Any]:
    """A confusion of more classes than a matrix shows, so that its pairs are named."""
    classes = [poison.text(f"class {index}") for index in range(LARGEST + 1)]
    confusion = [[(row + column) % 5 for column in range(len(classes))] for row in range(len(classes))]
    return {"classes": classes, "details": {"mean": {"confusion": confusion}}}


def tuned_runs(folder: Path) -> list[Path]:
    """One that was measured, and one that is not finished."""
    runs = []
    for index, name in enumerate(("measured", "unfinished")):
        poison, run = Poison(index), folder / f"{name} <script>"
        run.mkdir(parents=True)
        values = {"init": poison.text("runs/a"), "labels_share": 0.1, "seed": index, poison.text("optim"): PAYLOADS}
        recipe = {
            "kind": "finetune",
            "recipe": poison.text("tiny"),
            "corpus": {"name": poison.text("corpus"), "path": poison.text("path"), "fingerprint": "f"},
            "values": values,
            "command": ["tubelet", "finetune", *PAYLOADS],
        }
        (run / "recipe.json").write_text(json.dumps(recipe))
        steps = [
            {
                "kind": "step",
                "step": step,
                "cross_entropy": 2.0 / step,
                "cross_entropy.baseline": 1.0,
                "failed": PAYLOADS,
            }
            for step in range(1, 60)
        ]
        accuracy = Metric(0.5, chance=0.2).to_json()
        held_out = {
            "kind": "evaluation",
            "step": 59,
            "name": poison.text("held_out"),
            "metrics": {"accuracy": accuracy},
        }
        (run / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in (*steps, held_out)))
        if name == "measured":
            result = {"metrics": {"accuracy": accuracy}, "contamination": trained_on(), "warnings": PAYLOADS}
            (run / "results.json").write_text(json.dumps({"finetune": result | many_classes(poison)}))
        runs.append(run)
    return runs


def report_pages(write_run: Callable[..., Path], folder: Path) -> list[Path]:
    """Of one run, and of several."""
    runs = [
        poison_run(write_run(folder / f"{index} <script>{'$x^{' * index}", seed=index, steps=100, weight=1.0), index)
        for index in range(3)
    ]
    return [
        page.report(runs[:1], folder / "one.html"),
        page.report(runs, folder / "several.html"),
        page.report(tuned_runs(folder / "tuned"), folder / "tuned.html"),
    ]


def study_page(folder: Path) -> Path:
    poison = Poison()
    variants = [poison.text("variant") for _ in PAYLOADS]
    trials, metrics, losses = {}, [], []
    for seed in range(3):
        for index, variant in enumerate(variants):
            trials[variant, seed] = {
                "results": {PAYLOADS[0]: {"warnings": [poison.text("warning")]}},
                "corpus": {"name": poison.text("corpus"), "fingerprint": poison.text("f")},
                "hardware": {"processor": poison.text("cpu"), "gpu": poison.text("gpu") * (seed == 1), "threads": 2},
                "steps": 10,
                "processor_seconds": {"train": 1.0},
                "versions": {"torch": poison.text("2")},
                "derived": {poison.text("maps"): poison.text("digest")},
            }
            own = {"variant": variant, "seed": seed}
            metric = own | {"entry": PAYLOADS[0], "metric": "a"}
            metrics += [
                metric | {"baseline": "", "value": 0.2 + 0.01 * index + 0.001 * seed},
                metric | {"baseline": "random", "value": 0.1},
            ]
            losses += [own | {"term": PAYLOADS[1], "step": step, "value": 1.0 + index + step} for step in range(1, 30)]
    grid = study.Grid(
        name=poison.text("name"),
        question=poison.text("Which?"),
        variants={variant: poison.text("masker=Tube") for variant in variants},
        columns=(study.Column(poison.text("column"), PAYLOADS[0], "a"), study.Column("plain", PAYLOADS[0], "a")),
        seeds=(0, 1, 2),
        trials=trials,
        metrics=pd.DataFrame(metrics),
        curves=pd.DataFrame(losses),
        commands={variant: [poison.text("tubelet pretrain"), "tubelet evaluate"] for variant in variants},
        differences=((variants[0], variants[1]), (variants[2], variants[1])),
        left_out={poison.text("left"): poison.text("reason") for _ in PAYLOADS},
        plotted=(PAYLOADS[1],),
        again=poison.text("tubelet study"),
    )
    study.write_pages(grid, folder / "study")
    return folder / "study.html"


def aligner_page(folder: Path) -> Path:
    poison, own = Poison(), folder / "aligner"
    own.mkdir()
    looks = {"loss": 1.0, "held_out": 2.0, "frame_to_text": 0.1, "text_to_frame": 0.2}
    rows = [{"step": step, **looks} for step in range(1, 9)]
    about = {
        "corpus": {"name": poison.text("corpus")},
        "identity": poison.text("learned"),
        "from": {"name": poison.text("clip")},
        "settings": {"steps": poison.text("8"), "batch": poison.text("4"), "sources": PAYLOADS, "hardness": 0.0},
        "videos": 3,
        "texts": 2,
        "seconds": 1.0,
        "processor_seconds": 1.0,
        "failed": {payload: payload for payload in PAYLOADS},
        "held_out": {
            "texts": poison.text("2"), "videos": poison.text("3"), "text_to_frame": 0.5, "frame_to_text": 0.5,
            "chance_text_to_frame": 0.3, "chance_frame_to_text": 0.3,
        },
    }  # fmt: skip
    side = {"overall": {"mean": 0.5}}
    areas = {"clips": poison.text("3"), "rows": {payload: {"all": side, "distractors": side} for payload in PAYLOADS}}
    training = {"curve": rows, "best": poison.text("4"), "areas": areas, "pictures": {"split": poison.text("train")}}
    (own / "aligner.json").write_text(json.dumps(about))
    (own / "training.json").write_text(json.dumps(training))
    (own / "maps.jpg").write_bytes(b"\xff\xd8\xff\xd9")
    return aligner.write_page(own)


def pages(write_run: Callable[..., Path], folder: Path) -> list[Path]:
    """Every page that tubelet writes."""
    return [*report_pages(write_run, folder), study_page(folder), aligner_page(folder)]
