"""Official annotation files, as their makers hand them out, read into rows. The list below is the registry.

`tubelet index ANNOTATIONS --dataset ucf101 --videos UCF-101 --out corpora/ucf101`; docs/datasets.md says what to
download where.
"""

from collections.abc import Mapping

from tubelet.data.datasets.base import Dataset, Item, Shelf, list_dataset
from tubelet.data.datasets.diving48 import Diving48
from tubelet.data.datasets.epic100 import Epic100
from tubelet.data.datasets.hmdb51 import Hmdb51
from tubelet.data.datasets.jester import Jester
from tubelet.data.datasets.kinetics import Kinetics
from tubelet.data.datasets.msrvtt import MsrVtt
from tubelet.data.datasets.msvd import Msvd
from tubelet.data.datasets.something import SomethingSomething
from tubelet.data.datasets.ucf101 import Ucf101
from tubelet.data.datasets.webvid import WebVid

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
    "list_dataset",
]
