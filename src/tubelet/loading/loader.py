"""From a corpus to batches: every sample is a function of (seed, epoch, row), every batch of the step.

So a run can start at any step, with any number of workers and ranks, and sees the same clips. Whatever is missing is
said before the first step; a clip that turns out unreadable is left out of its batch, named, and never replaced.
Start reading at `train_batches`.
"""

import signal
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from typing import Any

import av.error
import chz
import numpy as np
import torch
from jaxtyping import Float32, Int64, UInt8
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from tubelet.corpus.captions import CaptionChoice, flatten
from tubelet.corpus.table import Caption, Corpus, Video, normalise_text, number_texts
from tubelet.errors import CorpusError, RecipeError, TubeletError, VideoError
from tubelet.jobs.pool import start_method
from tubelet.loading.augment import Augment, names_a_side
from tubelet.loading.subset import filter_videos
from tubelet.progress import Progress, silent
from tubelet.seeds import generator, key
from tubelet.stores.embeddings import Embeddings
from tubelet.stores.frame_cache import Frames, Kept
from tubelet.stores.maps import Maps, remedy
from tubelet.types import Batch, Clip
from tubelet.video.content import State, content_digest, state_or_none
from tubelet.video.crop import Crop, resize
from tubelet.video.limits import Limits, limits, within
from tubelet.video.reader import SAME, Reader, open_reader
from tubelet.video.sampling import Sampled, Sampling
from tubelet.video.sequences import Stills
from tubelet.video.views import CENTRE, View

LONG = 60.0  # seconds: of a longer row only the part around the clip is read
SLACK = 4.0  # seconds read beyond twice the clip's span, for rates that vary
INSTEAD = 64  # clips that are tried where no clip of a batch can be read
OF_CAPTIONS = ("text",)  # maps that belong to a caption, not to the video alone
CropOf = Callable[[Video, int, int], Crop]  # which part of a video's frame of so many rows and columns is shown


@chz.chz
class Data:
    """How clips are drawn from a corpus."""

    sampling: Sampling = chz.field(default_factory=Sampling, doc="which frames make a clip")
    augment: Augment = chz.field(default_factory=Augment, doc="crop and flip while training")
    split: str = chz.field(default="train", doc='the videos to train on: a split of the table, or "all"')
    where: str | None = chz.field(
        default=None, doc="train and measure only on videos of which table or truth says so, as camera=pan"
    )
    limit: int | None = chz.field(default=None, doc="train on at most so many videos, by a keyed choice")
    captions: CaptionChoice = chz.field(default_factory=CaptionChoice, doc="which caption goes with a clip")
    workers: int = chz.field(default=0, doc="loader processes (0: in the training process); the clips are the same")
    cache: bool = chz.field(default=False, doc="keep decoded frames on disk: for corpora of a few thousand short clips")
    cache_size: int | None = chz.field(default=None, doc="short side of the kept frames (1.5 times the clip's)")
    cache_limit: float = chz.field(
        default=50.0, doc="GB of decoded frames that may be added to the disk; more is refused"
    )

    @chz.validate
    def _sensible(self) -> None:
        if self.workers < 0:
            raise RecipeError(f"data.workers={self.workers} must be 0 or more")
        if self.cache_size is not None and self.cache_size < 1:
            raise RecipeError(f"data.cache_size={self.cache_size} must be positive")
        if self.limit is not None and self.limit < 1:
            raise RecipeError(f"data.limit={self.limit} must be positive")
        if not self.cache_limit > 0:
            raise RecipeError(
                f"data.cache_limit={self.cache_limit} must be positive; to keep no frames, data.cache=False"
            )

    def kept_side(self, clip: Clip) -> int:
        """Short side of the frames that are kept."""
        return self.cache_size or round(1.5 * clip.size)

    def select(self, corpus: Corpus) -> list[Video]:
        """The videos to train on, in the order of the table. More of them are the same ones and others."""
        videos = filter_videos(corpus, corpus.select(self.split), self.where)
        if self.limit is None or self.limit >= len(videos):
            return videos
        first = sorted(videos, key=lambda video: key(0, "training limit " + video.id))[: self.limit]
        return sorted(first, key=lambda video: video.row)


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
    progress: Progress = silent,
) -> Iterator[Batch]:
    """The batches of micro-steps `first_step` to `last_step` (excluded), of this rank's slice.

    Step s takes the positions s * batch * world and following of an endless row of epochs, each a permutation of the
    split (or of `videos`), every video `augment.clips_per_sample` times in a row; no clip is dropped at an epoch's end.
    Labels count in `classes`, those of the table where not given. `CorpusError` now, before the first step, where
    anything is missing.
    """
    videos = data.select(corpus) if videos is None else videos
    source = Source.make(corpus, videos, clip, data, needs, text, classes)
    check_flip(source)
    steps = TrainingSteps(source.with_frames(progress).as_it_is(), batch, seed, rank, world)
    return iterate(steps, range(first_step, last_step), data.workers)


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
    source = Source.make(corpus, usable, clip, data, needs, text)
    size = max(1, batch // len(views))
    steps = EvaluationSteps(source.with_frames(progress), list(videos), size, views, crop)
    return iterate(steps, range(rank, -(-len(videos) // size), world_size), data.workers)


@dataclass(frozen=True)
class Source:
    """All that a loader process needs to make clips of these videos. Whatever they need is there."""

    corpus: Corpus
    videos: Sequence[Video]
    clip: Clip
    data: Data
    labels: Mapping[str, int]
    captions: Mapping[int, Sequence[Caption]]  # by row; empty where captions are not used
    numbers: Mapping[str, int]
    maps: Mapping[str, Maps]
    embeddings: Embeddings | None
    kept: Frames | None = None  # all frames, decoded before
    states: Mapping[int, State] | None = None  # by row, of the files when the run began; None: they may change
    limits: Limits = field(default_factory=Limits)  # of one clip

    @classmethod
    def make(
        cls,
        corpus: Corpus,
        videos: Sequence[Video],
        clip: Clip,
        data: Data,
        needs: Sequence[str],
        text: bool,
        classes: Sequence[str] | None = None,
    ) -> "Source":
        if not videos:
            raise CorpusError(nothing_in(corpus, data.split))
        check_length(videos, clip, data.sampling)
        captions: dict[int, Sequence[Caption]] = {}
        if text or set(needs) & set(OF_CAPTIONS):
            lists = data.captions.candidates(corpus, videos)
            captions = {video.row: some for video, some in zip(videos, lists, strict=True)}
        return cls(
            corpus=corpus,
            videos=videos,
            clip=clip,
            data=data,
            labels={label: number for number, label in enumerate(corpus.labels if classes is None else classes)},
            captions=captions,
            numbers=number_texts(corpus.captions) if captions else {},
            maps={name: open_maps(corpus, name, videos, captions, data.captions) for name in needs},
            embeddings=open_embeddings(corpus, videos, captions) if text else None,
            limits=limits(),
        )

    def with_frames(self, progress: Progress) -> "Source":
        """Decodes every video once, where that is asked for: the slow part, after all that could refuse."""
        if not self.data.cache:
            return self
        kept = Frames.of(self.corpus, self.data.kept_side(self.clip), progress, self.data.cache_limit)
        return replace(self, kept=kept)

    def as_it_is(self) -> "Source":
        """With how its files are now: one that changes from here on is not read. Frames decoded before cannot."""
        if self.kept is not None:
            return self
        states = {video.row: state for video in self.videos if (state := state_or_none(video.path)) is not None}
        return replace(self, states=states)

    def training_samples(self, video: Video, seed: int, epoch: int, repeats: Sequence[int] = (0,)) -> "list[Sample]":
        """The clip of this video in this epoch; a further repeat is another crop of the same frames."""
        rng = generator(seed, "sample", epoch, video.row)
        begin, pick = rng.random(2).tolist()
        wanted = []
        for repeat in repeats:
            number = key(seed, "clip", epoch, video.row, *([repeat] if repeat else []))
            own = generator(seed, "copy", epoch, video.row, repeat) if repeat else rng
            wanted.append(Wanted(number, partial(self.data.augment.draw, own), own))
        jitter = generator(seed, "jitter", epoch, video.row) if self.data.sampling.jitter else None
        return self.samples(video, begin, pick, wanted, jitter)

    def evaluation_samples(
        self, video: Video, views: Sequence[View] = (CENTRE,), crop: CropOf | None = None
    ) -> "list[Sample]":
        """A clip for each view; views of the same time share what was decoded."""
        number = key(0, "evaluation", video.row)
        made: dict[int, Sample] = {}
        for time in dict.fromkeys(view.time for view in views):
            wanted = {
                place: Wanted(
                    number, partial(crop, video) if crop else partial(Crop.along, place=view.place), view=place
                )
                for place, view in enumerate(views)
                if view.time == time
            }
            made |= dict(zip(wanted, self.samples(video, time, 0.0, list(wanted.values())), strict=True))
        return [made[place] for place in sorted(made)]

    def samples(
        self,
        video: Video,
        begin: float | None,
        pick: float,
        wanted: "Sequence[Wanted]",
        jitter: np.random.Generator | None = None,
    ) -> "list[Sample]":
        """Clips that begin at this share of what is possible (None: in the middle), each with its own crop."""
        read = partial(self.read, video, begin, wanted, jitter)
        sampled, crops, shown = read() if self.kept is not None else within(self.limits, read)
        caption = None
        if self.captions:
            moment = float(sampled.times[0] + sampled.times[-1]) / 2
            caption = self.data.captions.choose(self.captions[video.row], pick, moment)
        made = []
        for one, crop, frames in zip(wanted, crops, shown, strict=True):
            resized = resize(frames, self.clip.size, self.clip.size)
            sample = Sample(
                video=resized if one.rng is None else self.data.augment.apply(resized, one.rng),
                key=one.key,
                id=video.id,
                label=-1 if video.label is None else self.labels[video.label],
                caption=-1 if caption is None else self.numbers[normalise_text(caption.text)],
                text=None if self.embeddings is None or caption is None else self.embeddings.vector(caption),
                source=video.row,
                maps={
                    name: maps.sample(video, caption if name in OF_CAPTIONS else None, sampled.times, crop, self.clip)
                    for name, maps in self.maps.items()
                },
                short=sampled.short,
                view=one.view,
            )
            made.append(sample)
        return made

    def read(
        self, video: Video, begin: float | None, wanted: "Sequence[Wanted]", jitter: np.random.Generator | None
    ) -> tuple[Sampled, list[Crop], list[UInt8[np.ndarray, "t h w 3"]]]:
        """The frames of each clip, cut to its crop."""
        with self.open(video, 0.5 if begin is None else begin) as reader:
            sampled = self.data.sampling.times(reader.times, self.clip, "centre" if begin is None else begin, jitter)
            size = (video.height, video.width)
            if not video.height:  # the table does not know it
                size = reader.frames(sampled.times[:1]).shape[1:3]
            crops = [one.crop(*size) for one in wanted]
            if len(crops) == 1:
                shown = [reader.frames(sampled.times, crops[0].cut)]
            else:
                frames = reader.frames(sampled.times)
                shown = [crop.cut(frames) for crop in crops]
        return sampled, crops, shown

    def open(self, video: Video, begin: float) -> "Reader | Stills | Kept":
        """The frames of the row; of a long one, those around the clip that begins at this share of it."""
        if self.kept is not None:
            return self.kept.open(video)
        if self.states is not None and changed(video, self.states.get(video.row)):
            raise VideoError("changed since the run began")
        start, end = around(video, self.data.sampling.seconds(self.clip, video.fps), begin)
        return open_reader(video.path, start, end, reading=video.reading)


def changed(video: Video, before: State | None) -> bool:
    """Whether a file holds something else than when its state was this; a touched one holds what it held."""
    now = state_or_none(video.path)
    if before is None or now is None or now == before:
        return False  # one that is not there says so itself
    return video.content is None or content_digest(video.path).hex() != video.content


def around(video: Video, span: float, begin: float) -> tuple[float, float]:
    """From when to when a row is read for a clip of this span that begins at this share of it: a long one in part."""
    length = video.end - video.start
    window = 2 * span + SLACK
    if length <= max(LONG, 2 * window):
        return video.start, video.end if length > 0 else float("inf")
    start = video.start + begin * (length - window)
    return start, min(start + window, video.end)


@dataclass(frozen=True)
class Wanted:
    """One clip of a decoded piece: its key, its crop of a frame of so many rows and columns, what else changes it."""

    key: int
    crop: Callable[[int, int], Crop]
    rng: np.random.Generator | None = None  # None: nothing else changes it
    view: int = 0


@dataclass(frozen=True)
class Sample:
    """One clip and what travels with it."""

    video: UInt8[Tensor, "3 t size size"]
    key: int
    id: str
    label: int
    caption: int
    text: Float32[np.ndarray, "e"] | None
    source: int
    maps: Mapping[str, Float32[np.ndarray, "n"] | Float32[np.ndarray, "t nh nw 2"]]
    short: bool
    view: int = 0


class Steps(Dataset[Any]):
    """Batches by number; an error of the user's is handed over as a value, so that no worker's traceback hides it."""

    def __init__(self, source: Source) -> None:
        self.source = source

    def __getitem__(self, step: int) -> "Batch | TubeletError":
        try:
            return self.batch(step)
        except TubeletError as error:
            return error

    def batch(self, step: int) -> Batch:
        raise NotImplementedError

    def gather(self, draws: "Sequence[tuple[Video, Any]]", make: Any) -> Batch:
        """A batch of the clips that can be read, and the names of the others."""
        samples, failed = [], []
        for video, argument in draws:
            if video.status != "ok":
                failed.append(f"{video.id}: {video.reason or video.status}")
                continue
            try:
                samples += make(video, argument)
            except (VideoError, OSError, av.error.FFmpegError) as error:
                failed.append(f"{video.id}: {' '.join(str(error).split())}")
        return collate(samples, tuple(failed), self.source)


class TrainingSteps(Steps):
    """A batch of which no clip can be read takes the next of the epoch that can: which one, the files alone decide, so
    that a resumed run takes the same, and no rank waits for one that has nothing."""

    def __init__(self, source: Source, batch: int, seed: int, rank: int, world: int) -> None:
        super().__init__(source)
        self.size, self.seed, self.rank, self.world = batch, seed, rank, world

    def batch(self, step: int) -> Batch:
        first = (step * self.world + self.rank) * self.size
        repeats, videos = self.source.data.augment.clips_per_sample, self.source.videos
        draws: dict[int, list[int]] = {}  # number of the decoded piece -> which of its repeats
        for position in range(first, first + self.size):
            draws.setdefault(position // repeats, []).append(position % repeats)
        batch = self.gather([self.piece(number, some) for number, some in draws.items()], self.make)
        number, some = next(iter(draws.items()))
        for further in range(1, min(INSTEAD, len(videos))):
            if len(batch):
                break
            batch = replace(self.gather([self.piece(number, some, further)], self.make), failed=batch.failed)
        return batch

    def piece(self, number: int, repeats: Sequence[int], further: int = 0) -> tuple[Video, tuple[int, Sequence[int]]]:
        """The video at this position of the endless row of epochs, or so many places further in the same epoch."""
        videos = self.source.videos
        epoch, place = divmod(number, len(videos))
        order = permutation(self.seed, epoch, len(videos))
        return videos[int(order[(place + further) % len(videos)])], (epoch, repeats)

    def make(self, video: Video, drawn: tuple[int, Sequence[int]]) -> "list[Sample]":
        return self.source.training_samples(video, self.seed, *drawn)


class EvaluationSteps(Steps):
    def __init__(
        self, source: Source, videos: Sequence[Video], size: int, views: Sequence[View], crop: CropOf | None
    ) -> None:
        super().__init__(source)
        self.videos, self.size, self.views, self.crop = videos, size, views, crop

    def batch(self, step: int) -> Batch:
        some = self.videos[step * self.size : (step + 1) * self.size]
        return self.gather(
            [(video, None) for video in some],
            lambda video, _: self.source.evaluation_samples(video, self.views, self.crop),
        )


@lru_cache(maxsize=4)
def permutation(seed: int, epoch: int, count: int) -> Int64[np.ndarray, "{count}"]:
    """The order of an epoch."""
    return generator(seed, "order", epoch, count).permutation(count)


def collate(samples: "Sequence[Sample]", failed: tuple[str, ...], source: Source) -> Batch:
    """Stacks what the samples hold. A batch of which no clip could be read has length 0."""
    clip = source.clip
    width = 0 if source.embeddings is None else source.embeddings.width
    shapes = {"scalar": (clip.num_tubelets,), "vector": (clip.frames, *clip.grid[1:], 2)}
    return Batch(
        video=torch.stack([sample.video for sample in samples])
        if samples
        else torch.empty(0, 3, clip.frames, clip.size, clip.size, dtype=torch.uint8),
        key=integers([sample.key for sample in samples]),
        ids=tuple(sample.id for sample in samples),
        label=integers([sample.label for sample in samples]),
        text=None if source.embeddings is None else floats([sample.text for sample in samples], (width,)),
        caption=integers([sample.caption for sample in samples]) if source.captions else None,
        source=integers([sample.source for sample in samples]),
        maps={
            name: floats([sample.maps[name] for sample in samples], shapes[maps.kind])
            for name, maps in source.maps.items()
        },
        short=torch.tensor([sample.short for sample in samples], dtype=torch.bool),
        view=integers([sample.view for sample in samples]),
        failed=failed,
    )


def integers(values: Sequence[int]) -> Int64[Tensor, "b"]:
    return torch.tensor(values, dtype=torch.int64)


def floats(rows: Sequence[Any], shape: tuple[int, ...]) -> Float32[Tensor, "b *shape"]:
    return torch.from_numpy(np.stack(rows)) if rows else torch.empty(0, *shape)


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
    """Ctrl-C reaches every process of a terminal; the training process answers it, after its step."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def as_it_is(batch: Any) -> Any:
    return batch


def nothing_in(corpus: Corpus, split: str) -> str:
    splits: dict[str, int] = {}
    for video in corpus.select("all"):
        splits[video.split] = splits.get(video.split, 0) + 1
    there = ", ".join(f"{name} ({count} videos)" for name, count in sorted(splits.items()))
    if not there:
        return f"corpus {corpus.name} has no usable video: see status and reason in {corpus.folder / 'videos.parquet'}"
    return f"corpus {corpus.name} has no usable video in split {split!r}; it has: {there}; choose one with data.split"


def check_length(videos: Sequence[Video], clip: Clip, sampling: Sampling) -> None:
    """Where short sources are refused, says so of all of them at once."""
    if sampling.short != "refuse":
        return
    if short := shorter(videos, clip, sampling):
        raise CorpusError(
            f"{len(short)} of {len(videos)} videos are shorter than the span of a clip (first: {short[0]}); "
            "use data.sampling.short=repeat or a smaller step"
        )


def shorter(videos: Sequence[Video], clip: Clip, sampling: Sampling) -> list[str]:
    """Ids of the videos that are shorter than a clip's span, by what the table says of them."""
    stride = sampling.frames_apart
    return [
        video.id
        for video in videos
        if video.frames  # else the table does not know
        and (
            video.frames < (clip.frames - 1) * stride + 1
            if stride is not None
            else (video.frames - 1) / max(video.fps, 1e-3) < sampling.seconds(clip, video.fps) - SAME
        )
    ]


def open_maps(
    corpus: Corpus,
    name: str,
    videos: Sequence[Video],
    captions: Mapping[int, Sequence[Caption]],
    choice: CaptionChoice | None = None,
) -> Maps:
    maps = Maps.open(corpus, name)
    missing = maps.missing(videos, flatten(captions.values()) if name in OF_CAPTIONS else None)
    if missing:
        option = " --another" if name in OF_CAPTIONS and choice is not None and choice.whose == "another" else ""
        raise CorpusError(
            f"{name.capitalize()} masking needs {name} maps for {len(missing)} of {len(videos)} videos "
            f"(first: {missing[0]}); make them with `{remedy(name, corpus.folder)}{option}`"
        )
    return maps


def open_embeddings(corpus: Corpus, videos: Sequence[Video], captions: Mapping[int, Sequence[Caption]]) -> Embeddings:
    embeddings = Embeddings.open(corpus)
    if missing := embeddings.missing(flatten(captions.values())):
        raise CorpusError(
            f"captions of {len(missing)} of {len(videos)} videos have no embedding (first: {missing[0]}); "
            f"make them with `tubelet saliency text {corpus.folder}`"
        )
    return embeddings


def check_flip(source: Source) -> None:
    """A mirrored clip of "moves left" would be a lie."""
    augment = source.data.augment
    if not augment.flip:
        return
    for video in source.videos:
        texts = [caption.text for caption in source.captions.get(video.row, ())]
        for kind, text in [("class", video.label or ""), *(("caption", text) for text in texts)]:
            if word := names_a_side([text], augment.words):
                raise RecipeError(
                    f'data.augment.flip=True would make a lie of the {kind} "{text}" of {video.id} (it says {word}); '
                    "leave it False, or change data.augment.words"
                )


__all__ = ["Augment", "CaptionChoice", "Data", "Sampling", "eval_batches", "train_batches"]
