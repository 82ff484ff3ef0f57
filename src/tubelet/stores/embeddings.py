"""Caption embeddings: computed once per corpus by one model, found by the caption's normalised text."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float32

from tubelet.corpus.schema import Caption
from tubelet.corpus.table import Corpus, normalise_text
from tubelet.errors import CorpusError
from tubelet.files import file_name, within
from tubelet.jobs.parts import Part
from tubelet.jobs.shards import Series, Writer, choose, chosen, series_folder


class Embeddings:
    """The caption embeddings of a corpus by one model."""

    def __init__(self, series: Series) -> None:
        self.series = series
        self.width: int = series.about["width"]
        self.vectors = [batch.column("vector").values.to_numpy().reshape(-1, self.width) for batch in series.batches]

    @classmethod
    def open(cls, corpus: Corpus, series: str | None = None) -> "Embeddings":
        """Those that are read now, or those of this series where they are still there."""
        folder = kept_series(corpus.folder, series) or chosen(corpus.folder / "embeddings")
        if folder is None:
            raise CorpusError(
                f"{corpus.folder} has no caption embeddings; make them with `tubelet saliency {corpus.folder} Text`"
            )
        return cls(Series(folder))

    def __reduce__(self) -> tuple[type["Embeddings"], tuple[Series]]:
        return Embeddings, (self.series,)

    @property
    def about(self) -> Mapping[str, Any]:
        """What made them: the model's identity, the width."""
        return self.series.about

    def vector(self, caption: Caption) -> Float32[np.ndarray, "e"]:
        return self.of_text(caption.text)

    def of_text(self, text: str) -> Float32[np.ndarray, "e"]:
        index = self.series.rows.get(text_key(normalise_text(text)))
        if index is None:
            raise CorpusError(f"no embedding of the caption {text!r}; make it with `tubelet saliency CORPUS Text`")
        shard, row = index
        self.series.verify(shard, row)
        return self.vectors[shard][row]

    def missing(self, captions: Sequence[Caption]) -> list[str]:
        """Ids of the videos that have a caption without an embedding."""
        without = {c.video for c in captions if text_key(normalise_text(c.text)) not in self.series}
        return sorted(without)


def kept_series(corpus: Path, series: str | None) -> Path | None:
    """The folder of this series of caption embeddings, where the corpus has it."""
    folder = within(corpus / "embeddings", file_name(series)) if series else None
    return folder if folder is not None and (folder / "about.json").is_file() else None


@dataclass(frozen=True)
class TextModel:
    """The model whose caption embeddings a run was trained with; those of another say nothing to its contrast head.

    The series of a model is called alike in every corpus, and stays where another is chosen. Without one the model is
    not known, and what a corpus has now is taken.
    """

    series: str | None = None
    home: Path | None = None  # the corpus that the run was trained on

    def identity(self, corpus: Corpus) -> str:
        """The model itself; `corpus` is the one that is read."""
        for folder in (corpus.folder, self.home):
            if folder is not None and (kept := kept_series(folder, self.series)) is not None:
                return str(Series(kept).about["model"])
        if self.series is not None:
            raise CorpusError(
                f"the caption embeddings that the run was trained with ({self.series}) are no longer in "
                f"{(self.home or corpus.folder) / 'embeddings'}; make them again with "
                "`tubelet saliency CORPUS Text` and the aligner of that time"
            )
        return str(Embeddings.open(corpus).about["model"])

    def embeddings(self, corpus: Corpus) -> Embeddings:
        """The caption embeddings of this corpus by that model."""
        trained_with = self.identity(corpus)
        found = Embeddings.open(corpus, self.series)
        if not same_texts(made := str(found.about["model"]), trained_with):
            raise CorpusError(
                f"the captions of {corpus.folder} were embedded by {made} and those that the run was trained with by "
                f"{trained_with}; embed them with that one: `tubelet saliency {corpus.folder} Text aligner=PATH`"
            )
        return found


ANY_TEXTS = TextModel()


def same_texts(one: str, other: str) -> bool:
    """Whether two identities embed texts alike: how a CLIP's patches are read says nothing of its texts."""
    return one.split(":")[:2] == other.split(":")[:2]


class EmbeddingsWriter:
    """Fills one series of caption embeddings, by one model of this width."""

    def __init__(self, corpus: Corpus, identity: str, width: int, part: Part | None = None) -> None:
        about = {"name": "embeddings", "model": identity, "width": width}
        schema = pa.schema([("key", pa.binary(16)), ("text", pa.string()), ("vector", pa.list_(pa.float32(), width))])
        self.writer = Writer(series_folder(corpus.folder / "embeddings", about), about, schema, part=part)

    def has(self, text: str) -> bool:
        return text_key(text) in self.writer

    def add(self, text: str, vector: Float32[np.ndarray, "e"]) -> None:
        if not np.isfinite(vector).all():
            raise ValueError(f"the embedding of {text!r} holds NaN or infinite values")
        self.writer.add({"key": text_key(text), "text": text, "vector": vector}, vector.nbytes)

    def flush(self) -> None:
        self.writer.flush()

    def finish(self) -> None:
        self.writer.flush()
        choose(self.writer.folder)

    def __enter__(self) -> "EmbeddingsWriter":
        return self

    def __exit__(self, *stop: object) -> None:
        self.writer.__exit__(*stop)


def text_key(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=16).digest()
