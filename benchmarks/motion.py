"""Motion vectors against plain decoding, on the same files in the same run; and a sheet to look at.

    python benchmarks/motion.py rate CORPUS [--videos N]
    python benchmarks/motion.py sheet CORPUS PICTURE [--videos N] [--compensate median]
    python benchmarks/motion.py actions CORPUS [--videos N]

`rate` decodes every file on one thread three ways in turn, whichever first by turns: frames alone (no conversion to
RGB), frames with the codec's vectors exported, and the whole motion job of a file. It tells processor time.
`sheet` draws, clip by clip, eight frames of a 16-frame clip with the map's vectors, and what MGM's mask hides.
`actions` asks an embedded corpus (test split) how well `motion` and `oracle_flow` find the subject, by what it does and
by camera, and how fast ground and subject move, in pixels a frame.
"""

import argparse
import math
import time
from collections import defaultdict
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from tubelet.corpus.schema import Video
from tubelet.corpus.table import Corpus
from tubelet.diagnostics.maps import speeds
from tubelet.diagnostics.truth import areas_of, coverage
from tubelet.maskers import Motion
from tubelet.saliency_maps.frames import Piece
from tubelet.saliency_maps.motion import codec_motion
from tubelet.stores.maps import Maps
from tubelet.synthetic import truth
from tubelet.types import Batch, Clip
from tubelet.video.crop import Crop, crop_frames
from tubelet.video.decoding import open_video
from tubelet.video.reader import Reader, timestamps
from tubelet.video.sampling import Sampling


def decode(video: Video, vectors: bool) -> int:
    container, stream = open_video(video.path, vectors)
    with container:
        return sum(1 for _ in container.decode(stream))


def whole_job(video: Video) -> int:
    piece = Piece(video.path, video.start, video.start, math.inf, None, math.inf)
    return len(codec_motion(piece, 14)[1])


def rate(corpus: Corpus, most: int | None) -> None:
    ways = {
        "decode": lambda video: decode(video, False),
        "decode, vectors exported": lambda video: decode(video, True),
        "motion job": whole_job,
    }
    spent, frames = dict.fromkeys(ways, 0.0), dict.fromkeys(ways, 0)
    videos = spread(corpus, most)
    for number, video in enumerate(videos):
        turn = number % len(ways)
        for way in [*ways][turn:] + [*ways][:turn]:
            began = time.process_time()
            frames[way] += ways[way](video)
            spent[way] += time.process_time() - began
    print(f"{len(videos)} files, one thread, processor time")
    for way in ways:
        speed, share = frames[way] / spent[way], spent[way] / spent["decode"]
        print(f"{way:26} {frames[way]:7} frames {spent[way]:8.2f} s {speed:8.0f} frames/s {share:6.2f} of decode")


def sheet(corpus: Corpus, path: Path, most: int, compensate: Literal["none", "median"]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    clip = Clip()
    maps = Maps.open(corpus, "motion")
    masker = Motion(compensate=compensate)
    videos = spread(corpus, most)
    figure, axes = pyplot.subplots(len(videos), 16, figsize=(20, 1.4 * len(videos)), squeeze=False)
    for line, video in zip(axes, videos, strict=True):
        with Reader(video.path, video.start, video.end) as reader:
            times = Sampling(stride=2).times(reader.times, clip, "centre").times
            frames = reader.frames(times)
        crop = Crop.centre(*frames.shape[1:3])
        shown = crop_frames(frames, crop, clip.size)
        vectors = maps.sample(video, None, times, crop, clip)
        batch = Batch(shown[None], torch.zeros(1).long(), (video.id,), maps={"motion": torch.from_numpy(vectors)[None]})
        mask = masker(batch, clip, batch.key)
        hidden = torch.zeros(1, clip.num_tubelets).scatter(1, mask.hidden, 1.0).unflatten(1, clip.grid)[0].numpy()
        indices = (np.arange(14) + 0.5) * 16
        for time_step in range(8):
            picture = shown[:, 2 * time_step].permute(1, 2, 0).numpy()
            arrows = vectors[2 * time_step] * clip.size
            line[2 * time_step].imshow(picture)
            line[2 * time_step].imshow(
                np.hypot(*np.moveaxis(arrows, -1, 0)),
                extent=(0, 224, 224, 0),
                alpha=0.35,
                cmap="inferno",
                vmin=0,
                vmax=12,
            )
            line[2 * time_step].quiver(
                indices, indices, arrows[..., 0], arrows[..., 1], angles="xy", scale_units="xy", scale=0.5, color="cyan"
            )
            covered = picture * (1 - 0.8 * hidden[time_step].repeat(16, 0).repeat(16, 1))[..., None]
            line[2 * time_step + 1].imshow(covered.astype(np.uint8))
        line[0].set_title(video.id, fontsize=7, loc="left")
    for axis in axes.flat:
        axis.set_axis_off()
    figure.tight_layout(pad=0.2)
    figure.savefig(path, dpi=80)


def actions(corpus: Corpus, most: int | None) -> None:
    cameras, names = ("static", "pan", "zoom"), ("motion", "oracle_flow")
    areas: dict[tuple[str | None, ...], list[Any]] = defaultdict(list)
    paces: dict[tuple[str, ...], list[Any]] = defaultdict(list)
    opened = {name: Maps.open(corpus, name) for name in names}
    for video in corpus.select("test")[:most]:
        known = truth(corpus, video)
        times, owner = timestamps(video.path)[::4], known.owner[::4]
        for name, maps in opened.items():
            layers, stamps = maps.layers(video)
            layers = layers[np.clip(np.searchsorted(stamps, times + 1e-4, side="right") - 1, 0, len(layers) - 1)]
            subject, ground = (coverage(owner == who, *layers.shape[1:3]) for who in (1, 0))
            for way, speed in speeds(layers).items():
                area = areas_of(speed, subject, 1 - subject - ground)["all"]
                areas[video.label, known.camera, name + way].append(area)
                areas["all", known.camera, name + way].append(area)
            pixels = speeds(layers)[" speed"] * video.width
            paces["ground", known.camera, name].extend(pixels[ground > 0.999])
            paces["subject", known.camera, name].extend(pixels[subject >= 0.5])
    rows = [f"{name}{way}" for way in (" speed", " compensated") for name in names]
    print("| action |" + "".join(f" {row}, {camera} |" for row in rows for camera in cameras))
    print("|---" * (1 + len(rows) * len(cameras)) + "|")
    for action in sorted({str(action) for action, _, _ in areas}):
        found = [np.array(areas[action, camera, row]) for row in rows for camera in cameras]
        print(f"| {action} |" + "".join(f" {np.nanmean(some):.3f} ({len(some)}) |" for some in found))
    for what in ("ground", "subject"):
        figures = (f"{name} {camera} {np.mean(paces[what, camera, name]):.2f}" for name in names for camera in cameras)
        print(f"{what}, pixels a frame: {', '.join(figures)}")


def spread(corpus: Corpus, most: int | None) -> list[Video]:
    videos = corpus.select("all")
    if most is None:
        return list(videos)
    return [videos[index] for index in np.unique(np.linspace(0, len(videos) - 1, most).astype(int))]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("rate", "sheet", "actions"))
    parser.add_argument("corpus")
    parser.add_argument("picture", nargs="?", default="motion.png")
    parser.add_argument("--videos", type=int)
    parser.add_argument("--compensate", choices=("none", "median"), default="none")
    given = parser.parse_args()
    opened = Corpus.open(given.corpus)
    if given.what == "rate":
        rate(opened, given.videos)
    elif given.what == "actions":
        actions(opened, given.videos)
    else:
        sheet(opened, Path(given.picture), given.videos or 8, given.compensate)
