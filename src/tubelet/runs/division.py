"""Which labelled videos fine-tuning fits, selects and tests on. Test labels decide nothing but the test."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from tubelet.corpus.schema import Video
from tubelet.corpus.table import Corpus
from tubelet.errors import CorpusError
from tubelet.evaluations.features import outline
from tubelet.evaluations.low_label import share_of_groups
from tubelet.evaluations.selection import hold_out_for
from tubelet.loading.data import Data
from tubelet.loading.subset import filter_videos


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
        cls,
        corpus: Corpus,
        data: Data,
        labels: Mapping[str, str] | None,
        share: float,
        held_out: float,
        seed: int,
        rates: Sequence[float] = (),
        tested: frozenset[str] | None = None,
    ) -> "Division":
        """What `data` selects is trained on; `labels` (by id) in place of the table's. Nothing selects where nothing
        is held out, or there is one group and one of the `rates`. Of a cross-validation, `tested` are the groups of
        one fold, whatever their split: all others are trained on."""
        if labels is None:
            labels = corpus.label_of
        classes = tuple(sorted(set(labels.values())))
        split, trained_on = data.split, {video.id for video in data.select(corpus)}
        if tested is not None:
            split, usable = "all", filter_videos(corpus, corpus.select("all"), data.where)
            trained_on = {video.id for video in usable if video.group not in tested}
        every = [replace(video, label=labels.get(video.id)) for video in corpus.kept()]
        train = [video for video in every if video.id in trained_on]
        videos = filter_videos(corpus, every, data.where)
        named = [video for video in train if video.label is not None]
        if len({video.label for video in named}) < 2:
            raise CorpusError(
                f"fine-tuning needs labels of two classes at least, and split {split} of {corpus.name} has "
                f"{len(named)} labelled videos of {len({video.label for video in named})}; index again with "
                "`--labels CSV`, or give `--labels CSV` here"
            )
        used = [
            video
            for video, taken in zip(named, share_of_groups(outline(named, classes), share, seed), strict=True)
            if taken
        ]
        fixed = "give one learning rate, as optim.base_lr=0.01, and its last step is kept"
        found = hold_out_for(rates, outline(used, classes), held_out, seed, fixed) if held_out else None
        held = [False] * len(used) if found is None else found.tolist()
        fit = tuple(video for video, out in zip(used, held, strict=True) if not out)
        if (few := len({video.label for video in fit})) < 2:
            raise CorpusError(
                f"labels_share={share:g} and held_out={held_out:g} leave {len(fit)} videos of {few} class to train on, "
                f"of {len(named)} labelled ones; take a greater labels_share, or a smaller held_out"
            )
        test = [video for video in videos if video.split == "test" and split not in ("all", "test")]
        if tested is not None:
            test = [video for video in videos if video.group in tested]
        return cls(
            classes,
            fit,
            tuple(video for video, out in zip(used, held, strict=True) if out),
            tuple(video for video in test if video.label is not None),
            tuple(
                video
                for video in videos
                if video.status != "ok" and video.label is not None and split in ("all", video.split)
            ),
            {split: len(train) - len(named), "test": sum(v.label is None and v.status == "ok" for v in test)},
        )
