"""A training step of whichever tubelet is on the path, as often as asked: `benchmarks/against.py` starts two of them.

It reads a line of JSON that says what, then a number of calls a line, and answers each with processor and wall seconds.
It keeps to names that have been in tubelet for long, so that older checkouts can be asked too.
"""

import contextlib
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import chz
import torch

from tubelet import recipes
from tubelet.maskers import Tube
from tubelet.models.decoder import Decoder
from tubelet.models.encoder import Vit
from tubelet.objectives import Pixels
from tubelet.types import Batch, Clip

TEXT_WIDTH = 64


def main() -> None:
    wanted = json.loads(sys.stdin.readline())
    with contextlib.suppress(ImportError):  # as the loop does, where it does
        from tubelet.heap import keep_freed_memory

        keep_freed_memory()
    torch.set_num_threads(wanted["threads"])
    step = step_of(wanted)
    print("ready", flush=True)
    for line in sys.stdin:
        wall, spent = time.perf_counter(), time.process_time()
        for _ in range(calls := int(line)):
            step()
        print(
            json.dumps([(time.process_time() - spent) / calls, (time.perf_counter() - wall) / calls]), flush=True
        )  # fmt: skip


def step_of(wanted: dict[str, Any]) -> Callable[[], None]:
    """Forward, backward, the norm of the gradient, and the optimizer: what the loop does without loading."""
    torch.manual_seed(0)
    config = config_of(wanted)
    task = config.build(TEXT_WIDTH)
    optimizer = config.optim.build(task)
    batch = batch_of(config, wanted["batch"] or config.batch)

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=wanted["dtype"] == "bf16"):
            loss = task(batch).loss
        loss.backward()
        config.optim.clip(task)
        optimizer.step()

    return step


def config_of(wanted: dict[str, Any]) -> Any:
    if "recipe" in wanted:
        return getattr(recipes, wanted["recipe"])()
    return chz.replace(
        recipes.videomae(),
        clip=Clip(**wanted["clip"]),
        encoder=Vit(**wanted["encoder"]),
        masker=Tube(ratio=wanted["ratio"]),
        objectives={"pixels": Pixels(decoder=Decoder(**wanted["decoder"]))},
    )


def batch_of(config: Any, count: int) -> Batch:
    random, clip = torch.Generator().manual_seed(0), config.clip
    numbers = torch.arange(count)
    return Batch(
        video=torch.randint(0, 256, (count, 3, clip.frames, clip.size, clip.size), dtype=torch.uint8, generator=random),
        key=numbers,
        ids=tuple(map(str, range(count))),
        text=torch.randn(count, TEXT_WIDTH, generator=random),
        caption=numbers,
        source=numbers,
        maps={"text": torch.rand(count, clip.num_tubelets, generator=random)},
    )


if __name__ == "__main__":
    main()
