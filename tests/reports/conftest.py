"""Run folders written by hand, as the format says, without the loop that writes them."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tubelet.reports.pictures import Samples, Thumbnails, save
from tubelet.results import Metric, Result, write_result

CLASSES = ["bounces", "circles", "falls", "jumps", "rises", "slides", "spins", "zigzags"]


def write_run(
    folder: Path, *, seed: int = 0, steps: int = 600, text: bool = True, size: int = 64, weight: float = 1.0
) -> Path:
    """A run that learned something: log, results with everything, pictures."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    values = {
        "clip.frames": 16, "clip.size": size, "clip.tubelet_frames": 2, "clip.tubelet_size": 16,
        "masker": "Text" if text else "Tube", "masker.ratio": 0.6, "encoder.width": 128, "encoder.depth": 4,
        "objectives.pixels": "Pixels", "objectives.pixels.weight": 1.0, "objectives.contrast": "Contrast",
        "objectives.contrast.weight": weight, "optim.base_lr": 1.5e-4, "optim.betas": [0.9, 0.95],
        "steps": steps, "batch": 48, "seed": seed,
    }  # fmt: skip
    if text:
        values["masker.pick"] = "top"
    recipe = {
        "format": 1, "recipe": "tiny",
        "corpus": {"path": "corpora/synth", "name": "synth-1", "fingerprint": "9f1c2ab04d77e310"},
        "values": values, "changed": ["encoder.width", "encoder.depth", "steps", "objectives.contrast.weight"],
        "versions": {"tubelet": "0.1.0", "python": "3.11.7", "torch": "2.13.0"},
        "hardware": {"device": "cpu", "threads": 2},
        "command": ["tubelet", "pretrain", "tiny", "--on", "corpora/synth", "--out", str(folder), f"seed={seed}"],
    }  # fmt: skip
    (folder / "recipe.json").write_text(json.dumps(recipe))
    lines = []
    for step in range(10, steps + 1, 10):
        baseline = 0.93 + 0.01 * rng.standard_normal()
        learned = 0.35 / (1 + np.exp(-(step - steps / 2) / (steps / 10)))
        record = {
            "kind": "step", "step": step, "pixels": baseline * (1 - learned) + 0.01 * rng.standard_normal(),
            "pixels.baseline": baseline, "pixels.flat": 0.02, "lr": 1e-3 * min(1, step / 60) * (1 - step / steps),
            "clips_per_second": 190 + 8 * rng.standard_normal(), "time": step * 0.25, "failed": [], "short": 0,
        }  # fmt: skip
        if weight:
            record["contrast"] = 3.9 - 1.8 * step / steps + 0.1 * rng.standard_normal()
        record["loss"] = record["pixels"] + record.get("contrast", 0)
        if step == 50:
            record |= {"failed": ["v_0007: no frame could be decoded"], "short": 3}
        lines.append(record)
        if step % 100 == 0:
            metrics = {
                "mean.accuracy": Metric(0.2 + 0.1 * step / steps, chance=0.125).to_json(),
                "temporal_concat.accuracy": Metric(0.25 + 0.2 * step / steps, chance=0.125).to_json(),
            }
            lines.append({"kind": "evaluation", "step": step, "name": "linear", "metrics": metrics})
    (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    for name, result in results(rng, text).items():
        write_result(folder, name, result)
    save(samples(rng, text, size), folder)
    if weight:
        save(thumbnails(), folder)
    return folder


def results(rng: np.random.Generator, text: bool) -> dict[str, Result]:
    confusion = (rng.integers(0, 6, (8, 8)) + 9 * np.eye(8, dtype=int)).tolist()
    counts = {"used": 240, "failed": 1, "unlabelled": 0, "short": 5, "groups": 60}
    corpus = {"name": "synth-1", "fingerprint": "9f1c2ab04d77e310"}
    levels = {"random": (0.19, 0.22), "mean_image": (0.14, 0.2), "ceiling": (0.93, 0.93)}
    linear = Result(
        protocol={"features": "frozen, one centre clip", "grid": [0.001, 0.01, 0.1], "selected": {"mean": 0.01}},
        metrics={
            "mean.accuracy": Metric(0.305, (0.25, 0.36), chance=0.14),
            "temporal_concat.accuracy": Metric(0.447, (0.39, 0.5), chance=0.14),
        },
        counts={"train": counts, "test": counts},
        failed={"train": [], "test": ["v_0031: truncated file"]},
        classes=CLASSES,
        details={"mean": {"confusion": confusion}, "temporal_concat": {"confusion": confusion}},
        baselines={
            name: Result({"mean.accuracy": Metric(mean), "temporal_concat.accuracy": Metric(time_steps)})
            for name, (mean, time_steps) in levels.items()
        },
        evaluation="linear",
        trained_on={"encoder": ["train"], "aligner": []},
        corpus=corpus,
        warnings=["caption names the label"] if text else [],
    )
    reconstruction = Result(
        protocol={"clips": "every readable clip of test", "scored": "hidden tubelets"},
        metrics={"r2": Metric(0.31, (0.29, 0.33), unit="ratio"), "loss": Metric(0.64, unit="loss")},
        references={
            "mean_prediction_loss": Metric(0.93, unit="loss"),
            "copy_loss": Metric(1.1, unit="loss"),
            "copy_r2": Metric(-0.183, unit="ratio"),
        },
        counts={"test": {"used": 240, "failed": 0, "short": 5, "groups": 60}},
    )
    retrieved = Result(
        corpus=corpus,
        protocol={"rank": "of the first right answer", "text_and_video": "contrast head; 31 distinct captions"},
        metrics={
            "text_to_video.r@1": Metric(0.12, chance=0.03),
            "text_to_video.r@5": Metric(0.34, chance=0.15),
            "text_to_video.median_rank": Metric(14.0, unit="rank"),
        },
        counts={"test": counts},
        notes=["video to video is not measured: the videos have no labels"],
        examples=examples(),
    )
    return {"linear": linear, "reconstruction": reconstruction, "retrieval": retrieved}


def clip(rng: np.random.Generator, size: int) -> np.ndarray:
    """A disc that crosses a smooth ground: uint8 "16 h w 3"."""
    y, x = np.mgrid[:size, :size] / size
    low, high = rng.uniform(40, 200, 3), rng.uniform(40, 200, 3)
    ground = low + (high - low) * (0.5 + 0.5 * np.sin(3 * x + 4 * y + rng.uniform(0, 6)))[..., None]
    colour, start, speed = rng.uniform(0, 255, 3), rng.uniform(0.2, 0.8, 2), rng.uniform(-0.03, 0.03, 2)
    frames = []
    for t in range(16):
        cx, cy = start + speed * t
        inside = ((x - cx) ** 2 + (y - cy) ** 2 < 0.15**2)[..., None]
        frames.append(np.where(inside, colour, ground))
    return np.stack(frames).astype(np.uint8)


def samples(rng: np.random.Generator, text: bool, size: int = 64, count: int = 3) -> Samples:
    side, time_steps, row = 16, 8, size // 16
    positions = row * row
    frames = np.stack([clip(np.random.default_rng(100 + index), size) for index in range(count)])
    n, m = time_steps * positions, time_steps * int(0.6 * positions)
    order = np.stack([rng.permutation(n) for _ in range(count)])
    hidden, visible = np.sort(order[:, :m]), np.sort(order[:, m:])
    parts = frames.reshape(count, time_steps, 2, row, side, row, side, 3).transpose(0, 1, 3, 5, 2, 4, 6, 7)
    tubelets = parts.reshape(count, n, 2, side, side, 3).astype(np.float64)
    truth = np.take_along_axis(tubelets, hidden[:, :, None, None, None, None], 1)
    mean = truth.mean((2, 3, 4))
    std = truth.reshape(count, m, -1, 3).std(2, ddof=1)
    target = (truth - mean[:, :, None, None, None]) / (std + 255e-6)[:, :, None, None, None]
    prediction = 0.7 * target + 0.2 * rng.standard_normal(target.shape)
    where = np.stack(np.unravel_index(np.arange(n), (time_steps, row, row)), 1)
    distance = ((where[hidden][:, :, None] - where[visible][:, None]) ** 2).sum(-1)
    return Samples(
        clip=np.array([16, size, 2, side]),
        corpus=np.array("synth-1"),
        frames=frames,
        hidden=hidden,
        scored=hidden,
        nearest=np.take_along_axis(visible, distance.argmin(2), 1),
        prediction=prediction.astype(np.float16),
        mean=mean.astype(np.float32),
        std=std.astype(np.float32),
        loss=((prediction - target) ** 2).mean((1, 2, 3, 4, 5)),
        mean_prediction_loss=(target**2).mean((1, 2, 3, 4, 5)),
        ids=np.array([f"v_{index:04d}" for index in range(count)]),
        captions=np.array([f"a red disc crosses the ground, take {index}" for index in range(count)]),
        labels=np.array(CLASSES[:count]),
        text=rng.uniform(0.1, 0.3, (count, n)).astype(np.float32) if text else np.zeros((count, 0), np.float32),
    )


def thumbnails() -> Thumbnails:
    frames = np.stack([clip(np.random.default_rng(100 + index), 64)[8] for index in range(8)])
    return Thumbnails(np.array([f"v_{index:04d}" for index in range(8)]), frames)


def examples() -> dict:
    """What retrieval leaves in its result."""

    def asked(query: str, rank: int, answers: list[str]) -> dict:
        found = [{"answer": name, "score": 0.9 - 0.1 * i, "right": i == rank - 1} for i, name in enumerate(answers)]
        return {"query": query, "rank": rank, "answers": found}

    videos, texts = [f"v_{index:04d}" for index in range(8)], ["a red disc", "a blue square", "a green ring"]
    return {
        "text to video": [asked("a red disc", 1, videos[:5]), asked("a blue square", 3, videos[3:])],
        "video to text": [asked(videos[3], 2, texts)],
        "video to video": [asked(videos[5], 7, videos[:5])],
    }


@pytest.fixture(scope="session")
def make_run() -> Callable[..., Path]:
    return write_run


@pytest.fixture
def make_samples() -> Callable[..., Samples]:
    return samples
