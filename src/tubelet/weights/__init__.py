"""Weights as they come in the wild: which file holds them, which names they go by, which model they are of.

Start reading at `read.read_weights`; `layouts` has the names, `files` the files.
"""

from tubelet.weights.layouts import LAYOUTS, Layout
from tubelet.weights.read import Weights, read_weights

__all__ = ["LAYOUTS", "Layout", "Weights", "read_weights"]
