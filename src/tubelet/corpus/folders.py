"""Labels, and splits, that the folders of videos say, as `clips/run/001.mp4` and `clips/train/run/001.mp4` do."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tubelet.corpus.listing import Entry
from tubelet.corpus.rows import SPLITS, split_name
from tubelet.errors import CorpusError
from tubelet.remote.address import absolute, is_remote
from tubelet.wording import plural


@dataclass(frozen=True)
class Place:
    """Where a file lies: below a source, in these folders."""

    video: str
    source: Path
    folders: tuple[str, ...]


def labels_from_folders(
    entries: Iterable[Entry], sources: Sequence[str | Path]
) -> tuple[dict[str, dict[str, str]], list[str]]:
    """id of a file -> the name of the folder that it lies in as its label, and what was found.

    Where all folders at the top of a source are called as splits are, they say the split; so do several sources that
    are. A file beside folders of classes has no label; of a source without folders the source itself is the class.
    """
    bases = [base_of(Path(source)) for source in sources]
    indices = list({entry.video: place_of(entry, bases) for entry in entries}.values())
    tops = {base: {index.folders[0] for index in indices if index.source == base and index.folders} for base in bases}
    split_bases = len(set(bases)) > 1 and all(is_split(base.name) for base in bases)
    found: dict[str, dict[str, str]] = {}
    holders: dict[Path, str] = {}  # folders that are a class, and a video in each
    without: list[str] = []
    remarks: list[str] = []
    for index in indices:
        top = tops.get(index.source, set())
        by_top = bool(top) and all(map(is_split, top))
        split = index.folders[0] if by_top and index.folders else index.source.name if split_bases else None
        classes = index.folders[by_top:] or (() if top or split_bases else (index.source.name,))
        found[index.video] = {"split": split_name(split)} if split else {}
        if not classes:
            without.append(index.video)
            continue
        found[index.video]["label"] = classes[-1]
        holders.setdefault(index.source.joinpath(*index.folders), index.video)
    for holder, video in holders.items():
        if above := next((parent for parent in holder.parents if parent in holders), None):
            raise CorpusError(
                f"{above} holds videos and folders of videos, so that the class of {video} could be {above.name} or "
                f"{holder.name}; move them apart, or write a table and give it as --labels"
            )
    labels = Counter(values["label"] for values in found.values() if "label" in values)
    if len(labels) < 2 and (not labels or not any(tops.values())):
        raise CorpusError(
            f"{', '.join(map(str, sources))}: all videos lie in one folder or in those of splits, which says no label; "
            "put them into a folder a class"
        )
    shown = ", ".join(f"{label} {count}" for label, count in sorted(labels.items())[:4])
    remarks.append(f"labels from folders: {plural(len(labels), 'name')} ({shown}{', ...' if len(labels) > 4 else ''})")
    if splits := Counter(values["split"] for values in found.values() if "split" in values):
        remarks.append(f"splits from folders: {', '.join(f'{name} {n}' for name, n in sorted(splits.items()))}")
    elif some := sorted(name for top in tops.values() for name in top if is_split(name)):
        remarks.append(f"{some[0]} is taken as a folder like any other, as not all beside it are called as splits are")
    if without:
        remarks.append(
            f"{plural(len(without), 'video')} in no folder of a class, without a label (first: {without[0]})"
        )
    return found, remarks


def base_of(source: Path) -> Path:
    """The folder below which the names of folders count."""
    return absolute(source) if source.is_dir() or is_remote(source) else source.absolute().parent


def place_of(entry: Entry, bases: Sequence[Path]) -> Place:
    folder = entry.path.parent
    base = next((base for base in bases if folder.is_relative_to(base)), folder.parent)
    return Place(entry.video, base, folder.relative_to(base).parts)


def is_split(name: str) -> bool:
    return name.lower() in SPLITS
