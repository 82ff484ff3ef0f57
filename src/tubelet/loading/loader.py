"""From a corpus to batches: every sample is a function of (seed, epoch, row), every batch of the step.

So a run can start at any step, with any number of workers and ranks, and sees the same clips. Whatever is missing is
said before the first step; a clip that turns out unreadable is left out of its batch, named, and never replaced.
Start reading at `train_batches`.
"""

import signal
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from tubelet.corpus.schema import Video
from tubelet.corpus.table import Corpus
from tubelet.errors import RecipeError, TubeletError
from tubelet.interrupt import SCHEDULER, outlive
from tubelet.jobs.pool import start_method
from tubelet.loading.augment import names_a_side
from tubelet.loading.data import Data
from tubelet.loading.pairings import Reads
from tubelet.loading.reader import ClipReader
from tubelet.loading.requests import CropOf, evaluation_requests, training_requests
from tubelet.progress import Progress, silent
from tubelet.types import Batch, Clip
from tubelet.video.views import CENTRE, View

INSTEAD = 64  # clips that are tried where no clip of a batch can be read


def train_batches(
    corpus: Corpus,
    clip: Clip,
    data: Data,
    *,
    needs: Sequence[str] = (),
    text: bool = False,
    batch: int,
    seed: int,
    first_step: int,
    last_step: int,
    rank: int = 0,
    world: int = 1,
    videos: Sequence[Video] | None = None,
    classes: Sequence[str] | None = None,
    streams: Mapping[str, Reads] | None = None,
    progress: Progress = silent,
) -> Iterator[Batch]:
    """The batches of micro-steps `first_step` to `last_step` (excluded), of this rank's slice.

    Step s takes the positions s * batch * world and following of an endless row of epochs, each a permutation of the
    split (or of `videos`), every video `augment.repeats` times in a row; no clip is dropped at an epoch's end.
    Labels count in `classes`, those of the table where not given; `streams` are read with each clip. `CorpusError`
    now, before the first step, where anything is missing.
    """
    videos = data.select(corpus) if videos is None else videos
    reader = ClipReader.make(corpus, videos, clip, data, needs, text, classes, streams)
    check_flip(reader)
    steps = TrainingSteps(reader.with_frames(progress).as_it_is(), batch, seed, rank, world)
    return iterate(steps, range(first_step, last_step), data.workers)


def clips_of(
    videos: Sequence[Video], data: Data, *, batch: int, seed: int, world: int
) -> Callable[[int, int], list[str]]:
    """The ids of the clips of a micro-step that a rank takes: what another rank was reading, too."""
    requests = partial(
        training_requests, videos, size=batch, seed=seed, world=world, augment=data.augment, sampling=data.sampling
    )
    return lambda step, rank: [piece.video.id for piece in requests(step, rank=rank)]


def eval_batches(
    corpus: Corpus,
    videos: Sequence[Video],
    clip: Clip,
    data: Data,
    *,
    batch: int,
    needs: Sequence[str] = (),
    text: bool = False,
    views: Sequence[View] = (CENTRE,),
    crop: CropOf | None = None,
    streams: Mapping[str, Reads] | None = None,
    progress: Progress = silent,
    rank: int = 0,
    world_size: int = 1,
) -> Iterator[Batch]:
    """One clip of every video for every view (the middle of its time and place), in the order given.

    A batch holds whole videos: at least one, else as many as fit with all their views. `crop` says which part of the
    frame is shown, in place of the view's square. Ranks take turns at the batches, which hold the same clips on any
    number of ranks.
    """
    usable = [video for video in videos if video.status == "ok"]
    reader = ClipReader.make(corpus, usable, clip, data, needs, text, streams=streams)
    size = max(1, batch // len(views))
    steps = EvaluationSteps(reader.with_frames(progress), list(videos), size, views, crop)
    return iterate(steps, range(rank, -(-len(videos) // size), world_size), data.workers)


class Steps(Dataset[Any]):
    """Batches by number; an error of the user's is handed over as a value, so that no worker's traceback hides it."""

    def __init__(self, reader: ClipReader) -> None:
        self.reader = reader

    def __getitem__(self, step: int) -> Batch | TubeletError:
        try:
            return self.batch(step)
        except TubeletError as error:
            return error

    def batch(self, step: int) -> Batch:
        raise NotImplementedError


class TrainingSteps(Steps):
    """A batch of which no clip can be read takes the next of the epoch that can: which one, the files alone decide, so
    that a resumed run takes the same, and no rank waits for one that has nothing."""

    def __init__(self, reader: ClipReader, size: int, seed: int, rank: int, world: int) -> None:
        super().__init__(reader)
        data = reader.data
        self.requests = partial(
            training_requests, reader.videos, size=size, seed=seed, rank=rank, world=world, augment=data.augment,
            sampling=data.sampling,
        )  # fmt: skip

    def batch(self, step: int) -> Batch:
        batch = self.reader.batch([[piece] for piece in self.requests(step)])
        for further in range(1, min(INSTEAD, len(self.reader.videos))):
            if len(batch):
                break
            batch = replace(self.reader.batch([[piece] for piece in self.requests(step, further)]), failed=batch.failed)
        return batch


class EvaluationSteps(Steps):
    def __init__(
        self, reader: ClipReader, videos: Sequence[Video], size: int, views: Sequence[View], crop: CropOf | None
    ) -> None:
        super().__init__(reader)
        self.videos, self.size, self.views, self.crop = videos, size, views, crop

    def batch(self, step: int) -> Batch:
        some = self.videos[step * self.size : (step + 1) * self.size]
        return self.reader.batch([evaluation_requests(video, self.views, self.crop) for video in some])


def iterate(steps: Steps, numbers: range, workers: int) -> Iterator[Batch]:
    """The batches in order, made here or ahead of time in other processes."""
    made: Any = (steps[number] for number in numbers)
    if workers and len(numbers):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "This DataLoader will create")  # as many workers as the user asked for
            made = iter(
                DataLoader(
                    steps,
                    batch_size=None,
                    sampler=numbers,
                    num_workers=min(workers, len(numbers)),
                    collate_fn=as_it_is,
                    multiprocessing_context=start_method(),
                    worker_init_fn=ignore_interrupts,
                    generator=torch.Generator(),  # else the loader would draw from the global one
                    pin_memory=torch.cuda.is_available(),
                )
            )
    for batch in made:
        if isinstance(batch, TubeletError):
            raise batch
        yield batch


def ignore_interrupts(worker: int) -> None:
    """Ctrl-C reaches every process of a terminal, and a scheduler's signal every process of a job; the training process
    answers them, after its step."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number in SCHEDULER:
        signal.signal(number, outlive)


def as_it_is(batch: Any) -> Any:
    return batch


def check_flip(reader: ClipReader) -> None:
    """A mirrored clip of "moves left" moves right."""
    augment = reader.data.augment
    if not augment.flip:
        return
    for video in reader.videos:
        texts = [caption.text for caption in reader.captions.get(video.row, ())]
        for kind, text in [("class", video.label or ""), *(("caption", text) for text in texts)]:
            if word := names_a_side([text], augment.words):
                raise RecipeError(
                    f'data.augment.flip=True would contradict the {kind} "{text}" of {video.id} (it says {word}); '
                    "leave it False, or change data.augment.words"
                )
