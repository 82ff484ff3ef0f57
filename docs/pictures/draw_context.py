"""Six clips of synth-context-1 at strengths 0 and 0.9, and at 0.9 without their subject: docs/pictures/context.jpg."""

from pathlib import Path

import numpy as np
from PIL import Image

from tubelet.synthetic import context, render_scene

SIZE, CLIPS = 128, range(6)


def row(strength: float, subject: bool = True) -> np.ndarray:
    scenes = [context.draw_scene(index, strength) for index in CLIPS]
    shown = scenes if subject else [context.without_subject(scene) for scene in scenes]
    return np.concatenate([render_scene(scene, SIZE).frames[12] for scene in shown], 1)


if __name__ == "__main__":
    picture = np.concatenate([row(0.0), row(0.9), row(0.9, subject=False)])
    Image.fromarray(picture).save(Path(__file__).with_name("context.jpg"), quality=88)
