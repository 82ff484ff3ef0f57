"""A run of several processes: how each of them joins the others, and how it ends."""

import contextlib
import gc
from collections.abc import Iterator

import torch
from torch import distributed


@contextlib.contextmanager
def process_group() -> Iterator[None]:
    """Joins the other processes when `torchrun` started this one: NCCL where there are GPUs, gloo elsewhere.

    After it, every thread of the group has ended. A gloo thread that is alive while Python shuts down may be the last
    to hold a tensor; releasing it needs Python, and the process aborts after a run that was saved and finished.
    After an error the group is left as it is: its threads may wait for a rank that never answers (`cli.entry`).
    """
    if not distributed.is_torchelastic_launched():
        yield
        return
    hold_no_group()
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(distributed.get_node_local_rank())
    distributed.init_process_group("nccl" if cuda else "gloo")
    try:
        yield
    except BaseException:
        if distributed.get_world_size() == 1:
            distributed.destroy_process_group()
        raise
    gc.collect()  # a model in a cycle of references holds the group, and with it the threads
    distributed.destroy_process_group()


def hold_no_group() -> None:
    """DistributedDataParallel imports a module whose functions have the group of that moment as a default argument,
    and would keep it to the end of the process; imported before there is a group, they keep none."""
    import torch.distributed.nn.functional  # noqa: F401
