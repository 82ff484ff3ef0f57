"""How much the surroundings of a `synth-context-1` clip tell of its subject: linear classifiers that never see it.

They are given the clip rendered without the subject: mean image, spread over time, spectrum of one frame. Of shape
and colour they tell from chance to `context.best_guess`; of the motion nothing at any strength, which is what the
dataset promises. `region.colour` is known from the subject's mean position, which a mask that hides it gives away.
"""

import platform
import time

import numpy as np
from jaxtyping import Float64

from tubelet.checksums import Record
from tubelet.progress import Progress, silent
from tubelet.synthetic import context
from tubelet.synthetic.render import render_scene
from tubelet.synthetic.scene import COLOURS, SHAPES, VERBS, Scene

PIXELS, FRAMES, CELLS, BANDS = 48, 8, 12, 6
RIDGE = 0.3


def measure_surroundings(strength: float, train: int = 1200, test: int = 400, progress: Progress = silent) -> Record:
    """Renders, fits, tests; the content of the result file. Chance is 1/6 for shape and colour and 1/8 for motion."""
    started, total = time.perf_counter(), train + test
    seen, places, answers = [], [], []
    for split, count in (("train", train), ("test", test)):
        for index in range(count):
            scene = context.draw_scene(index, strength, 0, split, FRAMES)
            seen.append(surroundings(scene))
            places.append(scene.subject.centre.mean(0) - scene.look.mean(0))
            answers.append((scene.subject.shape, scene.subject.colour, scene.subject.motion))
            progress(len(seen), total, "")
    shape, colour, motion = map(np.array, zip(*answers, strict=True))
    around, place = np.stack(seen), np.stack(places)
    return {
        "corpus": context.VERSION,
        "metrics": {
            "surroundings.shape": accuracy(around, shape, train),
            "surroundings.colour": accuracy(around, colour, train),
            "surroundings.motion": accuracy(around, motion, train),
            "region.colour": accuracy(np.concatenate([place, place**2], 1), colour, train),
        },
        "best_guess": {name: round(value, 4) for name, value in context.best_guess(strength).items()},
        "chance": {"shape": 1 / len(SHAPES), "colour": 1 / len(COLOURS), "motion": 1 / len(VERBS)},
        "counts": {"train": train, "test": test},
        "conditions": f"ridge classifier on clips rendered without their subject, {PIXELS}x{PIXELS}, seed 0",
        "seconds": round(time.perf_counter() - started),
        "hardware": f"{platform.machine()} CPU",
        "command": f"tubelet synth --context {strength:g} --ceiling FILE",
    }


def surroundings(scene: Scene) -> Float64[np.ndarray, "n"]:
    """Mean image and spread of cells, and the energy of the first frame by frequency and direction."""
    clip = render_scene(context.without_subject(scene), PIXELS).frames / 255.0
    cells = clip.reshape(len(clip), CELLS, PIXELS // CELLS, CELLS, PIXELS // CELLS, 3).mean((2, 4))
    spectrum = np.abs(np.fft.rfft2(clip[0].mean(-1) - clip[0].mean()))
    down, across = np.fft.fftfreq(PIXELS)[:, None], np.fft.rfftfreq(PIXELS)
    ring = np.minimum((np.hypot(down, across) * 2 * BANDS).astype(int), BANDS - 1)
    side = (np.arctan2(np.abs(down), across) / (np.pi / 2) * 3).astype(int).clip(0, 2)
    energy = np.bincount((3 * ring + side).ravel(), weights=spectrum.ravel(), minlength=3 * BANDS)
    return np.concatenate([cells.mean(0).ravel(), cells.std(0).ravel(), np.log1p(energy)])


def accuracy(inputs: Float64[np.ndarray, "b n"], answer: np.ndarray, train: int) -> float:
    """Of a ridge classifier: least squares on one-hot answers, of standardised inputs."""
    mean, spread = inputs[:train].mean(0), inputs[:train].std(0) + 1e-6
    standard = np.insert((inputs - mean) / spread, 0, 1.0, axis=1)
    kinds = np.unique(answer)
    target = np.where(answer[:train, None] == kinds, 1.0, -1.0)
    seen = standard[:train]
    weights = np.linalg.solve(seen.T @ seen + RIDGE * train * np.eye(seen.shape[1]), seen.T @ target)
    return round(float((kinds[(standard[train:] @ weights).argmax(1)] == answer[train:]).mean()), 4)
