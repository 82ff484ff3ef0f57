"""Phases are ordinary commands, one after another: a later one begins with the run of an earlier one.

A function returns them by name, each without `--on` and `--out`; `{name}` stands for the folder of that phase.
"""

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tubelet.errors import RecipeError
from tubelet.recipes.find import find

Phases = Mapping[str, str]
OPTIONS = ("on", "labels", "label")  # of a command; all else that a word sets is a field of its recipe


def videomae_v2() -> Phases:
    """VideoMAE V2's three: pretrain, fine-tune to the labels of many videos, then to those that count.

    tubelet phases videomae_v2 --on corpora/synth --out runs/v2 supervised.label=shape
    tubelet phases videomae_v2 --on corpora/many --out runs/v2 supervised.on=corpora/labelled target.on=corpora/mine

    From the abstract (arXiv 2303.16727): the order. Ours: the recipes, at the size of `miniature`.
    """
    return {
        "pretrained": "pretrain videomae_v2",
        "supervised": "finetune {pretrained} tiny",
        "target": "finetune {supervised} tiny",
    }


def videoprism_2() -> Phases:
    """VideoPrism's two: learn from captions, then be taught by that encoder what is hidden.

    tubelet align corpora/synth sources=subject
    tubelet saliency corpora/synth Text sources=subject
    tubelet phases videoprism_2 --on corpora/synth --out runs/videoprism

    From the abstract (arXiv 2402.13217): the order. Ours: both recipes; the first is `tiny_text_guided`.
    """
    return {
        "captioned": "pretrain tiny_text_guided",
        "distilled": "pretrain videoprism_2 init={captioned} teacher.init={captioned}",
    }


def beit() -> Phases:
    """BEiT's two: learn a codebook of tubelets, then predict the codes of what is hidden.

    tubelet phases beit --on corpora/synth --out runs/beit

    From memory of the paper (arXiv 2106.08254): the order, with a tokenizer that is trained before. Ours: both recipes.
    """
    return {"codebook": "pretrain vq", "predicted": "pretrain beit teacher.init={codebook}"}


def mavil() -> Phases:
    """MAViL's two: rebuild clip and sound, then predict what that encoder makes of both.

    tubelet track corpora/synth-2 sound
    tubelet phases mavil --on corpora/synth-2 --out runs/mavil

    From the abstract (arXiv 2212.08071): the order. Ours: both recipes.
    """
    return {"rebuilt": "pretrain mavil", "predicted": "pretrain mavil_again init={rebuilt} teacher.init={rebuilt}"}


def diff_mavil() -> Phases:
    """Diffusion MAViL's two: denoise clip and sound, then predict what that encoder makes of both.

    tubelet track corpora/synth-2 sound
    tubelet phases diff_mavil --on corpora/synth-2 --out runs/diff_mavil

    From notes (arXiv 2310.03937): the order. Ours: both recipes, the second of which is MAViL's.
    """
    return {
        "denoised": "pretrain diff_mavil",
        "predicted": "pretrain mavil_again init={denoised} teacher.init={denoised}",
    }


PHASES: tuple[Callable[[], Phases], ...] = (videomae_v2, videoprism_2, beit, mavil, diff_mavil)


@dataclass(frozen=True)
class Phase:
    """One command: what it does, with which words, and its options by their names."""

    name: str
    verb: str
    words: tuple[str, ...]
    options: Mapping[str, str]

    @property
    def command(self) -> list[str]:
        options = [word for name, value in self.options.items() for word in (f"--{name}", value)]
        return ["tubelet", self.verb, *self.words, *options]


def resolve_phases(phases: str | Callable[[], Phases], words: Sequence[str], on: Path, out: Path) -> list[Phase]:
    """The commands. A word as `seed=1` is said to all phases; one that begins with a phase, `target.steps=50`, to that
    phase alone, which has a corpus of its own by `target.on=CORPUS`; the more particular word counts."""
    lines = (find(phases, PHASES, "sequence of phases")[1] if isinstance(phases, str) else phases)()
    folders = {name: str(out / name) for name in lines}
    if wrong := next((word for word in words if "=" not in word), None):
        raise RecipeError(f"{wrong}: fields are written key=value, or PHASE.key=value; phases: {', '.join(lines)}")
    found = []
    for name, line in lines.items():
        verb, *own = (word.format_map(folders) for word in shlex.split(line))
        of_all = [word for word in words if word.partition(".")[0] not in lines]
        of_one = [word.removeprefix(f"{name}.") for word in words if word.partition(".")[0] == name]
        said = dict(word.split("=", 1) for word in (*own, *of_all, *of_one) if "=" in word)  # the last counts
        options = {"on": str(on), "out": folders[name]} | {key: said.pop(key) for key in OPTIONS if key in said}
        named = [word for word in own if "=" not in word]
        found.append(Phase(name, verb, (*named, *(f"{key}={value}" for key, value in said.items())), options))
    return found
