"""Captions made of the label: a template around its name, or a description of the class that somebody wrote.

Such text carries the label: a model that learned from it was supervised, and its results are marked so.
"""

import json
from pathlib import Path
from typing import ClassVar

import chz

from tubelet.captioning.base import Captioner, Row, Written
from tubelet.captioning.files import objects_of
from tubelet.data.captions import label_words
from tubelet.data.jobs import Progress, Running
from tubelet.data.rows import named_rows
from tubelet.data.table import FROM_LABEL, Corpus, Video
from tubelet.data.tables import Table
from tubelet.errors import CorpusError


@chz.chz
class Templates(Captioner):
    """The label's words in a sentence, as zero-shot classification writes them."""

    source: ClassVar[str] = "template"
    templates: tuple[str, ...] = chz.field(
        default=("a video of {}",), doc="sentences with {} for the label, separated by commas"
    )

    def write(self, corpus: Corpus, progress: Progress, running: Running | None = None) -> Written:
        if wrong := [template for template in self.templates if template.count("{}") != 1]:
            raise CorpusError(f"the template {wrong[0]!r} needs one {{}} for the label")
        rows = [
            {
                "video": video.id,
                "text": template.replace("{}", label_words(label)),
                "time": None,
                "model": FROM_LABEL,
                "prompt": template,
            }
            for video, label in labelled(corpus)
            for template in self.templates
        ]
        return Written(rows)


@chz.chz
class Descriptions(Captioner):
    """A description of each class, written without looking at any video ("vision-free"): from a file."""

    source: ClassVar[str] = "vision-free"
    path: str = chz.field(default="", doc="CSV with label,caption; JSON {label: text or [texts]}; JSON lines")

    def write(self, corpus: Corpus, progress: Progress, running: Running | None = None) -> Written:
        if not self.path:
            raise CorpusError("name the file of descriptions: captioner.path=FILE, with a label and a text a line")
        texts = descriptions(Path(self.path).expanduser())
        videos = labelled(corpus)
        if lacking := sorted({label for _, label in videos} - texts.keys()):
            raise CorpusError(
                f"{self.path} describes {len(texts)} classes, and {len(lacking)} of the corpus are not among them "
                f"(first: {lacking[0]}); add them"
            )
        rows: list[Row] = [
            {"video": video.id, "text": text, "time": None, "model": FROM_LABEL, "prompt": None}
            for video, label in videos
            for text in texts[label]
        ]
        return Written(rows)


def labelled(corpus: Corpus) -> list[tuple[Video, str]]:
    found = [(video, video.label) for video in corpus.select("all") if video.label]
    if not found:
        raise CorpusError(f"no usable video of {corpus.folder} has a label; index it with --labels CSV")
    return found


def descriptions(path: Path) -> dict[str, list[str]]:
    """Label -> its descriptions."""
    if path.suffix == ".json":
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise CorpusError(f"{path} cannot be read: {error}") from None
        if isinstance(content, dict):
            return {str(label): [text] if isinstance(text, str) else list(text) for label, text in content.items()}
    if path.suffix in (".json", ".jsonl", ".ndjson"):
        pairs = [(found.get("label"), found.get("caption")) for found in objects_of(path)]
    else:
        pairs = [(row["label"], row["caption"]) for row in named_rows(Table.read(path), ("label", "caption"))]
    texts: dict[str, list[str]] = {}
    for label, caption in pairs:
        if label is None or caption is None:
            raise CorpusError(f"{path} needs a label and a caption in every line")
        texts.setdefault(str(label), []).extend([caption] if isinstance(caption, str) else caption)
    return texts
