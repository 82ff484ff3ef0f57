"""What the steps after indexing will cost on this machine: a few clips are read and one product is timed."""

import time
from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from jaxtyping import UInt8

from tubelet.corpus.index import Indexed
from tubelet.corpus.schema import Video
from tubelet.corpus.table import normalise_text
from tubelet.errors import TubeletError
from tubelet.jobs.pool import cores
from tubelet.types import Clip
from tubelet.video.crop import Crop, crop_frames
from tubelet.video.limits import limits, within
from tubelet.video.reader import open_reader
from tubelet.video.sampling import Sampling

TRIED = 8  # videos of which a clip is read
LAYERS = 4.0  # map layers a second
CELLS = 14  # on the short side of a map
TRAINED = 153e9  # floating-point operations of one clip of the recipe `videomae`, forward and backward, as torch counts
TOKEN = 0.17e9  # floating-point operations of CLIP ViT-B/32 for one token


def estimate(corpus: Indexed) -> list[str]:
    """One line for each step that the corpus allows."""
    videos = corpus.select("all")
    lines = []
    of_video: dict[str, set[str]] = {}
    for caption in corpus.captions:
        of_video.setdefault(caption.video, set()).add(normalise_text(caption.text))
    if captioned := [video for video in videos if video.id in of_video]:
        decoding = sum(video.frames for video in captioned) / frames_a_second(corpus) / cores()
        layers = [max(1.0, video.duration * LAYERS) for video in captioned]
        cells = [count * CELLS**2 * aspect(video) for count, video in zip(layers, captioned, strict=True)]
        maps = sum(count * len(of_video[video.id]) for count, video in zip(cells, captioned, strict=True)) * 2
        texts = len(set().union(*of_video.values()))
        lines.append(f"align: {hours(decoding)} of decoding and 1 to 2 min of training")
        lines.append(
            f"saliency text: {sum(layers):.0f} frames at {LAYERS:g} a second; {hours(decoding)} of decoding, with CLIP "
            f"ViT-B/32 {hours(sum(cells) * TOKEN / operations_a_second())} more; {size(maps)} of maps, "
            f"{size(texts * 512 * 4)} of embeddings"
        )
    train = corpus.select("train")
    if rate := clips_a_second(videos):
        reading, computing = len(train) / rate / cores(), len(train) * TRAINED / operations_a_second()
        lines.append(
            f"pretrain videomae: an epoch of {len(train)} clips (16x224x224, stride 4) takes about "
            f"{hours(reading + computing)} on {cores()} cores: {hours(reading)} of reading and {hours(computing)} of "
            "computing, which a GPU does faster; `tubelet pretrain RECIPE ... --dry-run` measures any recipe"
        )
    return lines


def frames_a_second(corpus: Indexed) -> float:
    """How fast one process decoded while looking into the files."""
    return corpus.decoded / corpus.seconds if corpus.seconds else 300.0


def clips_a_second(videos: Sequence[Video], clip: Clip | None = None) -> float | None:
    """How fast one core, all to itself, reads training clips of these videos; measured on a few."""
    clip = clip or Clip()
    times = []
    for position in np.unique(np.linspace(0, len(videos) - 1, TRIED).astype(int)).tolist():
        video = videos[position]
        began = time.process_time()
        try:
            frames = within(limits(), partial(clip_frames, video, clip))
        except TubeletError:
            continue
        crop_frames(frames, Crop.centre(frames.shape[1], frames.shape[2]), clip.size)
        times.append(time.process_time() - began)
    return len(times) / sum(times) if times else None


def clip_frames(video: Video, clip: Clip) -> UInt8[np.ndarray, "t h w 3"]:
    with open_reader(video.path, video.start, video.end, reading=video.reading) as reader:
        return reader.frames(Sampling().times(reader.times, clip, "centre").times)


def operations_a_second() -> float:
    """What this machine's processor does in fp32 products, at its best of a few."""
    a = torch.ones(768, 768)
    times = []
    for _ in range(5):
        began = time.perf_counter()
        a @ a
        times.append(time.perf_counter() - began)
    return 2 * 768**3 / min(times)


def aspect(video: Video) -> float:
    sides = sorted((max(video.width, 1), max(video.height, 1)))
    return sides[1] / sides[0]


def hours(seconds: float | int) -> str:
    for unit, length in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 1.5 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{max(seconds, 1):.0f} s"


def size(count: float | int) -> str:
    for unit, length in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if count >= length:
            return f"{count / length:.1f} {unit}"
    return f"{max(count / 1e3, 1):.0f} kB"
