"""`synth-2`: the subjects of `synth-1` wear faces, are heard, and carry four sensors.

A clip is drawn as those of `synth-1`, from keys of its own. The subject is a disc, a square or a triangle with two
eyes, a brow and a mouth. Of every clip, whatever its label:

  forged    in half the clips the parts of the face are displaced anew in every frame, in the others once a clip by the
            same distribution: no single frame tells, motion does
  sound     pitch is how high the subject is in the frame, loudness its size and brightness, tremolo its turning
  sensors   four on its rim, 50 times a second: acceleration along the axes of the body, gravity and noise; in a third
            of the clips one is dead
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float32, Float64, UInt8

from tubelet import seeds
from tubelet.synthetic.render import Rendered, paint_thing, render_scene
from tubelet.synthetic.scene import Path, Scene, Thing, Track, draw_scene

VERSION = "synth-2"
SHAPES = ("disc", "square", "triangle")
PARTS = ("ground", "distractors", "face", "left eye", "right eye", "brow", "mouth")
RATE = 16000  # samples of sound a second
HERTZ = 50  # of the sensors
DEVICES, AXES = 4, 3
GRAVITY = 9.81  # a frame is one metre high

WHITE, DARK = (0.97, 0.97, 0.97), (0.06, 0.05, 0.08)
FEATURES = {  # shape, colour, place and size in radii of the face; the brow and the mouth are bars
    "left eye": ("disc", WHITE, (-0.28, -0.12), 0.13),
    "right eye": ("disc", WHITE, (0.28, -0.12), 0.13),
    "brow": ("bar", DARK, (0.0, -0.36), 0.32),
    "mouth": ("bar", DARK, (0.0, 0.28), 0.24),
}
MOVED = 0.09  # radii by which a part is displaced at most, along each axis


@dataclass(frozen=True)
class Face:
    """What synth-2 adds to a scene."""

    scene: Scene
    features: tuple[Thing, ...]
    forged: bool
    dead: int | None  # the sensor that says nothing


@dataclass(frozen=True)
class Seen(Rendered):
    """A clip in memory, with all that is beside its frames."""

    face: Face
    sound: Float64[np.ndarray, "n"]
    sensors: Float32[np.ndarray, "s devices axes"]


def render_face(index: int, seed: int, split: str, size: int, frames: int, fps: int) -> Seen:
    """Clip `index` of a split, in memory."""
    face = draw_face(index, seed, split, frames)
    parts = np.zeros((frames, size, size), np.uint8)

    def paint(picture: Float64[np.ndarray, "t h w 3"], owner: UInt8[np.ndarray, "t h w"]) -> None:
        parts[owner > 1], parts[owner == 1] = 1, 2
        scene = face.scene
        for number, thing in enumerate(face.features, start=3):
            unit = thing.radius * scene.zoom * size
            position = (0.5 + (thing.centre - scene.look) * scene.zoom[:, None]) * size
            covered = np.zeros_like(parts)
            paint_thing(picture, covered, 1, thing, unit, position)
            parts[covered == 1] = number

    seen = render_scene(face.scene, size, paint)
    truth = replace(seen.truth, parts=parts)
    rng = seeds.generator(seed, f"{VERSION} noise {split}", index)
    return Seen(seen.frames, seen.scene, truth, face, sound_of(face.scene, fps, rng), sensors_of(face, fps, rng))


def draw_face(index: int, seed: int = 0, split: str = "train", frames: int = 32) -> Face:
    """The scene of clip `index` of a split, and its face."""
    scene = draw_scene(index, seed, split, frames, version=VERSION, shapes=SHAPES)
    rng = seeds.generator(seed, f"{VERSION} face {split}", index)
    forged = bool(rng.random() < 0.5)
    dead = int(rng.integers(DEVICES)) if rng.random() < 1 / 3 else None
    features = []
    for shape, rgb, place, size in FEATURES.values():
        anew = rng.uniform(-MOVED, MOVED, (frames + 1, 2))
        displaced = anew if forged else np.broadcast_to(anew[:1], anew.shape)
        features.append(feature(scene.subject, shape, rgb, np.array(place) + displaced, size))
    return Face(scene, tuple(features), forged, dead)


def feature(
    face: Thing, shape: str, rgb: tuple[float, float, float], place: Float64[np.ndarray, "t1 2"], size: float
) -> Thing:
    """A part of a face, that moves with it."""
    centre = face.centre + turned(place, face.angle) * face.radius[:, None]
    return Thing(shape, "", "", rgb, centre, size * face.radius, face.angle, np.zeros_like(face.radius))


def turned(points: Float64[np.ndarray, "... 2"], angle: Track) -> Path:
    """Points of an owner's own coordinates along the axes of the frame."""
    x, y, cosine, sine = points[..., 0], points[..., 1], np.cos(angle), np.sin(angle)
    return np.stack([cosine * x - sine * y, sine * x + cosine * y], -1)


def words_of(face: Face) -> dict[str, str]:
    """What the truth says of a face."""
    dead = "none" if face.dead is None else str(face.dead)
    return {"forged": "forged" if face.forged else "genuine", "dead_sensor": dead}


def sound_of(scene: Scene, fps: int, rng: np.random.Generator) -> Float64[np.ndarray, "n"]:
    """From -1 to 1, as long as the clip."""
    subject = scene.subject
    count = round(scene.frames / fps * RATE)
    now = np.arange(count) / RATE * fps  # in frames
    at = np.arange(scene.frames + 1)

    def over_time(values: Track) -> Float64[np.ndarray, "n"]:
        return np.interp(now, at, values)

    height = 0.5 - ((subject.centre - scene.look) * scene.zoom[:, None])[:, 1]  # 0 at the bottom, 1 at the top
    brightness = (1 - subject.white) * np.mean(subject.rgb) + subject.white
    loudness = 0.1 + 2.0 * subject.radius * scene.zoom * brightness
    pitch = 250 * 2 ** (2.5 * over_time(height))
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    tremolo = 1 + 0.6 * np.sin(3 * over_time(subject.angle))
    tone = over_time(loudness) * tremolo * (np.sin(phase) + 0.3 * np.sin(2 * phase))
    return np.clip(0.4 * tone + 0.002 * rng.standard_normal(count), -1, 1)


def sensors_of(face: Face, fps: int, rng: np.random.Generator) -> Float32[np.ndarray, "s devices axes"]:
    """Metres per second squared."""
    from scipy.interpolate import CubicSpline

    scene, subject = face.scene, face.scene.subject
    seconds = np.arange(scene.frames + 1) / fps
    now = np.arange(round(scene.frames / fps * HERTZ)) / HERTZ
    angle = np.interp(now, seconds, subject.angle)
    found = np.zeros((len(now), DEVICES, AXES))
    for device in range(DEVICES):
        bearing = 2 * np.pi * device / DEVICES
        place = np.broadcast_to(0.8 * np.array([np.cos(bearing), np.sin(bearing)]), (len(seconds), 2))
        track = subject.centre + turned(place, subject.angle) * subject.radius[:, None]
        felt = CubicSpline(seconds, track)(now, 2) - np.array([0.0, GRAVITY])  # the ground pushes up: y points down
        found[:, device, :2] = turned(felt, -angle)
    found += 0.15 * rng.standard_normal(found.shape)
    if face.dead is not None:
        found[:, face.dead] = 0.0
    return found.astype(np.float32)


def rows_of_sensors(values: Float32[np.ndarray, "s devices axes"]) -> dict[str, np.ndarray]:
    """The columns of a table: time, device, x, y, z."""
    count = len(values)
    return {
        "time": np.repeat(np.arange(count) / HERTZ, DEVICES),
        "device": np.tile(np.arange(DEVICES), count),
        **{name: values[..., axis].reshape(-1) for axis, name in enumerate("xyz")},
    }
