"""`synth-1`, the synthetic dataset: a subject performs one of eight motions among distractors that do not.

`render(index)` gives a clip in memory; `write_synth(folder)` a corpus of H.264 files with labels, captions, splits and
the exact truth beside every clip; `truth(corpus, video)` reads that truth. `CEILING` is how well the label can be
predicted from pixels alone. The name "synth-1" fixes every pixel and every draw: a change of either is another version.

`Size(context=strength)` is another dataset, `synth-context-1` (`tubelet.synthetic.context`), in which the surroundings
speak for the subject; `Size(faces=True)` is `synth-2` (`tubelet.synthetic.faces`), with faces, sound and sensors;
`Size(long=True)` is `synth-long-1` (`tubelet.synthetic.long`), of videos with scenes and moments.
"""

from tubelet.synthetic.ceiling import CEILING
from tubelet.synthetic.corpus import VERSION, Size, has_truth, synth, truth, truth_in_words, write_synth
from tubelet.synthetic.render import Rendered, Truth, render, render_scene
from tubelet.synthetic.scene import (
    CAMERAS,
    COLOURS,
    GROUNDS,
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
    "CEILING",
    "COLOURS",
    "GROUNDS",
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
    "has_truth",
    "held_out",
    "render",
    "render_scene",
    "synth",
    "truth",
    "truth_in_words",
    "write_synth",
]
