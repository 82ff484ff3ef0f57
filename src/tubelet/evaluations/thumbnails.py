"""How a video looks, in a few small frames: what is left when it is encoded anew, and tells it from others.

They are of the whole row, at the middles of equal parts of it, so they depend on no run; kept by content.
"""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from jaxtyping import Float64, UInt8
from PIL import Image

from tubelet.corpus.schema import Video
from tubelet.corpus.table import Corpus
from tubelet.distributed import broadcast_from_rank0, gather_in_order, rank_and_world_size
from tubelet.errors import VideoError
from tubelet.evaluations.cache import CachedRow, Store, corpus_cache
from tubelet.evaluations.features import LOOK, LOOKS
from tubelet.jobs.pool import Failure, cores, run_each
from tubelet.video.limits import limits, within
from tubelet.video.reader import open_reader

VIEW = {"frames": LOOKS, "side": LOOK, "at": "the middles of equal parts of the row", "cut": "the centre square"}
FEW = 48  # videos that are read here rather than in processes of their own

Looks = UInt8[np.ndarray, "l y x 3"]
Tell = Callable[[str], None]


def quiet(line: str) -> None:
    pass


def looks_of_videos(corpus: Corpus, videos: Sequence[Video], tell: Tell = quiet) -> dict[str, Looks]:
    """By id; videos that cannot be read are left out. `tell` is called where that takes time."""
    root = corpus_cache(corpus)
    store = Store(root, VIEW, "looks")
    found = {video.id: row for video in videos if (row := store.find(video)) is not None}
    known = broadcast_from_rank0(lambda: frozenset(found))
    new = [video for video in videos if video.id not in known]
    if len(new) > FEW:
        tell(f"looking once at {len(new)} clips of {corpus.name}, so that copies of them are recognised")
    rank, world_size = rank_and_world_size()
    for some in gather_in_order(iter([read_thumbnails(new[rank::world_size])]), world_size, "thumbnails"):
        for video, frames in some:
            found[video.id] = CachedRow(False, {"looks": frames.reshape(-1)})
    for video in new if rank == 0 else ():
        if video.id in found:
            store.add(video, found[video.id])
    store.flush()
    return {name: np.array(row.parts["looks"]).reshape(LOOKS, LOOK, LOOK, 3) for name, row in found.items()}


def read_thumbnails(videos: Sequence[Video]) -> list[tuple[Video, Looks]]:
    chosen, jobs = limits(), [(str(video.path), video.start, video.end, video.reading) for video in videos]
    found = []
    if len(videos) <= FEW:
        for video, job in zip(videos, jobs, strict=True):
            try:
                found.append((video, within(chosen, partial(look_at, job))))
            except (VideoError, OSError):
                continue
        return found
    for index, outcome in run_each(look_at, jobs, chosen.workers or cores(), chosen.seconds, chosen.memory):
        if not isinstance(outcome, Failure):
            found.append((videos[index], outcome))
    return found


def look_at(job: tuple[str, float, float, str | None]) -> Looks:
    """A few frames of a span of a file, small."""
    path, start, end, reading = job
    with open_reader(path, start, end if end > start else float("inf"), reading=reading) as reader:
        if not len(reader.times):
            raise VideoError(f"no frame from {start:g} s to {end:g} s")
        return np.stack([small(frame) for frame in reader.frames(middles(reader.times))])


def middles(times: Float64[np.ndarray, "t"]) -> Float64[np.ndarray, "l"]:
    return times[((np.arange(LOOKS) + 0.5) / LOOKS * len(times)).astype(int)]


def small(frame: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "y x 3"]:
    """The centre square, at so few pixels that no codec's traces are left."""
    height, width = frame.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    image = Image.fromarray(np.ascontiguousarray(frame[top : top + side, left : left + side]))
    return np.asarray(image.resize((LOOK, LOOK), Image.Resampling.BILINEAR))
