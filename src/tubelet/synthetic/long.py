"""`synth-long-1`: videos of five scenes, of which three show a motion, in an order that is the label.

Every video has the same three motions, so that the mean of its parts tells nothing of the order; in two scenes,
anywhere among them, the subject rests. Each scene is drawn as a clip of `synth-1`, from keys of its own, and lasts
`frames` frames, a third more or less. From the first frame to the last the light falls and changes its colour, a
little further in every frame. A moment is a scene that shows a motion: its start, end and label are exact.
"""

from dataclasses import dataclass, replace
from itertools import permutations

import numpy as np
from jaxtyping import Float64

from tubelet import seeds
from tubelet.synthetic.render import Rendered, Truth, render_scene
from tubelet.synthetic.scene import VERBS, Scene, Thing, draw_captions, draw_scene

VERSION = "synth-long-1"
ORDERED = ("bounces", "flashes", "grows")
RESTS = "rests"
SCENES = 5
ORDERS = tuple(permutations(ORDERED))
OWNERS = 5  # the ground, a subject and at most three distractors


@dataclass(frozen=True)
class Story:
    """The scenes of a video, one after another, and how the light ends that begins as (1, 1, 1)."""

    scenes: tuple[Scene, ...]
    light: tuple[float, float, float]

    @property
    def frames(self) -> int:
        return sum(scene.frames for scene in self.scenes)

    @property
    def label(self) -> str:
        return " then ".join(verb for verb in self.verbs if verb != RESTS)

    @property
    def verbs(self) -> tuple[str, ...]:
        return tuple(scene.subject.motion for scene in self.scenes)

    @property
    def cuts(self) -> list[int]:
        """The frames at which scenes begin, and the end."""
        return [0, *np.cumsum([scene.frames for scene in self.scenes]).tolist()]


def draw_story(index: int, seed: int = 0, split: str = "train", frames: int = 32) -> Story:
    """Video `index` of a split: orders take turns, all else is drawn; `SCENES * frames` frames."""
    rng = seeds.generator(seed, f"{VERSION} {split}", index)
    verbs = list(ORDERS[index % len(ORDERS)])
    for place in sorted(rng.choice(SCENES, SCENES - len(verbs), replace=False).tolist()):
        verbs.insert(place, RESTS)
    shares = rng.uniform(0.75, 1.25, SCENES)
    lengths = np.diff(np.rint(SCENES * frames * np.cumsum(shares) / shares.sum()), prepend=0).astype(int)
    scenes = []
    for number, (verb, length) in enumerate(zip(verbs, lengths.tolist(), strict=True)):
        moves = VERBS.index(verb) if verb != RESTS else 0
        own = (SCENES * index + number) * len(VERBS) + moves  # `draw_scene` takes the verb from it
        scene = draw_scene(own, seed, split, length, version=VERSION)
        scenes.append(scene if verb != RESTS else replace(scene, things=(resting(scene.subject), *scene.things[1:])))
    red, green, blue = rng.uniform(0.35, 0.65) * (1 + rng.uniform(-0.3, 0.3, 3))
    return Story(tuple(scenes), (float(red), float(green), float(blue)))


def resting(thing: Thing) -> Thing:
    """As it is in the middle of its scene, all the time."""
    middle = len(thing.radius) // 2

    def held(track: Float64[np.ndarray, "t1 ..."]) -> Float64[np.ndarray, "t1 ..."]:
        return np.broadcast_to(track[middle], track.shape).copy()

    return replace(
        thing, motion=RESTS, centre=held(thing.centre), radius=held(thing.radius), angle=held(thing.angle),
        white=held(thing.white),
    )  # fmt: skip


def render_story(index: int, seed: int, split: str, size: int, frames: int) -> Rendered:
    """Video `index` of a split, in memory. At a cut the truth's flow leads from one scene into the next, so nowhere."""
    story = draw_story(index, seed, split, frames)
    seen = [render_scene(scene, size) for scene in story.scenes]
    gain = 1 + np.linspace(0, 1, story.frames)[:, None] * (np.array(story.light) - 1)
    pixels = np.concatenate([one.frames for one in seen]) * gain[:, None, None]
    return Rendered(np.rint(pixels).clip(0, 255).astype(np.uint8), story.scenes[0], joined([one.truth for one in seen]))


def joined(parts: list[Truth]) -> Truth:
    """The truth of scenes one after another; an owner that a scene lacks has a pose and no pixel."""

    def along(name: str, missing: float) -> Float64[np.ndarray, "o t1 ..."]:
        found = []
        for number, part in enumerate(parts):
            values = getattr(part, name)
            values = values if number == len(parts) - 1 else values[:, :-1]
            spare = np.full((OWNERS - len(values), *values.shape[1:]), missing)
            found.append(np.concatenate([values, spare]))
        return np.concatenate(found, 1)

    owner = np.concatenate([part.owner for part in parts])
    return Truth(owner, along("scale", 1.0), along("turn", 0.0), along("position", 0.0), "cuts")


def captions_of(story: Story, index: int, seed: int, split: str, fps: int) -> list[tuple[str, str, float]]:
    """(source, text, seconds) of every scene; of one in which the subject rests, the subject alone."""
    found = []
    for number, (scene, start, end) in enumerate(zip(story.scenes, story.cuts, story.cuts[1:], strict=False)):
        said = draw_captions(SCENES * index + number, scene, seed, split, VERSION)
        kept = ("subject",) if scene.subject.motion == RESTS else tuple(said)
        found += [(source, said[source], (start + end) / 2 / fps) for source in kept]
    return found


def moments_of(story: Story, fps: int) -> list[tuple[float, float, str]]:
    """(start, end, label) of the scenes that show a motion."""
    spans = zip(story.verbs, story.cuts, story.cuts[1:], strict=False)
    return [(start / fps, end / fps, verb) for verb, start, end in spans if verb != RESTS]
