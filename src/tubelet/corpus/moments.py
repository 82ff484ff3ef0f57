"""When something happens in a video, from tables of a user's or from official files. Start reading at `read_moments`.

  a table      path, start, end, label, in seconds of the file (12.5, 1:02.5)
  ActivityNet  JSON of `database`: by video, `annotations` of `segment` [start, end] and `label`
  EPIC         `EPIC_100_train.csv` and the like, beside their class tables; the label is the action, verb or noun
  Ego4D        JSON of `videos`, their `clips`, `annotations` and `labels`; only labels that are primary

A row that cannot be placed is named with its line, or its number in a JSON file, and what is wrong with it.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tubelet.corpus.names import Names, Use
from tubelet.corpus.official.base import has_columns, json_of, rows_of
from tubelet.corpus.official.epic100 import class_names
from tubelet.corpus.rows import named_rows, seconds
from tubelet.corpus.schema import Row
from tubelet.corpus.tables import Table
from tubelet.errors import CorpusError, RecipeError

EPIC = ("video_id", "start_timestamp", "stop_timestamp", "verb_class", "noun_class")
TARGETS = ("action", "verb", "noun")


@dataclass(frozen=True)
class SaidMoment:
    """A moment as a file gives it; of several names the first that means a video counts, with its own seconds."""

    line: int
    spans: tuple[tuple[str, Any, Any], ...]  # name, start, end
    label: str


@dataclass(frozen=True)
class FoundMoment:
    """A moment whose video is known."""

    line: int
    video: str
    start: float
    end: float
    label: str


def read_moments(path: Path, names: Names, remarks: list[str], target: str = "action") -> tuple[list[FoundMoment], Use]:
    """What the file says, as far as its videos are known and its times are times."""
    if target not in TARGETS:
        raise RecipeError(f"--target of moments is one of {', '.join(TARGETS)}, not {target!r}")
    if path.suffix.lower() == ".json":
        said, unit = [*of_json(path)], "moment"
    elif path.is_file() and has_columns(path, *EPIC):
        said, unit = of_epic(path, target), "line"
    else:
        said, unit = of_table(path, names, remarks), "line"
    use = Use(path, unit=unit)
    found = []
    for moment in said:
        name, start, end = next((span for span in moment.spans if names.find(span[0], path.parent)), moment.spans[0])
        if (video := use.find(names, name, moment.line)) is None:
            continue
        try:
            begins, ends = moment_of(start), moment_of(end)
        except CorpusError as error:
            use.leave(moment.line, str(error))
            continue
        if not moment.label:
            use.leave(moment.line, "it has no label; name what happens")
        elif not begins < ends:
            use.leave(moment.line, f"its end ({ends:g} s) is not after its start ({begins:g} s); correct one of them")
        else:
            found.append(FoundMoment(moment.line, video, begins, ends, moment.label))
            use.used += 1
    return found, use


def moment_of(said: Any) -> float:
    """Seconds, of a cell or a number."""
    found = float(said) if isinstance(said, int | float) else seconds(str(said), "the moment", "time")
    if found is None or not 0 <= found < float("inf"):
        raise CorpusError(f"the moment: time {said!r} is no time; write seconds (12.5, 10s) or 1:02:03")
    return found


def of_table(path: Path, names: Names, remarks: list[str]) -> list[SaidMoment]:
    table = Table.read(path)
    rows = named_rows(table, ("path", "start", "end", "label"), second="label", known=names.known_in(path.parent))
    remarks += table.remarks
    return [SaidMoment(row.line, ((row["path"], row["start"], row["end"]),), row["label"]) for row in rows]


def of_epic(path: Path, target: str) -> list[SaidMoment]:
    verbs, nouns = (class_names(sorted(path.parent.glob("*.csv")), kind) for kind in ("verb", "noun"))
    found = []
    for line, row in enumerate(rows_of(path, *EPIC), 2):
        verb, noun = verbs.get(row["verb_class"], ""), nouns.get(row["noun_class"], "")
        label = {"verb": verb, "noun": noun, "action": f"{verb} {noun}" if verb and noun else ""}[target]
        found.append(SaidMoment(line, ((row["video_id"], row["start_timestamp"], row["stop_timestamp"]),), label))
    return found


def of_json(path: Path) -> Iterator[SaidMoment]:
    """Counted from 1, in the order of the file."""
    said = json_of(path)
    try:
        spans = of_activitynet(said["database"]) if "database" in said else of_ego4d(said["videos"])
        for number, (names, label) in enumerate(spans, 1):
            yield SaidMoment(number, names, str(label or ""))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CorpusError(
            f"{path} is no file of moments: it needs `database` as of ActivityNet or `videos` as of Ego4D "
            f"({type(error).__name__}: {error}); or give a table of path,start,end,label"
        ) from None


def of_activitynet(database: Mapping[str, Any]) -> Iterator[tuple[tuple[tuple[str, Any, Any], ...], Any]]:
    """Its files are called after the id, mostly with v_ before it."""
    for name, about in database.items():
        for moment in about.get("annotations") or ():
            start, end = moment["segment"]
            yield ((name, start, end), (f"v_{name}", start, end)), moment["label"]


def of_ego4d(videos: Sequence[Mapping[str, Any]]) -> Iterator[tuple[tuple[tuple[str, Any, Any], ...], Any]]:
    """Times are of the clip or of the whole video, whichever of the two is there."""
    for video in videos:
        for clip in video["clips"]:
            for annotation in clip["annotations"]:
                for moment in annotation["labels"]:
                    if moment.get("primary", True):
                        of_clip = clip["clip_uid"], moment["start_time"], moment["end_time"]
                        begins = moment.get("video_start_time"), moment.get("video_end_time")
                        yield (of_clip, (video["video_uid"], *begins)), moment["label"]


def placed(found: Sequence[FoundMoment], rows: Sequence[Row], use: Use, remarks: list[str]) -> list[Row]:
    """A row of the moments table for each; of a segmented video, in every segment that it reaches into. One that begins
    behind the end of its video is not used, one that ends there is cut."""
    of_video: dict[str, list[Row]] = {}
    for row in rows:
        for name in {row["video"], row["id"]}:
            of_video.setdefault(name, []).append(row)
    made: list[Row] = []
    cut = 0
    for moment in found:
        usable = [row for row in of_video.get(moment.video, ()) if row["status"] == "ok"]
        last = max((row["end"] for row in usable), default=0.0)
        over = [row for row in usable if row["start"] < moment.end and moment.start < row["end"]]
        if not over:
            use.used -= 1
            why = f"it begins at {moment.start:g} s, and the video ends at {last:g} s" if usable else "cannot be read"
            use.leave(moment.line, f"{moment.video}: {why}")
            continue
        end = min(moment.end, max(last, moment.start))
        cut += end < moment.end - 1.0
        made += [{"video": row["id"], "start": moment.start, "end": end, "label": moment.label} for row in over]
    if cut:
        remarks.append(f"{use.table.name}: {cut} moments end more than a second behind their video; they end with it")
    return made


def merged_moments(old: Sequence[Row], new: Sequence[Row]) -> list[Row]:
    """Those that were there and the new ones, each once, by video and time."""
    unique = {json.dumps(row, sort_keys=True): row for row in [*old, *new]}
    order = {name: number for number, name in enumerate(dict.fromkeys(row["video"] for row in unique.values()))}
    return sorted(unique.values(), key=lambda row: (order[row["video"]], row["start"], row["end"], row["label"]))
