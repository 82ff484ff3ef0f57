"""The shards of a pack: WebDataset tar files, or Parquet with a video in each row."""

import io
import json
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tubelet.corpus.parquet_videos import rows_of
from tubelet.corpus.schema import Video, file_id
from tubelet.corpus.table import Corpus
from tubelet.errors import CorpusError
from tubelet.video.content import digest_of, state_of
from tubelet.video.members import Member, open_bytes

BLOCK = 512  # of tar
ROW_GROUP = 32 << 20  # bytes of videos, of Parquet
TEXT = {"dtype": "string", "_type": "Value"}
FEATURES = {
    "video": {"_type": "Video"},
    **dict.fromkeys(("id", "label", "split"), TEXT),
    "captions": [TEXT],
    "rows": TEXT,
}
SHARD = pa.schema(
    [
        ("video", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
        ("id", pa.string()),
        ("label", pa.string()),
        ("split", pa.string()),
        ("captions", pa.list_(pa.string())),
        ("rows", pa.string()),  # segments, as JSON
    ],
    metadata={"huggingface": json.dumps({"info": {"features": FEATURES}})},
)


@dataclass(frozen=True)
class Encoding:
    """How videos are encoded anew: H.264 with its index first, whose frames are found from a key frame near by."""

    size: int = 256  # of the short side; smaller videos keep theirs
    gop: int = 12  # frames from key frame to key frame
    crf: int = 20


@dataclass(frozen=True)
class Packing:
    """What it made of a file."""

    digest: str
    size: int
    content: bytes | None = None  # None: those of the file
    row: Mapping[str, Any] | None = None  # columns that encoding changed
    shift: float = 0.0  # seconds by which all times are earlier than in the file


Sample = tuple[int, Sequence[Video], Packing]  # number, rows of one file, and its bytes


def write_tar(part: Path, samples: Iterable[Sample], corpus: Corpus) -> list[int]:
    """A shard of WebDataset names; returns where the bytes of each video begin."""
    with tarfile.open(part, "w", format=tarfile.GNU_FORMAT) as tar:
        return [add_sample(tar, f"{number:09d}", rows, packing, corpus) for number, rows, packing in samples]


def add_sample(tar: tarfile.TarFile, name: str, rows: Sequence[Video], packing: Packing, corpus: Corpus) -> int:
    """A video, its first caption and all that the tables say of it; returns where its bytes begin."""
    path, ending = rows[0].path, ending_of(rows[0], packing)
    if packing.content is None:
        with open_bytes(path) as file:
            add(tar, name + ending, packing.size, file)
        offset = tar.offset - -(-packing.size // BLOCK) * BLOCK
        check_unchanged(path, packing)
    else:
        add(tar, name + ending, packing.size, io.BytesIO(packing.content))
        offset = tar.offset - -(-packing.size // BLOCK) * BLOCK
    said = said_of(rows, packing, corpus)
    texts = said["captions"]
    for end, text in ((".json", json.dumps(said)), *([(".txt", texts[0])] if texts else [])):
        content = text.encode()
        add(tar, name + end, len(content), io.BytesIO(content))
    return offset


def add(tar: tarfile.TarFile, name: str, size: int, file: Any) -> None:
    """A file of no time and no owner: the same shard has the same bytes."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o644
    tar.addfile(info, file)


def ending_of(video: Video, packing: Packing) -> str:
    named = Path(file_id(video)) if Member.of(video.path) else video.path
    return ".mp4" if packing.content is not None else named.suffix.lower() or ".mp4"


def check_unchanged(path: Path, packing: Packing) -> None:
    if digest_of(path, *state_of(path)).hex() != packing.digest:
        raise CorpusError(f"{path} changed while it was packed; run this again")


def said_of(rows: Sequence[Video], packing: Packing, corpus: Corpus) -> dict[str, Any]:
    """What the tables say of a video, for other readers."""
    texts = [caption.text for video in rows for caption in corpus.captions_of(video)]
    segments = [{"id": v.id, "start": v.start - packing.shift, "end": v.end - packing.shift} for v in rows]
    return {
        "id": file_id(rows[0]),
        "label": rows[0].label,
        "split": rows[0].split,
        "captions": texts,
        "rows": segments,
    }


def write_parquet_shard(part: Path, samples: Iterable[Sample], corpus: Corpus) -> list[int]:
    """A shard that `datasets` reads as a column `Video`, bytes as they are; returns where those of each begin."""
    plain = [name for name in SHARD.names if name != "video"]
    with pq.ParquetWriter(
        part,
        SHARD,
        compression={"video.bytes": "none", **dict.fromkeys(("video.path", *plain), "snappy")},
        use_dictionary=False,
        write_statistics=False,
    ) as writer:
        pending: list[dict[str, Any]] = []
        held = 0

        def flush() -> None:
            writer.write_table(pa.Table.from_pylist(pending, schema=SHARD))
            pending.clear()

        for number, rows, packing in samples:
            if (content := packing.content) is None:
                with open_bytes(rows[0].path) as file:
                    content = file.read()
                check_unchanged(rows[0].path, packing)
            name = f"{number:09d}{ending_of(rows[0], packing)}"
            said = said_of(rows, packing, corpus)
            pending.append({"video": {"bytes": content, "path": name}, **said, "rows": json.dumps(said["rows"])})
            held += len(content)
            if held > ROW_GROUP:
                flush()
                held = 0
        if pending:
            flush()
    return [row.offset for row in rows_of(part) if row.offset is not None]


KINDS = {"tar": write_tar, "parquet": write_parquet_shard}


def vars_of(caption: Any) -> dict[str, Any]:
    return {name: value for name, value in vars(caption).items() if name != "row"}
