"""Captions that stand in files: tables, JSON, the formats of WebVid, MSR-VTT and MSVD, and subtitles beside the videos.

A file may speak of more videos than the corpus has; what it says of others is counted and left out.
"""

import codecs
import html
import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import chz

from tubelet.captioning.base import Captioner, Row, Written
from tubelet.corpus.names import Names, Use
from tubelet.corpus.official import Msvd, WebVid
from tubelet.corpus.official.base import has_columns
from tubelet.corpus.rows import named_rows, seconds
from tubelet.corpus.schema import Video, file_id
from tubelet.corpus.table import Corpus
from tubelet.corpus.tables import COLUMNS, Table
from tubelet.errors import CorpusError
from tubelet.jobs.runner import Running
from tubelet.progress import Progress
from tubelet.video.reader import SAME

SUBTITLES = (".srt", ".vtt")
TIME = r"(?:\d+:)?\d+:\d+[.,]\d+"
VTT_COLUMNS = ("VideoID", "Start", "End", "Language", "Description")


@dataclass(frozen=True)
class Said:
    """A text and the video that it is said of, as the file names it; `end` where it is said from `time` to there."""

    name: str
    text: str
    source: str | None = None
    time: float | None = None
    end: float | None = None
    line: int = field(default=0, compare=False)  # of a table


@chz.chz
class Files(Captioner):
    """CSV, JSON lines, WebVid, MSR-VTT or MSVD files, or subtitles (SRT, VTT) that are named as their videos."""

    path: str = chz.field(default="", doc="the file, or a folder of subtitles named as the videos")
    strict: bool = chz.field(default=False, doc="fail if a text of the file matches no video of the corpus")
    join: bool = chz.field(default=False, doc="subtitles: join all text of a row into one caption")

    def write(self, corpus: Corpus, progress: Progress, running: Running | None = None) -> Written:
        if not self.path:
            raise CorpusError("name the file that holds the captions: captioner.path=FILE")
        path = Path(self.path).expanduser()
        remarks: list[str] = []
        said = list(read_caption_file(path, remarks))
        videos = corpus.select("all")
        files = Counter(video.path for video in videos)
        rows_of: dict[str, list[Video]] = {}
        meant: list[tuple[str, Path | None]] = []
        for video in videos:
            whole = video_part(video, files[video.path] > 1)
            meant += [(whole, video.path), (video.id, None)]
            for name in dict.fromkeys((whole, video.id)):
                rows_of.setdefault(name, []).append(video)
        names = Names(meant)
        use = Use(path, unit="line" if any(one.line for one in said) else "text")
        rows: list[Row] = []
        for number, one in enumerate(said, 1):
            line = one.line or number
            if (found := use.find(names, one.name, line)) is None:
                continue
            there = [caption_row(one, video) for video in rows_of[found] if one.time is None or heard(one, video)]
            if one.text and there:
                use.used += 1
                rows += there
            else:
                use.leave(line, f"its time lies in no row of {one.name}" if one.text else f"{one.name} has no text")
        use.check(self.strict)
        return Written(one_row_a_source(rows) if self.join else rows, remarks=(*remarks, use.summary()))


def video_part(video: Video, several: bool) -> str:
    """What a file calls the whole of which this row is a segment."""
    whole = file_id(video)
    return video.path.name if several and whole == video.id else whole


def heard(one: Said, video: Video) -> bool:
    """Whether a timed text lies in this row of its file: its moment, or the middle of its span."""
    assert one.time is not None
    middle = one.time if one.end is None else (one.time + one.end) / 2
    return video.start - SAME <= middle < video.end


def caption_row(one: Said, video: Video) -> Row:
    time = one.time if one.end is None or one.time is None else (one.time + one.end) / 2
    row: Row = {"video": video.id, "text": one.text, "time": time, "model": None, "prompt": None}
    return row if one.source is None else {**row, "source": one.source}


def one_row_a_source(rows: list[Row]) -> list[Row]:
    """One row a video and source, of all its texts in their order."""
    found: dict[tuple[str, str | None], Row] = {}
    for row in rows:
        whole = found.setdefault((row["video"], row.get("source")), {**row, "text": "", "time": None})
        whole["text"] = f"{whole['text']} {row['text']}".strip()
    return list(found.values())


def read_caption_file(path: Path, remarks: list[str] | None = None) -> Iterator[Said]:
    """What the file says, by its format, which its ending and its first words tell."""
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUBTITLES)
        if not files:
            raise CorpusError(f"{path} holds no subtitles ({', '.join(SUBTITLES)}); name a file of captions")
        for file in files:
            yield from subtitles(file, file.relative_to(path).as_posix())
    elif not path.is_file():
        raise CorpusError(f"there is no file or folder {path}; name the captions with captioner.path=FILE")
    elif path.suffix.lower() in SUBTITLES:
        yield from subtitles(path, path.name)
    elif path.suffix.lower() in (".json", ".jsonl", ".ndjson"):
        yield from of_json(path)
    elif path.name == "AllVideoDescriptions.txt" or has_columns(path, *VTT_COLUMNS):
        yield from (Said(item.file, text, Msvd.source) for item in Msvd().read([path]) for text in item.captions)
    elif has_columns(path, "videoid", "name"):
        items = WebVid().read([path])
        yield from (Said(Path(item.file).stem, text, WebVid.source) for item in items for text in item.captions)
    else:
        table = Table.read(path)
        rows = named_rows(table, ("path", "caption"), second="caption", known=bool)
        for row in rows:
            time = seconds(row["time"], f"{path} line {row.line}", "time")
            yield Said(row["path"], row["caption"], row["source"] or None, time, line=row.line)
        if remarks is not None:
            remarks += table.remarks


def of_json(path: Path) -> Iterator[Said]:
    """Objects with a video and a caption (or a list of them), or MSR-VTT's list of sentences."""
    for found in objects_of(path):
        name, caption = found.get("path"), found.get("caption")
        if name is None or caption is None:
            raise CorpusError(
                f"{path} needs a video and a caption in every object (as video_id and caption); "
                f"the first that lacks one says {str(found)[:80]}"
            )
        time = found.get("time")
        time = float(time) if isinstance(time, int | float) else seconds(str(time or ""), path, "time")
        for text in caption if isinstance(caption, list) else [caption]:
            if text is not None:
                yield Said(str(name), str(text), found.get("source"), time)


def objects_of(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSON list, of JSON lines or of MSR-VTT, their keys by the names that tables use for them."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise CorpusError(f"{path} cannot be read: {error}") from None
    try:
        lines = [line for line in text.split("\n") if line.strip()]  # a caption may hold other ends of lines
        content = json.loads(text) if path.suffix.lower() == ".json" else [json.loads(line) for line in lines]
    except ValueError as error:
        raise CorpusError(f"{path} is no JSON ({error})") from None
    if isinstance(content, dict) and "sentences" in content:
        content = [{"path": one.get("video_id"), "caption": one.get("caption")} for one in content["sentences"]]
    elif isinstance(content, dict):
        content = [{"path": name, "caption": texts} for name, texts in content.items()]
    if not isinstance(content, list) or not all(isinstance(one, dict) for one in content):
        raise CorpusError(f"{path} is no list of objects; write one a line, with video and caption")
    return [with_table_keys(one) for one in content]


def with_table_keys(found: dict[str, Any]) -> dict[str, Any]:
    """The object with the keys of a table: `video_id` is its path, `text` its caption."""
    keys = {key.strip().lower(): key for key in found}
    named: dict[str, Any] = {}
    for name, aliases in COLUMNS.items():
        if key := next((keys[alias] for alias in aliases if alias in keys), None):
            named[name] = found[key]
    if "caption" not in named and "captions" in keys:
        named["caption"] = found[keys["captions"]]
    return named


def subtitles(path: Path, name: str) -> Iterator[Said]:
    """The cues of an SRT or VTT file; `talk.en.vtt` is said of `talk`. Tags and repeated lines are left out."""
    content = path.read_bytes()
    try:
        text = content.decode("utf-16" if content[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    whole = name[: -len(path.suffix)]
    language = re.fullmatch(r"(.+)\.[A-Za-z]{2,3}(?:-\w+)?", whole)
    video, before = language[1] if language else whole, ""
    for block in re.split(r"\n\s*\n", text.replace("\r\n", "\n").replace("\r", "\n")):
        lines = block.strip().split("\n")
        index = next((n for n, line in enumerate(lines) if re.match(rf"{TIME}\s+-->\s+{TIME}", line.strip())), None)
        if index is None:
            continue  # the header, a note, a style
        start, end = (seconds_of(cell) for cell in re.findall(TIME, lines[index])[:2])
        said = " ".join(html.unescape(re.sub(r"<[^>]*>|\{\\[^}]*\}", "", line)) for line in lines[index + 1 :])
        said = " ".join(said.split())
        if said and said != before:
            yield Said(video, said, "subtitles", start, end)
        before = said


def seconds_of(cell: str) -> float:
    total = 0.0
    for part in cell.replace(",", ".").split(":"):
        total = total * 60 + float(part)
    return total
