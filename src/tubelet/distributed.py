"""A run of several processes: how each of them joins the others, and how it ends."""

import contextlib
import gc
import math
import os
import pickle
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import count, islice, zip_longest
from typing import Any, Literal, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, distributed

from tubelet.errors import OtherRankError, RunError, TubeletError
from tubelet.launchers import Launch, launched

PATIENCE = timedelta(minutes=10)  # for the last of them to start
LAST_WORDS = 60.0  # seconds in which the others read what the first rank left, before it ends
ALIKE = 5.0  # seconds in which an error that all ranks raise reaches each of them, or the launcher ends the others
POLL = 0.05  # seconds at most between two questions of a rank that waits
TURNS = count()  # of what goes by the store
ALONE: list[str] = []  # not empty while a rank computes what no other has a part in
MISSING: Any = object()  # where one rank has an item fewer than another
S = TypeVar("S")
T = TypeVar("T")


@contextlib.contextmanager
def process_group() -> Iterator[None]:
    """Joins the processes that a launcher started together: NCCL where there are GPUs, gloo elsewhere.

    After it, every thread of the group has ended. A gloo thread that is alive while Python shuts down may be the last
    to hold a tensor; releasing it needs Python, and the process aborts after a run that was saved and finished.
    After an error the group is left as it is: its threads may wait for a rank that never answers (`cli.entry`).
    """
    launch = launched()
    if launch.world == 1 or distributed.is_initialized():
        yield
        return
    hold_no_group()
    join_group(launch)
    try:
        with naming_lost_ranks():
            yield
    except TubeletError as error:
        raise of_rank(error) from error
    rank, world_size = distributed.get_rank(), distributed.get_world_size()
    store = distributed.distributed_c10d._get_default_store()
    with contextlib.suppress(distributed.DistError):  # the first rank may be gone
        store.set(f"tubelet/ended/{rank}", "")
    if rank == 0:  # it may hold the store, which the others may still be reading
        wait_for(store, [f"tubelet/ended/{other}" for other in range(world_size)], LAST_WORDS)
    gc.collect()  # a model in a cycle of references holds the group, and with it the threads
    distributed.destroy_process_group()


@contextlib.contextmanager
def naming_lost_ranks(doing: Callable[[int], str] = lambda rank: "") -> Iterator[None]:
    """Where an exchange fails because a rank is gone, the error says which, and what it was doing."""
    try:
        yield
    except (RuntimeError, distributed.DistError) as error:
        if not isinstance(error, distributed.DistError) and "gloo" not in str(error):
            raise
        gone = lost_ranks()
        world = distributed.get_world_size()
        resumes = "the same command resumes from the last checkpoint"
        if not gone:
            raise RunError(f"a rank of {world} ended, and its own message says why; {resumes}") from error
        named = " and ".join(f"rank {rank} of {world}{doing(rank)}" for rank in gone)
        raise RunError(f"{named} is gone: killed, out of memory, or its own message says why; {resumes}") from error


def lost_ranks() -> list[int]:
    """Those that neither wait in vain, as this one does, nor have an error to tell."""
    rank, world = distributed.get_rank(), distributed.get_world_size()
    store = distributed.distributed_c10d._get_default_store()
    if (group := distributed.group.WORLD) is not None:
        group.abort()  # so that no other rank waits for this one
    gone, end = [0], time.monotonic() + ALIKE  # meanwhile the launcher names the rank that ended first
    with contextlib.suppress(distributed.DistError):  # the first rank holds the store, and may be the one
        store.set(f"tubelet/lost/{rank}", "")
        signs = [[f"tubelet/{sign}/{other}" for sign in ("lost", "error")] for other in range(world)]
        while gone and time.monotonic() < end:
            gone = [other for other, some in enumerate(signs) if not any(store.check([sign]) for sign in some)]
            time.sleep(POLL)
    return gone


def of_rank(error: TubeletError) -> TubeletError:
    """The error to report: of the first rank where that raises the same, else of this rank, with its number.

    A launcher ends all ranks as soon as one has ended. So what the first tells is waited for: until it is gone.
    """
    rank, world_size = distributed.get_rank(), distributed.get_world_size()
    store = distributed.distributed_c10d._get_default_store()
    first, *others = (f"tubelet/error/{number}" for number in range(world_size))
    repeats = isinstance(error, OtherRankError)
    with contextlib.suppress(distributed.DistError):  # the first rank is gone, and has the store with it
        store.set([first, *others][rank], str(error))
        if rank == 0:  # it may hold the store, in which the others read what it says
            wait_for(store, [f"{other}/has read" for other in others], ALIKE)
            return error
        wait_for(store, [first], ALIKE)
        repeats = repeats or (store.check([first]) and store.get(first).decode() == str(error))
        store.set(f"{others[rank - 1]}/has read", "")
        if repeats:
            wait_for(store, ["tubelet/never"], ALIKE)
    return OtherRankError(str(error)) if repeats else type(error)(f"rank {rank} of {world_size}: {error}")


def join_group(launch: Launch) -> None:
    cuda = torch.cuda.is_available()
    backend = "nccl" if cuda else "gloo"
    if cuda:
        torch.cuda.set_device(launch.local_rank % torch.cuda.device_count())
    if launch.by == "torchrun":
        joined = store_of_torchrun(launch)
        distributed.init_process_group(backend, store=joined, rank=launch.rank, world_size=launch.world)
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


def store_of_torchrun(launch: Launch) -> distributed.Store:
    """This attempt's own part of it: after a restart the store still holds what the ranks before have put there, their
    addresses too."""
    env = os.environ
    hosts = launch.rank == 0 and env.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
    store = distributed.TCPStore(env["MASTER_ADDR"], int(env["MASTER_PORT"]), launch.world, hosts, PATIENCE)
    return distributed.PrefixStore(f"attempt {env.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)


def hold_no_group() -> None:
    """DistributedDataParallel imports a module whose functions have the group of that moment as a default argument,
    and would keep it to the end of the process; imported before there is a group, they keep none."""
    import torch.distributed.nn.functional  # noqa: F401


@dataclass(frozen=True)
class DistributedContext:
    """Where this process computes, in which precision, and as which of how many."""

    device: torch.device
    precision: Literal["bf16", "fp32"]
    rank: int = 0
    world_size: int = 1

    @classmethod
    def here(cls, precision: Literal["auto", "bf16", "fp32"] = "auto") -> "DistributedContext":
        rank, world_size = rank_and_world_size()
        device = torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")
        return cls(device, resolve_precision(precision, device), rank, world_size)

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.precision == "bf16")

    @property
    def behind(self) -> int:
        """How many steps later their numbers are read: a GPU computes the next while the host reads one."""
        return 1 if self.device.type == "cuda" else 0

    def all_reduce_sum(self, values: Mapping[str, Tensor | float]) -> "Sums":
        """The sum of each value over all ranks, for whoever reads it: nothing waits for the device here."""
        vector = torch.stack(
            [
                value.to(self.device, torch.float32)
                if isinstance(value, Tensor)
                else torch.full((), value, dtype=torch.float32, device=self.device)
                for value in values.values()
            ]
        )
        if self.world_size > 1:
            distributed.all_reduce(vector)
        return Sums(tuple(values), vector)

    def loss_weight(self, clips: int) -> Tensor | float:
        """The weight of this rank's mean loss in the mean over ranks, so that every clip counts the same: 1 unless a
        clip could not be read on some rank."""
        if self.world_size == 1:
            return 1.0
        every = torch.tensor(float(clips), device=self.device)
        distributed.all_reduce(every)
        return clips * self.world_size / every

    def all_gather(self, names: list[str]) -> list[str]:
        """The names of all ranks, on every rank."""
        if self.world_size == 1:
            return names
        found: list[list[str]] = [[] for _ in range(self.world_size)]
        distributed.all_gather_object(found, names)
        return [name for part in found for name in part]


class Sums:
    """Numbers on their way from the device, by name."""

    def __init__(self, names: tuple[str, ...], vector: Float[Tensor, "n"]):
        self.names, self.vector = names, vector
        self.copied: torch.cuda.Event | None = None
        if vector.is_cuda:
            self.vector = torch.empty(vector.shape, dtype=vector.dtype, pin_memory=True)
            self.vector.copy_(vector, non_blocking=True)
            self.copied = torch.cuda.Event()
            self.copied.record()

    def read(self) -> dict[str, float]:
        """Waits until they are here."""
        if self.copied is not None:
            self.copied.synchronize()
        return dict(zip(self.names, self.vector.tolist(), strict=True))


def resolve_precision(precision: Literal["auto", "bf16", "fp32"], device: torch.device) -> Literal["bf16", "fp32"]:
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    return "bf16" if matrix_units() else "fp32"


def matrix_units() -> Literal["amx", "avx512_bf16", ""]:
    """What this processor multiplies bf16 with: a miniature step takes .55 of its fp32 time with AVX-512 units."""
    if torch.cpu._is_amx_tile_supported():
        return "amx"
    return "avx512_bf16" if torch.cpu._is_avx512_bf16_supported() else ""


def rank_and_world_size() -> tuple[int, int]:
    """0 and 1 where no processes were started together."""
    if not distributed.is_initialized() or ALONE:
        return 0, 1
    return distributed.get_rank(), distributed.get_world_size()


def is_rank0() -> bool:
    """Whether this process writes and prints what all ranks compute."""
    return rank_and_world_size()[0] == 0


def broadcast_from_rank0(compute: Callable[[], T]) -> T:
    """What the first rank computes, on every rank; an error there is an error of all.

    It goes by the store of the group: the first rank waits for nobody, and the others for as long as it takes, in no
    collective that could time out. What is computed should be small.
    """
    rank, world_size = rank_and_world_size()
    if world_size == 1:
        return compute()
    store, name = distributed.distributed_c10d._get_default_store(), f"tubelet/{next(TURNS)}"
    if rank == 0:
        ALONE.append(name)
        try:
            outcome = compute()
        except BaseException as error:
            store.set(name, pickle.dumps((None, str(error))))  # type: ignore[arg-type]  # bytes are taken too
            wait_for(store, [f"{name}/{other}" for other in range(1, world_size)], LAST_WORDS)
            raise
        finally:
            ALONE.pop()
        store.set(name, pickle.dumps((outcome, None)))  # type: ignore[arg-type]
        return outcome
    wait_for(store, [name])
    received, message = pickle.loads(store.get(name))
    if message is not None:
        store.set(f"{name}/{rank}", "read")
        raise OtherRankError(message)
    return received


def wait_for(store: distributed.Store, names: list[str], seconds: float = math.inf) -> None:
    """Until the store has these, or so long."""
    end, pause = time.monotonic() + seconds, 0.001
    while not store.check(names) and time.monotonic() < end:
        time.sleep(pause)
        pause = min(2 * pause, POLL)


def map_over_ranks(items: Sequence[S], compute: Callable[[S], T], what: str) -> list[T]:
    """`compute` of every item, in order, on every rank: the results of one rank, in a part of its time.

    A rank that is free takes the next items, so that none waits for longer than another's last ones take: put those
    that take long first. Fewer items than ranks are computed by all, as nobody would be faster. What is computed may
    depend on the item alone and should be small; it goes by the store of the group, where no wait times out. An error
    of one rank is an error of all.
    """
    rank, world_size = rank_and_world_size()
    if world_size == 1 or len(items) < world_size:
        return [compute(item) for item in items]
    store, name = distributed.distributed_c10d._get_default_store(), f"tubelet/{next(TURNS)}"
    size = max(1, len(items) // (8 * world_size))  # one question to the store for so many
    made: dict[int, T] = {}
    ALONE.append(name)
    try:
        while (first := size * (store.add(f"{name}/taken", 1) - 1)) < len(items):
            for index in range(first, min(first + size, len(items))):
                made[index] = compute(items[index])
    except BaseException as error:
        store.add(f"{name}/taken", len(items))  # nobody begins another
        store.set(f"{name}/{rank}", pickle.dumps((what, {}, f"rank {rank}: {error}")))  # type: ignore[arg-type]
        raise
    finally:
        ALONE.pop()
    store.set(f"{name}/{rank}", pickle.dumps((what, made, None)))  # type: ignore[arg-type]
    names = [f"{name}/{other}" for other in range(world_size)]
    wait_for(store, names)
    found = [pickle.loads(store.get(each)) for each in names]
    if store.add(f"{name}/read", 1) == world_size:
        for each in (*names, f"{name}/taken", f"{name}/read"):
            store.delete_key(each)
    assert {each for each, _, _ in found} == {what}, f"ranks do different work: {[each for each, _, _ in found]}"
    if messages := [message for _, _, message in found if message is not None]:
        raise OtherRankError(messages[0])
    every = {index: result for _, results, _ in found for index, result in results.items()}
    return [every[index] for index in range(len(items))]


def gather_in_order(own: Iterator[T], total: int, what: str, every: int = 4) -> Iterator[T]:
    """Of `total` items, of which rank r makes number r, r + world size and so on: all of them, in order, on every rank.

    They are exchanged when each rank has made `every` of them. An error of one rank is an error of all. `what` they are
    must be the same everywhere: ranks that do different work would take each other's for their own.
    """
    rank, world_size = rank_and_world_size()
    if world_size == 1:
        yield from own
        return
    for _ in range(0, total, every * world_size):
        made: list[T] = []
        failure: TubeletError | None = None
        try:
            made = list(islice(own, every))
        except TubeletError as error:
            failure = error
        found: list[Any] = [None] * world_size
        message = None if failure is None else f"rank {rank}: {failure}"
        distributed.all_gather_object(found, (what, made, message))
        assert {name for name, _, _ in found} == {what}, f"ranks do different work: {[name for name, _, _ in found]}"
        if failure is not None:
            raise failure
        if messages := [message for _, _, message in found if message is not None]:
            raise OtherRankError(messages[0])
        for round_of_ranks in zip_longest(*(some for _, some, _ in found), fillvalue=MISSING):
            yield from (item for item in round_of_ranks if item is not MISSING)
