"""Makes a corpus of videos: every file is looked into, none is fatal, each keeps its row. Start reading at `index`."""

import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import chz

from tubelet.corpus.annotations import annotations, look_alikes, numbers_hint
from tubelet.corpus.listing import Entry, Listing, list_sources, seconds
from tubelet.corpus.look import LOOKED, files_of, look_into, rows_of_file
from tubelet.corpus.merge import captions_of_rows, give_splits, merged, new_captions, old_rows, vars_of
from tubelet.corpus.moments import merged_moments, placed, read_moments
from tubelet.corpus.names import Names
from tubelet.corpus.official import Dataset, find_dataset, list_dataset
from tubelet.corpus.overlap import same_files
from tubelet.corpus.schema import TABLES, Row, Video, file_id, read_table
from tubelet.corpus.table import Corpus
from tubelet.corpus.update import CHANGED, MISSING, recheck
from tubelet.corpus.write import write_corpus
from tubelet.errors import CorpusError
from tubelet.files import remove_leftovers
from tubelet.jobs.failures import FAILED
from tubelet.jobs.runner import Done, Running, in_parts
from tubelet.progress import Progress, silent
from tubelet.remote.address import as_text, is_remote
from tubelet.video.content import state_or_none
from tubelet.video.limits import Limits
from tubelet.video.reading import FRAME_RATE, Reading
from tubelet.video.sequences import is_sequence
from tubelet.wording import plural

LIMIT = 120.0  # seconds that one file may take


class Indexed(Corpus):
    """A corpus that was just made, with what the user should know of how it came about."""

    def __init__(
        self,
        corpus: Corpus,
        *,
        added: int,
        looked_again: str,
        remarks: Sequence[str],
        decoded: int,
        seconds: float,
        done: Done,
    ) -> None:
        super().__init__(corpus.folder, corpus.about)
        self.added = added  # rows
        self.looked_again = (
            looked_again  # how many rows are unchanged, changed, moved, missing and new; "" of a new one
        )
        self.remarks = tuple(remarks)
        self.decoded = decoded  # frames decoded while looking into the files
        self.seconds = seconds  # of one process, for that
        self.done = done


def index(
    sources: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    labels: str | Path | None = None,
    captions: str | Path | None = None,
    moments: str | Path | None = None,
    labels_from_folders: bool = False,
    strict: bool = False,
    segment: float | int | str | None = None,
    name: str | None = None,
    update: bool = False,
    verify: bool = False,
    root: str | Path | None = None,
    dataset: Dataset | str | None = None,
    videos: str | Path | None = None,
    split: str | None = None,
    target: str | None = None,
    frame_rate: float | int | None = None,
    deinterlace: bool | None = None,
    square_pixels: bool | None = None,
    running: Running | None = None,
    progress: Progress = silent,
) -> Indexed:
    """Looks into every video of the sources (folders, video files, lists) and writes the corpus folder `out`.

    `labels` and `captions` are tables, `path,label[,group][,split]` and `path,caption[,source][,time]`; `moments` is a
    table `path,start,end,label` or an official file (ActivityNet, EPIC-Kitchens with a `target`, Ego4D). Rows that
    cannot be placed are counted and named, and refused by `strict`. `labels_from_folders` takes the name of the folder
    that a file lies in as its label. `segment` makes one row per segment of this length ("10s").

    With `update`, the rows of a corpus stay, their files are looked at again, and new sources are added: `verify` reads
    each file whole, `root` is the folder in which the files are now.

    With a `dataset` ("ucf101", or a `Dataset` with its choices), the sources are its official annotation files and
    `videos` the folder that holds its files; some have a `split` or a `target` to choose. `frame_rate` is that of image
    sequences; `deinterlace` and `square_pixels` change how frames are read.

    What can be wrong with the request is said before the first file is opened, and then nothing is written.
    """
    out = Path(out).expanduser().absolute()
    sources = [home(source) for source in ([sources] if isinstance(sources, str | Path) else sources)]
    labels, captions, moments, root = (path and home(path) for path in (labels, captions, moments, root))
    running = running or Running(Limits(seconds=LIMIT))
    update = update or verify or root is not None
    check_request(sources, update, labels_from_folders, root)
    length = segment_length(segment)
    dataset = find_dataset(
        dataset, videos, segmented=length is not None, labelled=labels_from_folders, split=split,
        target=None if moments and not dataset else target,
    )  # fmt: skip
    reading = reading_of(out, frame_rate, deinterlace, square_pixels)
    old = existing(out, update)
    same_dataset(dataset, old)
    same_reading(reading, old)
    before = old.videos if old else []

    listed = partial(list_all, out, old, sources, dataset, videos)
    listing = listed(before)
    positions = [*sources, *(old.about.get("sources", []) if old else []), *([videos] if videos else [])]
    again = recheck(
        before, filter(Path.is_dir, map(Path, positions)), root=Path(root).absolute() if root else None, verify=verify,
        leave_out=out, running=running, progress=progress,
    )  # fmt: skip
    known = again.videos
    if again.moved:
        listing = listed(known)
    known, other_ends = with_other_ends(known, listing.entries)
    unknown = unknown_entries(listing.entries, known)
    listed_paths = {entry.path for entry in unknown}
    entries = [*unknown, *other_ends, *(entry for entry in again.look if entry.path not in listed_paths)]
    names = names_of(listing, known)
    given, texts = annotations(listing, names, labels, captions, sources if labels_from_folders else (), strict)
    happens, use = read_moments(Path(moments), names, listing.remarks, target or "action") if moments else ([], None)
    if use is not None:
        use.check(strict)
    for video, own in listing.captions.items():
        texts.setdefault(video, []).extend(own)

    how = reading or Reading.parse(old.about.get("reading") if old else None)
    make_folder(out)
    files = files_of(entries)
    looked, done = in_parts(lambda mine: look_into(files, length, how.words, out, mine, progress), running)
    rows = merged(old_rows(known), [row for path, look in looked.items() for row in rows_of_file(files[path], look)])
    for row in rows:
        row.update({**given.get(row["video"], {}), **given.get(row["id"], {})})
    listing.remarks += reading_remarks(rows, how)
    counts, remarks = again.summary(before, rows)
    listing.remarks += remarks
    listing.remarks += numbers_hint([row["label"] for row in rows if row["label"]])
    give_splits(rows, listing.remarks, {video.id for video in known})
    listing.remarks += look_alikes(rows)
    listing.remarks += leaks(rows)
    said = [vars(moment) for moment in old.moments] if old else []
    if use is not None:
        said = merged_moments(said, placed(happens, rows, use, listing.remarks))
        use.check(strict)
        listing.tables.append(use)
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
        moments=said,
    )
    return Indexed(
        corpus,
        added=len(rows) - len(known),
        looked_again=counts if old else "",
        remarks=(*listing.remarks, *(table.summary() for table in listing.tables)),
        decoded=sum(look.decoded for look in looked.values()),
        seconds=sum((look.seconds for look in looked.values()), 0.0),
        done=done,
    )


def list_all(
    out: Path,
    old: Corpus | None,
    sources: Sequence[str | Path],
    dataset: Dataset | None,
    videos: str | Path | None,
    known: Sequence[Video],
) -> Listing:
    """The entries of the sources, or of a data set's files; none where an update has no source."""
    if old and not sources:
        return Listing()
    if not sources:
        raise CorpusError(f"{out} is no corpus yet; say which videos: `tubelet index SOURCE --out {out}`")
    if dataset is not None:
        return list_dataset(dataset, sources, videos or ".", leave_out=out)
    return list_sources(sources, leave_out=out, taken={file_id(video): video.path for video in known})


def names_of(listing: Listing, known: Sequence[Video]) -> Names:
    """What tables may call the videos that are listed, and those of the corpus whose files are there."""
    there = [video for video in known if video.status != MISSING]
    return Names(
        [name for e in listing.entries for name in ((e.video, e.path), (e.id, None))]
        + [name for v in there for name in ((file_id(v), v.path), (v.id, None))]
    )


def leaks(rows: Sequence[Row]) -> list[str]:
    """A remark where a file of val or test is in another split too."""
    if not (alike := same_files(rows)):
        return []
    return [
        f"leak: {plural(len(alike), 'file')} in val or test byte for byte as in another split "
        f"(first: {alike[0][0]}, as {alike[0][1]}); leave one of them out"
    ]


def home(path: str | Path) -> str | Path:
    """A path that begins with "~" below the home folder, as a shell gives it to a command; others as they are."""
    return os.path.expanduser(path) if str(path).startswith("~") and not Path(path).exists() else path


def check_request(
    sources: Sequence[str | Path], update: bool, labels_from_folders: bool, root: str | Path | None
) -> None:
    if not sources and not update:
        raise CorpusError("name a SOURCE: a folder, video files or lists of videos; --update alone needs none")
    if labels_from_folders and not sources:
        raise CorpusError("--labels-from-folders needs the SOURCE whose folders are the labels")
    if root is not None and not Path(root).is_dir():
        raise CorpusError(f"--root {root} is no folder; name the one below which the videos lie now")


def segment_length(segment: float | int | str | None) -> float | None:
    if segment is None:
        return None
    length = seconds(segment, "--segment", "length") if isinstance(segment, str) else float(segment)
    if length is None or not length > 0:
        raise CorpusError("--segment must be positive")
    return length


def reading_of(
    out: Path, frame_rate: float | int | None, deinterlace: bool | None, square_pixels: bool | None
) -> Reading | None:
    """What is asked for, and where nothing is, what was when the corpus was made; None where nothing is asked for."""
    if frame_rate is not None and not 0.0 < float(frame_rate) < 100_000:
        raise CorpusError(f"--frame-rate {frame_rate:g} must be frames per second, as 12 or 29.97")
    asked = {"rate": frame_rate, "deinterlace": deinterlace, "square": square_pixels}
    asked = {name: value for name, value in asked.items() if value is not None}
    return replace(said_before(out), **asked) if asked else None  # type: ignore[arg-type]


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
    """Raises for another split or target of a data set: existing rows would keep the old one."""
    before, now = (old.about.get("dataset") if old else None), about_dataset(dataset).get("dataset")
    if old and now and before != now:
        said = ", ".join(f"{key}={value}" for key, value in (before or {}).items()) or "no official data set"
        raise CorpusError(f"{old.folder} was indexed as {said}; give another --out for {dataset_words(now)}")


def said_before(out: Path) -> Reading:
    """How the frames of this corpus are read, by what was said when it was made; nothing is said of a new one."""
    words = Corpus.open(out).about.get("reading") if (out / "corpus.json").exists() else None
    return Reading.parse(words)


def same_reading(reading: Reading | None, old: Corpus | None) -> None:
    """Raises for another way of reading: existing rows would be of other frames than they say."""
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
    """The entries without a row that is usable, is checked again, or whose file is gone."""
    stands = [
        video
        for video in known
        if video.status in ("ok", CHANGED) or (video.content and state_or_none(video.path) is None)
    ]
    files, ids = {video.path for video in stands}, {video.id for video in stands}
    return [entry for entry in entries if (entry.path not in files if entry.start is None else entry.id not in ids)]


def with_other_ends(known: Sequence[Video], entries: Iterable[Entry]) -> tuple[list[Video], list[Entry]]:
    """The rows, and the entries of segments that a list now ends elsewhere: those are looked at again."""
    ends = {video.id: video.end for video in known if video.status == "ok"}
    other = [
        e for e in entries if e.start is not None and e.end is not None and ends.get(e.id, e.end) not in (e.end, None)
    ]
    ids = {entry.id for entry in other}
    return [replace(video, status=CHANGED) if video.id in ids else video for video in known], other


def reading_remarks(rows: Sequence[Row], how: Reading) -> list[str]:
    """What is particular about the frames of some rows, and the option that changes how they are read."""
    remarks = []
    usable = [row for row in rows if row["status"] == "ok"]
    if stills := [row for row in usable if is_sequence(Path(row["path"]))]:
        rate = f"{how.rate:g}" if how.rate else f"{FRAME_RATE:g}, the default (--frame-rate FPS sets it)"
        remarks.append(f"{plural(len(stills), 'image sequence')} (first: {stills[0]['id']}); frames per second: {rate}")
    for column, what, option, chosen in (
        ("field_order", "interlaced", "--deinterlace makes their frames whole", how.deinterlace),
        ("pixel_aspect", "with pixels that are not square", "--square-pixels stretches them", how.square),
    ):
        if some := [row for row in usable if row.get(column)]:
            how_read = "read so" if chosen else f"read as decoded; {option}"
            remarks.append(
                f"{plural(len(some), 'row')} {what} (first: {some[0]['id']}, {some[0][column]}), "
                + (f"corrected by {option.split()[0]}" if chosen else how_read)
            )
    return remarks


def sources_of(sources: Sequence[str | Path], old: Corpus | None) -> list[str]:
    before = list(old.about.get("sources", [])) if old else []
    return list(dict.fromkeys([*before, *map(place_of, sources)]))


def place_of(source: str | Path) -> str:
    return as_text(Path(source)) if is_remote(source) else os.path.abspath(source)
