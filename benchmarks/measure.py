"""One case: a training step, a forward pass and features, of tubelet and of others in turns, in one process.

Every case is checked before it is timed: with the same weights, clips and masks the loss of every implementation must
be tubelet's within 1e-6 and every gradient within 1e-5 (fp32), and tubelet's bf16 gradients may be no further from the
fp32 ones than 1.1 times transformers'. A row that fails is void. Start reading at `measure`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from benchmarks import cases, timing
from benchmarks.cases import Case
from benchmarks.checkouts import CHECKOUTS
from benchmarks.equality import Equality, compare, voided
from benchmarks.implementations import Clips, Implementation, Tubelet, batch_of, clips_for, recipe_of
from benchmarks.peers import Compiled, Transformers
from benchmarks.saved import saved_per_clip
from benchmarks.timing import Taken

MODES = ("step", "forward", "features")
PEERS = ("transformers", "compiled", *CHECKOUTS)
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Options:
    """What is measured of every case, and how often."""

    peers: Mapping[str, Path | None]  # by name; the path of a checkout, where it is one
    modes: Sequence[str] = MODES
    rounds: int = 7
    threads: int = 1
    device: str = "cpu"
    least: float = 0.5  # seconds of a figure
    sides: Sequence[int] = (1024, 2048)  # of the matrices whose product is the peak


@dataclass(frozen=True)
class Found:
    """What one case gave."""

    case: Case
    taken: Mapping[str, Mapping[str, Sequence[Taken]]]  # by mode and implementation
    equal: Mapping[str, Equality]
    saved: Mapping[str, int]  # bytes a clip
    peak: float  # FLOPs a second of a matrix product
    absent: Mapping[str, str] = field(default_factory=dict)  # a peer: why
    void: Mapping[str, str] = field(default_factory=dict)  # an implementation: why its row is none
    load: float = 0.0


def measure(case: Case, options: Options) -> Found:
    """Everything of one case, in this process."""
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    tubelet = Tubelet(recipe_of(case), case.dtype, device)
    peers, absent = build_peers(case, options, tubelet)
    everyone = [tubelet, *peers]
    clips = {count: clips_for(tubelet, batch_of(case.of.clip, count)) for count in {1, 2, case.batch}}
    equal = compare(tubelet, [one for one in peers if one.shared is None], clips[case.batch])
    saved = {
        one.name: saved_per_clip(lambda count, one=one: one.loss(clips[count]), one.model)  # type: ignore[misc]
        for one in everyone
        if one.shared is None
    }
    peak = timing.gemm_peak(DTYPES[case.dtype], device, options.sides)
    taken = {}
    for mode in options.modes:
        works = {one.name: work(one, mode, clips[case.batch]) for one in everyone if mode in one.modes}
        taken[mode] = timing.in_turns(works, device, options.rounds, options.least)
        peak = max(peak, timing.gemm_peak(DTYPES[case.dtype], device, options.sides))
    equal |= {one.name: equal[one.shared.name] for one in everyone if one.shared is not None}
    void = {one.name: why for one in everyone if (why := voided(equal, one.name))}
    return Found(case, taken, equal, saved, peak, absent, void, load())


def work(one: Implementation, mode: str, clips: Clips) -> timing.Work:
    method = getattr(one, mode)
    return lambda: method(clips)


def build_peers(case: Case, options: Options, tubelet: Tubelet) -> tuple[list[Implementation], dict[str, str]]:
    """Those that are asked for, with tubelet's weights; and why one is absent."""
    state = tubelet.task.state_dict()
    built: list[Implementation] = []
    absent: dict[str, str] = {}
    for name, path in options.peers.items():
        try:
            if name == "transformers":
                built.append(Transformers(case, state, tubelet.device))
            elif name == "compiled":
                plain = next((one for one in built if isinstance(one, Transformers)), None)
                if plain is None:
                    absent[name] = "needs transformers before it"
                else:
                    built.append(Compiled(plain))
            elif path is None:
                absent[name] = f"no checkout; name it with {name}=PATH"
            else:
                built.append(CHECKOUTS[name](path, case, state, tubelet.device))
        except (ImportError, FileNotFoundError, ValueError) as error:
            absent[name] = str(error)
    return built, absent


def load() -> float:
    return float(Path("/proc/loadavg").read_text().split()[0]) if Path("/proc/loadavg").exists() else 0.0


def flops(case: Case, mode: str) -> float:
    """Of one clip, by the closed formula."""
    visible = case.of.visible(case.ratio)
    if mode == "features":
        return cases.feature_flops(case.of)
    return (cases.step_flops if mode == "step" else cases.forward_flops)(case.of, visible)


def rows(found: Found) -> list[dict[str, Any]]:
    """A row an implementation and mode; the ratio is its time over tubelet's, round by round."""
    rows = []
    for mode, taken in found.taken.items():
        best = best_peer(found, mode)
        for name, times in taken.items():
            seconds = timing.median(times) / found.case.batch
            against = None if name == "tubelet" else timing.ratio(times, taken["tubelet"])
            busy = timing.wall_over_processor(times)
            rows.append(
                {
                    "case": str(found.case),
                    "mode": mode,
                    "implementation": name,
                    "s a clip": f"{seconds:.3g}",
                    "its time over tubelet's": "" if against is None else str(against),
                    "verdict": verdict(found, name, against, name == best),
                    "utilisation": f"{flops(found.case, mode) / seconds / found.peak:.0%}",
                    "MiB a clip": saved_text(found, name) if mode == "step" else "",
                    "wall / processor": f"{busy:.2f}" + (" (busy)" if busy > timing.BUSY else ""),
                    "equal": str(found.equal.get(name, "")) if mode == "step" else "",
                }
            )
    return rows


def verdict(found: Found, name: str, against: timing.Ratio | None, best: bool) -> str:
    if name in found.void and name not in found.equal:
        return found.void[name]
    if why := found.void.get(name) or found.void.get("tubelet"):
        return f"void: {why}"
    if against is None:
        return ""
    text = "no difference" if not against.distinct else "tubelet is faster" if against.low > 1 else "tubelet is slower"
    return f"{text} (best peer)" if best else text


def best_peer(found: Found, mode: str) -> str | None:
    """The fastest of the others, of those whose row is not void."""
    taken = found.taken[mode]
    valid = [name for name in taken if name != "tubelet" and name not in found.void]
    return min(valid, key=lambda name: timing.median(taken[name]), default=None)


def saved_text(found: Found, name: str) -> str:
    return f"{found.saved[name] / 2**20:.0f}" if name in found.saved else ""


def raw(found: Found) -> list[dict[str, Any]]:
    """A row a figure."""
    return [
        {
            "case": str(found.case),
            "batch": found.case.batch,
            "mode": mode,
            "implementation": name,
            "round": number,
            "seconds": one.seconds,
            "wall": one.wall,
            "flops_a_clip": flops(found.case, mode),
            "gemm_flops_a_second": found.peak,
            "saved_bytes_a_clip": found.saved.get(name),
            "void": found.void.get(name, ""),
            "load": found.load,
        }
        for mode, taken in found.taken.items()
        for name, times in taken.items()
        for number, one in enumerate(times)
    ]
