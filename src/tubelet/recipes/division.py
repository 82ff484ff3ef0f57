"""Which labelled videos fine-tuning fits, selects and tests on. Test labels decide nothing but the test."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from tubelet.data.loader import Data
from tubelet.data.subset import those_where
from tubelet.data.table import Corpus, Video
from tubelet.errors import CorpusError
from tubelet.evaluations.classification import hold_out
from tubelet.evaluations.features import Features
from tubelet.evaluations.low_label import chosen


@dataclass(frozen=True)
class Division:
    """Videos with their labels; `fit` and `select` share no group."""

    classes: tuple[str, ...]
    fit: tuple[Video, ...]
    select: tuple[Video, ...]
    test: tuple[Video, ...]  # those of status other than "ok" among them: each is named in the result
    unreadable: tuple[Video, ...]  # labelled videos to train on that indexing could not read
    unlabelled: Mapping[str, int]  # split -> readable videos without a label

    @classmethod
    def of(
        cls, corpus: Corpus, data: Data, labels: Mapping[str, str] | None, share: float, held_out: float, seed: int
    ) -> "Division":
        """What `data` selects is trained on; `labels` (by id) in place of the table's."""
        if labels is None:
            labels = {video.id: video.label for video in corpus.videos if video.label}
        classes = tuple(sorted(set(labels.values())))
        split, trained_on = data.split, {video.id for video in data.select(corpus)}
        every = [replace(video, label=labels.get(video.id)) for video in corpus.videos]
        train = [video for video in every if video.id in trained_on]
        videos = those_where(corpus, every, data.where)
        named = [video for video in train if video.label is not None]
        if len({video.label for video in named}) < 2:
            raise CorpusError(
                f"fine-tuning needs labels of two classes at least, and split {split} of {corpus.name} has "
                f"{len(named)} labelled videos of {len({video.label for video in named})}; index again with "
                "`--labels CSV`, or give `--labels CSV` here"
            )
        used = [
            video for video, taken in zip(named, chosen(outline(named, classes), share, seed), strict=True) if taken
        ]
        held = hold_out(outline(used, classes), held_out, seed).tolist()
        test = [video for video in videos if video.split == "test" and split not in ("all", "test")]
        return cls(
            classes,
            tuple(video for video, out in zip(used, held, strict=True) if not out),
            tuple(video for video, out in zip(used, held, strict=True) if out),
            tuple(video for video in test if video.label is not None),
            tuple(
                video
                for video in videos
                if video.status != "ok" and video.label is not None and split in ("all", video.split)
            ),
            {split: len(train) - len(named), "test": sum(v.label is None and v.status == "ok" for v in test)},
        )


def outline(videos: Sequence[Video], classes: Sequence[str]) -> Features:
    """Videos as what is selected and measured by: ids, groups, labels; no features."""
    number = {name: place for place, name in enumerate(classes)}
    nothing = torch.empty(len(videos), 0)
    return Features(
        mean=nothing,
        slots=nothing,
        label=torch.tensor([number.get(video.label or "", -1) for video in videos], dtype=torch.int64),
        ids=tuple(video.id for video in videos),
        groups=tuple(video.group for video in videos),
        classes=tuple(classes),
    )
