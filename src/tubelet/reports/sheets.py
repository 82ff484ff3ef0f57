"""Contact sheets: one strip of frames a row, as WebP inside the page."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib import colormaps
from PIL import Image

from tubelet.reports.pictures import EPSILON, Looks, Samples

COLUMNS = 8
WIDEST = 168  # pixels of a frame in the page; larger ones are reduced
GAP = 3
HIDDEN = (128, 128, 128)


@dataclass(frozen=True)
class Strip:
    """A row of a contact sheet: what it shows, a word of explanation, the picture as a data URI."""

    title: str
    note: str
    image: str


def strips(samples: Samples, index: int) -> list[Strip]:
    """What one run shows of one clip, below its frames."""
    rows = []
    heat = overlay(samples, index)
    if heat is not None:
        low, high = text_range(samples, index)
        rows.append(
            Strip(
                "Similarity to the caption",
                f"the text map on the tubelets, from {low:.2f} (dark) to {high:.2f} (bright)",
                strip(heat),
            )
        )
    hidden = samples.hidden.shape[1]
    total = int(np.prod(samples.grid))
    rows.append(
        Strip("What the encoder sees", f"{hidden} of {total} tubelets hidden, in grey", strip(masked(samples, index)))
    )
    rows.append(
        Strip(
            "Reconstruction",
            "the model alone: each hidden tubelet takes mean and contrast of the nearest visible one",
            strip(rebuilt(samples, index, truth=False)),
        )
    )
    rows.append(
        Strip(
            "Reconstruction, true statistics pasted back",
            "helped: mean and contrast of every hidden tubelet come from the ground truth, the model gives the pattern",
            strip(rebuilt(samples, index, truth=True)),
        )
    )
    return rows


def look_strips(looks: Looks, index: int) -> list[Strip]:
    """What a run reads beside one clip, and what it makes of it."""
    rows = zip(looks.titles, looks.notes, looks.columns, looks.pictures[index], strict=True)
    return [Strip(str(title), str(note), strip(frames[: int(columns)])) for title, note, columns, frames in rows]


def frames_strip(samples: Samples, index: int) -> Strip:
    shown = chosen(len(samples.frames[index]))
    return Strip(
        "Frames",
        f"{len(shown)} of the clip's {len(samples.frames[index])}",
        strip(samples.frames[index]),
    )


def r2(samples: Samples, index: int) -> float:
    """The explained variance of one clip; NaN where every scored tubelet is flat."""
    mean = float(samples.mean_prediction_loss[index])
    return 1 - float(samples.loss[index]) / mean if mean > 0 else float("nan")


def masked(samples: Samples, index: int) -> np.ndarray:
    """The frames with the hidden tubelets in grey: uint8 "t h w 3"."""
    tubelets = cut(samples.frames[index], samples)
    tubelets[samples.hidden[index]] = HIDDEN
    return join(tubelets, samples)


def rebuilt(samples: Samples, index: int, truth: bool) -> np.ndarray:
    """The frames with the prediction in the hidden tubelets: uint8 "t h w 3".

    The model predicts each tubelet with its mean and variance removed. With `truth` they are those of the hidden
    tubelet itself, which the model never saw; without, those of the visible tubelet nearest to it.
    """
    tubelets = cut(samples.frames[index], samples)
    if truth:
        mean, std = samples.mean[index], samples.std[index]  # q 3
    else:
        near = tubelets[samples.nearest[index]].reshape(len(samples.nearest[index]), -1, 3).astype(np.float64)
        mean, std = near.mean(1), near.std(1, ddof=1)
    pixels = samples.prediction[index].astype(np.float64)  # q t y x 3
    pixels = pixels * (std + EPSILON)[:, None, None, None] + mean[:, None, None, None]
    tubelets[samples.hidden[index]] = HIDDEN
    tubelets[samples.scored[index]] = np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
    return join(tubelets, samples)


def overlay(samples: Samples, index: int) -> np.ndarray | None:
    """The text map over the grey frames: uint8 "t h w 3"; None where the run has no text map."""
    if samples.text.shape[1] == 0:
        return None
    low, high = text_range(samples, index)
    time_steps, rows, columns = samples.grid
    size, depth = int(samples.clip[1]), int(samples.clip[2])
    scaled = np.clip((samples.text[index] - low) / max(high - low, 1e-9), 0, 1).reshape(time_steps, rows, columns)
    smooth = np.stack([resized(layer, size) for layer in scaled])
    colour = colormaps["inferno"](np.repeat(smooth, depth, axis=0))[..., :3]
    grey = samples.frames[index].mean(-1, keepdims=True) / 255
    return np.rint((0.62 * colour + 0.38 * grey) * 255).astype(np.uint8)


def text_range(samples: Samples, index: int) -> tuple[float, float]:
    low, high = np.quantile(samples.text[index], [0.02, 0.98])
    return float(low), float(high)


def resized(layer: np.ndarray, size: int) -> np.ndarray:
    """One map at the frame's size, bilinear."""
    return np.asarray(Image.fromarray(layer.astype(np.float32)).resize((size, size), Image.Resampling.BILINEAR))


def cut(frames: np.ndarray, samples: Samples) -> np.ndarray:
    """uint8 "t h w 3" to tubelets "n t y x 3", a copy."""
    time_steps, rows, columns = samples.grid
    _, _, depth, side = (int(value) for value in samples.clip)
    parts = frames.reshape(time_steps, depth, rows, side, columns, side, 3).transpose(0, 2, 4, 1, 3, 5, 6)
    return np.ascontiguousarray(parts).reshape(time_steps * rows * columns, depth, side, side, 3)


def join(tubelets: np.ndarray, samples: Samples) -> np.ndarray:
    """The inverse of `cut`."""
    time_steps, rows, columns = samples.grid
    frames, size, depth, side = (int(value) for value in samples.clip)
    parts = tubelets.reshape(time_steps, rows, columns, depth, side, side, 3).transpose(0, 3, 1, 4, 2, 5, 6)
    return parts.reshape(frames, size, size, 3)


def chosen(count: int) -> list[int]:
    """The frames of a strip: at most `COLUMNS`, evenly spaced, the first among them."""
    columns = min(COLUMNS, count)
    return [index * count // columns for index in range(columns)]


def strip(frames: np.ndarray) -> str:
    """The chosen frames side by side, the gap between them transparent, as a data URI."""
    tiles = [Image.fromarray(frames[index]) for index in chosen(len(frames))]
    width, height = fitted(tiles[0].size, WIDEST)
    sheet = Image.new("RGBA", (len(tiles) * (width + GAP) - GAP, height), (0, 0, 0, 0))
    for position, tile in enumerate(tiles):
        sheet.paste(tile.resize((width, height), Image.Resampling.BICUBIC), (position * (width + GAP), 0))
    return uri(sheet)


def thumbnail(frame: np.ndarray) -> str:
    """One small picture as a data URI."""
    image = Image.fromarray(frame)
    return uri(image.resize(fitted(image.size, WIDEST), Image.Resampling.BICUBIC))


def fitted(size: Sequence[int], widest: int) -> tuple[int, int]:
    """Reduced to `widest`; small pictures are enlarged, so that 64 pixels do not look like a stamp."""
    scale = widest / max(size)
    scale = min(scale, 2.0)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def uri(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, format="WEBP", quality=86, method=4)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
