"""Makes a corpus of videos: every file is looked into, none is fatal, each keeps its row. Start reading at `index`."""

import json
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import chz
import numpy as np
import pyarrow as pa
from jaxtyping import Float64

from tubelet.corpus.annotations import annotations, numbers_hint
from tubelet.corpus.content import content_columns
from tubelet.corpus.listing import Entry, Listing, list_sources, plural, segment_id
from tubelet.corpus.merge import captions_of_rows, give_splits, merged, new_captions, old_rows, vars_of
from tubelet.corpus.names import Names
from tubelet.corpus.official import Dataset, list_dataset
from tubelet.corpus.overlap import same_files
from tubelet.corpus.probe import Probe, probe
from tubelet.corpus.table import TABLES, Corpus, Video, file_id, read_table, write_corpus
from tubelet.corpus.update import CHANGED, MISSING, look_again
from tubelet.errors import CorpusError
from tubelet.files import remove_leftovers
from tubelet.jobs.runner import FAILED, Done, Failures, Running, Task, Work, file_key, run_job
from tubelet.jobs.shards import Writer
from tubelet.progress import Progress, silent
from tubelet.video.content import state_or_none
from tubelet.video.limits import Limits, Undecodable
from tubelet.video.reader import SAME
from tubelet.video.reading import FRAME_RATE, Reading
from tubelet.video.sequences import is_sequence

LIMIT = 120.0  # seconds that one file may take
LOOKED = "index.partial"  # what an interrupted call has looked into
LOOKED_SCHEMA = pa.schema([("key", pa.binary(16)), ("look", pa.string())])

Span = tuple[float | None, float | None]  # (None, None): the whole file
Row = dict[str, Any]


@dataclass(frozen=True)
class Indexed:
    """The corpus, and what the user should know of how it came about."""

    corpus: Corpus
    added: int  # rows
    looked_again: str  # how many rows are unchanged, changed, moved, missing and new; empty of a new corpus
    remarks: tuple[str, ...]
    decoded: int  # frames decoded while looking into the files
    seconds: float  # of one process, for that
    done: Done


def index(
    sources: Sequence[str | Path],
    out: str | Path,
    *,
    labels: str | Path | None = None,
    captions: str | Path | None = None,
    labels_from_folders: bool = False,
    strict: bool = False,
    segment: float | None = None,
    name: str | None = None,
    update: bool = False,
    verify: bool = False,
    root: str | Path | None = None,
    dataset: Dataset | None = None,
    videos: str | Path | None = None,
    reading: Reading | None = None,
    running: Running | None = None,
    progress: Progress = silent,
) -> Indexed:
    """Looks into every video of the sources and writes the corpus folder `out`.

    What can be wrong with the request is said before the first file is opened, and then nothing is written. With
    `update`, the rows that are there stay and their files are looked at again (`tubelet.corpus.update`): `verify` reads
    each whole, `root` is the folder in which they lie now. Those of unreadable files are tried again where the file
    has changed (or `running` asks for it), and new ones follow, where there are sources. `labels_from_folders` takes
    the name of the folder that a file lies in as its label. Rows of tables that name no video are counted and named,
    and refused by `strict`. With a `dataset`, the sources are its official annotation files and `videos` the folder
    that holds its files. `reading` says how frames are read; rows that are there keep theirs, so
    another one is refused.
    """
    out = Path(out).expanduser().absolute()
    running = running or Running(Limits(seconds=LIMIT))
    old = existing(out, update)
    same_dataset(dataset, old)
    same_reading(reading, old)
    before = old.videos if old else []

    def listed(known: Sequence[Video]) -> Listing:
        if old and not sources:
            return Listing()
        if not sources:
            raise CorpusError(f"{out} is no corpus yet; say which videos: `tubelet index SOURCE --out {out}`")
        if dataset is not None:
            return list_dataset(dataset, sources, videos or ".", leave_out=out)
        return list_sources(sources, leave_out=out, taken={file_id(video): video.path for video in known})

    listing = listed(before)
    places = [*sources, *(old.about.get("sources", []) if old else []), *([videos] if videos else [])]
    again = look_again(
        before, filter(Path.is_dir, map(Path, places)), root=Path(root).absolute() if root else None, verify=verify,
        leave_out=out, running=running, progress=progress,
    )  # fmt: skip
    known = again.videos
    if again.moved:
        listing = listed(known)
    unknown = unknown_entries(listing.entries, known)
    listed_paths = {entry.path for entry in unknown}
    entries = [*unknown, *(entry for entry in again.look if entry.path not in listed_paths)]
    there = [video for video in known if video.status != MISSING]
    names = Names(
        [name for e in listing.entries for name in ((e.video, e.path), (e.id, None))]
        + [name for v in there for name in ((file_id(v), v.path), (v.id, None))]
    )
    given, texts = annotations(listing, names, labels, captions, sources if labels_from_folders else (), strict)
    for video, own in listing.captions.items():
        texts.setdefault(video, []).extend(own)

    how = reading or Reading.parse(old.about.get("reading") if old else None)
    make_folder(out)
    files = files_of(entries)
    looked, done = look_into(files, segment, how.words, out, running, progress)
    rows = merged(old_rows(known), [row for path, look in looked.items() for row in rows_of(files[path], look)])
    for row in rows:
        row.update({**given.get(row["video"], {}), **given.get(row["id"], {})})
    listing.remarks += reading_remarks(rows, how)
    counts, remarks = again.told(before, rows)
    listing.remarks += remarks
    listing.remarks += numbers_hint([row["label"] for row in rows if row["label"]])
    give_splits(rows, listing.remarks)
    if alike := same_files(rows):
        listing.remarks.append(
            f"leak: {plural(len(alike), 'file')} in val or test byte for byte as in another split "
            f"(first: {alike[0][0]}, as {alike[0][1]}); leave one of them out"
        )
    kept = [vars_of(caption) for caption in old.captions] if old else []
    corpus = write_corpus(
        out,
        name or (old.name if old else out.name),
        [{key: value for key, value in row.items() if key != "video"} for row in rows],
        [*kept, *new_captions(captions_of_rows(rows, texts), kept)],
        extra={
            **(old.about if old else {}),
            "sources": sources_of([*sources, *([root] if root else [])], old),
            **about_dataset(dataset),
            **({"reading": how.words} if how.words else {}),
        },
        finish=partial(shutil.rmtree, out / LOOKED),
    )
    return Indexed(
        corpus=corpus,
        added=len(rows) - len(known),
        looked_again=counts if old else "",
        remarks=(*listing.remarks, *(table.told() for table in listing.tables)),
        decoded=sum(look.decoded for look in looked.values()),
        seconds=sum((look.seconds for look in looked.values()), 0.0),
        done=done,
    )


def existing(out: Path, update: bool) -> Corpus | None:
    """The corpus to add to; None where the folder is new. Anything else in its place is left alone."""
    if not out.exists():
        return None
    if not out.is_dir():
        raise CorpusError(f"{out} is a file; give a new folder as --out")
    if (out / "corpus.json").exists():
        remove_leftovers(out)
        corpus = Corpus.open(out)
        if not update:
            raise CorpusError(
                f"{out} is a corpus already ({len(corpus.videos)} rows); add what is new to it with --update, "
                "or give another --out"
            )
        return corpus
    remove_leftovers(out)
    if {path.name for path in out.iterdir()} - {LOOKED, FAILED, *TABLES} or not begun_by_us(out):
        raise CorpusError(f"{out} exists and is no corpus; give a new or an empty folder as --out")
    return None


def begun_by_us(out: Path) -> bool:
    """Whether the tables in a folder without `corpus.json` are those of a call that was killed before it wrote that."""
    try:
        for name, schema in TABLES.items():
            if (out / name).exists():
                read_table(out / name, schema)
    except CorpusError:
        return False
    return True


def about_dataset(dataset: Dataset | None) -> dict[str, Any]:
    return {} if dataset is None else {"dataset": {"name": dataset.name, **chz.asdict(dataset)}}


def same_dataset(dataset: Dataset | None, old: Corpus | None) -> None:
    """The door for another split or target of a data set: rows that are there would keep the old one."""
    before, now = (old.about.get("dataset") if old else None), about_dataset(dataset).get("dataset")
    if old and now and before != now:
        said = ", ".join(f"{key}={value}" for key, value in (before or {}).items()) or "no official data set"
        raise CorpusError(f"{old.folder} was indexed as {said}; give another --out for {dataset_words(now)}")


def said_before(out: Path) -> Reading:
    """How the frames of this corpus are read, by what was said when it was made; nothing is said of a new one."""
    words = Corpus.open(out).about.get("reading") if (out / "corpus.json").exists() else None
    return Reading.parse(words)


def same_reading(reading: Reading | None, old: Corpus | None) -> None:
    """The door for another way of reading: rows that are there would be of other frames than they say."""
    if old is None or reading is None:
        return
    before = Reading.parse(old.about.get("reading"))
    now = replace(reading, rate=before.rate) if not any(is_sequence(video.path) for video in old.videos) else reading
    if replace(now, rate=now.rate or FRAME_RATE) != replace(before, rate=before.rate or FRAME_RATE):
        was, asked = (how.words or "as they are decoded" for how in (before, now))
        raise CorpusError(f"{old.folder} reads frames so: {was}; for frames read so: {asked}, give another --out")


def dataset_words(about: Mapping[str, str]) -> str:
    return " ".join(value if key == "name" else f"--{key} {value}" for key, value in about.items())


def make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CorpusError(f"{out} cannot be made: {error.strerror}; give another --out") from None


def unknown_entries(entries: Iterable[Entry], known: Sequence[Video]) -> list[Entry]:
    """The entries that no row stands for: one that is usable, or one whose file is looked at again or is gone."""
    stands = [
        video
        for video in known
        if video.status in ("ok", CHANGED) or (video.content and state_or_none(video.path) is None)
    ]
    files, ids = {video.path for video in stands}, {video.id for video in stands}
    return [entry for entry in entries if (entry.path not in files if entry.start is None else entry.id not in ids)]


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
class Job:
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
        Job(path, tuple((e.start, e.end) for e in entries), segment, reading)
        for path, entries in files.items()
        if path not in doubtful
    ]
    tasks = [
        Task(file_key(job.path, job.spans, segment, *([reading] if reading else [])), str(job.path), (job,))
        for job in jobs
    ]
    with Writer(out / LOOKED, {"name": LOOKED}, LOOKED_SCHEMA) as writer:
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
            failures=Failures(out / FAILED),
            running=running,
            progress=progress,
        )
    looked |= {key: Look(failure.status, failure.reason) for key, failure in done.failed.items()}
    return {job.path: looked[task.key] for job, task in zip(jobs, tasks, strict=True)} | doubtful, done


def examine(job: Job) -> Look:
    """Runs in a worker: what the file holds, and how much of it lies in each span."""
    try:
        found, file = probe(job.path, reading=Reading.parse(job.reading)), content_columns(job.path)
    except OSError as error:
        raise Undecodable("unreadable", error.strerror or type(error).__name__) from None
    spans = [cut(span, found, job.segment) for span in job.spans]
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


def cut(span: Span, found: Probe, segment: float | None) -> list[tuple[float | None, float, float]]:
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


def rows_of(entries: Iterable[Entry], look: Look) -> list[Row]:
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


def reading_remarks(rows: Sequence[Row], how: Reading) -> list[str]:
    """What is particular about the frames of some rows, and the option that changes how they are read."""
    remarks = []
    usable = [row for row in rows if row["status"] == "ok"]
    if stills := [row for row in usable if is_sequence(Path(row["path"]))]:
        rate = f"{how.rate:g}" if how.rate else f"{FRAME_RATE:g}, as nothing else is said (--frame-rate FPS)"
        remarks.append(f"{plural(len(stills), 'image sequence')} (first: {stills[0]['id']}); frames a second: {rate}")
    for column, told, option, chosen in (
        ("field_order", "interlaced", "--deinterlace makes their frames whole", how.deinterlace),
        ("pixel_aspect", "with pixels that are not square", "--square-pixels stretches them", how.square),
    ):
        if some := [row for row in usable if row.get(column)]:
            what = "read so" if chosen else f"read as decoded; {option}"
            remarks.append(
                f"{plural(len(some), 'row')} {told} (first: {some[0]['id']}, {some[0][column]}), "
                + (f"corrected by {option.split()[0]}" if chosen else what)
            )
    return remarks


def sources_of(sources: Sequence[str | Path], old: Corpus | None) -> list[str]:
    before = list(old.about.get("sources", [])) if old else []
    return list(dict.fromkeys([*before, *(os.path.abspath(source) for source in sources)]))
