"""`synth-1` as a corpus folder: real H.264 files, the two tables, and the truth of every clip.

`videos/ID.mp4` and `truth/ID.npz` are written clip by clip, so an interrupted call goes on where it stopped;
`truth/clips.parquet` says in words what each clip shows; the tables come last. `synth.json` marks the folder as ours.
"""

import json
import multiprocessing
import os
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tubelet.data.synthetic.render import Rendered, Truth, render
from tubelet.data.synthetic.scene import draw_captions, draw_scene
from tubelet.errors import CorpusError
from tubelet.files import within

VERSION = "synth-1"
MARK = "synth.json"


@dataclass(frozen=True)
class Size:
    """What is rendered. A clip is a function of (seed, split, index, pixels, frames): more clips change none."""

    train: int = 1200
    test: int = 400
    seed: int = 0
    pixels: int = 96
    frames: int = 32
    fps: int = 15

    def __post_init__(self) -> None:
        if self.train < 1 or self.test < 0 or self.frames < 2 or self.fps < 1:
            raise CorpusError("an embedded corpus needs at least 1 training clip, 2 frames and 1 frame a second")
        if self.pixels < 32 or self.pixels % 2:
            raise CorpusError(f"frames of {self.pixels} pixels cannot be rendered; --size must be even and at least 32")

    @property
    def clips(self) -> list[tuple[str, int]]:
        return [("train", index) for index in range(self.train)] + [("test", index) for index in range(self.test)]


def write_synth(
    folder: Path, size: Size, workers: int = 1, progress: Callable[[int, int], None] = lambda done, total: None
) -> int:
    """Renders what is missing of the corpus and writes its tables; returns how many clips were rendered now.

    A folder that holds anything else, or a `synth-1` drawn otherwise or larger, is left alone: `CorpusError`.
    """
    folder = Path(folder)
    claim(folder, size)
    missing = [clip for clip in size.clips if not is_done(folder, *clip)]
    total = len(size.clips)
    progress(total - len(missing), total)
    work = partial(write_clip, folder, size)
    if workers > 1 and len(missing) > 2 * workers:
        # spawned, not forked: a fork of a process that runs threads can hang
        with multiprocessing.get_context("spawn").Pool(workers) as pool:
            count(pool.imap_unordered(work, missing, chunksize=4), total - len(missing), total, progress)
    else:
        count(map(work, missing), total - len(missing), total, progress)
    if missing or not (folder / "corpus.json").exists():
        write_tables(folder, size)
    return len(missing)


def claim(folder: Path, size: Size) -> None:
    """Makes the folder ours, or finds that it is, or refuses."""
    mark = folder / MARK
    if mark.exists():
        there = json.loads(mark.read_text())
        wanted = {"version": VERSION, **asdict(size)}
        for name in ("version", "seed", "pixels", "frames", "fps"):
            if there.get(name) != wanted[name]:
                raise CorpusError(
                    f"{folder} holds {there.get('version')} with {name}={there.get(name)}, not {wanted[name]}; "
                    "name another folder with --out"
                )
        for name in ("train", "test"):
            if there[name] > wanted[name]:
                raise CorpusError(
                    f"{folder} already holds {there[name]} {name} clips, more than {wanted[name]}; "
                    "use it as it is, or name another folder with --out"
                )
        if all(there[name] == wanted[name] for name in ("train", "test")):
            return
        (folder / "corpus.json").unlink(missing_ok=True)  # until the larger tables are there, it is not complete
    elif folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise CorpusError(f"{folder} exists and is no {VERSION} corpus; name a new or empty folder with --out")
    for part in ("videos", "truth"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    replace_file(mark, lambda path: path.write_text(json.dumps({"version": VERSION, **asdict(size)}, indent=1) + "\n"))


def count(results: Iterable[None], done: int, total: int, progress: Callable[[int, int], None]) -> None:
    for number, _ in enumerate(results, start=done + 1):
        progress(number, total)


def clip_id(split: str, index: int) -> str:
    return f"{split}-{index:05d}"


def is_done(folder: Path, split: str, index: int) -> bool:
    return (folder / "truth" / f"{clip_id(split, index)}.npz").exists()


def write_clip(folder: Path, size: Size, clip: tuple[str, int]) -> None:
    """One clip: the video first, its truth last, each complete or absent."""
    from tubelet.data.video import write_video

    split, index = clip
    rendered = render(index, size.seed, split, size.pixels, size.frames)
    name = clip_id(split, index)
    replace_file(
        folder / "videos" / f"{name}.mp4",
        # as near to the pixels as the slower presets, at a third of their time
        lambda path: write_video(path, rendered.frames, float(size.fps), options={"preset": "superfast"}),
    )
    replace_file(folder / "truth" / f"{name}.npz", lambda path: write_truth(path, rendered))


def write_truth(path: Path, rendered: Rendered) -> None:
    truth = rendered.truth
    np.savez_compressed(
        path, owner=truth.owner, scale=truth.scale, turn=truth.turn, place=truth.place, camera=truth.camera
    )


def truth(corpus: Any, video: Any) -> Truth:
    """What is known about a clip: `corpus` a Corpus or its folder, `video` a Video of it or its id."""
    folder, name = Path(getattr(corpus, "folder", corpus)), getattr(video, "id", video)
    path = within(folder / "truth", f"{name}.npz")
    if not path.exists():
        raise CorpusError(f"{folder} holds no truth about {name}; only clips of `tubelet synth` have one")
    with np.load(path, allow_pickle=False) as stored:
        return Truth(stored["owner"], stored["scale"], stored["turn"], stored["place"], camera=str(stored["camera"]))


def truth_in_words(folder: Path) -> dict[str, list[Any]] | None:
    """What `truth/clips.parquet` says of each clip, a list a column; None where there is none.

    `moving_distractors` is said beside it: whether all, some or none of the distractors move.
    """
    import pyarrow.parquet as pq

    path = folder / "truth" / "clips.parquet"
    if not path.exists():
        return None
    said = pq.read_table(path).to_pydict()
    if "distractors" in said:
        moving = [[not thing.endswith(" still") for thing in things] for things in said["distractors"]]
        said["moving_distractors"] = ["all" if all(some) else "some" if any(some) else "none" for some in moving]
    return said


def write_tables(folder: Path, size: Size) -> None:
    """The videos, captions and truth tables, from the draws and the files; `corpus.json` makes the corpus complete."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from tubelet.data.content import content_columns
    from tubelet.data.table import write_corpus

    videos: list[dict[str, Any]] = []
    captions: list[dict[str, Any]] = []
    clips: list[dict[str, Any]] = []
    for split, index in size.clips:
        name = clip_id(split, index)
        scene = draw_scene(index, size.seed, split, size.frames)
        subject, *others = scene.things
        duration = size.frames / size.fps
        videos.append(
            {
                "id": name,
                "path": f"videos/{name}.mp4",
                "start": 0.0,
                "end": duration,
                "duration": duration,
                "fps": float(size.fps),
                "frames": size.frames,
                "width": size.pixels,
                "height": size.pixels,
                "codec": "h264",
                "label": subject.motion,
                "split": split,
                "group": name,
                "status": "ok",
                "reason": "",
                **content_columns(folder / "videos" / f"{name}.mp4"),
            }
        )
        captions += [
            {"video": name, "text": text, "source": source, "time": None}
            for source, text in draw_captions(index, scene, size.seed, split).items()
        ]
        clips.append(
            {
                "video": name,
                "split": split,
                "shape": subject.shape,
                "colour": subject.colour,
                "verb": subject.motion,
                "held_out": scene.held_out,
                "camera": scene.camera,
                "ground": scene.ground.kind,
                "distractors": [f"{thing.colour} {thing.shape} {thing.motion}" for thing in others],
            }
        )
    replace_file(folder / "truth" / "clips.parquet", partial(pq.write_table, pa.Table.from_pylist(clips)))
    write_corpus(folder, VERSION, videos, captions, {"synth": asdict(size)})


def replace_file(path: Path, write: Callable[[Path], Any]) -> None:
    """Writes beside the place and moves into it, so that the file is whole or not there."""
    beside = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        write(beside)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
