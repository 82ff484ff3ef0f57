"""Moments of videos as what is searched and labelled: each with the seconds at which it lies. Start at `Moments.of`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from tubelet.corpus.schema import Video
from tubelet.corpus.table import Corpus
from tubelet.errors import CorpusError
from tubelet.evaluations.features import Extraction, Features
from tubelet.evaluations.timelines import timelines
from tubelet.inference.hits import Hit


@dataclass(frozen=True)
class Moments:
    """Every time step of the videos of a split: its feature, and the part of the video that it is."""

    features: Features  # a row a moment, whose id is `VIDEO@SECONDS`
    videos: Mapping[str, Video]  # by that id, each from the start of its moment to the end

    @classmethod
    def of(cls, how: Extraction, split: str) -> "Moments":
        lines, failed = timelines(how, split)
        videos: dict[str, Video] = {}
        for line in lines:
            for time in line.times.tolist():
                start, end = max(time - line.step / 2, line.video.start), time + line.step / 2
                name = f"{line.video.id}@{start:.2f}"
                videos[name] = replace(line.video, id=name, start=start, end=end)
        mean = torch.cat([line.features for line in lines])
        features = Features(
            mean=mean,
            temporal_concat=mean,
            label=torch.full((len(mean),), -1),
            ids=tuple(videos),
            groups=tuple(video.group for video in videos.values()),
            failed=tuple(failed),
        )
        return cls(features, videos)

    def at(self, video: str, seconds: float) -> str:
        """The moment of a video of the corpus in which these seconds lie, or the nearest."""
        own = [name for name in self.videos if name.rpartition("@")[0] == video]
        if not own:
            raise CorpusError(f"{video} is not among the videos that are searched; choose others with --split")
        starts = np.array([(self.videos[name].start + self.videos[name].end) / 2 for name in own])
        return own[int(np.abs(starts - seconds).argmin())]


def apart(hits: Sequence[Hit], seconds: float, most: int) -> list[Hit]:
    """The best, and of the rest those that lie at least so far from a better one of the same file."""
    kept: list[Hit] = []
    for hit in hits:
        near = (other for other in kept if other.video.path == hit.video.path)
        if all(abs(other.video.start - hit.video.start) >= seconds for other in near):
            kept.append(hit)
        if len(kept) == most:
            break
    return kept


def middle(video: str, corpus: Corpus) -> float:
    """Of a video of the corpus, in seconds."""
    found = corpus.by_id[video]
    return (found.start + found.end) / 2
