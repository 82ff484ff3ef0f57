"""Draws steps.jpg: a frame of three clips, its saliency map, what the encoder sees, and the reconstruction.

tubelet synth --out corpora/synth --train 600 --test 100
tubelet align corpora/synth sources=subject
tubelet saliency corpora/synth Text sources=subject
tubelet pretrain tiny_text_guided --on corpora/synth --out runs/steps \\
        clip.size=96 clip.tubelet_size=8 masker.pick=top steps=700 batch=16
tubelet evaluate runs/steps reconstruction
python docs/pictures/draw_steps.py runs/steps docs/pictures/steps.jpg
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from tubelet.contact_sheet import Row, draw
from tubelet.reports.pictures import load_samples
from tubelet.reports.sheets import masked, overlay, rebuilt

SIDE = 192  # pixels of a picture
CLIPS = (0, 1, 5)
HEADER = (
    ("1. a clip and its caption",),
    ("2. similarity to the caption",),
    ("3. what the encoder sees",),
    ("4. the reconstruction",),
)


def main(run: Path, out: Path, clips: tuple[int, ...]) -> None:
    samples = load_samples(run)
    assert samples is not None, "give `tubelet evaluate RUN reconstruction` first"
    rows = []
    for index in clips:
        heat = overlay(samples, index)
        assert heat is not None, "the run has no text maps"
        videos = (samples.frames[index], heat, masked(samples, index), rebuilt(samples, index, truth=False))
        rows.append(Row([large(video[len(video) // 2]) for video in videos], f"“{samples.captions[index]}”"))
    draw(rows, out, HEADER)


def large(frame: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(frame).resize((SIDE, SIDE), Image.Resampling.BICUBIC))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), tuple(map(int, sys.argv[3:])) or CLIPS)
