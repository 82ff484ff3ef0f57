"""Requests and bytes a clip, and clips a second, from files, packs and the same in S3 (moto's server on loopback).

pip install 'tubelet[s3]' 'moto[s3,server]'
python benchmarks/remote_reading.py FOLDER --videos 2 --clips 32

Videos of `benchmarks/pack_reading.py`, and clips as there: 16 frames at stride 4 and 112 pixels, in this process, the
same ones from each; and one of a minute of noise, of many bytes and few pixels. The server is a process
of its own. Nothing is kept on disk, but for the last two lines.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import numpy as np

from benchmarks.pack_reading import make
from tubelet.corpus.index import index
from tubelet.corpus.pack import pack
from tubelet.corpus.table import Corpus
from tubelet.loading.data import Data
from tubelet.loading.loader import train_batches
from tubelet.remote import ask
from tubelet.types import Clip
from tubelet.video.sampling import Sampling

PORT = 5555
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "nobody",
    "AWS_SECRET_ACCESS_KEY": "nothing",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_ENDPOINT_URL": f"http://127.0.0.1:{PORT}",
}


@contextmanager
def server() -> Iterator[Any]:
    """A client of it."""
    import boto3

    words = [sys.executable, "-m", "moto.server", "-p", str(PORT)]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            client = boto3.client("s3")
            for _ in range(120):
                try:
                    client.list_buckets()
                    break
                except Exception:
                    time.sleep(1)
            yield client
        finally:
            process.terminate()


def make_minute(path: Path) -> None:
    """128x96 at 10 a second, a key frame every 25, the index in front."""
    chance = np.random.default_rng(0)
    frames = [chance.integers(0, 255, (96, 128, 3), np.uint8) for _ in range(4)]
    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=10)
        stream.height, stream.width, stream.pix_fmt = 96, 128, "yuv420p"
        stream.options = {"preset": "superfast", "g": "25", "crf": "10"}
        for number in range(600):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frames[number % 4], format="rgb24")))
        container.mux(stream.encode(None))


def upload(client: Any, folder: Path, bucket: str) -> None:
    client.create_bucket(Bucket=bucket)
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        client.upload_file(str(path), bucket, path.relative_to(folder).as_posix())


class Counting:
    """What is asked of stores."""

    def __init__(self) -> None:
        self.requests = self.sent = 0
        fetch, state = ask.S3.get, ask.Fsspec.state

        def get(store: ask.S3, address: Any, first: int, last: int, timeout: float) -> tuple[bytes, ask.State]:
            found = fetch(store, address, first, last, timeout)
            self.requests += 1
            self.sent += len(found[0])
            return found

        def head(store: ask.Fsspec, address: Any, timeout: float) -> ask.State:
            self.requests += 1
            return state(store, address, timeout)

        ask.S3.get = get  # type: ignore[assignment, method-assign]
        ask.Fsspec.state = head  # type: ignore[assignment, method-assign]


def measure(name: str, corpus: Corpus, clips: int, counting: Counting) -> None:
    data = Data(split="all", sampling=Sampling(stride=4))
    counting.requests = counting.sent = 0
    began, spent = time.perf_counter(), time.process_time()
    for batch in train_batches(
        corpus, Clip(frames=16, size=112), data, batch=4, seed=0, first_step=0, last_step=clips // 4
    ):
        assert not batch.failed, batch.failed
    wall, spent = time.perf_counter() - began, time.process_time() - spent
    size = sum(video.size or 0 for video in corpus.videos) / len(corpus.videos) / 1e6
    print(
        f"| {name} | {size:.2f} | {counting.requests / clips:.2f} | {counting.sent / clips / 1e6:.2f} "
        f"| {clips / spent:.1f} | {clips / wall:.1f} |",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--videos", type=int, default=2)
    parser.add_argument("--clips", type=int, default=32)
    args = parser.parse_args()
    os.environ |= {**ENVIRONMENT, "TUBELET_CACHE": str(args.folder / "cache"), "TUBELET_CACHE_LIMIT": "0"}
    (args.folder / "videos").mkdir(parents=True, exist_ok=True)
    for number in range(args.videos):
        if not (path := args.folder / "videos" / f"{number}.mp4").exists():
            make(path, number)
    (args.folder / "minute").mkdir(exist_ok=True)
    make_minute(args.folder / "minute/minute.mp4")
    files = index(args.folder / "videos", args.folder / "corpus")
    copy = pack(files, args.folder / "copy", copy=True).corpus
    small = pack(files, args.folder / "small").corpus
    counting = Counting()
    print("| read from | MB a file | requests a clip | MB asked a clip | clips/s of processor time | clips/s |")
    print("|---|---|---|---|---|---|")
    measure("files", files, args.clips, counting)
    measure("pack, `--copy`", copy, args.clips, counting)
    measure("pack", small, args.clips, counting)
    with server() as client:
        for name in ("videos", "copy", "small", "minute"):
            upload(client, args.folder / name, name)
        remote = index("s3://videos", args.folder / "remote")
        measure("files in S3", remote, args.clips, counting)
        measure("pack, `--copy`, in S3", Corpus.open("s3://copy"), args.clips, counting)
        measure("pack in S3", Corpus.open("s3://small"), args.clips, counting)
        minute = index("s3://minute", args.folder / "remote-minute")
        measure("a minute in S3", minute, args.clips, counting)
        os.environ["TUBELET_CACHE_LIMIT"] = "1"
        measure("pack in S3, the first time with a cache", Corpus.open("s3://small"), args.clips, counting)
        measure("pack in S3, from the cache", Corpus.open("s3://small"), args.clips, counting)


if __name__ == "__main__":
    main()
