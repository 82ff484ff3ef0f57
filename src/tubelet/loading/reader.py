"""From requests to samples: the pixels of a clip, and what travels with them. Start reading at `ClipReader.batch`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import av.error
import numpy as np
import torch
from jaxtyping import Float32, Float64, UInt8

from tubelet.corpus.content import as_in_table
from tubelet.corpus.on_disk import RowsOnDisk
from tubelet.corpus.schema import Caption, Video
from tubelet.corpus.table import Corpus, normalise_text, number_texts
from tubelet.corpus.words import numbers_of
from tubelet.errors import CorpusError, VideoError
from tubelet.loading.augment import Augment
from tubelet.loading.collate import Sample, collate
from tubelet.loading.data import Data
from tubelet.loading.opening import (
    OF_CAPTIONS,
    check_length,
    nothing_in,
    open_embeddings,
    open_maps,
    open_track,
    open_tracks,
)
from tubelet.loading.pairings import Drawn, Pairing, Reads
from tubelet.loading.requests import ClipRequest, PieceRequest
from tubelet.progress import Progress
from tubelet.remote.address import is_remote
from tubelet.stores.embeddings import Embeddings
from tubelet.stores.frame_cache import CachedFrames, Frames
from tubelet.stores.maps import Maps
from tubelet.stores.tracks import TrackReader, Tracks
from tubelet.types import Batch, Clip, Words
from tubelet.video.content import State, content_digest, state_or_none
from tubelet.video.crop import Crop, resize
from tubelet.video.limits import Limits, limits, within
from tubelet.video.members import Member
from tubelet.video.reader import SAME, Reader
from tubelet.video.sampling import Sampled
from tubelet.video.sequences import Stills
from tubelet.video.spans import Spans, open_spans

LONG = 60.0  # seconds: of a longer row only the part around the clip is read
SLACK = 4.0  # seconds read beyond twice the clip's span, for rates that vary
COMPARED = 64 << 20  # bytes of a video in a tar or Parquet file that is compared whole with its digest
EVERYTHING = Crop(0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True)
class StreamReader:
    """What of a stream is read with each clip."""

    clip: Clip
    pairing: Pairing
    maps: Mapping[str, Maps]
    track: Tracks | None = None  # None: the frames of the video


@dataclass(frozen=True)
class Cut:
    """The frames of a clip or of a stream, cut to their crop, and what else happens to them."""

    times: Float64[np.ndarray, "t"]
    crop: Crop
    frames: UInt8[np.ndarray, "t h w 3"] | Float32[np.ndarray, "t h w c"]
    augment: Augment | None = None


@dataclass(frozen=True)
class ClipReader:
    """Makes samples of requests: opens, decodes, crops, adds labels, captions and maps, all of which are there."""

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
    states: "States | None" = None  # of the files when the run began; None: they may change
    limits: Limits = field(default_factory=Limits)  # of one clip
    streams: Mapping[str, StreamReader] = field(default_factory=dict)
    track: Tracks | None = None  # that the clip itself is read from; None: the frames of the video

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
        streams: Mapping[str, Reads] | None = None,
    ) -> "ClipReader":
        if not videos:
            raise CorpusError(nothing_in(corpus, data.split))
        track = open_track(corpus, videos, clip, "clip") if clip.track else None
        check_length(videos, clip, data.sampling, track)
        captions: dict[int, Sequence[Caption]] = {}
        wanted = dict.fromkeys([*needs, *(name for reads in (streams or {}).values() for name in reads.maps)])
        words = any(isinstance(reads.clip, Words) for reads in (streams or {}).values())
        if text or words or set(wanted) & set(OF_CAPTIONS):
            lists = data.captions.candidates(corpus, videos)
            captions = {video.row: some for video, some in zip(videos, lists, strict=True)}
        maps = {name: open_maps(corpus, name, videos, captions, data.captions) for name in wanted}
        tracks = open_tracks(corpus, videos, streams or {})
        return cls(
            corpus=corpus,
            videos=videos,
            clip=clip,
            data=data,
            labels={label: number for number, label in enumerate(corpus.labels if classes is None else classes)},
            captions=captions,
            numbers=number_texts(corpus.captions) if captions else {},
            maps={name: maps[name] for name in needs},
            embeddings=open_embeddings(corpus, videos, captions) if text else None,
            limits=limits(),
            streams={
                name: StreamReader(
                    reads.clip, reads.pairing, {needed: maps[needed] for needed in reads.maps}, tracks.get(name)
                )
                for name, reads in (streams or {}).items()
            },
            track=track,
        )

    def with_frames(self, progress: Progress) -> "ClipReader":
        """Decodes every video once, where that is asked for: the slow part, after all that could refuse."""
        if not self.data.cache or self.track is not None:
            return self
        kept = Frames.of(self.corpus, self.data.kept_side(self.clip), progress, self.data.cache_limit)
        return replace(self, kept=kept)

    def as_it_is(self) -> "ClipReader":
        """With how its files are now: one that changes from here on is not read. Frames decoded before cannot."""
        if self.kept is not None:
            return self
        return replace(self, states=States.now(self.videos))

    def samples(self, piece: PieceRequest) -> list[Sample]:
        """The clips of a piece, each with its own crop and its own streams."""
        video, read = piece.video, partial(self.read, piece)
        sampled, cuts = read() if self.kept is not None else within(self.limits, read)
        caption = None
        if self.captions:
            moment = float(sampled.times[0] + sampled.times[-1]) / 2
            caption = self.data.captions.choose(self.captions[video.row], piece.pick, moment)
        made = []
        for one, (own, beside) in zip(piece.clips, cuts, strict=True):
            beside |= self.words_of(caption, own)
            of_clip = self.sample(video, one, own, one.rng, caption, self.clip, self.maps, sampled.short)
            streams = {
                name: self.sample(
                    video, one, part, one.stream_rng and one.stream_rng(f"{name}, augmented"), caption,
                    self.streams[name].clip, self.streams[name].maps, sampled.short,
                )
                for name, part in beside.items()
            }  # fmt: skip
            made.append(replace(of_clip, streams=streams))
        return made

    def words_of(self, caption: Caption | None, own: Cut) -> dict[str, Cut]:
        """The streams of words, which say nothing of the clip's moment."""
        found = {}
        for name, stream in self.streams.items():
            if isinstance(clip := stream.clip, Words):
                assert caption is not None
                numbers = numbers_of(caption.text, clip.frames, clip.vocabulary)
                times = np.full(clip.frames, own.times.mean())
                found[name] = Cut(times, own.crop, numbers[:, None, None, None].astype(np.float32))
        return found

    def sample(
        self,
        video: Video,
        request: ClipRequest,
        cut: Cut,
        rng: np.random.Generator | None,
        caption: Caption | None,
        clip: Clip,
        maps: Mapping[str, Maps],
        short: bool,
    ) -> Sample:
        """What is read, resized and augmented, and what travels with it."""
        if clip.track:
            values = torch.from_numpy(np.ascontiguousarray(np.moveaxis(cut.frames, -1, 0)))
        else:
            values = resize(cut.frames, clip.size, clip.size)
            values = values if rng is None or cut.augment is None else cut.augment.apply(values, rng)
        return Sample(
            video=values,
            key=request.key,
            id=video.id,
            label=-1 if video.label is None else self.labels[video.label],
            caption=-1 if caption is None else self.numbers[normalise_text(caption.text)],
            text=None if self.embeddings is None or caption is None else self.embeddings.vector(caption),
            source=video.row,
            maps={
                name: some.sample(video, caption if name in OF_CAPTIONS else None, cut.times, cut.crop, clip)
                for name, some in maps.items()
            },
            short=short,
            view=request.view,
        )

    def read(self, piece: PieceRequest) -> tuple[Sampled, list[tuple[Cut, dict[str, Cut]]]]:
        """The frames of each clip and of its streams."""
        video, begin = piece.video, piece.begin
        if self.track is not None:
            return self.read_track(piece, self.track.reader(video))
        tracks = {name: one.track.reader(video) for name, one in self.streams.items() if one.track is not None}
        with self.open(video, 0.5 if begin is None else begin) as reader:
            moments = self.data.sampling.times(
                self.clip_times(video, reader.times, 0.5 if begin is None else begin),
                self.clip, "centre" if begin is None else begin, piece.jitter,
            )  # fmt: skip
            size = (video.height, video.width)
            if not video.height:  # the table does not know it
                size = reader.frames(moments.times[:1]).shape[1:3]
            crops = [one.crop(*size) for one in piece.clips]
            if len(crops) == 1:
                shown = [reader.frames(moments.times, crops[0].cut)]
            else:
                frames = reader.frames(moments.times)
                shown = [crop.cut(frames) for crop in crops]
            cuts = []
            for one, crop, frames in zip(piece.clips, crops, shown, strict=True):
                drawn = Drawn(reader.times, moments.times, crop, *size, self.clip, self.data.sampling)
                own = Cut(moments.times, crop, frames, self.data.augment)
                cuts.append((own, self.read_streams(reader, tracks, one, drawn)))
        return moments, cuts

    def read_track(self, piece: PieceRequest, reader: TrackReader) -> tuple[Sampled, list[tuple[Cut, dict[str, Cut]]]]:
        """The same of a clip that is read from a track: all of every moment, at the track's own rate."""
        tracks = {name: one.track.reader(piece.video) for name, one in self.streams.items() if one.track is not None}
        sampling = self.data.sampling
        moments = sampling.times(
            reader.times, self.clip, "centre" if piece.begin is None else piece.begin, piece.jitter
        )
        frames = reader.frames(moments.times)
        _, rows, columns, _ = frames.shape
        drawn = Drawn(reader.times, moments.times, EVERYTHING, rows, columns, self.clip, sampling)
        cut = Cut(moments.times, EVERYTHING, frames)
        return moments, [(cut, self.read_streams(reader, tracks, one, drawn)) for one in piece.clips]

    def read_streams(
        self,
        reader: "Reader | Stills | Spans | CachedFrames | TrackReader",
        tracks: Mapping[str, TrackReader],
        request: ClipRequest,
        drawn: Drawn,
    ) -> dict[str, Cut]:
        found = {}
        for name, stream in self.streams.items():
            if isinstance(stream.clip, Words):
                continue
            rng = None if request.stream_rng is None else request.stream_rng(name)
            track = tracks.get(name)
            source = drawn if track is None else replace(drawn, timestamps=track.times)
            shot = stream.pairing.shot(source, stream.clip, rng)
            source_of_it = reader if track is None else track
            if isinstance(source_of_it, TrackReader):
                frames = source_of_it.frames(shot.times)
            else:
                frames = source_of_it.frames(shot.times, shot.crop.cut)
            found[name] = Cut(shot.times, shot.crop, frames, shot.augment)
        return found

    def batch(self, wanted: Sequence[Sequence[PieceRequest]]) -> Batch:
        """Of the videos of which all pieces can be read, with the names of the others. Clips are in order of view."""
        samples: list[Sample] = []
        failed: list[str] = []
        for pieces in wanted:
            video = pieces[0].video
            if video.status != "ok":
                failed.append(f"{video.id}: {video.reason or video.status}")
                continue
            try:
                made = [sample for piece in pieces for sample in self.samples(piece)]
            except (VideoError, OSError, av.error.FFmpegError) as error:
                failed.append(f"{video.id}: {' '.join(str(error).split())}")
            else:
                samples += sorted(made, key=lambda sample: sample.view)
        streams = {name: (stream.clip, stream.maps) for name, stream in self.streams.items()}
        return collate(samples, tuple(failed), self.clip, self.maps, self.embeddings, bool(self.captions), streams)

    def open(self, video: Video, begin: float) -> "Reader | Stills | Spans | CachedFrames":
        """The frames of the row; of a long one, those around the clip that begins at this share of it."""
        if self.kept is not None:
            return self.kept.open(video)
        if (shard := damaged_in(video)) is not None:
            raise VideoError(f"its bytes in {shard} are not those that were packed; restore that file or pack it anew")
        start, end = around(video, self.span(video), begin, self.reach(video))
        reader = open_spans(video.path, start, end, reading=video.reading)
        if self.states is not None and changed(video, self.states.of(video)):  # opening tells of a remote file
            with reader:
                raise VideoError("changed since the run began")
        return reader

    def clip_times(self, video: Video, times: Float64[np.ndarray, "all"], begin: float) -> Float64[np.ndarray, "own"]:
        """Those among which the clip is drawn, whatever more is read for its streams."""
        if self.kept is not None or not self.streams:
            return times
        start, end = around(video, self.span(video), begin)
        return times[(times >= start - SAME) & (times < end - SAME)]

    def span(self, video: Video) -> float:
        """Seconds of a clip."""
        return self.data.sampling.seconds(self.clip, video.fps)

    def reach(self, video: Video) -> float:
        """Seconds before and after a clip's own that streams may ask for."""
        sampling = self.data.sampling
        spans = [stream.pairing.reach() + sampling.seconds(stream.clip, video.fps) for stream in self.streams.values()]
        return max(spans, default=0.0)


@dataclass(frozen=True)
class States:
    """How files were when a run began; of a large table and of remote files, as the table says, for nobody looks at
    millions before a step."""

    found: Mapping[int, State] | None  # by row

    @classmethod
    def now(cls, videos: Sequence[Video]) -> "States":
        if isinstance(videos, RowsOnDisk):
            return cls(None)
        states = {v.row: as_in_table(v) if is_remote(v.path) else state_or_none(v.path) for v in videos}
        return cls({row: state for row, state in states.items() if state is not None})

    def of(self, video: Video) -> State | None:
        if self.found is not None:
            return self.found.get(video.row)
        return None if video.size is None or video.modified is None else (video.size, video.modified)


def changed(video: Video, before: State | None) -> bool:
    """Whether a file holds something else than when its state was this; a touched one holds what it held."""
    now = state_or_none(video.path)
    if before is None or now is None or now == before:
        return False  # a missing file is reported when it is opened
    return video.content is None or content_digest(video.path).hex() != video.content


def damaged_in(video: Video) -> str | None:
    """The tar or Parquet file in which a video holds something else than the table says, which no time of change tells.
    It is compared once in a process; a larger one is read by offset and never whole, as is one of a store."""
    member = Member.of(video.path)
    if member is None or video.content is None or member.size > COMPARED or is_remote(video.path):
        return None
    return None if content_digest(video.path).hex() == video.content else member.container.name


def around(video: Video, span: float, begin: float, reach: float = 0.0) -> tuple[float, float]:
    """From when to when a row is read for a clip of this span that begins at this share of it: a long one in part. For
    streams that lie before or after it, their distance in seconds more."""
    length = video.end - video.start
    window = 2 * span + SLACK
    if length <= max(LONG, 2 * window):
        return video.start, video.end if length > 0 else float("inf")
    start = video.start + begin * (length - window)
    return max(start - reach, video.start), min(start + window + reach, video.end)
