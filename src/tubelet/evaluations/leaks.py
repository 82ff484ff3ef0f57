"""What an encoder and its aligner have seen of a corpus, and whether captions say what a probe asks."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tubelet.data.captions import label_words
from tubelet.data.table import FROM_LABEL, Caption, Corpus, normalise_text
from tubelet.errors import CorpusError


@dataclass(frozen=True)
class Leaks:
    """What stands between a number and its meaning."""

    corpus: Corpus
    seen: Mapping[str, list[str]]  # "encoder", "aligner": the splits of this corpus that each was trained on
    guided: bool  # text reached the encoder: through its masks or a contrast
    compared: bool  # a head compares clips with captions
    named: float  # share of captioned, labelled videos whose captions name their label
    elsewhere: str = ""  # the corpus that the encoder was trained on, where it is another one

    @classmethod
    def of(
        cls,
        corpus: Corpus,
        trained_on: Mapping[str, str],
        split: str,
        *,
        guided: bool,
        compared: bool,
        source: str | None,
        labels: Mapping[str, str] | None = None,
        earlier: Sequence[tuple[Mapping[str, str], str]] = (),
    ) -> "Leaks":
        """Of a run that was trained on this split of that corpus, with captions of this source; `earlier` are the
        corpora and splits of the runs whose weights it began with."""
        own = trained_on.get("fingerprint") == corpus.fingerprint()
        splits: set[str] = set()
        for where, part in ((trained_on, split), *earlier):
            if where.get("fingerprint") == corpus.fingerprint():
                splits |= {video.split for video in corpus.select("all")} if part == "all" else {part}
        return cls(
            corpus=corpus,
            seen={"encoder": sorted(splits), "aligner": seen_by_aligner(corpus) if guided or compared else []},
            guided=guided,
            compared=compared,
            named=share_that_names_the_label(corpus, source, labels) if own and guided else 0.0,
            elsewhere="" if own else str(trained_on.get("name")),
        )

    def refuse(self, split: str, allowed: bool) -> None:
        """The door for a split that the aligner was trained on."""
        known = [seen for seen in self.seen["aligner"] if split in ("all", seen)]
        if known and not allowed:
            raise CorpusError(
                f"the aligner of {self.corpus.folder} was trained on split {known[0]!r} and knows the answers there; "
                "measure another split, or this one all the same with --allow-seen"
            )

    def marks(self) -> list[str]:
        if not self.named:
            return []
        return [
            f"caption names the label in {self.named:.0%} of the videos; "
            "show this only beside a run whose captions do not"
        ]

    def lines(self) -> list[str]:
        lines = []
        for who, splits in self.seen.items():
            if who == "aligner" and not (self.guided or self.compared):
                lines.append("aligner: not used by this run")
            else:
                where = f" (trained on {self.elsewhere})" if who == "encoder" and self.elsewhere else ""
                lines.append(f"{who} has seen of {self.corpus.name}: {', '.join(splits) or 'nothing'}{where}")
        return lines


def seen_by_aligner(corpus: Corpus) -> list[str]:
    """Splits of the corpus that the aligner in it was trained on. CLIP is no aligner of ours: it saw other data."""
    trained_on = read_json(corpus.folder / "aligner" / "aligner.json").get("corpus") or {}
    if corpus.fingerprint() != trained_on.get("fingerprint") and corpus.name != trained_on.get("name"):
        return []
    return sorted(trained_on.get("splits", []))


def share_that_names_the_label(corpus: Corpus, source: str | None, labels: Mapping[str, str] | None = None) -> float:
    """Of the videos with a label and a caption (of this source): the share whose captions name their own label."""
    if labels is None:
        labels = {video.id: video.label for video in corpus.videos if video.label}
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


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object, {} where there is no file."""
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise CorpusError(f"{path} is damaged ({error}); restore it or make it again") from error
