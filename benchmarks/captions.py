"""Captioning against plain decoding, on the same files in the same run.

    python benchmarks/captions.py CORPUS [--videos N] [--model FOLDER]

Every file is read on one thread three ways in turn, whichever first by turns: all its frames decoded (no conversion to
RGB), its 3 key frames looked up, and those described too. It tells processor time. Without a model it is a BLIP-2 of
the real class with random weights, 32 wide and 2 layers deep: what remains is what all captioners pay.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from tubelet.captioning import Blip2
from tubelet.captioning.looking import FramesJob, key_frames
from tubelet.captioning.pretrained import Describer
from tubelet.corpus.schema import Video
from tubelet.corpus.table import Corpus
from tubelet.video.decoding import open_video

TINY = Path(__file__).resolve().parents[1] / "tests"


def rate(corpus: Corpus, most: int | None, model: str) -> None:
    torch.set_num_threads(1)
    describer = Describer.load(Blip2(model=model))
    weights = sum(tensor.numel() for tensor in describer.model.parameters())
    ways: dict[str, Callable[[Video], object]] = {
        "decode": decode,
        "3 key frames": looked,
        "3 captions": lambda video: describer.describe([[frame] for frame in looked(video)], 0),
    }
    videos = corpus.select("all")
    if most is not None:
        videos = [videos[index] for index in np.unique(np.linspace(0, len(videos) - 1, most).astype(int))]
    for way in ways.values():
        way(videos[0])
    spent = dict.fromkeys(ways, 0.0)
    for number, video in enumerate(videos):
        turn = number % len(ways)
        for name in [*ways][turn:] + [*ways][:turn]:
            began = time.process_time()
            ways[name](video)
            spent[name] += time.process_time() - began
    frames = sum(video.frames for video in videos)
    print(f"{len(videos)} files, {frames} frames, one thread, processor time; a model of {weights:,} weights")
    for name, seconds in spent.items():
        share = seconds / spent["decode"]
        print(f"{name:14} {seconds:8.2f} s {len(videos) / seconds:8.1f} files/s {share:6.2f} of decode")


def decode(video: Video) -> int:
    container, stream = open_video(video.path)
    with container:
        return sum(1 for _ in container.decode(stream))


def looked(video: Video) -> np.ndarray:
    return key_frames(FramesJob(video.path, video.start, video.end, 3))[0]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus")
    parser.add_argument("--videos", type=int)
    parser.add_argument("--model")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if given.model is None:
            sys.path.insert(0, str(TINY))
            from support import tiny_captioners

            tiny_captioners.blip2(Path(folder))
        rate(Corpus.open(given.corpus), given.videos, given.model or folder)
