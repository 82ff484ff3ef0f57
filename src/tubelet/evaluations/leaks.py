"""What an encoder and its aligner have seen of a corpus, and whether captions say what a probe asks."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tubelet.data.table import Corpus, normalise_text
from tubelet.errors import CorpusError

NAMES_LABEL = "caption names the label"


def seen_by_encoder(recipe: Mapping[str, Any], corpus: Corpus) -> list[str]:
    """Splits of this corpus that pretraining read: none of a corpus with another fingerprint."""
    if recipe.get("corpus", {}).get("fingerprint") != corpus.fingerprint():
        return []
    split = str(recipe.get("values", {}).get("data.split", "train"))
    return sorted({video.split for video in corpus.videos}) if split == "all" else [split]


def refuse_leak(aligner: list[str], split: str, corpus: Corpus, allowed: bool) -> None:
    """The door for a test split that the aligner was trained on."""
    if not allowed and {split, "all"} & set(aligner):
        raise CorpusError(
            f"the aligner of {corpus.folder} was trained on split {split!r}, so text and captions know the answers; "
            "train it on `train` alone with `tubelet align`, or pass --allow-seen to measure all the same"
        )


def share_that_names_the_label(corpus: Corpus, source: str | None, labels: Mapping[str, str] | None = None) -> float:
    """Of the videos with a label and a caption (of this source): the share whose captions name their own label."""
    if labels is None:
        labels = {video.id: video.label for video in corpus.videos if video.label}
    captions: dict[str, list[str]] = {}
    for caption in corpus.captions:
        if source is None or caption.source == source:
            captions.setdefault(caption.video, []).append(caption.text)
    both = [i for i in labels if i in captions]
    if not both:
        return 0.0
    return sum(any(names(text, labels[i]) for text in captions[i]) for i in both) / len(both)


def names(text: str, label: str) -> bool:
    """Whether every word of the label begins some word of the text: `spins` is named by `spinning`, `JumpRope` by
    `jumps a rope`."""
    words = re.findall(r"\w+", normalise_text(text).lower())
    wanted = [stem(word) for word in re.findall(r"[^\W_]+", spaced(label).lower())]
    return bool(wanted) and all(any(word.startswith(want) for word in words) for want in wanted)


def spaced(label: str) -> str:
    """CamelCase and snake_case as words."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", label).replace("_", " ")


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
