"""From a scene to pixels, and the truth about every pixel: whose it is and where it goes next.

All arithmetic is in float64, so that rounding to bytes is the same on any machine (a test holds the hash of a few
clips). The camera neither rotates nor shears, so the ground is a sum of products of a function of x and a function
of y, and a whole clip of it is one matrix product.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Float64, UInt8

from tubelet.synthetic.scene import Ground, Scene, Thing, Track, draw_scene, outline


@dataclass(frozen=True)
class Truth:
    """Exact knowledge about a clip: the owner of every pixel and the pose of every owner.

    `owner` is 0 for the ground, 1 for the subject, 2 and more for the distractors. `scale`, `turn` and `position` say
    where a point of an owner's own coordinates lies in the frame, in pixels (x, y), at each frame and one beyond:
    pixel = scale * rotation(turn) * point + place.
    """

    owner: UInt8[np.ndarray, "t h w"]
    scale: Float64[np.ndarray, "o t1"]
    turn: Float64[np.ndarray, "o t1"]
    position: Float64[np.ndarray, "o t1 2"]
    camera: str = "static"
    parts: UInt8[np.ndarray, "t h w"] | None = None  # of synth-2: which of its parts each pixel shows

    @property
    def mask(self) -> Bool[np.ndarray, "t h w"]:
        """Where the subject is seen."""
        return self.owner == 1

    @property
    def flow(self) -> Float32[np.ndarray, "t h w 2"]:
        """How far (dx, dy), in pixels, the point seen at each pixel has moved by the next frame."""
        return np.stack([self.moved(t, t + 1) for t in range(len(self.owner))])

    def moved(self, start: int, end: int) -> Float32[np.ndarray, "h w 2"]:
        """How far (dx, dy), in pixels, the point seen at each pixel of frame `start` is from there at frame `end`."""
        height, width = self.owner.shape[1:]
        x, y = np.arange(width) + 0.5, np.arange(height)[:, None] + 0.5
        moved = np.empty((height, width, 2), np.float32)
        growth, turn = self.scale[:, end] / self.scale[:, start], self.turn[:, end] - self.turn[:, start]
        cosine, sine = growth * np.cos(turn), growth * np.sin(turn)
        for owner in range(len(self.scale)):
            (x0, y0), (x1, y1), c, s = (
                self.position[owner, start],
                self.position[owner, end],
                cosine[owner],
                sine[owner],
            )
            mine = self.owner[start] == owner
            moved[..., 0][mine] = np.broadcast_to(x1 - x + c * (x - x0) - s * (y - y0), mine.shape)[mine]
            moved[..., 1][mine] = np.broadcast_to(y1 - y + s * (x - x0) + c * (y - y0), mine.shape)[mine]
        return moved


Painter = Callable[[Float64[np.ndarray, "t h w 3"], UInt8[np.ndarray, "t h w"]], None]


@dataclass(frozen=True)
class Rendered:
    """A clip in memory."""

    frames: UInt8[np.ndarray, "t h w 3"]
    scene: Scene
    truth: Truth

    @property
    def mask(self) -> Bool[np.ndarray, "t h w"]:
        return self.truth.mask

    @property
    def flow(self) -> Float32[np.ndarray, "t h w 2"]:
        return self.truth.flow

    @property
    def label(self) -> str:
        return self.scene.subject.motion


def render(index: int, seed: int = 0, split: str = "train", size: int = 96, frames: int = 32) -> Rendered:
    """Clip `index` of a split, in memory: no file, the pixels before compression."""
    return render_scene(draw_scene(index, seed, split, frames), size)


def render_scene(scene: Scene, size: int = 96, paint: Painter | None = None) -> Rendered:
    """`paint` adds to the finished scene, before light falls on it."""
    zoom, look = scene.zoom, scene.look
    axis = (np.arange(size) + 0.5) / size - 0.5
    world = axis / zoom[:-1, None]
    picture = paint_ground(scene.ground, world + look[:-1, :1], world + look[:-1, 1:])
    owner = np.zeros(picture.shape[:3], np.uint8)
    scale, turn = [zoom * size], [np.zeros_like(zoom)]
    position = [(0.5 - look * zoom[:, None]) * size]
    for number, thing in reversed(list(enumerate(scene.things, start=1))):
        scale.insert(1, thing.radius * zoom * size)
        turn.insert(1, thing.angle)
        position.insert(1, (0.5 + (thing.centre - look) * zoom[:, None]) * size)
        paint_thing(picture, owner, number, thing, scale[1], position[1])
    if paint is not None:
        paint(picture, owner)
    right, down = scene.light
    picture *= (1 - down * axis[:, None] - right * axis)[..., None]
    np.clip(picture, 0, 1, out=picture)
    picture *= 255
    pixels = np.rint(picture, out=picture).astype(np.uint8)
    return Rendered(pixels, scene, Truth(owner, np.stack(scale), np.stack(turn), np.stack(position), scene.camera))


def paint_ground(
    ground: Ground, x: Float64[np.ndarray, "t w"], y: Float64[np.ndarray, "t h"]
) -> Float64[np.ndarray, "t h w 3"]:
    """rgb * (1 + contrast * pattern), the pattern a sum of products of a row and a column."""
    rows, columns = [np.ones_like(y)], [np.ones_like(x)]
    sharp = ground.kind in ("stripes", "checks")
    if sharp:
        row, column = np.ones_like(y), np.ones_like(x)
        for along_x, along_y, phase in ground.waves:
            if abs(along_x) > abs(along_y):
                column = np.tanh(2.5 * np.cos(2 * np.pi * along_x * x + phase))
            else:
                row = np.tanh(2.5 * np.cos(2 * np.pi * along_y * y + phase))
        rows.append(ground.contrast * row)
        columns.append(column)
    else:
        heights = [ground.contrast * amplitude for amplitude in ground.amplitudes]
        heights = heights or [ground.contrast / len(ground.waves) ** 0.5] * len(ground.waves)
        for height, (along_x, along_y, phase) in zip(heights, ground.waves, strict=True):
            across, along = 2 * np.pi * along_x * x + phase, 2 * np.pi * along_y * y
            rows += [height * np.cos(along), -height * np.sin(along)]
            columns += [np.cos(across), np.sin(across)]
    tinted = np.stack(columns, 1)[..., None] * np.array(ground.rgb)  # t r w 3
    frames, rank, width, _ = tinted.shape
    painted = np.stack(rows, 2) @ tinted.reshape(frames, rank, width * 3)
    return painted.reshape(frames, y.shape[1], width, 3)


def paint_thing(
    picture: Float64[np.ndarray, "t h w 3"],
    owner: UInt8[np.ndarray, "t h w"],
    number: int,
    thing: Thing,
    radius: Track,
    position: Float64[np.ndarray, "t1 2"],
) -> None:
    """Paints a thing over the picture, antialiased over one pixel, in a window that follows it."""
    frames, height, width, _ = picture.shape
    side = min(2 * int(np.ceil(radius[:-1].max())) + 3, height, width)
    corner = np.clip(np.floor(position[:-1]).astype(int) - side // 2, 0, [width - side, height - side])
    step = np.arange(side) + 0.5
    x = (corner[:, :1] + step - position[:-1, :1])[:, None, :]
    y = (corner[:, 1:] + step - position[:-1, 1:])[:, :, None]
    unit = radius[:-1, None, None]
    cosine, sine = np.cos(thing.angle[:-1, None, None]) / unit, np.sin(thing.angle[:-1, None, None]) / unit
    outside = outline(thing.shape)(cosine * x + sine * y, cosine * y - sine * x) * unit
    cover = np.clip(0.5 - outside, 0, 1)
    white = thing.white[:-1, None]
    colour = (1 - white) * np.array(thing.rgb) + white
    for t in range(frames):
        left, top = corner[t]
        window = picture[t, top : top + side, left : left + side]
        window += cover[t, :, :, None] * (colour[t] - window)
        owner[t, top : top + side, left : left + side][cover[t] > 0.5] = number
