"""What hours of video cost: a file of each length through track, lv_mae and a search for moments, a process a command.

python benchmarks/long_video.py FOLDER 7.5 15 30 60 > docs/results/data/long-video.json

The videos are made here, frame by frame: 64x64 pixels, 10 frames per second, scenes of 10 to 40 s of drifting squares.
An encoder of `miniature`'s size at random initialisation makes a vector of every second; `lv_mae` takes 50 steps; then
moments like one of the video are searched. Seconds, processor seconds and the peak memory of the largest process.
"""

import json
import os
import platform
import sys
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

SIDE, FPS = 64, 10
TUBELET = [sys.executable, "-m", "tubelet"]


def make(path: Path, minutes: float) -> None:
    """Never more than a frame of it in memory."""
    rng = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(FPS))
        stream.width = stream.height = SIDE
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": "23", "g": "20", "preset": "superfast", "threads": "1"}
        left = 0
        for _ in range(round(minutes * 60 * FPS)):
            if not left:
                left = int(rng.integers(10 * FPS, 40 * FPS))
                ground, square = rng.integers(40, 200, (2, 3))
                place, speed, side = rng.uniform(0, SIDE, 2), rng.uniform(-2, 2, 2), int(rng.integers(8, 24))
            left -= 1
            place = (place + speed) % (SIDE - side)
            y, x = place.astype(int)
            picture = np.broadcast_to(ground.astype(np.uint8), (SIDE, SIDE, 3)).copy()
            picture[y : y + side, x : x + side] = square
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))


def measured(*words: str) -> dict[str, float]:
    """Of a command and all that it starts."""
    began = time.monotonic()
    process = os.posix_spawn(TUBELET[0], [*TUBELET, *words], os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, 2, 1)])
    _, status, usage = os.wait4(process, 0)
    if status:
        raise SystemExit(f"{' '.join(words)} ended with {status}")
    seconds = {"seconds": time.monotonic() - began, "processor_seconds": usage.ru_utime + usage.ru_stime}
    return {**{name: round(value, 1) for name, value in seconds.items()}, "peak_mib": round(usage.ru_maxrss / 1024)}


def cost(folder: Path, minutes: float) -> dict[str, dict[str, float]]:
    videos, corpus = folder / "videos", folder / "corpus"
    videos.mkdir(parents=True)
    make(videos / "one.mp4", minutes)
    make(videos / "two.mp4", 1)  # that training has two
    table = folder / "splits.csv"
    table.write_text("path,split\none.mp4,train\ntwo.mp4,train\n")
    found = {"index": measured("index", str(videos), "--labels", str(table), "--out", str(corpus))}
    first = ["pretrain", "miniature", "steps=1", "batch=2", "data.cache=False", "data.sampling.stride=1"]
    measured(*first, "--on", str(corpus), "--out", str(folder / "clips"))
    found["track"] = measured("track", str(corpus), "vectors", f"run={folder / 'clips'}", "every=1")
    long = ["pretrain", "lv_mae", "clip.frames=24", "steps=50", "batch=8", "save_every=50"]
    found["lv_mae"] = measured(*long, "--on", str(corpus), "--out", str(folder / "long"))
    found["search"] = measured("search", str(folder / "long"), "--like", "one.mp4@200", "--moments")
    return found


def main() -> None:
    folder, lengths = Path(sys.argv[1]), [float(word) for word in sys.argv[2:]]
    rows = {}
    for minutes in lengths:
        rows[f"{minutes:g} min"] = cost(folder / f"{minutes:g}", minutes)
        print(json.dumps(rows), file=sys.stderr, flush=True)
    about = {
        "hardware": f"{platform.machine()}, {os.cpu_count()} cores, shared",
        "threads": os.environ.get("OMP_NUM_THREADS"),
    }
    print(json.dumps({**about, "lengths": rows}, indent=1))


if __name__ == "__main__":
    main()
