"""Numbers of clips, batch by batch, of a task in evaluation mode: what measures of a decoder share."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeVar

from tubelet.corpus.table import Video
from tubelet.errors import CorpusError
from tubelet.evaluations.base import Context
from tubelet.evaluations.sharded import map_batches
from tubelet.loading.pairings import Reads
from tubelet.types import Batch


class Tally(Protocol):
    """What was found of some clips."""

    groups: list[str]  # of the clips that were measured
    failed: list[str]  # "id: reason" of the others


D = TypeVar("D")


def tallied(
    context: Context,
    videos: Sequence[Video],
    what: str,
    compute: Callable[[Batch], D],
    add: Callable[[D], Tally],
    *,
    needs: Sequence[str] = (),
    text: bool = False,
    streams: Mapping[str, Reads] | None = None,
) -> None:
    """`compute` of every batch, on all ranks, each given to `add`, which returns the sum so far. The task's mode is as
    it was afterwards. `CorpusError` where not one clip could be read."""
    task = context.task
    assert task is not None
    training = task.training
    task.eval()
    done: Tally | None = None
    try:
        for some in map_batches(
            what, compute, context.corpus, videos, context.clip, context.data, batch=context.batch, needs=needs,
            text=text, streams=streams, progress=context.progress,
        ):  # fmt: skip
            done = add(some)
            context.progress(len(done.groups) + len(done.failed), len(videos), "")
    finally:
        task.train(training)
    if done is None or not done.groups:
        first = done.failed[0] if done is not None and done.failed else "the split is empty"
        raise CorpusError(f"none of {len(videos)} videos of {context.corpus.name} could be read; first: {first}")
