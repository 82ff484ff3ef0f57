"""What a reader of clips opens: tracks, maps and embeddings, and whether videos are long enough."""

from collections.abc import Mapping, Sequence

from tubelet.corpus.captions import CaptionChoice, flatten
from tubelet.corpus.schema import Caption, Video
from tubelet.corpus.table import Corpus
from tubelet.errors import CorpusError
from tubelet.loading.pairings import Reads
from tubelet.stores.embeddings import Embeddings
from tubelet.stores.maps import Maps, remedy
from tubelet.stores.tracks import Tracks
from tubelet.types import Clip, Words
from tubelet.video.reader import SAME
from tubelet.video.sampling import Sampling

OF_CAPTIONS = ("text",)  # maps that belong to a caption, not to the video alone


def nothing_in(corpus: Corpus, split: str) -> str:
    splits: dict[str, int] = {}
    for video in corpus.select("all"):
        splits[video.split] = splits.get(video.split, 0) + 1
    there = ", ".join(f"{name} ({count} videos)" for name, count in sorted(splits.items()))
    if not there:
        return f"corpus {corpus.name} has no usable video: see status and reason in {corpus.folder / 'videos.parquet'}"
    return f"corpus {corpus.name} has no usable video in split {split!r}; it has: {there}; choose one with data.split"


def check_length(videos: Sequence[Video], clip: Clip, sampling: Sampling, track: Tracks | None = None) -> None:
    """Where short sources are refused, names all of them in one error."""
    if sampling.short != "refuse":
        return
    if short := shorter(videos, clip, sampling) if track is None else fewer(videos, clip, sampling, track):
        raise CorpusError(
            f"{len(short)} of {len(videos)} videos are shorter than the span of a clip (first: {short[0]}); "
            f"use data.sampling.short={'repeat' if track is None else 'stretch'} or a smaller step"
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


def fewer(videos: Sequence[Video], clip: Clip, sampling: Sampling, track: Tracks) -> list[str]:
    """Ids of the videos whose track has fewer moments than a clip spans."""
    return [video.id for video in videos if sampling.indices(track.reader(video).times, clip.frames, "centre", None)[1]]


def open_tracks(corpus: Corpus, videos: Sequence[Video], streams: Mapping[str, Reads]) -> dict[str, Tracks]:
    """Of the streams that are read from one, by their names."""
    return {
        name: open_track(corpus, videos, reads.clip, f"streams.{name}.signal")
        for name, reads in streams.items()
        if reads.clip.track and not isinstance(reads.clip, Words)
    }


def open_track(corpus: Corpus, videos: Sequence[Video], clip: Clip, where: str) -> Tracks:
    """That of these clips, which `where` names in the recipe."""
    track = Tracks.open(corpus, clip.track)
    track.check(videos, clip, where, corpus.folder)
    return track


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
        shuffled = name in OF_CAPTIONS and choice is not None and choice.shuffled
        option = " shuffled_captions=True" if shuffled else ""
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
            f"make them with `tubelet saliency {corpus.folder} Text`"
        )
    return embeddings
