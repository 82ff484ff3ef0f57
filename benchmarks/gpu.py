"""On a GPU: utilisation, clips a second and memory of ViT-S, B, L, H and g, eager and compiled, synthetic and fed.

    python -m benchmarks gpu --size S224,B224,L224 --batch 128 --workers 16
    python -m benchmarks gpu --size B224 --ratio .9 --batch 32,64,128,256,512

Every row has a process of its own. Utilisation is by the closed formula, against the product of matrices in the same
process. After the warm-up a step runs with `torch.cuda.set_sync_debug_mode("error")`: a step that makes the host wait
is named. Fed: batches of the loader from mp4 with `--workers` processes, every decoded piece four times; cores needed
are those that keep up with the synthetic rate. Without a CUDA device nothing is measured, and that is said.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import chz
import torch

from benchmarks import cases, plots, tables, timing
from benchmarks.cases import SIZES, Case
from benchmarks.implementations import Clips, Tubelet, batch_of, recipe_of
from benchmarks.options import common, in_a_process, numbers, words_of
from benchmarks.pipeline import REPEATS, batches, corpus_in
from tubelet.loading.augment import Augment
from tubelet.loading.data import Data
from tubelet.video.sampling import Sampling

NOTHING = "no CUDA device is here: nothing was measured. Run this on a machine with a GPU."
LARGE = ("S224", "B224", "L224", "H224", "g224")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--size", type=words_of([*SIZES]), default=[*LARGE], help=f"of {', '.join(SIZES)}")
    parser.add_argument("--ratio", type=numbers, default=[0.9, 0.6], help="shares that tube masks hide")
    parser.add_argument("--batch", type=numbers, default=[128.0], help="clips of a step, each in turn")
    parser.add_argument("--steps", type=int, default=20, help="steps of the fed measurement (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=16, help="processes that load (default: %(default)s)")
    parser.add_argument("--videos", type=int, default=64, help="that are written for loading (default: %(default)s)")
    common(parser)
    parser.set_defaults(device="cuda")


def run(options: argparse.Namespace) -> None:
    if not torch.cuda.is_available():
        sys.exit(NOTHING)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        corpus_in(Path(folder) / "corpus", 30, options.videos)
        for size in options.size:
            for ratio in options.ratio:
                for batch in map(int, options.batch):
                    for compiled in (False, True):
                        case = Case(size, ratio, "bf16", batch)
                        rows.append(in_a_process(measure, case, compiled, options, Path(folder) / "corpus"))
                        print(rows[-1], file=sys.stderr, flush=True)
    tables.write(options.out, rows, rows, [torch.cuda.get_device_name()], options.threads, options.device)
    if options.out:
        rates = {
            f"{row['case']} {row['blocks']}": float(row["clips/s"]) for row in rows if row.get("clips/s")
        }  # fmt: skip
        plots.values(rates, "clips a second", options.out.with_suffix(".svg"))


def measure(case: Case, compiled: bool, options: argparse.Namespace, corpus: Path) -> dict[str, Any]:
    """One row, in this process."""
    device = torch.device(options.device)
    row: dict[str, Any] = {
        "case": str(case), "batch": case.batch, "blocks": "compiled" if compiled else "eager"
    }  # fmt: skip
    try:
        return row | measured(case, compiled, options, corpus, device)
    except torch.OutOfMemoryError:
        return row | {"remark": "out of memory"}


def measured(
    case: Case, compiled: bool, options: argparse.Namespace, corpus: Path, device: torch.device
) -> dict[str, Any]:
    config = chz.replace(recipe_of(case), compile=compiled, batch=case.batch)
    tubelet = Tubelet(config, case.dtype, device)
    clips = Clips.of_batch(batch_of(case.of.clip, case.batch).to(device))
    torch.cuda.reset_peak_memory_stats()
    taken = timing.in_turns({"step": lambda: tubelet.step(clips)}, device, options.rounds)["step"]
    rate = case.batch / timing.median(taken)
    memory = torch.cuda.max_memory_allocated()
    peak = timing.gemm_peak(torch.bfloat16, device, (4096, 8192))
    flops = cases.step_flops(case.of, case.of.visible(case.ratio))
    fed, seconds = feed(tubelet, case, options, corpus)
    return {
        "clips/s": f"{rate:.0f}",
        "utilisation": f"{rate * flops / peak:.0%}",
        "GEMM peak, TF/s": f"{peak / 1e12:.0f}",
        "GiB": f"{memory / 2**30:.1f}",
        "fed, clips/s": f"{fed:.0f}",
        "fed over synthetic": f"{fed / rate:.0%}",
        "cores needed": f"{rate * seconds:.1f}",
        "host waits in a step": waits(tubelet, clips),
    }


def waits(tubelet: Tubelet, clips: Clips) -> str:
    """What made the host wait for the device in a step; "none" where nothing did."""
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        tubelet.step(clips)
    except RuntimeError as error:
        return str(error).splitlines()[0]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return "none"


def feed(tubelet: Tubelet, case: Case, options: argparse.Namespace, folder: Path) -> tuple[float, float]:
    """Clips a second from the loader, and the processor seconds that a clip takes to load."""
    from tubelet.corpus.table import Corpus

    data = Data(sampling=Sampling(stride=4), augment=Augment(repeats=REPEATS), workers=options.workers)
    corpus = Corpus.open(folder)
    loaded = batches(corpus, case.of.clip, data, case.batch)
    for _ in range(timing.WARM_UP):
        tubelet.step(Clips.of_batch(next(loaded).to(tubelet.device)))
    torch.cuda.synchronize()
    began = time.perf_counter()
    for _ in range(options.steps):
        tubelet.step(Clips.of_batch(next(loaded).to(tubelet.device)))
    torch.cuda.synchronize()
    rate = options.steps * case.batch / (time.perf_counter() - began)
    here = batches(corpus, case.of.clip, chz.replace(data, workers=0), case.batch)
    spent = timing.take(lambda: next(here), torch.device("cpu")).seconds
    return rate, spent / case.batch
