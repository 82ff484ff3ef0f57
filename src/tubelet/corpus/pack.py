"""A corpus packed into few large files: uncompressed tar shards with WebDataset names, or Parquet files as Hugging Face
data sets keep videos; and a table of offsets.

A pack is a corpus: its videos table names the place of each video in its shard (`tubelet.video.members`), so training
and every other command read it by offset, in one request a file. Others read it by `tar`, WebDataset, or the columns
`shard`, `offset` and `size` of `pack.parquet`. Packing is a job like any other: killed, it resumes, and a bad file
costs itself alone. Start reading at `pack`.
"""

import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
from jaxtyping import UInt8

from tubelet.checksums import write_parquet
from tubelet.corpus.pack_shards import KINDS, Encoding, Packing, vars_of
from tubelet.corpus.probe import probe
from tubelet.corpus.schema import TABLES, VIDEOS, Video, file_id
from tubelet.corpus.table import Corpus
from tubelet.corpus.write import write_corpus
from tubelet.errors import CorpusError, RecipeError, VideoError
from tubelet.files import remove_leftovers, writing
from tubelet.jobs.failures import FAILED, Failures
from tubelet.jobs.runner import Done, Running, Work, in_parts, run_job
from tubelet.jobs.shards import Series, Writer, series_folder
from tubelet.jobs.tasks import Task, file_key, shard_size
from tubelet.progress import Progress, silent
from tubelet.video.content import digest_of, state_of
from tubelet.video.members import Member
from tubelet.video.reader import open_reader
from tubelet.video.sequences import is_sequence

SHARD_BYTES = 1 << 30
DECODED = 128 << 20  # bytes of frames at a time
PARTIAL = "pack.partial"
UNIT = Fraction(1, 90000)
SCHEMA = pa.schema(
    [
        ("key", pa.binary(16)),
        ("shard", pa.string()),
        ("offset", pa.int64()),
        ("size", pa.int64()),
        ("found", pa.string()),  # digest, and what encoding changed of the row
    ]
)
PACK = pa.schema([*VIDEOS, ("shard", pa.string()), ("offset", pa.int64())])


@dataclass(frozen=True)
class PackJob:
    """What a worker reads."""

    path: Path
    reading: str | None
    encoding: Encoding | None  # None: the bytes as they are


@dataclass(frozen=True)
class Packed:
    """What a call of `pack` did."""

    corpus: Corpus
    shards: int
    size: int  # bytes of all videos
    failed: Mapping[str, str]  # id: reason
    done: Done


def pack(
    corpus: Corpus | str | Path,
    out: str | Path,
    *,
    copy: bool = False,
    size: int = 256,
    gop: int = 12,
    crf: int = 20,
    to: str = "tar",
    running: Running | None = None,
    progress: Progress = silent,
) -> Packed:
    """Writes the usable videos of a corpus, with its tables, into shards; the folder `out` is a corpus too.

    With `copy` the bytes of each file are kept, sound included. Otherwise frames are encoded anew, at a short side of
    `size`, with a key frame every `gop` frames, and without sound. A file that fails is in `failed` and not in the
    pack.
    """
    corpus, out = Corpus.of(corpus), Path(out).expanduser().absolute()
    if min(size, gop) < 1 or not 0 <= crf <= 51:
        raise RecipeError("--size and --gop must be positive, and --crf from 0 to 51")
    if to not in KINDS:
        raise RecipeError(f"--to {to} is none of {', '.join(KINDS)}")
    encoding = None if copy else Encoding(size, gop, crf)
    about = {
        "name": "pack",
        "of": corpus.name,
        "fingerprint": corpus.fingerprint(),
        "encoding": encoding and asdict(encoding),
        **({} if to == "tar" else {"to": to}),
    }
    if (there := existing(out, about)) is not None:
        return there
    out.mkdir(parents=True, exist_ok=True)
    return in_parts(lambda running: pack_files(corpus, out, about, encoding, running, progress), running)


def existing(out: Path, about: Mapping[str, Any]) -> Packed | None:
    """This very pack where it stands; raises for a folder that holds anything but it, or what a part of it may be."""
    if not out.exists():
        return None
    if not out.is_dir():
        raise CorpusError(f"{out} is a file; give a new folder as --out")
    if (out / "corpus.json").exists():
        corpus = Corpus.open(out)
        if corpus.about.get("pack") != json.loads(json.dumps(about)):
            raise CorpusError(f"{out} is another corpus already; give another --out")
        shutil.rmtree(out / PARTIAL, ignore_errors=True)
        count = len(corpus.videos)
        return packed_of(corpus, {}, Done(count, count, 0, {}, {}, 0, 0.0))
    remove_leftovers(out)
    ours = {PARTIAL, *TABLES, "pack.parquet"}
    if any(path.name not in ours and not path.name.startswith("shard-") for path in out.iterdir()):
        raise CorpusError(f"{out} exists and is no pack; give a new or an empty folder as --out")
    return None


def pack_files(
    corpus: Corpus, out: Path, about: Mapping[str, Any], encoding: Encoding | None, running: Running, progress: Progress
) -> Packed:
    rows: dict[tuple[Path, str | None], list[Video]] = {}
    for video in corpus.select("all"):
        rows.setdefault((video.path, video.reading), []).append(video)
    if not rows:
        raise CorpusError(f"{corpus.folder} has no usable video: see status and reason in its videos.parquet")
    known = [some[0].size for some in rows.values() if some[0].size]
    most = max(int(SHARD_BYTES * len(known) // max(sum(known), 1)), 1) if known else 256
    count = shard_size(len(rows), most)
    tasks = [
        Task(
            file_key(path, reading, about["encoding"]),
            file_id(some[0]),
            (PackJob(path, reading, encoding),),
            number // count,
            (number, some),
        )
        for number, ((path, reading), some) in enumerate(rows.items())
    ]
    folder, kind = series_folder(out / PARTIAL, about), str(about.get("to", "tar"))
    with Writer(folder, about, SCHEMA, part=running.part) as writer:
        shards = {shard for (shard,) in writer.series.columns("shard")}

        def keep(results: Sequence[tuple[Task, Sequence[Packing]]]) -> None:
            name = free_name(results[0][0].about, shards, kind)
            shards.add(name)
            samples = [(*task.of, packing) for task, (packing,) in results]
            with writing(out / name) as part:
                offsets = KINDS[kind](part, samples, corpus)
            for (task, (packing,)), offset in zip(results, offsets, strict=True):
                found = {"digest": packing.digest, "row": packing.row, "shift": packing.shift}
                writer.add(
                    {
                        "key": bytes.fromhex(task.key),
                        "shard": name,
                        "offset": offset,
                        "size": packing.size,
                        "found": json.dumps(found),
                    },
                    200,
                )
            writer.flush()

        done = run_job(
            Work(pack_file),
            tasks,
            keep,
            there=lambda task: bytes.fromhex(task.key) in writer.keys,
            failures=Failures.of(folder / FAILED, running.part),
            running=running,
            progress=progress,
            most=most,
        )
        packed = write_tables(corpus, out, about, tasks, Series(folder))
    shutil.rmtree(out / PARTIAL)
    return packed_of(packed, {done.names[key]: failure.reason for key, failure in done.failed.items()}, done)


def packed_of(corpus: Corpus, failed: Mapping[str, str], done: Done) -> Packed:
    size = sum({video.path: video.size or 0 for video in corpus.videos}.values())
    return Packed(corpus, len(shards_in(corpus.folder)), size, failed, done)


def shards_in(folder: Path) -> list[Path]:
    return [path for kind in KINDS for path in sorted(folder.glob(f"shard-*.{kind}"))]


def free_name(number: int, taken: set[str], kind: str) -> str:
    """Of a shard, also of one that holds what failed before."""
    again = (f"shard-{number:06d}-{again}.{kind}" for again in range(1, len(taken) + 2))
    names = [f"shard-{number:06d}.{kind}", *again]
    return next(name for name in names if name not in taken)


def pack_file(job: PackJob) -> Packing:
    """Runs in a worker."""
    if job.encoding is None:
        if is_sequence(job.path):
            raise VideoError("an image sequence is no file whose bytes could be copied; pack it without --copy")
        size, modified = state_of(job.path)
        return Packing(digest_of(job.path, size, modified).hex(), size)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "video.mp4"
        shift = encode(job, job.encoding, path)
        found, (size, modified) = probe(path), state_of(path)
        row = {"fps": found.fps, "width": found.width, "height": found.height, "codec": found.codec, "reading": None}
        row |= {
            "start": found.start,
            "end": found.end,
            "frames": found.frames,
            "pixel_aspect": None,
            "field_order": None,
        }
        return Packing(digest_of(path, size, modified).hex(), size, path.read_bytes(), row, shift)


def encode(job: PackJob, how: Encoding, path: Path) -> float:
    """Every frame at its own time, counted from the first, whose time is returned."""
    with open_reader(job.path, reading=job.reading) as reader:
        times = reader.times
        if not times.size:
            raise VideoError("no frame can be decoded")
        first = reader.frames(times[:1])
        height, width = even_size(first.shape[1], first.shape[2], how.size)
        at_once = max(DECODED // max(first[0].nbytes, 1), how.gop)
        with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
            steps = np.diff(times)
            rate = Fraction(1 / float(np.median(steps)) if steps.size else 25.0).limit_denominator(1001)
            stream = container.add_stream("libx264", rate=rate)
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            plain = {
                "preset": "fast",
                "threads": "1",
                "x264-params": "mbtree=0",
            }  # else its bytes vary from call to call
            stream.options = {"crf": str(how.crf), "g": str(how.gop), **plain}
            stream.codec_context.time_base = UNIT
            for at in range(0, len(times), at_once):
                some = times[at : at + at_once]
                for time, pixels in zip(some, reader.frames(some), strict=True):
                    container.mux(stream.encode(frame_of(pixels, width, height, float(time - times[0]))))
            container.mux(stream.encode(None))
    return float(times[0])


def frame_of(pixels: UInt8[np.ndarray, "h w 3"], width: int, height: int, time: float) -> Any:
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
    frame = frame.reformat(width=width, height=height, format="yuv420p", interpolation="AREA")
    frame.pts, frame.time_base = round(time / UNIT), UNIT
    return frame


def even_size(height: int, width: int, side: int) -> tuple[int, int]:
    """With a short side of at most so many pixels, both sides even."""
    scale = min(1.0, side / min(height, width))
    return max(2 * round(height * scale / 2), 2), max(2 * round(width * scale / 2), 2)


def write_tables(corpus: Corpus, out: Path, about: Mapping[str, Any], tasks: Sequence[Task], series: Series) -> Corpus:
    """The tables of the pack, in the order of the corpus; shards that are no part of it are removed."""
    columns = series.columns("key", "shard", "offset", "size", "found")
    places = {key: (shard, offset, size, json.loads(found)) for key, shard, offset, size, found in columns}
    rows: list[tuple[int, dict[str, Any]]] = []
    shift: dict[str, float] = {}
    for task in tasks:
        if (place := places.get(bytes.fromhex(task.key))) is None:
            continue
        shard, offset, size, found = place
        path = Member(out / shard, offset, size).path
        for video in task.of[1]:
            row = packed_row(video, found["row"], found["shift"], whole=len(task.of[1]) == 1)
            stored = {"path": path, "content": found["digest"], "size": size, "modified": state_of(path)[1]}
            rows.append((video.row, {**row, **stored, "shard": shard, "offset": offset}))
            shift[video.id] = found["shift"]
    rows.sort(key=lambda pair: pair[0])
    captions = [
        {**vars_of(caption), "time": None if caption.time is None else caption.time - shift[caption.video]}
        for caption in corpus.captions
        if caption.video in shift
    ]
    moments = [
        {**vars(moment), "start": moment.start - by, "end": moment.end - by}
        for moment in corpus.moments
        if (by := shift.get(moment.video)) is not None
    ]
    for path in shards_in(out):
        if path.name not in {place[0] for place in places.values()}:
            path.unlink()

    def finish() -> None:
        table = [{**row, "path": str(row["path"].relative_to(out))} for _, row in rows]
        write_parquet(out / "pack.parquet", pa.Table.from_pylist(table, schema=PACK))

    own = [{name: row[name] for name in VIDEOS.names} for _, row in rows]
    extra = {key: value for key, value in corpus.about.items() if key in ("dataset",)} | {"pack": dict(about)}
    return write_corpus(out, corpus.name, own, captions, extra, finish, moments=moments)


def packed_row(video: Video, encoded: Mapping[str, Any] | None, shift: float, whole: bool) -> dict[str, Any]:
    row = {name: value for name, value in vars(video).items() if name != "row"}
    if encoded is None:
        return row
    row |= {"start": video.start - shift, "end": video.end - shift}
    return row | {
        name: value for name, value in encoded.items() if whole or name not in ("start", "end", "frames", "fps")
    }
