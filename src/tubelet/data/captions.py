"""Which of a video's captions goes with a clip."""

from collections.abc import Iterable, Sequence
from typing import Literal

import chz

from tubelet.data.table import Caption, Corpus, Video
from tubelet.errors import CorpusError


@chz.chz
class CaptionChoice:
    """One caption is drawn for every clip: it guides the mask and is the positive of the contrast."""

    source: str | None = chz.field(default=None, doc="use only captions of this source (None: of all)")
    pick: Literal["random", "nearest"] = chz.field(
        default="random", doc="any of the video's captions, or the one nearest in time to the clip"
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
        if without := [video.id for video, captions in zip(videos, found, strict=True) if not captions]:
            kind = f"caption of source {self.source!r}" if self.source is not None else "caption"
            raise CorpusError(
                f"{len(without)} of {len(videos)} videos have no {kind} (first: {without[0]}); "
                f"add them with `tubelet index ... --captions CSV --update --out {corpus.folder}`"
            )
        if self.pick == "nearest" and not any(caption.time is not None for caption in flatten(found)):
            raise CorpusError(
                f"data.captions.pick=nearest needs captions with a time, and corpus {corpus.name} has none; "
                "use data.captions.pick=random"
            )
        return found


def flatten(lists: Iterable[Iterable[Caption]]) -> list[Caption]:
    return [caption for captions in lists for caption in captions]
