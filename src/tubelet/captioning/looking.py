"""Captions by a model that looks at key frames: BLIP-2, any image-to-text checkpoint, or one that reads whole videos.

A video is decoded once, in a worker; its key frames are described in batches with those of other videos. What is
described stands in shards beside the corpus, so that a job stopped at any moment resumes, and nothing is described
twice. Start reading at `look_at_all`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import chz
import numpy as np
import pyarrow as pa
from jaxtyping import Float64, UInt8

from tubelet.captioning.base import Looking, Written
from tubelet.corpus.content import content_key, file_content
from tubelet.corpus.schema import Video
from tubelet.corpus.table import Corpus
from tubelet.errors import CorpusError, VideoError
from tubelet.jobs.failures import FAILED, Failures
from tubelet.jobs.parts import Part
from tubelet.jobs.runner import Running, Work, run_job
from tubelet.jobs.shards import Writer, series_folder
from tubelet.jobs.tasks import Task, Tasks, file_key
from tubelet.progress import Progress
from tubelet.seeds import key as draw_key
from tubelet.video.content import state_of
from tubelet.video.reader import SAME, open_reader

if TYPE_CHECKING:
    from tubelet.captioning.pretrained import Describer

SCHEMA = pa.schema(
    [
        ("key", pa.binary(16)),
        ("video", pa.string()),
        ("content", pa.binary(16)),
        ("size", pa.int64()),
        ("modified", pa.int64()),
        ("texts", pa.list_(pa.string())),
        ("times", pa.list_(pa.float64())),  # null where a text speaks of all frames together
    ]
)

Frames = UInt8[np.ndarray, "t h w 3"]
Times = Float64[np.ndarray, "t"]
Seen = tuple[Frames, Times]


@chz.chz
class ImageToText(Looking):
    """Any image-to-text checkpoint of transformers; every key frame is described by itself."""

    source: ClassVar[str] = "image-to-text"


@chz.chz
class Blip2(ImageToText):
    """BLIP-2 on 3 uniformly spaced key frames, as in the paper of TGM (arXiv 2408.00759)."""

    source: ClassVar[str] = "blip2"
    model: str = chz.field(
        default="Salesforce/blip2-opt-2.7b", doc="hub name or local folder of a transformers checkpoint"
    )


@chz.chz
class VideoToText(Looking):
    """A checkpoint that reads all key frames together and says one thing: GIT for video, chat models."""

    source: ClassVar[str] = "video-to-text"
    together: ClassVar[bool] = True
    frames: int = chz.field(default=6, doc="key frames of a video, in the middle of as many equal parts")
    batch: int = chz.field(default=4, doc="videos of one pass")


@dataclass(frozen=True)
class FramesJob:
    """What a worker reads: key frames of one row."""

    path: Path
    start: float
    end: float
    count: int
    reading: str | None = None


def caption_videos(
    corpus: Corpus,
    videos: Sequence[Video],
    how: Looking,
    describer: "Describer",
    progress: Progress,
    running: Running | None = None,
) -> Written:
    """The captions of these videos: those that are kept, and the others made now."""
    about = {
        "name": "captions",
        "model": describer.identity,
        "prompt": how.prompt,
        "frames": how.frames,
        "together": how.together,
        "precision": describer.precision,
        **how.decoding,
    }

    def task_of(video: Video) -> Task:
        job = FramesJob(video.path, video.start, video.end, how.frames, video.reading)
        return Task(file_key(video.path, video.id, video.start, video.end), video.id, (job,), of=video)

    gone: dict[str, str] = {}
    with CaptionShards(corpus, about, running.part if running else None) as kept:

        def keep(results: Sequence[tuple[Task, tuple[list[str], list[float | None]]]]) -> None:
            for task, (texts, times) in results:
                try:
                    kept.add(task.of, texts, times)
                except CorpusError as error:
                    gone[task.name] = str(error)
            kept.flush()

        done = run_job(
            Work(key_frames, together=partial(describe_shard, how=how, describer=describer)),
            Tasks(videos, task_of),
            keep,
            there=lambda task: kept.has(task.of),
            failures=Failures.of(kept.writer.folder / FAILED, running.part if running else None),
            running=running,
            progress=progress,
            most=max(how.batch, 32),
        )
        failed = {done.names[key]: failure.reason for key, failure in done.failed.items()} | gone
        rows = [
            {"video": video.id, "text": text, "time": moment, "model": describer.title, "prompt": how.prompt or None}
            for video in videos
            if video.id not in failed
            for text, moment in kept.of(video)
        ]
    for video in videos:
        if video.id not in failed and not any(text.strip() for text, _ in kept.of(video)):
            failed[video.id] = "the model said nothing"
    return Written(rows, computed=done.made, failed=failed, remarks=(done.summary("videos"),))


def describe_shard(
    results: Sequence[tuple[Task, Sequence[Seen]]], how: Looking, describer: "Describer"
) -> list[tuple[list[str], list[float | None]]]:
    """The texts and their times of each video of a shard, in its order."""
    said = described([(task.of, seen) for task, (seen,) in results], how, describer)
    found = {video.id: (texts, times) for video, texts, times in said}
    return [found[task.name] for task, _ in results]


def described(
    seen: Sequence[tuple[Video, Seen]], how: Looking, describer: "Describer"
) -> Iterator[tuple[Video, list[str], list[float | None]]]:
    """Each video with its texts and their times, as its last frame is described."""
    waiting: list[tuple[Video, list[Frames]]] = []  # a caption to be: its video, its frames
    texts: dict[str, list[str]] = {}
    moments: dict[str, list[float | None]] = {}

    def write() -> Iterator[tuple[Video, list[str], list[float | None]]]:
        draw = draw_key(how.seed, f"caption of {waiting[0][0].id}")
        said = describer.describe([pictures for _, pictures in waiting], draw)
        for (video, _), text in zip(waiting, said, strict=True):
            texts[video.id].append(text)
            if len(texts[video.id]) == len(moments[video.id]):
                yield video, texts.pop(video.id), moments.pop(video.id)
        waiting.clear()

    for video, (frames, times) in seen:
        units = [list(frames)] if how.together else [[frame] for frame in frames]
        texts[video.id], moments[video.id] = [], [None] if how.together else times.tolist()
        for unit in units:
            waiting.append((video, unit))
            if len(waiting) == how.batch and not how.temperature:
                yield from write()
        if how.temperature:  # drawn words follow from the video alone, whatever it is described with
            yield from write()
    yield from write() if waiting else ()


def key_frames(job: FramesJob) -> Seen:
    """The frame in the middle of each of so many equal parts of a row, each once, and when it is shown."""
    with open_reader(job.path, job.start, job.end, reading=job.reading) as reader:
        times = reader.times
        if not times.size:
            raise VideoError(f"no frame from {job.start:g} s to {job.end:g} s")
        asked = job.start + (np.arange(job.count) + 0.5) / job.count * (job.end - job.start)
        shown = np.unique(np.maximum(np.searchsorted(times, asked + SAME, side="right") - 1, 0))
        return reader.frames(times[shown]), times[shown]


class CaptionShards:
    """The captions that one model wrote for a corpus, in shards keyed by what the files hold."""

    def __init__(self, corpus: Corpus, about: Mapping[str, Any], part: Part | None = None) -> None:
        self.writer = Writer(series_folder(corpus.folder / "captions", about), about, SCHEMA, part=part)
        self.texts: dict[bytes, list[tuple[str, float | None]]] = {}
        self.files = self.writer.series.digests()
        self.keys: dict[str, bytes | None] = {}
        for key, texts, times in self.writer.series.columns("key", "texts", "times"):
            self.texts[key] = list(zip(texts, times, strict=True))

    def key(self, video: Video) -> bytes | None:
        if video.id not in self.keys:
            content = file_content(video, self.files)
            self.keys[video.id] = None if content is None else content_key(content, video, "")
        return self.keys[video.id]

    def has(self, video: Video) -> bool:
        return self.key(video) in self.texts

    def of(self, video: Video) -> list[tuple[str, float | None]]:
        return self.texts[self.key(video) or b""]

    def add(self, video: Video, texts: list[str], times: list[float | None]) -> None:
        content, key = file_content(video, self.files), self.key(video)
        if content is None or key is None:
            raise CorpusError(f"{video.path} is gone while it was looked at; run this again")
        size, modified = state_of(video.path)
        self.texts[key] = list(zip(texts, times, strict=True))
        row = {"key": key, "video": video.id, "content": content, "texts": texts, "times": times}
        self.writer.add({**row, "size": size, "modified": modified}, 100 + sum(map(len, texts)))

    def flush(self) -> None:
        self.writer.flush()

    def __enter__(self) -> "CaptionShards":
        return self

    def __exit__(self, *stop: object) -> None:
        self.writer.__exit__(*stop)
