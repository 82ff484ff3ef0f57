"""Which launcher started this process, and as which of how many. Imports no torch: every command asks.

Processes that were started together and do not know of each other would each do the whole work, and write over one
another. So what a launcher says is either joined (`torchrun`, any that sets RANK and WORLD_SIZE, `srun`, `mpirun`) or
refused. Start reading at `launched`.
"""

import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product

from tubelet.errors import RunError

MPI = (  # rank, size, rank on this node, as Open MPI, MVAPICH and those of MPICH's family name them
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK"),
    ("MV2_COMM_WORLD_RANK", "MV2_COMM_WORLD_SIZE", "MV2_COMM_WORLD_LOCAL_RANK"),
    ("PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID"),
)
SAYS = (  # what tells a process that it is one of several
    "TORCHELASTIC_RUN_ID", "RANK", "WORLD_SIZE", "LOCAL_RANK", "SLURM_PROCID", *sum(MPI, ()),
)  # fmt: skip
PORTS = range(10_000, 30_000)  # below those that Linux hands out itself


@dataclass(frozen=True)
class Launch:
    """This process among those that were started together."""

    rank: int = 0
    world: int = 1
    local_rank: int = 0
    by: str = ""
    step: bool = True  # False: tasks of a Slurm job that no `srun` has started

    def meeting(self) -> tuple[str, int]:
        """Host and port of the first rank: MASTER_ADDR and MASTER_PORT, else what Slurm says of the job."""
        env = os.environ
        if not self.step:
            raise RunError(
                f"Slurm gives this job {self.world} tasks, and this process is none that srun started; start them with "
                "`srun tubelet ...`, or ask for one task (--ntasks=1) to train in one process"
            )
        slurm = self.by == "srun"
        address = env.get("MASTER_ADDR") or (slurm and first_host(env)) or ""
        port = env.get("MASTER_PORT") or (slurm and job_port(env)) or ""
        if missing := [name for name, value in (("MASTER_ADDR", address), ("MASTER_PORT", port)) if not value]:
            raise RunError(
                f"this is rank {self.rank} of {self.world} by {self.by}, and {' and '.join(missing)} "
                f"{'are' if len(missing) > 1 else 'is'} not set; set MASTER_ADDR to the host of rank 0 and MASTER_PORT "
                f"to a free port there, or start with `torchrun --nproc-per-node {self.world} -m tubelet ...`"
            )
        if not str(port).isdecimal() or not 0 < int(port) < 1 << 16:
            raise RunError(f"MASTER_PORT={port} is no port; set it to a free one of rank 0, from 1024 to 65535")
        return address, int(port)


def launched() -> Launch:
    """What the launcher's variables say; `RunError` where they say only half of it, or contradict each other."""
    env = os.environ
    if "TORCHELASTIC_RUN_ID" in env:
        return launch(env, "torchrun", "RANK", "WORLD_SIZE", "LOCAL_RANK")
    tasks = by_mpi(env)
    tasks = tasks if tasks.world > 1 else by_slurm(env)
    given = [name for name in ("RANK", "WORLD_SIZE") if name in env]
    if len(given) == 2:
        found = launch(
            env, "RANK and WORLD_SIZE", "RANK", "WORLD_SIZE", "LOCAL_RANK" if "LOCAL_RANK" in env else "SLURM_LOCALID"
        )
        if found.world == 1 and tasks.world > 1:
            raise RunError(
                f"WORLD_SIZE=1, and this is task {tasks.rank} of {tasks.world} of {tasks.by}: each would do the whole "
                "work; unset RANK and WORLD_SIZE, and they join one run"
            )
        return found if found.world > 1 else Launch()
    if given == ["WORLD_SIZE"] and read_number(env, "WORLD_SIZE") == tasks.world:
        return tasks
    if given == ["RANK"] and tasks.world > 1 and read_number(env, "RANK") == tasks.rank:
        return tasks
    if given:
        missing = "RANK" if given == ["WORLD_SIZE"] else "WORLD_SIZE"
        raise RunError(
            f"{given[0]}={env[given[0]]} is set and {missing} is not, so that nobody knows which of how many processes "
            f"this is; set both, with MASTER_ADDR and MASTER_PORT, or neither (`env -u {given[0]} tubelet ...`)"
        )
    return tasks


def first_alone(verb: str) -> bool:
    """Whether this process does the work of a command that one process does: the first rank does, as if it had been
    started alone; the others have nothing to do."""
    found = launched()
    if found.rank:
        return False
    if found.world > 1 and found.step:
        print(f"tubelet {verb} works in one process: rank 0 does it, {found.world - 1} have no part", file=sys.stderr)
    for name in SAYS:
        os.environ.pop(name, None)
    return True


def by_mpi(env: Mapping[str, str]) -> Launch:
    """Where a job of one task counts as none: its variables reach what it starts in turn."""
    for rank, size, local in MPI:
        if rank in env and size in env and read_number(env, size) > 1:
            return launch(env, "mpirun", rank, size, local)
    return Launch()


def by_slurm(env: Mapping[str, str]) -> Launch:
    """A shell of `salloc` is no task. In a batch script outside `srun`, and in it alone, there is a task without a
    step: nobody can tell whether the other tasks were meant to come."""
    size = "SLURM_STEP_NUM_TASKS" if "SLURM_STEP_NUM_TASKS" in env else "SLURM_NTASKS"
    if "SLURM_PROCID" not in env or size not in env or read_number(env, size) == 1:
        return Launch()
    step = bool({"SLURM_STEP_ID", "SLURM_STEPID", "SLURM_STEP_NUM_TASKS"} & set(env))
    return launch(env, "srun", "SLURM_PROCID", size, "SLURM_LOCALID", step)


def launch(env: Mapping[str, str], by: str, rank: str, world: str, local: str, step: bool = True) -> Launch:
    found = Launch(
        read_number(env, rank), read_number(env, world), read_number(env, local if local in env else rank), by, step
    )
    if found.world < 1 or found.rank >= found.world:
        raise RunError(
            f"{rank}={env[rank]} and {world}={env[world]}: ranks count from 0 to {world} - 1; mend or unset them"
        )
    return found


def read_number(env: Mapping[str, str], name: str) -> int:
    if not env[name].strip().isdecimal():
        raise RunError(f"{name}={env[name]} is no number from 0 up; mend or unset it")
    return int(env[name])


def first_host(env: Mapping[str, str]) -> str | None:
    """Of the step, where its first task runs; this machine where there is no other."""
    for kind, count in (("STEP", "SLURM_STEP_NUM_NODES"), ("JOB", "SLURM_JOB_NUM_NODES")):
        if hosts := expand(env.get(f"SLURM_{kind}_NODELIST", "")):
            return "127.0.0.1" if len(hosts) == 1 or env.get(count) == "1" else hosts[0]
    return None


def job_port(env: Mapping[str, str]) -> str | None:
    """The same for every task of a step, another for another."""
    job, step = env.get("SLURM_JOB_ID", ""), env.get("SLURM_STEP_ID", env.get("SLURM_STEPID", "0"))
    if not job.isdecimal() or not step.isdecimal():
        return None
    return str(PORTS[(int(job) * 31 + int(step)) % len(PORTS)])


def expand(nodes: str) -> list[str]:
    """The hosts of a Slurm list: `node[01-03,7],login` is node01, node02, node03, node7, login."""
    hosts = []
    for part in re.findall(r"(?:[^,\[]|\[[^\]]*\])+", nodes):
        pieces = re.split(r"\[([^\]]*)\]", part)  # text and the content of brackets, in turns
        choices = [expand_range(piece) if index % 2 else [piece] for index, piece in enumerate(pieces)]
        hosts += ["".join(chosen) for chosen in product(*choices)]
    return hosts


def expand_range(ranges: str) -> list[str]:
    """`01-03,7` is 01, 02, 03, 7: as wide as the range's first number is written."""
    found = []
    for piece in ranges.split(","):
        first, _, last = piece.partition("-")
        if not last:
            found.append(first)
        elif first.isdecimal() and last.isdecimal():
            found += [f"{value:0{len(first)}d}" for value in range(int(first), int(last) + 1)]
    return found
