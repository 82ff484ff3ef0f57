"""What an evaluation is given, and what it gives back."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

import chz
import torch
from torch import nn

from tubelet.corpus.table import Corpus
from tubelet.distributed import is_rank0
from tubelet.errors import RecipeError
from tubelet.evaluations.features import Extraction, Features, Tokens, extract, extract_tokens
from tubelet.evaluations.stream import MeasuredStream, StreamEncoder
from tubelet.loading.data import Data
from tubelet.progress import Progress, silent
from tubelet.results import Result
from tubelet.stores.embeddings import ANY_TEXTS, TextModel
from tubelet.tasks import Pretraining
from tubelet.types import Clip


@dataclass(frozen=True)
class Context:
    """One encoder on one corpus. Its features are computed once and shared by every evaluation that is run on it.

    `encoder` is anything with `.encode(video "b 3 t h w") -> "b n d"`; `task` adds the heads, for what needs them.
    """

    encoder: nn.Module
    corpus: Corpus
    clip: Clip
    data: Data
    task: Pretraining | None = None
    texts: TextModel = ANY_TEXTS  # the one that the task was trained with
    folder: Path | None = None  # the run's, where pictures go; None: nowhere
    keep: Path | None = None  # the folder in which features are kept for the next command; None: nowhere
    seed: int = 0
    batch: int = 16
    labels: Mapping[str, str] | None = None  # video id -> label, in place of the table's
    limit: int | None = None  # at most so many videos of a split (a keyed choice), for a glance while training
    progress: Progress = silent  # called with how many clips of how many are read
    stream: MeasuredStream | None = None  # of the run, that the encoder is shown in place of the clip
    computed: dict[str, Features] = field(default_factory=dict, compare=False, repr=False)

    def features(self, split: str) -> Features:
        """The features of a split, labelled."""
        return self.unlabelled(split).labelled(self.corpus, self.labels)

    def unlabelled(self, split: str) -> Features:
        if split not in self.computed:
            self.computed[split] = extract(self.extraction, split)
        return self.computed[split]

    def with_tokens(self, split: str, side: int | None = None) -> Features:
        """The same, with the tokens of every clip; with `side`, averaged to so many rows and columns a time step."""
        features = self.features(split)
        if features.tokens is not None:
            return features
        rows = extract_tokens(self.extraction, split, side)
        index = torch.tensor([position for position, name in enumerate(features.ids) if name in rows])
        values = tuple(rows[name].parts["tokens"] for name in features.ids if name in rows)
        width = features.temporal_concat.shape[1] // self.extraction.shown.grid[0]
        return replace(features.rows(index), tokens=Tokens(values, width))

    def of_stream(self, name: str) -> "Context":
        """The same of one of the run's streams, alone."""
        assert self.task is not None
        stream = MeasuredStream.of(self.task, name)
        return replace(self, encoder=StreamEncoder.of(self.task, name), stream=stream, computed={})

    @property
    def pictures(self) -> Path | None:
        """The run's folder on the first rank, which writes what all of them see; None on the others."""
        return self.folder if is_rank0() else None

    @property
    def extraction(self) -> Extraction:
        return Extraction(
            self.encoder, self.corpus, self.clip, self.data, self.batch, self.limit, self.seed, self.keep,
            self.progress, self.stream,
        )  # fmt: skip

    @property
    def identity(self) -> dict[str, str]:
        """Which corpus a result speaks of."""
        return {"name": self.corpus.name, "fingerprint": self.corpus.fingerprint()}


POSITIVE = ("samples", "grid", "rates", "epochs", "batch", "heads", "clips", "overlaps", "map_overlaps")  # fields


@chz.chz
class Evaluation:
    """A frozen config that does the work itself; `run` gives a `Result`, which is written to results.json.

    `protocol` says everything that was decided, `metrics` are single numbers by name with their 95 % intervals,
    `counts` say how many clips were used, failed or had no label.
    """

    name: ClassVar[str]
    reads_features: ClassVar[bool] = False  # of both splits and their labels
    reads_tokens: ClassVar[bool] = False  # of the encoder alone: a baseline, which has no task, has them too

    compares_text: ClassVar[bool] = False  # with clips: then captions that the encoder was trained with are answers

    @chz.validate
    def _positive(self) -> None:
        for name in POSITIVE:
            value = getattr(self, name, 1)
            numbers = value if isinstance(value, tuple) else (value,)
            if not numbers or not all(number is None or number > 0 for number in numbers):
                raise RecipeError(f"{self.name}.{name}={','.join(map(str, numbers))} must be above 0")

    def check(self, corpus: Corpus, data: Data, labels: Mapping[str, str] | None, seed: int) -> None:
        """`CorpusError` where the tables alone say that this cannot be measured, before a video is read."""

    def run(self, context: Context) -> Result:
        raise NotImplementedError
