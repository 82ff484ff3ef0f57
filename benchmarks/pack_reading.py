"""Clips a second of training input, from files as they come and from packs of them.

python benchmarks/pack_reading.py FOLDER --videos 8 --clips 64

Videos of a scene that moves under the grain of a sensor, 640x480, 20 s at 30 a second, a key frame every 250 frames.
Clips of 16 frames at stride 4 and 112 pixels, in this process, the same ones from each.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch

from tubelet.corpus.index import index
from tubelet.corpus.pack import pack
from tubelet.corpus.table import Corpus
from tubelet.loading.data import Data
from tubelet.loading.loader import train_batches
from tubelet.types import Clip
from tubelet.video.sampling import Sampling
from tubelet.video.writer import write_video


def make(path: Path, number: int) -> None:
    rng = np.random.default_rng(number)
    coarse = torch.from_numpy(rng.random((1, 3, 36, 52), np.float32) * 200 + 20)
    scene = torch.nn.functional.interpolate(coarse, (880, 1240), mode="bicubic").squeeze(0).permute(1, 2, 0).numpy()
    grain = rng.normal(0, 5, (8, 480, 640, 1)).astype(np.float32)
    moved = (scene[at % 400 : at % 400 + 480, at : at + 640] + grain[at % 8] for at in range(600))
    frames = np.stack([frame.clip(0, 255).astype(np.uint8) for frame in moved])
    write_video(path, frames, 30.0, gop=250, crf=23, options={"preset": "veryfast"})


def rate(corpus: Corpus, clips: int) -> float:
    data = Data(split="all", sampling=Sampling(stride=4))
    began = time.process_time()
    for _ in train_batches(
        corpus, Clip(frames=16, size=112), data, batch=4, seed=0, first_step=0, last_step=clips // 4
    ):
        pass
    return clips / (time.process_time() - began)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--videos", type=int, default=8)
    parser.add_argument("--clips", type=int, default=64)
    args = parser.parse_args()
    (args.folder / "videos").mkdir(parents=True, exist_ok=True)
    for number in range(args.videos):
        if not (path := args.folder / "videos" / f"{number}.mp4").exists():
            make(path, number)
    corpora: dict[str, Corpus] = {
        "files": index(args.folder / "videos", args.folder / "corpus", name="files", update=False)
    }
    corpora["pack --copy"] = pack(corpora["files"], args.folder / "copy", copy=True).corpus
    corpora["pack --size 256 --gop 12"] = pack(corpora["files"], args.folder / "small").corpus
    for name, corpus in corpora.items():
        size = sum(video.size or 0 for video in corpus.videos) / 2**20
        print(f"{name}: {rate(corpus, args.clips):.2f} clips a second of processor time, {size:.1f} MiB", flush=True)


if __name__ == "__main__":
    main()
