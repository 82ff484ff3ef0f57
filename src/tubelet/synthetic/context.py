"""`synth-context-1`: a world in which the surroundings tell what the subject is, but never what it does.

Three cues, each of which holds with probability `strength` and is drawn at random otherwise: the texture of the ground
and the shape of a companion go with the subject's shape, the region of the frame with its colour. At strength 0 nothing
around the subject tells anything of it. Every other draw is the same at any strength, so that clips of two strengths
are pairs. Motion is independent of all of it, and no combination is held out.

Captions vary as people's do: synonyms, lengths, mentions of the surroundings, missing and misspelt words, several a
clip. The name fixes every draw; a change of any is another version.
"""

import re
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from tubelet import seeds
from tubelet.synthetic.scene import (
    COLOURS,
    IDLE,
    SHAPES,
    VERBS,
    Ground,
    Region,
    Scene,
    draw_camera,
    draw_distractor,
    draw_light,
    draw_subject,
    pick_other,
)

VERSION = "synth-context-1"
PER_CLIP = 3  # captions of each source
WAVES = 24  # of a texture


@dataclass(frozen=True)
class Texture:
    """Material of a ground: waves of random phase whose amplitude falls with their frequency, as in photographs."""

    rgb: tuple[float, float, float]
    contrast: float
    cycles: tuple[float, float]  # per frame height, lowest and highest
    bearing: float  # of the waves, radians
    spread: float  # of their bearings around it, radians; pi for none


TEXTURES = {
    "sand": Texture((0.70, 0.61, 0.45), 0.22, (2.0, 12.0), 0.0, np.pi),
    "grass": Texture((0.33, 0.47, 0.25), 0.32, (4.0, 14.0), 0.0, 0.35),
    "water": Texture((0.30, 0.42, 0.53), 0.26, (1.0, 8.0), np.pi / 2, 0.30),
    "wood": Texture((0.52, 0.38, 0.26), 0.28, (3.0, 12.0), np.pi / 2, 0.06),
    "stone": Texture((0.50, 0.50, 0.49), 0.30, (0.5, 5.0), 0.0, np.pi),
    "cloth": Texture((0.56, 0.50, 0.60), 0.24, (6.0, 10.0), np.pi / 4, 0.02),
}
HOME = dict(zip(SHAPES, TEXTURES, strict=True))
COMPANION = {shape: SHAPES[(number + 1) % len(SHAPES)] for number, shape in enumerate(SHAPES)}
REGION = {colour: (number % 3, number // 3) for number, colour in enumerate(COLOURS)}  # column and row of 3 x 2

SYNONYMS = {
    "red": ("red", "crimson", "scarlet"),
    "green": ("green", "emerald", "lime"),
    "blue": ("blue", "navy", "azure"),
    "yellow": ("yellow", "golden", "lemon"),
    "purple": ("purple", "violet", "magenta"),
    "cyan": ("cyan", "turquoise", "aqua"),
    "triangle": ("triangle", "wedge", "three-cornered shape"),
    "square": ("square", "box", "block"),
    "star": ("star", "five-pointed star", "starlet"),
    "cross": ("cross", "plus sign", "plus"),
    "moon": ("moon", "crescent", "half moon"),
    "bar": ("bar", "stick", "beam"),
    "spins": ("spins", "rotates", "turns around itself"),
    "bounces": ("bounces", "hops", "jumps up and down"),
    "sways": ("sways", "swings", "rocks from side to side"),
    "circles": ("circles", "moves in a circle", "orbits"),
    "grows": ("grows", "gets bigger", "swells"),
    "shrinks": ("shrinks", "gets smaller", "dwindles"),
    "pulses": ("pulses", "throbs", "beats"),
    "flashes": ("flashes", "blinks", "flickers"),
}
BEGINNINGS = ("", "", "a video of ", "here is ", "we see ", "there is ")
PHRASES = {
    "subject": "a {colour}{shape}{around}",
    "verb": "something that {verb}{around}",
    "both": "a {colour}{shape} that {verb}{around}",
}


def draw_scene(index: int, strength: float, seed: int = 0, split: str = "train", frames: int = 32) -> Scene:
    """The scene of clip `index` of a split: verbs take turns, the rest is drawn, cues by `strength` (0 to 1)."""
    rng = seeds.generator(seed, f"{VERSION} {split}", index)
    verb = VERBS[index % len(VERBS)]
    shape, colour = SHAPES[rng.integers(len(SHAPES))], pick(rng, tuple(COLOURS))
    texture = HOME[cue(rng, strength, shape, SHAPES)]
    companion = COMPANION[cue(rng, strength, shape, SHAPES)]
    region = REGION[cue(rng, strength, colour, tuple(COLOURS))]

    now = np.arange(frames + 1) / frames
    camera, look, zoom = draw_camera(rng, now)
    subject, look = draw_subject(rng, shape, colour, verb, now, look, zoom, region_of(region))
    things = [subject]
    others = 2 + int(rng.random() < 0.35)
    for number in range(others):
        drawn, any_colour, not_its = (
            pick(rng, SHAPES),
            pick(rng, tuple(COLOURS)),
            pick_other(rng, tuple(COLOURS), colour),
        )
        other_shape = companion if number == 0 else drawn
        other_colour = (
            not_its if (other_shape, any_colour) == (shape, colour) else any_colour
        )  # captions name one thing
        idle = IDLE[1 + number % 2] if number < 2 else pick(rng, IDLE)  # two of them move
        things.append(draw_distractor(rng, other_shape, other_colour, idle, now, look, zoom, things))
    ground = draw_ground(seeds.generator(seed, f"{VERSION} ground {split}", index), texture)
    return Scene(frames, tuple(things), ground, camera, look, zoom, draw_light(rng), held_out=False)


def cue(rng: np.random.Generator, strength: float, value: str, values: tuple[str, ...]) -> str:
    """The value itself with probability `strength`, otherwise any, itself included."""
    holds, other = rng.random() < strength, pick(rng, values)
    return value if holds else other


def pick(rng: np.random.Generator, values: tuple[str, ...]) -> str:
    return values[rng.integers(len(values))]


def region_of(cell: tuple[int, int]) -> Region:
    """A cell of 3 columns and 2 rows."""
    column, row = cell
    return (column / 3, (column + 1) / 3), (row / 2, (row + 1) / 2)


def draw_ground(rng: np.random.Generator, kind: str) -> Ground:
    texture = TEXTURES[kind]
    lowest, highest = np.log(texture.cycles)
    cycles = np.exp(rng.uniform(lowest, highest, WAVES))
    side = np.pi / 2 * rng.integers(2, size=WAVES) if kind == "cloth" else 0.0  # threads of both directions
    bearing = texture.bearing + side + rng.uniform(-texture.spread, texture.spread, WAVES)
    phase, share = rng.uniform(0, 2 * np.pi, WAVES), 1 / cycles
    share = share / np.sqrt(np.square(share).sum())
    waves = zip(cycles * np.cos(bearing), cycles * np.sin(bearing), phase, strict=True)
    red, green, blue = np.array(texture.rgb) * rng.uniform(0.85, 1.15) + rng.uniform(-0.03, 0.03, 3)
    return Ground(
        kind,
        (float(red), float(green), float(blue)),
        texture.contrast,
        tuple((float(x), float(y), float(turn)) for x, y, turn in waves),
        tuple(map(float, share)),
    )


def draw_captions(index: int, scene: Scene, seed: int = 0, split: str = "train") -> list[tuple[str, str]]:
    """(source, text), `PER_CLIP` of each source. One colour in 10 is left out and one in 20 wrong, one long word in 20
    is misspelt, half of the captions mention the ground or a distractor."""
    rng = seeds.generator(seed, f"{VERSION} captions {split}", index)
    return [(source, draw_caption(rng, scene, phrase)) for source, phrase in PHRASES.items() for _ in range(PER_CLIP)]


def draw_caption(rng: np.random.Generator, scene: Scene, phrase: str) -> str:
    subject, *others = scene.things
    fate = rng.random()
    colour = "" if fate < 0.1 else pick_other(rng, tuple(COLOURS), subject.colour) if fate < 0.15 else subject.colour
    other = others[rng.integers(len(others))]
    around = (
        "",
        "",
        f" on {scene.ground.kind}",
        f" near a {pick(rng, SYNONYMS[other.colour])} {pick(rng, SYNONYMS[other.shape])}",
    )[rng.integers(4)]
    text = pick(rng, BEGINNINGS) + phrase.format(
        colour=f"{pick(rng, SYNONYMS[colour])} " if colour else "",
        shape=pick(rng, SYNONYMS[subject.shape]),
        verb=pick(rng, SYNONYMS[subject.motion]),
        around=around,
    )
    words = re.sub(r"\ba (?=[aeio])", "an ", text).split()
    return " ".join(misspelt(rng, word) for word in words)


def misspelt(rng: np.random.Generator, word: str) -> str:
    """One word in 20 of 5 letters or more loses one of them."""
    fate, letter = rng.random(), int(rng.integers(1, max(len(word) - 1, 2)))
    return word[:letter] + word[letter + 1 :] if fate < 0.05 and len(word) >= 5 else word


def without_subject(scene: Scene) -> Scene:
    """The surroundings alone: a speck that covers no pixel stands in for the subject."""
    subject = scene.subject
    hidden = replace(subject, radius=np.full_like(subject.radius, 1e-9))
    return replace(scene, things=(hidden, *scene.things[1:]))


def best_guess(strength: float) -> dict[str, float]:
    """Share of subjects whose shape (from texture and companion) or colour (from the region) the best guess names:
    what the cues tell by their definition; chance is 1/6."""
    one = [[strength * (value == shape) + (1 - strength) / 6 for value in range(6)] for shape in range(6)]
    both = sum(max(one[s][t] * one[s][c] for s in range(6)) for t, c in product(range(6), repeat=2)) / 6
    return {"shape": both, "colour": one[0][0]}


def cues_of(scene: Scene) -> dict[str, bool]:
    """Which cues fit the subject, by their rule or by chance."""
    subject, companion = scene.things[:2]
    return {
        "texture": scene.ground.kind == HOME[subject.shape],
        "companion": companion.shape == COMPANION[subject.shape],
    }
