"""What a clip of `synth-1` shows: a subject that performs a verb, distractors that do not, ground, light and camera.

A scene is drawn from a key and is plain data; `render` turns it into pixels. Lengths are in frame heights, the
origin is the centre of the frame, y points down. The subject is on top of the distractors.

What is labelled is decidable from the pixels alone, because distractors stand still, drift at constant velocity or
jitter about a place, and none of these is a verb of the set; the camera moves everything alike.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from tubelet import seeds

VERBS = ("spins", "bounces", "sways", "circles", "grows", "shrinks", "pulses", "flashes")
SHAPES = ("triangle", "square", "star", "cross", "moon", "bar")
COLOURS = {
    "red": (0.90, 0.16, 0.14),
    "green": (0.16, 0.74, 0.22),
    "blue": (0.18, 0.30, 0.95),
    "yellow": (0.96, 0.86, 0.16),
    "purple": (0.66, 0.20, 0.86),
    "cyan": (0.14, 0.82, 0.88),
}
CAMERAS = ("static", "pan", "zoom")
GROUNDS = ("plain", "waves", "stripes", "checks")
IDLE = ("still", "drifts", "jitters")
AREA = {"triangle": 1.299, "square": 2.0, "star": 1.123, "cross": 2.160, "moon": 1.647, "bar": 1.414, "disc": np.pi}
"""Area of each shape when its circumradius is 1."""

Path = Float64[np.ndarray, "t1 2"]
Track = Float64[np.ndarray, "t1"]


@dataclass(frozen=True)
class Thing:
    """A coloured shape and its motion through the world, at every frame and one beyond (for the last flow)."""

    shape: str
    colour: str
    motion: str  # a verb for the subject, one of IDLE for a distractor
    rgb: tuple[float, float, float]
    centre: Path
    radius: Track
    angle: Track
    white: Track  # share of white in its colour


@dataclass(frozen=True)
class Ground:
    """Smooth material under everything: cosines of the world's coordinates, or of their soft sign."""

    kind: str
    rgb: tuple[float, float, float]
    contrast: float
    waves: tuple[tuple[float, float, float], ...]  # cycles per frame height along x and y, phase
    amplitudes: tuple[float, ...] = ()  # of the waves, whose squares sum to 1; none: all alike


@dataclass(frozen=True)
class Scene:
    """One clip. `things[0]` is the subject; `zoom` and `look` are the camera: pixel = (world - look) * zoom."""

    frames: int
    things: tuple[Thing, ...]
    ground: Ground
    camera: str
    look: Path
    zoom: Track
    light: tuple[float, float]  # how much darker the frame's right and bottom are than its left and top
    held_out: bool  # this (shape, colour, verb) is in no training clip

    @property
    def subject(self) -> Thing:
        return self.things[0]


def held_out(shape: str, colour: str, verb: str, shapes: tuple[str, ...] = SHAPES) -> bool:
    """One triple in six, so that every pair of the three still occurs in training."""
    return (shapes.index(shape) + list(COLOURS).index(colour) + VERBS.index(verb)) % 6 == 0


NAMING = {
    "subject": (
        "a {colour} {shape}",
        "there is a {colour} {shape}",
        "the {colour} {shape} in the scene",
        "{colour} {shape}",
    ),
    "verb": ("something {verb}", "a thing that {verb}", "it {verb}", "here something {verb}"),
    "both": (
        "a {colour} {shape} {verb}",
        "the {colour} {shape} {verb}",
        "a {colour} {shape} that {verb}",
        "here a {colour} {shape} {verb}",
    ),
}
"""Phrasings of each caption source."""


def draw_captions(
    index: int, scene: Scene, seed: int = 0, split: str = "train", version: str = "synth-1"
) -> dict[str, str]:
    """One caption per source, of the subject alone."""
    rng = seeds.generator(seed, f"{version} captions {split}", index)
    words = {"colour": scene.subject.colour, "shape": scene.subject.shape, "verb": scene.subject.motion}
    return {source: phrasings[rng.integers(len(phrasings))].format(**words) for source, phrasings in NAMING.items()}


def draw_scene(
    index: int,
    seed: int = 0,
    split: str = "train",
    frames: int = 32,
    *,
    version: str = "synth-1",
    shapes: tuple[str, ...] = SHAPES,
) -> Scene:
    """The scene of clip `index` of a split: verbs take turns, all else is drawn.

    Half of the test clips show a held-out combination, no training clip does.
    """
    rng = seeds.generator(seed, f"{version} {split}", index)
    verb = VERBS[index % len(VERBS)]
    unseen = split == "test" and bool(rng.random() < 0.5)
    pairs = [(s, c) for s in shapes for c in COLOURS if held_out(s, c, verb, shapes) == unseen]
    shape, colour = pairs[rng.integers(len(pairs))]

    now = np.arange(frames + 1) / frames  # 0 at the first frame, 1 just after the last
    camera, look, zoom = draw_camera(rng, now)
    subject, look = draw_subject(rng, shape, colour, verb, now, look, zoom)
    things = [subject]
    moving = 0
    others = 2 + int(rng.random() < 0.35)
    for number in range(others):
        other_shape = shape if number == 1 else pick_other(rng, SHAPES, shape)
        other_colour = colour if number == 0 else pick_other(rng, tuple(COLOURS), colour)
        idle = IDLE[rng.integers(len(IDLE))]
        if idle == "still" and 2 * (moving + others - number - 1) < others:
            idle = IDLE[1 + rng.integers(2)]
        moving += idle != "still"
        things.append(draw_distractor(rng, other_shape, other_colour, idle, now, look, zoom, things))

    return Scene(
        frames=frames,
        things=tuple(things),
        ground=draw_ground(rng),
        camera=camera,
        look=look,
        zoom=zoom,
        light=draw_light(rng),
        held_out=unseen,
    )


def draw_camera(rng: np.random.Generator, now: Track) -> tuple[str, Path, Track]:
    """Its kind, and where it looks and how large it shows things at each time."""
    camera = CAMERAS[rng.integers(len(CAMERAS))]
    zoom = np.ones(len(now))
    if camera == "zoom":
        ratio = rng.uniform(1.08, 1.18)
        zoom = np.sqrt(ratio) ** (rng.choice([-1.0, 1.0]) * (2 * now - 1))
    look = np.zeros((len(now), 2))
    if camera == "pan":
        bearing, reach = rng.uniform(0, 2 * np.pi), rng.uniform(0.14, 0.28)
        look = np.outer(now - 0.5, [reach * np.cos(bearing), reach * np.sin(bearing)])
    return camera, look, zoom


Region = tuple[tuple[float, float], tuple[float, float]]
"""Lowest and highest share of the width and of the height that are free for a thing."""
EVERYWHERE: Region = ((0.0, 1.0), (0.0, 1.0))


def draw_subject(
    rng: np.random.Generator,
    shape: str,
    colour: str,
    verb: str,
    now: Track,
    look: Path,
    zoom: Track,
    region: Region = EVERYWHERE,
) -> tuple[Thing, Path]:
    """The subject, wholly inside every frame and 3 to 12 % of it; a pan too long for that is shortened."""
    area = rng.uniform(0.06, 0.1)
    phase = rng.uniform(0, 2 * np.pi)
    way = rng.choice([-1.0, 1.0])
    path, angle, white = np.zeros((len(now), 2)), np.full(len(now), rng.uniform(0, 2 * np.pi)), np.zeros(len(now))
    size = np.ones(len(now))
    if verb == "spins":
        angle = angle + way * 2 * np.pi * rng.uniform(0.8, 1.3) * now
    elif verb == "bounces":
        height, hops = rng.uniform(0.18, 0.28), rng.uniform(1.6, 2.6)
        path[:, 1] = -height * np.abs(np.sin(np.pi * hops * now + phase))
    elif verb == "sways":
        path[:, 0] = rng.uniform(0.12, 0.18) * np.sin(2 * np.pi * rng.uniform(1.2, 1.9) * now + phase)
    elif verb == "circles":
        turn = way * 2 * np.pi * rng.uniform(1.1, 1.6) * now + phase
        path = rng.uniform(0.11, 0.15) * np.stack([np.cos(turn), np.sin(turn)], 1)
    elif verb in ("grows", "shrinks"):
        area = 0.06  # the geometric middle of 3 and 12 %
        span = np.log(rng.uniform(1.5, 1.65)) * (1 if verb == "grows" else -1)
        size = np.exp(span * (now - 0.5))
    elif verb == "pulses":
        size = np.exp(np.log(rng.uniform(1.18, 1.28)) * np.sin(2 * np.pi * rng.uniform(1.8, 2.8) * now + phase))
    elif verb == "flashes":
        white = 0.85 / (1 + np.exp(-6 * np.sin(2 * np.pi * rng.uniform(2.2, 3.2) * now + phase)))
    spread = (size * zoom) ** 2
    area = np.clip(area, 0.031 / spread.min(), 0.118 / spread.max())
    radius = np.sqrt(area / AREA[shape]) * size

    for share in (1.0, 0.7, 0.4, 0.2, 0.0):
        low = ((0.02 - 0.5) / zoom + radius)[:, None] + share * look - path
        high = ((0.5 - 0.02) / zoom - radius)[:, None] + share * look - path
        least, most = low.max(0), high.min(0)
        if (least <= most).all():
            break
    lowest, highest = np.transpose(region)
    base = least + (lowest + (highest - lowest) * rng.random(2)) * np.maximum(most - least, 0)
    return Thing(shape, colour, verb, tint(rng, colour), base + path, radius, angle, white), share * look


def draw_distractor(
    rng: np.random.Generator,
    shape: str,
    colour: str,
    idle: str,
    now: Track,
    look: Path,
    zoom: Track,
    placed: list[Thing],
) -> Thing:
    """A distractor, as clear of what is placed as eight tries allow."""
    radius = np.full(len(now), np.sqrt(rng.uniform(0.025, 0.05) / AREA[shape]))
    path = np.zeros((len(now), 2))
    if idle == "drifts":
        bearing, reach = rng.uniform(0, 2 * np.pi), rng.uniform(0.1, 0.25)
        path = np.outer(now - 0.5, [reach * np.cos(bearing), reach * np.sin(bearing)])
    elif idle == "jitters":
        path = rng.uniform(-0.012, 0.012, (len(now), 2))
    tries = rng.uniform(-0.36, 0.36, (8, 2))
    paths = tries[:, None] + path
    gaps = [np.linalg.norm(paths - thing.centre, axis=2) - radius - thing.radius for thing in placed]
    base = tries[np.min(gaps, axis=(0, 2)).argmax()]
    angle = np.full(len(now), rng.uniform(0, 2 * np.pi))
    return Thing(shape, colour, idle, tint(rng, colour), base + path, radius, angle, np.zeros(len(now)))


def draw_ground(rng: np.random.Generator) -> Ground:
    kind = GROUNDS[rng.integers(len(GROUNDS))]
    grey, hue = rng.uniform(0.42, 0.62), rng.uniform(-0.07, 0.07, 3)
    count, longest = {"plain": (2, 0.5), "waves": (3, 1.2), "stripes": (1, 2.0), "checks": (2, 2.0)}[kind]
    waves: list[tuple[float, float, float]] = []
    for number in range(count):
        cycles, phase = rng.uniform(0.5 * longest, longest), rng.uniform(0, 2 * np.pi)
        bearing = rng.uniform(0, np.pi)
        if kind == "stripes":
            bearing = rng.integers(2) * np.pi / 2
        elif kind == "checks":
            bearing = number * np.pi / 2
        waves.append((float(cycles * np.cos(bearing)), float(cycles * np.sin(bearing)), float(phase)))
    rgb = grey + hue
    return Ground(kind, (float(rgb[0]), float(rgb[1]), float(rgb[2])), float(rng.uniform(0.06, 0.16)), tuple(waves))


def draw_light(rng: np.random.Generator) -> tuple[float, float]:
    """From above, more or less: one fall of light over the whole frame, whatever the camera does."""
    bearing, fall = rng.uniform(-1.1, 1.1), rng.uniform(0.45, 0.7)
    return float(fall * np.sin(bearing)), float(fall * np.cos(bearing))


def tint(rng: np.random.Generator, colour: str) -> tuple[float, float, float]:
    """The colour, a little off, so that a name is a region and not a value."""
    red, green, blue = np.clip(np.array(COLOURS[colour]) + rng.uniform(-0.06, 0.06, 3), 0, 1)
    return float(red), float(green), float(blue)


def pick_other(rng: np.random.Generator, names: tuple[str, ...], taken: str) -> str:
    free = [name for name in names if name != taken]
    return free[rng.integers(len(free))]


Plane = Float64[np.ndarray, "*shape"]


def outline(shape: str) -> Callable[[Plane, Plane], Plane]:
    """How far outside the shape of circumradius 1 a point lies: negative inside, exact near straight sides."""
    shapes = {"triangle": triangle, "square": square, "star": star, "cross": cross, "moon": moon, "bar": bar}
    return {**shapes, "disc": disc}[shape]


def triangle(x: Plane, y: Plane) -> Plane:
    slant = np.abs(x) * 0.75**0.5
    return np.maximum(slant - 0.5 * y, y) - 0.5


def disc(x: Plane, y: Plane) -> Plane:
    return np.hypot(x, y) - 1


def square(x: Plane, y: Plane) -> Plane:
    return np.maximum(np.abs(x), np.abs(y)) - 0.5**0.5


def bar(x: Plane, y: Plane) -> Plane:
    return np.maximum(np.abs(x) - 0.93, np.abs(y) - 0.38)


def cross(x: Plane, y: Plane) -> Plane:
    across, along = np.abs(x), np.abs(y)
    return np.minimum(np.maximum(across - 0.93, along - 0.36), np.maximum(across - 0.36, along - 0.93))


def moon(x: Plane, y: Plane) -> Plane:
    return np.maximum(np.hypot(x, y) - 1, 0.85 - np.hypot(x - 0.65, y))


def star(x: Plane, y: Plane) -> Plane:
    """A pentagram holds the points that lie beyond at most one of its five lines."""
    first, second = np.full_like(x, -np.inf), np.full_like(x, -np.inf)
    for corner in range(5):
        turn = 2 * np.pi * corner / 5 + np.pi / 2
        beyond = x * np.cos(turn) + y * np.sin(turn) - np.cos(2 * np.pi / 5)
        second = np.maximum(second, np.minimum(first, beyond))
        first = np.maximum(first, beyond)
    return second
