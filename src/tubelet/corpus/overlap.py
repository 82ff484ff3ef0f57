"""What the splits of a table share though they should not: groups, and files that are the same bytes."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tubelet.errors import VideoError
from tubelet.remote.address import is_remote
from tubelet.video.content import content_digest, state_of

MEASURED = ("test", "val")
UNUSED = "unused"  # rows that an official split leaves out


def shared_groups(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """The groups that lie in more than one split, sorted."""
    splits: dict[str, set[str]] = {}
    for row in rows:
        if row["split"] != UNUSED:
            splits.setdefault(row["group"], set()).add(row["split"])
    return sorted(group for group, found in splits.items() if len(found) > 1)


def same_files(rows: Iterable[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """(id, id) of a file that is measured on and one of another split that is the same, byte for byte.

    Only files of equal size are read.
    """
    sizes: dict[int, dict[Path, Mapping[str, Any]]] = {}
    for row in rows:
        if row["status"] == "ok" and row["split"] != UNUSED:
            path = Path(row["path"])
            try:
                said = row.get("size") if is_remote(path) else None  # stores are not asked for what a row says
                sizes.setdefault(said or state_of(path)[0], {}).setdefault(path, row)
            except (OSError, VideoError):
                continue
    found = []
    for files in sizes.values():
        if len({row["split"] for row in files.values()}) < 2:
            continue
        alike: dict[str, list[Mapping[str, Any]]] = {}
        for path, row in files.items():
            alike.setdefault(row.get("content") or content_digest(path).hex(), []).append(row)
        for some in alike.values():
            for row in some:
                other = next((other for other in some if other["split"] != row["split"]), None)
                if row["split"] in MEASURED and other is not None:
                    found.append((row["id"], other["id"]))
    return found
