"""A run of several processes: how each of them joins the others, and how it ends."""

import contextlib
import gc
import sys
from collections.abc import Iterator
from datetime import timedelta

import torch
from torch import distributed

from tubelet.errors import RunError
from tubelet.launchers import Launch, launched

PATIENCE = timedelta(minutes=10)  # for the last of them to start


@contextlib.contextmanager
def process_group() -> Iterator[None]:
    """Joins the processes that a launcher started together: NCCL where there are GPUs, gloo elsewhere.

    After it, every thread of the group has ended. A gloo thread that is alive while Python shuts down may be the last
    to hold a tensor; releasing it needs Python, and the process aborts after a run that was saved and finished.
    After an error the group is left as it is: its threads may wait for a rank that never answers (`cli.entry`).
    """
    launch = launched()
    if launch.world == 1:
        yield
        return
    hold_no_group()
    join(launch)
    try:
        yield
    except (RuntimeError, distributed.DistError) as error:
        if not isinstance(error, distributed.DistError) and "gloo" not in str(error):
            raise
        raise RunError(
            f"rank {launch.rank} of {launch.world} lost another rank, whose own message says why; the same command "
            "goes on from the last checkpoint"
        ) from error
    gc.collect()  # a model in a cycle of references holds the group, and with it the threads
    distributed.destroy_process_group()


def join(launch: Launch) -> None:
    cuda = torch.cuda.is_available()
    backend = "nccl" if cuda else "gloo"
    if cuda:
        torch.cuda.set_device(launch.local_rank % torch.cuda.device_count())
    if launch.by == "torchrun":
        distributed.init_process_group(backend)
        return
    address, port = launch.meeting()
    if launch.rank == 0:
        print(f"rank 0 of {launch.world} waits for the others at {address}:{port}", file=sys.stderr)
    try:
        store = distributed.TCPStore(address, port, launch.world, launch.rank == 0, PATIENCE)
        distributed.init_process_group(backend, store=store, rank=launch.rank, world_size=launch.world)
    except (distributed.DistNetworkError, distributed.DistStoreError) as error:
        raise RunError(
            f"rank {launch.rank} of {launch.world} (by {launch.by}) met no other at {address}:{port}: "
            f"{str(error).splitlines()[0]}; start all ranks, and set MASTER_ADDR and MASTER_PORT to a host and a free "
            "port that all of them reach"
        ) from error


def hold_no_group() -> None:
    """DistributedDataParallel imports a module whose functions have the group of that moment as a default argument,
    and would keep it to the end of the process; imported before there is a group, they keep none."""
    import torch.distributed.nn.functional  # noqa: F401
