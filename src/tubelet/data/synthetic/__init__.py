"""`synth-1`, the embedded corpus: a subject performs one of eight motions among distractors that do not.

`render(index)` gives a clip in memory; `write_synth(folder)` a corpus of H.264 files with labels, captions, splits and
the exact truth beside every clip; `truth(corpus, video)` reads that truth. What a number tells the reader "synth-1"
is fixed: a change of any pixel or draw is another version.
"""

from tubelet.data.synthetic.corpus import VERSION, Size, truth, write_synth
from tubelet.data.synthetic.render import Rendered, Truth, render, render_scene
from tubelet.data.synthetic.scene import (
    CAMERAS,
    COLOURS,
    IDLE,
    NAMING,
    SHAPES,
    VERBS,
    Scene,
    draw_captions,
    draw_scene,
    held_out,
)

__all__ = [
    "CAMERAS",
    "COLOURS",
    "IDLE",
    "NAMING",
    "SHAPES",
    "VERBS",
    "VERSION",
    "Rendered",
    "Scene",
    "Size",
    "Truth",
    "draw_captions",
    "draw_scene",
    "held_out",
    "render",
    "render_scene",
    "truth",
    "write_synth",
]
