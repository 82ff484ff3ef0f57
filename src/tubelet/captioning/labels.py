"""Captions made of the label: a template around its name, or a description of the class that somebody wrote.

Such text carries the label: a model that learned from it was supervised, and its results are marked so.
"""

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import ClassVar

import chz

from tubelet.captioning.base import Captioner, Row, Written
from tubelet.captioning.files import objects_of
from tubelet.corpus.captions import label_words
from tubelet.corpus.names import Use
from tubelet.corpus.rows import named_rows
from tubelet.corpus.schema import FROM_LABEL, Video
from tubelet.corpus.table import Corpus
from tubelet.corpus.tables import Table
from tubelet.errors import CorpusError
from tubelet.jobs.runner import Running
from tubelet.progress import Progress


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
            for video, label in labelled_videos(corpus)
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
        videos = labelled_videos(corpus)
        texts, use = descriptions(Path(self.path).expanduser(), {label for _, label in videos})
        if lacking := sorted({label for _, label in videos} - texts.keys()):
            raise CorpusError(
                f"{self.path} describes {len(texts)} of {len(texts) + len(lacking)} classes of the corpus; "
                f"add the others (first: {lacking[0]})"
            )
        rows: list[Row] = [
            {"video": video.id, "text": text, "time": None, "model": FROM_LABEL, "prompt": None}
            for video, label in videos
            for text in texts[label]
        ]
        return Written(rows, remarks=(use.summary(),))


def labelled_videos(corpus: Corpus) -> list[tuple[Video, str]]:
    found = [(video, video.label) for video in corpus.select("all") if video.label]
    if not found:
        raise CorpusError(f"no usable video of {corpus.folder} has a label; index it with --labels CSV")
    return found


def descriptions(path: Path, labels: Collection[str]) -> tuple[dict[str, list[str]], Use]:
    """Label -> its descriptions, of the labels that there are."""
    use = Use(path)
    texts: dict[str, list[str]] = {}
    for line, label, some in class_descriptions(path):
        if label not in labels:
            use.leave(line, f"no video has the label {label}")
        elif not any(some):
            use.leave(line, f"nothing is said of {label}")
        else:
            use.used += 1
            texts.setdefault(label, []).extend(text for text in some if text)
    return texts, use


def class_descriptions(path: Path) -> Iterator[tuple[int, str, list[str]]]:
    """(line, label, texts) of what the file says."""
    if path.suffix in (".json", ".jsonl", ".ndjson"):
        for number, found in enumerate(objects_of(path), 1):
            label, caption = found.get("label", found.get("path")), found.get("caption")  # {label: text} has no keys
            if label is None or caption is None:
                raise CorpusError(f"{path} needs a label and a caption in every line")
            yield number, str(label), [caption] if isinstance(caption, str) else list(caption)
    else:
        for row in named_rows(Table.read(path), ("label", "caption")):
            yield row.line, row["label"], [row["caption"]]
