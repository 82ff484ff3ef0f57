"""Episodes of a LeRobot data set (v3.0): many lie in one video file, and a table says from when to when each does.

Every camera of an episode is a row, and its tasks are captions. All cameras of an episode are one group.
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tubelet.corpus.rows import SaidCaption
from tubelet.errors import CorpusError
from tubelet.remote.address import Address, as_text
from tubelet.remote.ask import exists, find
from tubelet.video.members import open_bytes

INFO, EPISODES = "meta/info.json", "meta/episodes"
VERSION = "v3"
SPAN = ("from_timestamp", "to_timestamp")
FIELDS = re.compile(r"\{(video_key|chunk_index|file_index)(?::0(\d)d)?\}")
MOST = 1 << 24  # bytes of meta/info.json


def is_lerobot(root: Path) -> bool:
    address = Address.of(root / INFO)
    return (root / INFO).is_file() if address is None else exists(address)


def episodes_of(root: Path) -> Iterator[tuple[dict[str, Any], list[SaidCaption]]]:
    """The fields of an entry for each camera of each episode, and what is said of it."""
    info = read_info(root)
    keys = [name for name, feature in info["features"].items() if feature.get("dtype") == "video"]
    if not keys:
        raise CorpusError(f"{as_text(root)} is a LeRobot data set without videos; give one that has a camera")
    splits = spans_of(info.get("splits") or {})
    columns = ["episode_index", "tasks"]
    columns += [f"videos/{key}/{what}" for key in keys for what in ("chunk_index", "file_index", *SPAN)]
    for table in episode_tables(root):
        try:
            with open_bytes(table) as file:
                rows = pq.read_table(file, columns=columns).to_pylist()
        except (OSError, pa.ArrowException) as error:
            reason = str(error).splitlines()[0]
            raise CorpusError(f"{as_text(table)} cannot be read ({reason}); fetch it anew") from None
        if rows and (lacking := [name for name in columns if name not in rows[0]]):
            raise CorpusError(f"{as_text(table)} has no column {lacking[0]}; convert the data set to LeRobot v3.0")
        for row in rows:
            number = int(row["episode_index"])
            captions = [SaidCaption(text=t.strip(), source="task", time=None) for t in row["tasks"] or [] if t.strip()]
            for key in keys:
                start, end = (float(row[f"videos/{key}/{what}"]) for what in SPAN)
                name = video_name(info["video_path"], key, row)
                fields = {"video": name, "path": root / name, "start": start, "end": end}
                fields |= {"group": f"{root.name}/episode_{number:06d}", "split": split_of(splits, number)}
                yield {**fields, "name": f"episode_{number:06d}/{key}"}, captions


def read_info(root: Path) -> dict[str, Any]:
    path = root / INFO
    with open_bytes(path) as file:
        text = file.read(MOST)
    try:
        info = json.loads(text)
        version = str(info["codebase_version"])
        assert isinstance(info["features"], dict)
        assert all(isinstance(feature, dict) for feature in info["features"].values())
        assert isinstance(info["video_path"], str)
    except (ValueError, KeyError, TypeError, AssertionError, RecursionError):
        raise CorpusError(f"{as_text(path)} is not that of a LeRobot data set; give its folder of videos") from None
    if not version.startswith(VERSION):
        raise CorpusError(
            f"{as_text(root)} is a LeRobot data set of version {version[:20]}, and v3.0 is read; convert it with "
            "lerobot.datasets.v30.convert_dataset_v21_to_v30, or give its folder of videos"
        )
    return dict(info)


def episode_tables(root: Path) -> list[Path]:
    address = Address.of(root / EPISODES)
    if address is None:
        found = sorted((root / EPISODES).rglob("*.parquet"))
    else:
        found = [root / EPISODES / name for name in find(address) if name.endswith(".parquet")]
    if not found:
        raise CorpusError(f"{as_text(root / EPISODES)} holds no table of episodes; fetch the data set anew")
    return found


def video_name(template: str, key: str, row: Mapping[str, Any]) -> str:
    """The video file of a camera, below the data set: what it says is data, and leads nowhere else."""
    values = {what: int(row[f"videos/{key}/{what}"]) for what in ("chunk_index", "file_index")}

    def filled(found: re.Match[str]) -> str:
        return key if found[1] == "video_key" else f"{values[found[1]]:0{int(found[2] or 1)}d}"

    name = PurePosixPath(FIELDS.sub(filled, template))
    if name.is_absolute() or ".." in name.parts:
        raise CorpusError(f"its video_path leads out of the data set ({str(name)[:100]!a}); correct {INFO}")
    return name.as_posix()


def spans_of(splits: Mapping[str, Any]) -> dict[str, range]:
    """Episodes by split; nothing where all are one, as they come when nobody has divided them."""
    found = {name: re.fullmatch(r"(\d+):(\d+)", str(span)) for name, span in splits.items()}
    spans = {name: range(int(span[1]), int(span[2])) for name, span in found.items() if span}
    return spans if len(spans) > 1 else {}


def split_of(splits: Mapping[str, range], number: int) -> str | None:
    return next((name for name, span in splits.items() if number in span), None)
