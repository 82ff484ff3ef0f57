"""Which of a video's captions goes with a clip."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Literal

import chz

from tubelet.corpus.schema import Caption, Video
from tubelet.corpus.table import Corpus, normalise_text
from tubelet.errors import CorpusError
from tubelet.seeds import key


@chz.chz
class CaptionChoice:
    """One caption is drawn for every clip: it guides the mask and is the positive of the contrast."""

    source: str | None = chz.field(default=None, doc="use only captions of this source (None: of all)")
    pick: Literal["random", "nearest"] = chz.field(
        default="random", doc="any of the video's captions, or the one nearest in time to the clip"
    )

    shuffled: bool = chz.field(
        default=False, doc="a control: the captions of one other video of the split that share no text with its own"
    )

    def choose(self, captions: Sequence[Caption], u: float, moment: float) -> Caption:
        """One of the captions: by `u` in [0, 1), or the one whose time is nearest to the clip's middle."""
        if self.pick == "nearest" and (timed := [caption for caption in captions if caption.time is not None]):
            return min(timed, key=lambda caption: abs((caption.time or 0.0) - moment))
        return captions[int(u * len(captions))]

    def candidates(self, corpus: Corpus, videos: Sequence[Video]) -> list[list[Caption]]:
        """The captions to choose from, one list a video. Every video must have one."""
        if self.source is not None and self.source not in corpus.sources:
            there = ", ".join(corpus.sources) or "no captions at all"
            raise CorpusError(
                f"corpus {corpus.name} has no captions of source {self.source!r}; it has: {there}; "
                "choose one with data.captions.source, None takes all"
            )
        found = [corpus.captions_of(video, self.source) for video in videos]
        if self.shuffled:
            found = exchanged(corpus, videos, self.source)
        if without := [video.id for video, captions in zip(videos, found, strict=True) if not captions]:
            kind = f"caption of source {self.source!r}" if self.source is not None else "caption"
            raise CorpusError(
                f"{len(without)} of {len(videos)} videos have no {kind} (first: {without[0]}); "
                f"write them with `tubelet caption {corpus.folder}`, or name a file of them: captioner=Files"
            )
        if self.pick == "nearest" and not any(caption.time is not None for caption in flatten(found)):
            raise CorpusError(
                f"data.captions.pick=nearest needs captions with a time, and corpus {corpus.name} has none; "
                "use data.captions.pick=random"
            )
        return found


def exchanged(corpus: Corpus, videos: Sequence[Video], source: str | None) -> list[list[Caption]]:
    """For each video the captions of another of its split: the first after it, in an order by key, that shares no text
    with it. The same whichever videos are asked for; a video without captions of its own gets none."""
    given: dict[int, list[Caption]] = {}
    for split in {video.split for video in videos}:
        some = [(video, corpus.captions_of(video, source)) for video in corpus.select(split)]
        some = sorted((pair for pair in some if pair[1]), key=lambda pair: key(0, "another caption " + pair[0].id))
        texts = [{normalise_text(caption.text) for caption in captions} for _, captions in some]
        for index, (video, _) in enumerate(some):
            after = ((index + step) % len(some) for step in range(1, len(some)))
            other = next((there for there in after if not texts[there] & texts[index]), None)
            if other is None:
                raise CorpusError(
                    f"data.captions.shuffled=True: every caption in split {split!r} is also one of {video.id}; "
                    "there is no other to take"
                )
            given[video.row] = [replace(caption, video=video.id) for caption in some[other][1]]
    return [given.get(video.row, []) for video in videos]


def flatten(lists: Iterable[Iterable[Caption]]) -> list[Caption]:
    return [caption for captions in lists for caption in captions]


def label_words(label: str) -> str:
    """CamelCase and snake_case as words."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", label).replace("_", " ")
