"""Where the time of a step goes: its operators in groups, of tubelet and of others.

    python -m benchmarks operators --size B224 --ratio .9 --dtype bf16,fp32

By PyTorch's profiler, which counts the time of an operator without that of those it calls; three steps after two that
warm up. On a shared machine it is time on the wall, so the shares are approximate. The last line is what the closed
formula would take at the speed of the fastest matrix product.
"""

import argparse
from collections import Counter
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks import measure, plots, tables, timing
from benchmarks.cases import DTYPES, SIZES, Case
from benchmarks.implementations import Implementation, Tubelet, batch_of, clips_for, recipe_of
from benchmarks.options import common, in_a_process, numbers, words_of
from benchmarks.step import peers

GROUPS = {
    "matrix products": ("aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm", "mkldnn::_linear_pointwise"),
    "attention, sdpa": ("flash_attention", "scaled_dot_product"),
    "tiles in Python": ("tiled",),
    "softmax": ("softmax",),
    "GELU": ("gelu",),
    "layer norm": ("layer_norm",),
    "copies and casts": ("aten::copy_", "aten::cat", "aten::clone", "aten::index_select", "aten::fill_", "aten::zero_"),
    "sums, products and residuals": ("aten::add", "aten::mul", "aten::sum", "aten::sub", "aten::div"),
    "convolution": ("convolution",),
    "AdamW": ("_fused_adamw_",),
}
STEPS = 3


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--size", type=words_of([*SIZES]), default=["B224"], help=f"of {', '.join(SIZES)}")
    parser.add_argument("--ratio", type=numbers, default=[0.9], help="shares that tube masks hide")
    parser.add_argument("--dtype", type=words_of(DTYPES), default=[*DTYPES], help=f"of {', '.join(DTYPES)}")
    parser.add_argument("--peers", type=peers, default=peers("transformers"), metavar="NAME[=CHECKOUT],...")
    parser.add_argument("--batch", type=int, default=1, help="clips of a step (default: %(default)s)")
    common(parser, rounds=1)


def run(options: argparse.Namespace) -> None:
    cases = [Case(s, r, d, options.batch) for s in options.size for d in options.dtype for r in options.ratio]
    settings = measure.Options(options.peers, threads=options.threads, device=options.device)
    found = [row for case in cases for row in in_a_process(shares, case, settings)]
    tables.write(options.out, [in_percent(row) for row in found], found, [], options.threads, options.device)
    if options.out:
        named = {f"{row['case']}: {row['implementation']}": row for row in found}
        parts = {group: [row.get(group, 0.0) for row in named.values()] for group in (*GROUPS, "other")}
        plots.stacked([*named], parts, "share of a step", options.out.with_suffix(".svg"))


def shares(case: Case, options: measure.Options) -> list[dict[str, Any]]:
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    tubelet = Tubelet(recipe_of(case), case.dtype, device)
    others, _ = measure.build_peers(case, options, tubelet)
    clips = clips_for(tubelet, batch_of(case.of.clip, case.batch))
    least = (
        case.batch * measure.flops(case, "step") / timing.gemm_peak(measure.DTYPES[case.dtype], device, (1024, 2048))
    )
    return [row_of(case, one, clips, device, least) for one in (tubelet, *others)]


def row_of(case: Case, one: Implementation, clips: Any, device: torch.device, least: float) -> dict[str, Any]:
    taken = [timing.take(lambda: one.step(clips), device) for _ in range(timing.WARM_UP + 1)][-1]
    on_gpu = device.type == "cuda"
    with profile(activities=[ProfilerActivity.CUDA if on_gpu else ProfilerActivity.CPU]) as seen:
        for _ in range(STEPS):
            one.step(clips)
    spent: Counter[str] = Counter()
    for event in seen.key_averages():
        spent[group_of(event.key)] += event.self_device_time_total if on_gpu else event.self_cpu_time_total
    whole = spent.total()
    return {
        "case": str(case),
        "implementation": one.name,
        "s a clip": taken.seconds / case.batch,
        **{group: spent[group] / whole for group in (*GROUPS, "other")},
        "arithmetic at the GEMM peak": least / taken.seconds,
    }


def group_of(operator: str) -> str:
    """The first group one of whose names an operator contains."""
    name = operator.lower()
    return next((group for group, parts in GROUPS.items() if any(part in name for part in parts)), "other")


def in_percent(row: dict[str, Any]) -> dict[str, str]:
    return {
        name: value if isinstance(value, str) else f"{value:.3g}" if name.startswith("s ") else f"{value:.0%}"
        for name, value in row.items()
    }
