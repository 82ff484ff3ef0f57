"""Draws the pictures of docs/maskers.md: every listed masker on one clip of the synthetic dataset.

    python docs/pictures/draw_masks.py [--clip 5] [--out docs/pictures]

A strip shows the 8 time steps of a clip at 8x14x14; hidden tubelets are dark, and under a decode mask those not
decoded are lighter. No corpus is read: the clip is rendered, and the maps come from its truth, which is stated in the
page: `oracle` is the cover by the subject, `text` and `attention` the same with a wide blur, `motion` and `flow` the
true displacement (dx, dy), `parts` the share of each owner. Adaptive and Adversary are drawn as they begin, before
they have learned anything.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.nn import functional

from tubelet.maskers import MASKERS, Blend, Masker, PartPriority, Parts, Random, RunningCell, Schedule, Text
from tubelet.seeds import fold, key
from tubelet.synthetic.render import Rendered, render
from tubelet.types import Batch, Clip, Mask

CLIP = Clip()
SIDE = 6  # pixels of a place
HIDDEN, NOT_DECODED = np.array([38, 42, 54], np.uint8), np.array([150, 155, 165], np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clip", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    options = parser.parse_args()
    clip = render(options.clip, size=CLIP.size, frames=32)
    batch = batch_of(clip)
    folder = options.out / "masks"
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / "clip.png", strip(clip, None))
    for name, masker, progress in cases():
        if missing := set(masker.maps) - set(batch.maps):
            print(f"{name}: no map {missing} to draw it with")
            continue
        write(folder / f"{name}.png", strip(clip, draw(masker, batch, progress)))
    mask = draw(Random(ratio=0.75), batch, 1.0)
    decoded = RunningCell()(mask.hidden, CLIP, fold(batch.key, "decode"))
    write(folder / "RunningCell.png", strip(clip, replace(mask, decode=decoded)))


def cases() -> list[tuple[str, Masker, float]]:
    found: list[tuple[str, Masker, float]] = [(c.__name__, c(), 1.0) for c in MASKERS if c is not Schedule]
    found += [("Parts-first", Parts(), 0.0), ("PartPriority-subject", PartPriority(ratio=0.75, first=(0,)), 1.0)]
    found += [(f"Text-{pick}", Text(pick=pick), 1.0) for pick in ("bottom", "sample")]
    easy_to_hard = Schedule(first=Text(ratio=0.3, pick="sample", temperature=2.0), last=Text(ratio=0.75, pick="sample"))
    found += [(f"Schedule-{name}", easy_to_hard, done) for name, done in (("first", 0.0), ("half", 0.5), ("last", 1.0))]
    return [*found, ("Blend-hidden-motion", Blend(weights={"text": 1.0, "motion": -1.0}), 1.0)]


def batch_of(clip: Rendered) -> Batch:
    frames = torch.from_numpy(clip.frames[::2].copy()).permute(3, 0, 1, 2)[None]
    maps = maps_of(clip)
    return Batch(video=frames, key=torch.tensor([key(0, "picture")]), ids=("clip",), maps=maps)


def maps_of(clip: Rendered) -> dict[str, torch.Tensor]:
    subject = places(torch.from_numpy(clip.mask[::2].astype(np.float32)))  # 8 14 14
    blurred = subject[:, None]
    for _ in range(3):
        blurred = functional.avg_pool2d(blurred, 9, 1, 4)
    # two steps of the clip lead from each frame shown to the next
    moved = torch.from_numpy(2 * clip.flow[::2] / CLIP.size)
    vectors = torch.stack([places(moved[..., axis], 16) for axis in (0, 1)], -1)[None]
    named = subject + blurred[:, 0]
    scalars = {"oracle": subject, "text": named, "attention": 0.002 + 0.05 * named}
    flat = {name: values.flatten()[None] for name, values in scalars.items()}
    owners = torch.from_numpy(clip.truth.owner[::2])
    parts = torch.stack([places((owners == part).float()).flatten() for part in range(5)], -1)[None]
    return flat | {"motion": vectors, "flow": vectors, "parts": parts}


def places(values: torch.Tensor, times: int = CLIP.grid[0]) -> torch.Tensor:
    """The mean over each tubelet, or over each place of every frame."""
    _, rows, columns = CLIP.grid
    return values.unflatten(0, (times, -1)).unflatten(2, (rows, 16)).unflatten(4, (columns, 16)).mean((1, 3, 5))


def draw(masker: Masker, batch: Batch, progress: float) -> Mask:
    torch.manual_seed(0)
    policy = masker.build(CLIP, 16)
    tokens = torch.zeros(1, CLIP.num_tubelets, 16)
    batch = replace(batch, progress=progress)
    with torch.no_grad():
        return (masker if policy is None else policy)(batch, CLIP, fold(batch.key, "mask"), tokens)


def strip(clip: Rendered, mask: Mask | None) -> np.ndarray:
    time_steps, rows, columns = CLIP.grid
    state = np.zeros(CLIP.num_tubelets, int)
    if mask is not None:
        state[mask.hidden[0].numpy()] = 2
        state[mask.decode[0].numpy()] = 1
    state = state.reshape(CLIP.grid).repeat(SIDE, 1).repeat(SIDE, 2)
    parts = []
    for time_step in range(time_steps):
        frame = Image.fromarray(clip.frames[::2][2 * time_step]).resize(
            (columns * SIDE, rows * SIDE), Image.Resampling.BOX
        )
        picture = np.array(frame)
        picture[state[time_step] == 1] = HIDDEN
        picture[state[time_step] == 2] = NOT_DECODED
        parts += [picture, np.full((rows * SIDE, 4, 3), 255, np.uint8)]
    return np.concatenate(parts[:-1], axis=1)


def write(path: Path, picture: np.ndarray) -> None:
    Image.fromarray(picture).quantize(48, dither=Image.Dither.NONE).save(path, optimize=True)
    print(path, path.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
