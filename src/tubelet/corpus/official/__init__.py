"""Official annotation files, as their makers hand them out, read into rows. The list below is the registry.

`tubelet index ANNOTATIONS --dataset ucf101 --videos UCF-101 --out corpora/ucf101`; docs/datasets.md says what to
download where.
"""

from collections.abc import Mapping

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
