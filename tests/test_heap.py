import ctypes
import os
import subprocess
import sys

import pytest

from tubelet.heap import keep_freed_memory

STEPS = """
import ctypes, sys, torch
from tubelet.heap import keep_freed_memory

class Info(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in (
        "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")]

mallinfo2 = ctypes.CDLL(None).mallinfo2  # what glibc itself counts: not every kernel counts page faults
mallinfo2.restype = Info

def held_after_a_step():
    before = mallinfo2().arena + mallinfo2().hblkhd
    tensors = [torch.ones(4 << 20) for _ in range(8)]
    del tensors
    return (mallinfo2().arena + mallinfo2().hblkhd - before) >> 20

print(held_after_a_step(), keep_freed_memory(), held_after_a_step())
"""


def steps(**variables: str) -> list[str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")} | variables
    return subprocess.run(
        [sys.executable, "-c", STEPS], env=env, check=True, capture_output=True, text=True
    ).stdout.split()


@pytest.mark.skipif(not keep_freed_memory() or not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="needs glibc 2.33")
def test_what_a_step_has_freed_stays_with_the_process_for_the_next_step():
    before, kept, after = steps()
    assert kept == "True"
    assert int(before) < 64 < 100 < int(after)  # MiB of 128


def test_who_has_said_how_memory_is_kept_has_decided_it():
    assert steps(MALLOC_TRIM_THRESHOLD_="131072")[1] == "False"
