"""Which clips that are measured on were trained on, and whether captions say what a probe asks.

Clips are known by content: what an encoder, its aligner, a classifier or a run that they began with was trained on
is in its record (`tubelet.evaluations.trained_on`). Start reading at `Contamination`.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tubelet.corpus.captions import label_words
from tubelet.corpus.schema import FROM_LABEL, Caption, Video
from tubelet.corpus.table import Corpus, normalise_text
from tubelet.errors import CorpusError
from tubelet.evaluations.thumbnails import looks_of_videos
from tubelet.evaluations.trained_on import ALIGNER, ENCODER, Trained, TrainedOn
from tubelet.wording import and_more

FEW = 3  # clips that a line names
MANY = 0.1  # share of the clips of a split that look like ones trained on, from which it is refused
UNKNOWN = "unknown"


@dataclass(frozen=True)
class SplitContamination:
    """The clips of a split that were trained on."""

    split: str
    clips: int  # in all
    same: Mapping[str, list[Trained]]  # id -> what shares a moment of the same content
    alike: Mapping[str, Trained]  # id -> what it looks like, of the others

    def warnings(self) -> list[str]:
        """What a reader must know with the number, with the names of the first."""
        lines = []
        for who, ids in by_training(self.same).items():
            lines.append(
                f"{len(ids)} of {self.clips} clips of {self.split} were trained on by the {who} ({and_more(ids, FEW)})"
            )
        for who, ids in by_training({name: [clip] for name, clip in self.alike.items()}).items():
            pairs = [f"{name} ~ {self.alike[name].id}" for name in ids]
            lines.append(
                f"{len(ids)} of {self.clips} clips of {self.split} look like clips that the {who} was trained on "
                f"({and_more(pairs, FEW)})"
            )
        return lines

    def as_json(self) -> dict[str, Any]:
        return {
            "split": self.split,
            "clips": self.clips,
            "same_content": {name: [clip.in_words() for clip in some] for name, some in self.same.items()},
            "looks_alike": {name: clip.in_words() for name, clip in self.alike.items()},
        }


@dataclass(frozen=True)
class Contamination:
    """What makes a number mean less than it says."""

    corpus: Corpus
    trained_on: TrainedOn  # by the encoder, its aligner, its classifier, and the runs that it began with
    guided: bool  # text reached the encoder: through its masks or a contrast
    compared: bool  # a head compares clips with captions
    named: float = 0.0  # share of captioned, labelled videos whose captions name their label
    found: dict[str, SplitContamination] = field(default_factory=dict, compare=False, repr=False)
    matches: dict[str, list[Trained]] = field(default_factory=dict, compare=False, repr=False)
    looked: set[str] = field(default_factory=set, compare=False, repr=False)

    @classmethod
    def of(
        cls,
        corpus: Corpus,
        trained_on: TrainedOn,
        *,
        guided: bool,
        compared: bool,
        source: str | None,
        labels: Mapping[str, str] | None = None,
    ) -> "Contamination":
        """Of a run with this record, that was trained with captions of this source."""
        whole = cls(corpus, trained_on, guided, compared)
        here = guided and any(clip.role == ENCODER for some in whole.same("all").values() for clip in some)
        return replace(whole, named=share_that_names_the_label(corpus, source, labels)) if here else whole

    @property
    def splits(self) -> dict[str, list[str]]:
        """By role, the splits of this corpus of which clips were trained on; "unknown" where that is not known."""
        splits = {video.id: video.split for video in self.corpus.videos}
        found: dict[str, set[str]] = {ENCODER: set(), ALIGNER: set()}
        for name, some in self.same("all").items():
            for clip in some:
                found.setdefault(clip.role, set()).add(splits[name])
        unsure = {sentence.split()[0] for sentence in self.trained_on.unknown}
        return {role: sorted(some) + ([UNKNOWN] if role in unsure else []) for role, some in found.items()}

    def same(self, split: str) -> dict[str, list[Trained]]:
        """The clips of a split whose content was trained on."""
        videos = self.corpus.select(split)
        new = [video for video in videos if video.id not in self.looked]
        self.matches.update(self.trained_on.find(new))
        self.looked.update(video.id for video in new)
        return {video.id: self.matches[video.id] for video in videos if video.id in self.matches}

    def of_split(self, split: str) -> SplitContamination:
        """What of a split was trained on, those that only look so among them."""
        if split not in self.found:
            same, videos = self.same(split), self.corpus.select(split)
            others = [video for video in videos if video.id not in same]
            self.found[split] = SplitContamination(split, len(videos), same, self.lookalikes(others))
        return self.found[split]

    def lookalikes(self, videos: list[Video]) -> dict[str, Trained]:
        if not videos or not any(clip.looks for clip in self.trained_on.clips):
            return {}
        return self.trained_on.lookalikes(looks_of_videos(self.corpus, videos))

    def raise_if_trained_on(self, split: str, allowed: bool, compares_text: bool = False) -> None:
        """Raises for a split of which the answers were trained on: by an aligner or a classifier, always; by an
        encoder that was trained with the captions, where texts are compared with clips."""

        def knows(clip: Trained) -> bool:
            return clip.role != ENCODER or (clip.told is not None and compares_text)

        if allowed or not any(knows(clip) for clip in self.trained_on.clips):
            return
        found = self.of_split(split)
        same = {name: kept for name, some in found.same.items() if (kept := [clip for clip in some if knows(clip)])}
        alike = {name: [clip] for name, clip in found.alike.items() if knows(clip)}
        if not same and len(alike) < MANY * found.clips:
            return
        known = same or alike
        [who, ids], *_ = by_training(known).items()
        how = "was trained on" if same else "was trained on clips that look like"
        raise CorpusError(
            f"the {who} {how} {len(ids)} of {found.clips} clips of split {found.split!r} of {self.corpus.name} "
            f"({and_more(ids, FEW)}) and knows the answers there; measure another split, or this one all the same with "
            "--allow-seen"
        )

    def warnings(self) -> list[str]:
        if not self.named:
            return []
        return [
            f"caption names the label in {self.named:.0%} of the videos; "
            "compare this only with a run whose captions do not"
        ]

    def lines(self) -> list[str]:
        lines = []
        for who, splits in self.splits.items():
            if who == ALIGNER and not (splits or self.guided or self.compared):
                lines.append("aligner: not used by this run")
                continue
            known = [split for split in splits if split != UNKNOWN]
            words = ", ".join(known) or "nothing"
            if UNKNOWN in splits:
                words = f"{', '.join(known)}, as far as is known" if known else UNKNOWN
            where = sorted({clip.corpus for clip in self.trained_on.clips if clip.role == who} - {self.corpus.name})
            lines.append(
                f"of {self.corpus.name}, the {who} was trained on: {words}"
                + (f" (trained on {', '.join(where)})" if where else "")
            )
        return lines + list(self.trained_on.unknown)


def by_training(found: Mapping[str, Iterable[Trained]]) -> dict[str, list[str]]:
    """Who was trained on which ids: "encoder", "aligner of runs/first", ..."""
    ids: dict[str, list[str]] = {}
    for name, some in found.items():
        for who in dict.fromkeys(clip.role + (f" of {clip.origin}" if clip.origin else "") for clip in some):
            ids.setdefault(who, []).append(name)
    return ids


def share_that_names_the_label(corpus: Corpus, source: str | None, labels: Mapping[str, str] | None = None) -> float:
    """Of the videos with a label and a caption (of this source): the share whose captions name their own label."""
    if labels is None:
        labels = corpus.label_of
    captions: dict[str, list[Caption]] = {}
    for caption in corpus.captions:
        if source is None or caption.source == source:
            captions.setdefault(caption.video, []).append(caption)
    both = [i for i in labels if i in captions]
    if not both:
        return 0.0
    named = [any(c.model == FROM_LABEL or names(c.text, labels[i]) for c in captions[i]) for i in both]
    return sum(named) / len(both)


def names(text: str, label: str) -> bool:
    """Whether every word of the label begins some word of the text: `spins` is named by `spinning`, `JumpRope` by
    `jumps a rope`."""
    words = re.findall(r"\w+", normalise_text(text).lower())
    wanted = [stem(word) for word in re.findall(r"[^\W_]+", label_words(label).lower())]
    return bool(wanted) and all(any(word.startswith(want) for word in words) for want in wanted)


def stem(word: str) -> str:
    """Without the endings of verbs and plurals, where enough of the word is left to mean it."""
    for ending in ("ing", "es", "ed", "s", "e"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word.removesuffix(ending)
    return word
