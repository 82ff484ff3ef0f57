"""What every rank computes of its share of the clips, on all ranks: the result of one rank, in a part of its time."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

from tubelet.corpus.schema import Video
from tubelet.corpus.table import Corpus
from tubelet.distributed import gather_in_order, rank_and_world_size
from tubelet.loading.data import Data
from tubelet.loading.loader import eval_batches
from tubelet.loading.pairings import Reads
from tubelet.progress import Progress, silent
from tubelet.types import Batch, Clip
from tubelet.video.views import CENTRE, View

T = TypeVar("T")


def map_batches(
    what: str,
    compute: Callable[[Batch], T],
    corpus: Corpus,
    videos: Sequence[Video],
    clip: Clip,
    data: Data,
    *,
    batch: int,
    needs: Sequence[str] = (),
    text: bool = False,
    views: Sequence[View] = (CENTRE,),
    streams: Mapping[str, Reads] | None = None,
    progress: Progress = silent,
) -> Iterator[T]:
    """`compute` of every batch of `eval_batches`, in order, on every rank; it makes `what` of them.

    A rank takes whole batches, so a batch holds the same clips on any number of ranks, and none is padded or comes
    twice: the figures are those of one rank, bit for bit. What is computed travels between ranks: let it be small, and
    on the CPU.
    """
    if not videos:
        return
    rank, world_size = rank_and_world_size()
    own = eval_batches(
        corpus, videos, clip, data, batch=batch, needs=needs, text=text, views=views, streams=streams,
        progress=progress,        rank=rank, world_size=world_size,
    )  # fmt: skip
    count = -(-len(videos) // max(1, batch // len(views)))
    yield from gather_in_order(map(compute, own), count, f"{what} of {len(videos)} videos")
