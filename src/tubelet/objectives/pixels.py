"""Pixels: reconstruct the hidden tubelets, normalised by their own mean and spread (VideoMAE, arXiv 2203.12602)."""

import chz

from tubelet.objectives.predict import Predict


@chz.chz
class Pixels(Predict):
    """`Predict` under the name by which recipes, pictures and exports know the reconstruction of pixels."""
