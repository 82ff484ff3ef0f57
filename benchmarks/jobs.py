"""What the jobs over a corpus cost beside plain decoding of the same files in the same run; and damaged files.

    python benchmarks/jobs.py rates CORPUS [--videos 30] [--layers 4]
    python benchmarks/jobs.py mutants FOLDER FILE FILE FILE FILE FILE [--count 2000]

`rates` takes every file seven ways in turn, whichever first by turns, on one thread, and tells processor time: frames
alone (no conversion to RGB); frames as RGB arrays; the index job; the motion job; the text maps of one caption, with a
CLIP ViT-B/32 of random weights on so many layers a video, read in two ways; and captions of 3 key frames by a BLIP-2 of
tiny size and random weights.
`mutants` indexes damaged copies of the files, and looks at the frames of those that still decode, through the runner:
what became of all, how long it took, what the processes held meanwhile.
"""

import argparse
import math
import multiprocessing
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from support import mutated
from tubelet.aligners.clip import ClipAligner
from tubelet.corpus.index import index
from tubelet.corpus.look import InspectionJob, examine
from tubelet.corpus.schema import Video
from tubelet.corpus.table import Corpus
from tubelet.jobs.runner import Limits, Running, Work, run_job
from tubelet.saliency_maps.base import task_of
from tubelet.saliency_maps.frames import Piece, decode_piece, pieces
from tubelet.saliency_maps.motion import codec_motion
from tubelet.saliency_maps.text import similarity_maps
from tubelet.saliency_maps.vectors import whole_map
from tubelet.video.decoding import open_video
from tubelet.video.reader import read_span


def decode(video: Video) -> int:
    container, stream = open_video(video.path)
    with container:
        return sum(1 for _ in container.decode(stream))


def decode_rgb(video: Video) -> int:
    return len(read_span(video.path)[0])


def index_job(video: Video) -> int:
    return sum(
        row["frames"] for some in examine(InspectionJob(video.path, ((None, None),), None)).pieces for row in some
    )


def motion_job(video: Video) -> int:
    piece = Piece(video.path, video.start, video.start, math.inf, None, math.inf)
    return len(whole_map([codec_motion(piece, 14)], video.fps)[0])


def text_job(aligner: ClipAligner, layers: int) -> Callable[[Video], int]:
    caption = np.random.default_rng(0).normal(size=(1, aligner.width)).astype(np.float32)

    def job(video: Video) -> int:
        seen = [decode_piece(piece) for piece in pieces(video, layers / max(video.duration, 1e-3))]
        return sum(similarity_maps(aligner, frames, caption).shape[1] for frames, times in seen if times.size)

    return job


def caption_job(folder: Path) -> Callable[[Video], int]:
    from support import tiny_captioners
    from tubelet.captioning.looking import Blip2, described
    from tubelet.captioning.looking import FramesJob as Frames
    from tubelet.captioning.looking import key_frames as key_frames
    from tubelet.captioning.pretrained import Describer

    how = Blip2(model=str(tiny_captioners.blip2(folder)))
    describer = Describer.load(how)

    def job(video: Video) -> int:
        seen = key_frames(Frames(video.path, video.start, video.end, how.frames))
        return sum(len(texts) for _, texts, _ in described([(video, seen)], how, describer))

    return job


def random_clip(reading: str) -> ClipAligner:
    """ViT-B/32 as OpenAI's, untrained; it needs no tokenizer to look."""
    from transformers import CLIPConfig, CLIPModel

    torch.manual_seed(0)
    return ClipAligner(CLIPModel(CLIPConfig()), None, reading)


def rates(corpus: Corpus, most: int, layers: int, scratch: Path) -> None:
    torch.set_num_threads(1)
    ways: dict[str, Callable[[Video], int]] = {
        "decode": decode,
        "decode, to RGB": decode_rgb,
        "index": index_job,
        "motion maps": motion_job,
        "text maps, upsample": text_job(random_clip("upsample"), layers),
        "text maps, dense": text_job(random_clip("dense"), layers),
        "captions, tiny BLIP-2": caption_job(scratch),
    }
    usable = corpus.select("all")
    videos = usable[:: max(len(usable) // most, 1)][:most]
    spent: dict[str, list[float]] = {way: [] for way in ways}
    units = dict.fromkeys(ways, 0)
    for number, video in enumerate(videos):
        turn = number % len(ways)
        for way in [*ways][turn:] + [*ways][:turn]:
            began = time.process_time()
            units[way] += ways[way](video)
            spent[way].append(time.process_time() - began)
    seconds = sum(video.duration for video in videos)
    print(
        f"{len(videos)} files, {seconds:.0f} s of video, one thread, processor time; {layers} layers a video for text"
    )
    plain = np.array(spent["decode"])
    for way in ways:
        share = np.array(spent[way]) / plain
        low, middle, high = statistics.quantiles(share, n=4)
        print(
            f"{way:22} {units[way]:7} units {sum(spent[way]):8.2f} s {len(videos) / sum(spent[way]):8.2f} "
            f"files/s {sum(spent[way]) / plain.sum():7.2f} of decode (per file {middle:.2f}, {low:.2f} to {high:.2f})"
        )


def mutants(folder: Path, files: list[Path], count: int) -> None:
    mutated.write_mutants(folder / "mutants", files, count)
    held: list[tuple[float, float]] = []

    def weigh(done: int, total: int, remark: str = "") -> None:
        workers = [mutated.resident(child.pid or 0) for child in multiprocessing.active_children()]
        held.append((mutated.resident(), max(workers, default=0.0)))

    running = Running(Limits(seconds=60.0))
    began = time.monotonic()
    found = index([folder / "mutants"], folder / "corpus", running=running, progress=weigh)
    print(f"index: {found.done.summary('files')}, {time.monotonic() - began:.0f} s in all")
    by_way = Counter((video.id.split()[1], video.status) for video in found.videos)
    for way in mutated.WAYS:
        print(f"  {way}: " + ", ".join(f"{status} {n}" for (of, status), n in sorted(by_way.items()) if of == way))
    print(f"  ok with a remark: {sum(video.status == 'ok' and bool(video.reason) for video in found.videos)}")
    tell(held)
    held.clear()
    tasks = [task_of(video, pieces(video, 4.0)) for video in found.select("all")]
    done = run_job(Work(decode_piece, whole=length), tasks, lambda some: None, running=running, progress=weigh)
    print(f"frames: {done.summary('files')}")
    for reason, times in Counter(failure.status for failure in done.failed.values()).most_common():
        print(f"  {reason}: {times}")
    tell(held)


def length(task: Any, parts: list[Any]) -> int:
    return len(parts)


def tell(held: list[tuple[float, float]]) -> None:
    positions = [len(held) // 10, len(held) // 2, len(held) - 2]
    ours = ", ".join(f"{held[position][0]:.0f}" for position in positions)
    theirs = ", ".join(f"{held[position][1]:.0f}" for position in positions)
    print(f"  MiB held after a tenth, the half, all: {ours}; by the largest worker: {theirs}, ", end="")
    print(f"at most {max(worker for _, worker in held):.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("rates")
    one.add_argument("corpus", type=Path)
    one.add_argument("--videos", type=int, default=30)
    one.add_argument("--layers", type=int, default=4)
    two = commands.add_parser("mutants")
    two.add_argument("folder", type=Path)
    two.add_argument("files", type=Path, nargs="+")
    two.add_argument("--count", type=int, default=2000)
    args = parser.parse_args()
    if args.command == "rates":
        with tempfile.TemporaryDirectory() as scratch:
            rates(Corpus.open(args.corpus), args.videos, args.layers, Path(scratch))
    else:
        mutants(args.folder, args.files, args.count)


if __name__ == "__main__":
    main()
