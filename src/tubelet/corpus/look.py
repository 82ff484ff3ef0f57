"""What each file of a corpus holds: looked into once, in killable processes. Start reading at `look_into`."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
from jaxtyping import Float64

from tubelet.corpus.content import content_columns
from tubelet.corpus.listing import Entry, segment_id
from tubelet.corpus.probe import Probe, probe
from tubelet.corpus.schema import Row
from tubelet.corpus.update import MISSING
from tubelet.jobs.failures import FAILED, Failures
from tubelet.jobs.runner import Done, Running, Work, run_job
from tubelet.jobs.shards import Writer
from tubelet.jobs.tasks import Task, file_key
from tubelet.progress import Progress
from tubelet.video.limits import Undecodable
from tubelet.video.reader import SAME
from tubelet.video.reading import Reading

LOOKED = "index.partial"  # what an interrupted call has looked into
LOOKED_SCHEMA = pa.schema([("key", pa.binary(16)), ("look", pa.string())])

Span = tuple[float | None, float | None]  # (None, None): the whole file


def files_of(entries: Iterable[Entry]) -> dict[Path, list[Entry]]:
    files: dict[Path, list[Entry]] = {}
    for entry in entries:
        files.setdefault(entry.path, []).append(entry)
    return files


@dataclass(frozen=True)
class Look:
    """What was found in a file: one list of pieces for every span asked for, or why there is none."""

    status: str
    reason: str
    codec: str = ""
    width: int = 0
    height: int = 0
    pieces: list[list[Row]] = field(default_factory=list)
    decoded: int = 0
    seconds: float = 0.0
    file: Row = field(default_factory=dict)  # content, size and time of change


@dataclass(frozen=True)
class InspectionJob:
    path: Path
    spans: tuple[Span, ...]
    segment: float | None
    reading: str | None = None  # what is asked for (tubelet.video.reading)


def look_into(
    files: Mapping[Path, Sequence[Entry]],
    segment: float | None,
    reading: str | None,
    out: Path,
    running: Running,
    progress: Progress,
) -> tuple[dict[Path, Look], Done]:
    """Looks into the files in other processes; what an interrupted call found out is not found out again."""
    doubtful = {path: Look(MISSING, entries[0].doubt) for path, entries in files.items() if entries[0].doubt}
    jobs = [
        InspectionJob(path, tuple((e.start, e.end) for e in entries), segment, reading)
        for path, entries in files.items()
        if path not in doubtful
    ]
    tasks = [
        Task(file_key(job.path, job.spans, segment, *([reading] if reading else [])), str(job.path), (job,))
        for job in jobs
    ]
    with Writer(out / LOOKED, {"name": LOOKED}, LOOKED_SCHEMA, part=running.part) as writer:
        looked = {key.hex(): Look(**json.loads(text)) for key, text in writer.series.columns("key", "look")}

        def keep(results: Sequence[tuple[Task, list[Look]]]) -> None:
            for task, (look,) in results:
                looked[task.key] = look
                text = json.dumps(asdict(look))
                writer.add({"key": bytes.fromhex(task.key), "look": text}, len(text))
            writer.flush()

        done = run_job(
            Work(examine),
            tasks,
            keep,
            there=lambda task: task.key in looked,
            failures=Failures.of(out / FAILED, running.part, out / LOOKED),
            running=running,
            progress=progress,
        )
    looked |= {key: Look(failure.status, failure.reason) for key, failure in done.failed.items()}
    return {job.path: looked[task.key] for job, task in zip(jobs, tasks, strict=True)} | doubtful, done


def examine(job: InspectionJob) -> Look:
    """Runs in a worker: what the file holds, and how much of it lies in each span."""
    try:
        found, file = probe(job.path, reading=Reading.parse(job.reading)), content_columns(job.path)
    except OSError as error:
        raise Undecodable("unreadable", error.strerror or type(error).__name__) from None
    spans = [rows_of_span(span, found, job.segment) for span in job.spans]
    return Look(
        status="ok",
        reason=found.note,
        codec=found.codec,
        width=found.width,
        height=found.height,
        pieces=[[piece(found, start, end, named) for named, start, end in pieces] for pieces in spans],
        decoded=found.decoded,
        seconds=found.seconds,
        file={
            **file,
            "reading": found.reading,
            "pixel_aspect": found.pixel_aspect,
            "field_order": found.field_order,
        },
    )


def rows_of_span(span: Span, found: Probe, segment: float | None) -> list[tuple[float | None, float, float]]:
    """(start in the id, start, end) of the rows that this span becomes."""
    start, end = span
    if start is not None:
        return [(start, max(start, found.start), min(end if end is not None else found.end, found.end))]
    if segment is None:
        return [(None, found.start, found.end)]
    starts = np.arange(np.floor(found.start / segment) * segment, found.end - SAME, segment)
    if len(starts) > 1 and found.end - starts[-1] < segment / 2:
        starts = starts[:-1]  # a short rest belongs to the segment before it
    edges = [*starts.tolist(), found.end]
    return [(first, max(first, found.start), last) for first, last in pairwise(edges)]


def piece(found: Probe, start: float, end: float, named: float | None) -> Row:
    times = found.times[(found.times >= start - SAME) & (found.times < end - SAME)]
    return {"named": named, "start": start, "end": end, "frames": len(times), "fps": rate(times, found.fps)}


def rate(times: Float64[np.ndarray, "t"], otherwise: float) -> float:
    span = float(times[-1] - times[0]) if len(times) else 0.0
    return (len(times) - 1) / span if span > SAME else otherwise


def rows_of_file(entries: Iterable[Entry], look: Look) -> list[Row]:
    """The rows of a file: one for each piece of each entry, or one that says why there is none."""
    rows = []
    for number, entry in enumerate(entries):
        row = {
            "video": entry.video,
            "id": entry.id,
            "path": str(entry.path),
            "label": entry.label,
            "group": entry.group or entry.video,
            "split": entry.split,
            "status": look.status,
            "reason": look.reason,
            "codec": look.codec,
            "width": look.width,
            "height": look.height,
            **look.file,
        }
        if look.status != "ok":
            rows.append(row)
            continue
        for found in look.pieces[number]:
            values = {key: found[key] for key in ("start", "end", "frames", "fps")}
            made = {**row, **values, "duration": max(found["end"] - found["start"], 0.0)}
            if found["named"] is not None and entry.name is None:
                made["id"] = segment_id(entry.video, found["named"])
            if not found["frames"]:
                made.update(status="empty", reason=f"no frame from {found['start']:g} s to {found['end']:g} s")
            rows.append(made)
    return rows
