"""Features and results of baselines on disk, so that neither is computed twice. Deleting any of it loses only time.

A row is keyed by content: the bytes and span of the video, in a series that is keyed by all that made it (weights,
clip, sampling). So splits, corpora and runs share rows, a renamed file keeps its row and a changed one does not.
"""

import hashlib
import inspect
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import pyarrow as pa
import torch
from torch import nn

from tubelet.checksums import read_json, write_json
from tubelet.corpus.content import content_key, content_now, file_content
from tubelet.corpus.schema import Video
from tubelet.corpus.table import Corpus
from tubelet.distributed import broadcast_from_rank0, is_rank0
from tubelet.errors import CorpusError, VideoError
from tubelet.files import remove_leftovers
from tubelet.jobs.shards import Writer, opened, repaired, series_folder
from tubelet.jobs.sharing import shared
from tubelet.loading.data import Data
from tubelet.types import Clip

FORMAT = 1  # one more when the same weights and clips come to give other features
FOLDER = "features"
HELD = 64 << 20  # bytes kept in memory before they are written


@dataclass(frozen=True)
class CachedRow:
    """What is kept of one video: flat arrays by name."""

    short: bool
    parts: Mapping[str, np.ndarray]

    @property
    def nbytes(self) -> int:
        return sum(part.nbytes for part in self.parts.values())


class Store:
    """The rows of one encoder and one way to read clips, below `root`."""

    def __init__(self, root: Path, view: Mapping[str, Any], name: str = "features") -> None:
        self.about = {"name": name, **view}
        self.folder = series_folder(root, self.about)
        remove_leftovers(self.folder)  # here, since a folder in which every row is found is never written to
        self.series = repaired(self.folder, self.about) if (self.folder / "about.json").exists() else None
        own = [] if self.series is None else [self.series]
        self.kept = [
            (series, [columns_of(batch) for batch in series.batches]) for series in own + opened(shared(self.folder))
        ]
        self.files = {file: content for series, _ in self.kept for file, content in series.digests().items()}
        self.pending: list[tuple[Video, CachedRow]] = []
        self.held = 0

    def find(self, video: Video) -> CachedRow | None:
        content = file_content(video, self.files) if self.kept else None
        key = b"" if content is None else content_key(content, video, "")
        for series, columns in self.kept:
            if (index := series.rows.get(key)) is None:
                continue
            shard, row = index
            if series.numbers[shard].fit(row):
                parts = {name: part[row] for name, part in columns[shard].items() if name != "short"}
                return CachedRow(bool(columns[shard]["short"][row]), parts)
            if series is self.series:
                series.drop(shard)
        return None

    def add(self, video: Video, row: CachedRow) -> None:
        self.pending.append((video, row))
        self.held += row.nbytes
        if self.held >= HELD:
            self.flush()

    def flush(self) -> None:
        """Writes what was added. The series is locked for no longer than that, so two commands can fill it at once."""
        if not self.pending:
            return
        parts = self.pending[0][1].parts
        schema = pa.schema(
            [
                ("key", pa.binary(16)),
                ("video", pa.string()),
                ("content", pa.binary(16)),
                ("size", pa.int64()),
                ("modified", pa.int64()),
                ("short", pa.bool_()),
                *((name, pa.list_(pa.from_numpy_dtype(part.dtype), part.size)) for name, part in parts.items()),
            ]
        )
        with Writer(self.folder, self.about, schema, verify_rows=False) as writer:
            for video, row in self.pending:
                try:
                    file = content_now(video)
                except (OSError, VideoError):
                    continue  # gone since it was read
                writer.add(
                    {
                        "key": content_key(file["content"], video, ""),
                        "video": video.id,
                        **file,
                        "short": row.short,
                        **row.parts,
                    },
                    row.nbytes,
                )
        self.pending, self.held = [], 0


def columns_of(batch: pa.RecordBatch) -> dict[str, np.ndarray]:
    """The parts, "r values" each, where they lie on disk; and short "r"."""
    found = {"short": batch.column("short").to_numpy(zero_copy_only=False)}
    for field in batch.schema:
        if pa.types.is_fixed_size_list(field.type):
            found[field.name] = batch.column(field.name).values.to_numpy().reshape(len(batch), field.type.list_size)
    return found


def view_of(encoder: nn.Module, clip: Clip, data: Data) -> dict[str, Any]:
    """All that the features of a video are a function of, beside the video."""
    kept = data.kept_side(clip) if data.cache else None
    return {
        "version": FORMAT,
        "encoder": type(encoder).__name__,
        "config": repr(getattr(encoder, "config", None)),
        "weights": digest_of_weights(encoder),
        "clip": repr(clip),
        "sampling": repr(data.sampling),
        "frames_kept_at": kept,
    }


def digest_of_weights(module: nn.Module) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def corpus_cache(corpus: Corpus) -> Path:
    """Where features that belong to no run are kept: in the corpus, or in the user's cache where that is read-only."""
    folder = corpus.folder / FOLDER
    if os.access(folder if folder.exists() else corpus.folder, os.W_OK):
        return folder
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "tubelet" / FOLDER


class CachedAnswer(TypedDict):
    """What is kept of an answer."""

    inputs: dict[str, str]
    answer: Any


def remembered(
    folder: Path,
    question: Mapping[str, Any],
    who: type,
    inputs: Callable[[str], str],
    ask: Callable[[], tuple[Any, Sequence[str]]],
) -> Any:
    """What `ask` answers, from `folder` where the same question was answered on the same inputs by the same code.

    `who` asks. `ask` also says which inputs it read; an answer counts while `inputs` gives the digests that they had.
    """
    text = json.dumps({**question, "code": digest_of_code(who)}, sort_keys=True)
    path = folder / f"{hashlib.blake2b(text.encode(), digest_size=12).hexdigest()}.json"
    known = broadcast_from_rank0(lambda: read_answer(path))
    if known is not None and all(inputs(name) == digest for name, digest in known["inputs"].items()):
        return known["answer"]
    answer, names = ask()
    if not is_rank0():
        return answer
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"question": question, "inputs": {name: inputs(name) for name in names}, "answer": answer}
    write_json(path, content, indent=None)
    return answer


def read_answer(path: Path) -> CachedAnswer | None:
    """None where it is not there, or not whole: then it is made again."""
    try:
        return read_json(path, CachedAnswer, CorpusError, "it is made again")
    except (OSError, CorpusError):
        return None


def digest_of_code(who: type) -> str:
    """Of the modules that measure, and of this class's own: a result that other code gave is no answer."""
    digest = hashlib.blake2b(digest_size=16)
    for path in [*sorted(Path(__file__).parent.glob("*.py")), Path(inspect.getfile(who))]:
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()
