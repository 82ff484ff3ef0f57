"""Ranks that are forked from one process which has imported tubelet: a run of several takes seconds."""

import contextlib
import multiprocessing
import os
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["support.ranks", "tubelet.runs.pretrain", "tubelet.runs.finetune", "tubelet.cli"])


@dataclass
class Ranks:
    """Started together, as by a launcher."""

    processes: list[BaseProcess]
    told: list[Path]

    def wait(self, seconds: float = 600.0) -> list[int | None]:
        """Their exit codes; None of one that does not end."""
        try:
            for process in self.processes:
                process.join(seconds)
            return [process.exitcode for process in self.processes]
        finally:
            for process in self.processes:
                process.kill()
                process.join()

    @property
    def said(self) -> str:
        return "".join(path.read_text() for path in self.told)


def start_forked(
    folder: Path, world: int, *words: object, env: dict[str, str] | None = None, by: str = "RANK"
) -> Ranks:
    """`tubelet WORDS ...` as `world` processes; what they say is written into the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    told = [folder / f"rank {rank} of {world}" for rank in range(world)]
    processes = [
        FORKS.Process(target=be, args=(list(map(str, words)), variables | (env or {}), path))
        for variables, path in zip(launched_by(by, world), told, strict=True)
    ]
    for process in processes:
        process.start()
    return Ranks(processes, told)


def run_forked(
    folder: Path, world: int, *words: object, env: dict[str, str] | None = None, by: str = "RANK"
) -> tuple[list[int | None], str]:
    """The exit codes of all, and what was said."""
    ranks = start_forked(folder, world, *words, env=env, by=by)
    return ranks.wait(), ranks.said


def call_forked(folder: Path, world: int, called: Callable[..., None], *arguments: object) -> tuple[list[Any], str]:
    """The same of a function, called in each of `world` processes that have joined each other."""
    told = [folder / f"rank {rank} of {world}" for rank in range(world)]
    processes = [
        FORKS.Process(target=join, args=(called, arguments, variables, path))
        for variables, path in zip(launched_by("RANK", world), told, strict=True)
    ]
    for process in processes:
        process.start()
    ranks = Ranks(processes, told)
    return ranks.wait(), ranks.said


def launched_by(by: str, world: int) -> list[dict[str, str]]:
    """What a launcher tells each rank."""
    port = {"MASTER_PORT": str(free_port())}
    if by == "srun":
        job = {"SLURM_JOB_ID": "9", "SLURM_STEP_ID": "0", "SLURM_NTASKS": str(world), "SLURM_JOB_NODELIST": "here"}
        return [port | job | {"SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank)} for rank in range(world)]
    port["MASTER_ADDR"] = "127.0.0.1"
    return [port | {"RANK": str(rank), "WORLD_SIZE": str(world)} for rank in range(world)]


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def be(words: list[str], variables: dict[str, str], told: Path) -> None:
    """A process of its own for the command line, with these variables."""
    from tubelet.cli import entry

    become(variables, told)
    sys.argv = ["tubelet", *words]
    with contextlib.suppress(AttributeError):
        sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    entry()


def join(called: Callable[..., None], arguments: tuple[object, ...], variables: dict[str, str], told: Path) -> None:
    from tubelet.distributed import process_group

    become(variables, told)
    with process_group():
        called(*arguments)


def become(variables: dict[str, str], told: Path) -> None:
    """One of the ranks, with one thread; what it says goes into the file."""
    import torch

    with told.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.environ |= variables
    torch.set_num_threads(1)
