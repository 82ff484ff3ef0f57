"""Official annotation files, as their makers hand them out, read into rows. The list below is the registry.

`tubelet index ANNOTATIONS --dataset ucf101 --videos UCF-101 --out corpora/ucf101`; docs/datasets.md says what to
download where.
"""

import difflib
import typing
from collections.abc import Mapping
from pathlib import Path

import chz

from tubelet.corpus.official.base import Dataset, Item, Shelf, list_dataset
from tubelet.corpus.official.diving48 import Diving48
from tubelet.corpus.official.epic100 import Epic100
from tubelet.corpus.official.hmdb51 import Hmdb51
from tubelet.corpus.official.jester import Jester
from tubelet.corpus.official.kinetics import Kinetics
from tubelet.corpus.official.msrvtt import MsrVtt
from tubelet.corpus.official.msvd import Msvd
from tubelet.corpus.official.something import SomethingSomething
from tubelet.corpus.official.ucf101 import Ucf101
from tubelet.corpus.official.webvid import WebVid
from tubelet.errors import RecipeError

DATASETS: Mapping[str, type[Dataset]] = {
    dataset.name: dataset
    for dataset in (
        Ucf101,
        Hmdb51,
        Diving48,
        SomethingSomething,
        Kinetics,
        Epic100,
        Jester,
        MsrVtt,
        Msvd,
        WebVid,
    )
}


def find_dataset(
    dataset: Dataset | str | None,
    videos: str | Path | None,
    *,
    segmented: bool = False,
    labelled: bool = False,
    **choices: str | None,
) -> Dataset | None:
    """The data set of this name with its choices; what does not go together is refused before a file is opened."""
    if dataset is not None and labelled:
        raise RecipeError(
            "--labels-from-folders labels videos of your own; an official data set says its labels itself"
        )
    given = {name: value for name, value in choices.items() if value is not None}
    if dataset is None:
        if lone := [*given, *(["videos"] if videos else [])]:
            raise RecipeError(f"--{lone[0]} goes with --dataset NAME, one of: {', '.join(DATASETS)}")
        return None
    name = dataset if isinstance(dataset, str) else dataset.name
    if name not in DATASETS:
        near = difflib.get_close_matches(name.lower(), DATASETS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"one of: {', '.join(DATASETS)}"
        raise RecipeError(f"there is no data set {name!r}; {hint}")
    if videos is None:
        raise RecipeError(f"--dataset {name} needs --videos FOLDER, which holds its files")
    if segmented:
        raise RecipeError("--segment cuts videos of your own; an official data set says itself where a row begins")
    fields = chz.chz_fields(DATASETS[name])
    for choice, value in given.items():
        if choice not in fields:
            raise RecipeError(f"{name} has no --{choice} to choose")
        if value not in (words := typing.get_args(fields[choice].final_type)):
            raise RecipeError(f"--{choice} of {name} is one of {', '.join(words)}, not {value!r}")
    return DATASETS[name](**given) if isinstance(dataset, str) else chz.replace(dataset, **given)


__all__ = [
    "DATASETS",
    "Dataset",
    "Diving48",
    "Epic100",
    "Hmdb51",
    "Item",
    "Jester",
    "Kinetics",
    "MsrVtt",
    "Msvd",
    "Shelf",
    "SomethingSomething",
    "Ucf101",
    "WebVid",
    "find_dataset",
    "list_dataset",
]
