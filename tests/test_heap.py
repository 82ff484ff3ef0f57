import os
import resource
import subprocess
import sys

import pytest

from tubelet.heap import keep_freed_memory

STEPS = """
import resource, torch
from tubelet.heap import keep_freed_memory
from tubelet.models import Vit
from tubelet.types import Clip

torch.set_num_threads(1)
encoder = Vit(width=64, depth=2, heads=2).build(Clip(size=64))
video = torch.zeros(16, 3, 16, 64, 64, dtype=torch.uint8)

def faults():
    for step in range(6):
        if step == 3:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        encoder.encode(video).mean().backward()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

print(faults(), keep_freed_memory(), faults())
"""


def steps(**variables: str) -> list[str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")} | variables
    return subprocess.run(
        [sys.executable, "-c", STEPS], env=env, check=True, capture_output=True, text=True
    ).stdout.split()


@pytest.mark.skipif(not hasattr(resource, "RUSAGE_SELF") or not keep_freed_memory(), reason="needs glibc")
def test_the_next_step_uses_freed_memory_again_without_page_faults():
    before, kept, after = steps()
    assert kept == "True"
    assert int(after) < int(before) / 10


def test_who_has_said_how_memory_is_kept_has_decided_it():
    assert steps(MALLOC_TRIM_THRESHOLD_="131072")[1] == "False"
