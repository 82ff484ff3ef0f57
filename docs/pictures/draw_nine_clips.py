"""Draws nine-clips.jpg: maps of a clip that the aligner never saw, for a caption of its own and one of another clip.

    python docs/pictures/draw_nine_clips.py CORPUS docs/pictures/nine-clips.jpg

It prints how well the maps of all captions find horse and rider, whose boxes were drawn by hand. The clip's own pixels
may not be published, so the picture holds maps and boxes alone.
"""

import sys
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from PIL import Image, ImageDraw, ImageFont

from tubelet.aligners.base import open_aligner
from tubelet.aligners.examples import evenly_spaced
from tubelet.corpus.table import Corpus, normalise_text
from tubelet.diagnostics.truth import roc_area
from tubelet.saliency_maps.text import similarity_maps
from tubelet.video.reader import Reader

CLIP = "8mSUD7JGNO0_174_181.avi"
OWN, OTHER = "a woman gallops on a horse", "a woman cuts an oion"
BOXES = (  # of horse and rider in six frames: left, top, right, bottom in shares of the frame
    (0.26, 0.23, 0.62, 0.65),
    (0.30, 0.27, 0.60, 0.66),
    (0.35, 0.28, 0.60, 0.63),
    (0.33, 0.33, 0.60, 0.63),
    (0.31, 0.35, 0.58, 0.63),
    (0.26, 0.37, 0.54, 0.67),
)
WIDTH, HEIGHT, GAP, LINE = 150, 112, 4, 18


def main(folder: Path, out: Path) -> None:
    corpus = Corpus.open(folder)
    aligner = open_aligner(corpus.folder / "aligner")
    video = next(video for video in corpus.videos if video.id == CLIP)
    with Reader(video.path) as reader:
        frames = reader.frames(evenly_spaced(reader.times, len(BOXES)))
    own = sorted({normalise_text(caption.text) for caption in corpus.captions_of(video)})
    other = sorted({normalise_text(caption.text) for caption in corpus.captions} - set(own))
    vectors = embed(aligner, own + other)
    maps = similarity_maps(aligner, frames, np.stack([vectors[text] for text in own + other]))
    rows, columns = maps.shape[2:]
    y, x = (np.arange(rows)[:, None] + 0.5) / rows, (np.arange(columns) + 0.5) / columns
    inside = np.stack([(x > left) & (x < right) & (y > top) & (y < bottom) for left, top, right, bottom in BOXES])
    areas = np.array([area(one, inside) for one in maps])
    middle = np.broadcast_to(-np.hypot(y - 0.5, x - 0.5), inside.shape)
    print(
        f"ROC area for horse and rider, {len(BOXES)} frames: {len(own)} own captions {areas[: len(own)].mean():.3f}, "
        f"{len(other)} of other clips {areas[len(own) :].mean():.3f}, nearness to the centre {area(middle, inside):.3f}"
    )
    flat = np.corrcoef(maps.reshape(len(maps), -1))[: len(own)]
    print(f"correlation of an own map with other own ones {flat[:, : len(own)].mean():.2f}, ", end="")
    print(f"with those of other clips {flat[:, len(own) :].mean():.2f}")
    chosen = maps[[(own + other).index(OWN), (own + other).index(OTHER)]]
    draw(chosen, (f"“{OWN}”, its own", f"“{OTHER}”, of another clip")).save(out, quality=85)


def area(scores: np.ndarray, inside: np.ndarray) -> float:
    """The mean over frames."""
    return float(np.mean([roc_area(one[here], one[~here]) for one, here in zip(scores, inside, strict=True)]))


def draw(maps: np.ndarray, titles: tuple[str, str]) -> Image.Image:
    """A row a caption, on one scale."""
    page = Image.new("RGB", (12 + len(BOXES) * (WIDTH + GAP), 16 + 2 * (HEIGHT + LINE)), "white")
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(13)
    low, high = np.quantile(maps, [0.02, 0.98])
    for row, (title, layers) in enumerate(zip(titles, maps, strict=True)):
        top = 6 + row * (HEIGHT + LINE + GAP)
        pen.text((6, top), title, (20, 20, 20), font)
        for column, (layer, box) in enumerate(zip(layers, BOXES, strict=True)):
            scaled = np.clip((layer - low) / (high - low), 0, 1).astype(np.float32)
            smooth = np.asarray(Image.fromarray(scaled).resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR))
            tile = Image.fromarray((colormaps["inferno"](smooth)[..., :3] * 255).astype(np.uint8))
            corners = [share * length for share, length in zip(box, (WIDTH, HEIGHT) * 2, strict=True)]
            ImageDraw.Draw(tile).rectangle(corners, outline=(120, 255, 255), width=2)
            page.paste(tile, (6 + column * (WIDTH + GAP), top + LINE))
    return page


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
