"""What fine-tuning selects: the learning rate and the step that were best on the held-out part of train."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tubelet.results import ACCURACY, BALANCED
from tubelet.run_record import Evaluated, read_log_parts
from tubelet.runs.folder import LOG

HELD_OUT = "held_out"  # the name of what is measured on the way, in log.jsonl


def below(root: Path, rate: float) -> Path:
    """The folder of one learning rate."""
    return root / f"rate-{rate:g}"


def logged_measurements(folder: Path) -> list[Evaluated]:
    """The measurements on the held-out part that are logged."""
    return read_log_parts(folder / LOG)[1]


def order_of(one: Evaluated) -> tuple[float, float, int]:
    """What is compared: (balanced) accuracy, then cross-entropy, then who came first; where nothing is held out, who
    came last."""
    if not one.metrics:
        return 0.0, 0.0, one.step
    return accuracy_of(one), -one.metrics["cross_entropy"].value, -one.step


def accuracy_of(one: Evaluated) -> float:
    """Balanced where classes are uneven."""
    return one.metrics[BALANCED if BALANCED in one.metrics else ACCURACY].value


@dataclass(frozen=True)
class Chosen:
    """The rate and the step whose weights are kept, and what every rate came to at its best."""

    rate: float
    step: int
    accuracy: float | None  # (balanced) on the held-out part; None where nothing is held out
    grid: Mapping[float, tuple[float, int]]  # rate -> best held-out accuracy, at which step
    ties: tuple[str, ...] = ()  # sentences

    @property
    def summary(self) -> str:
        found = f"learning rate {self.rate:g}, step {self.step}"
        if self.accuracy is None:
            return f"{found}, the last: nothing was held out to select on"
        return f"{found}, {self.accuracy:.1%} on the held-out part of train"


def best_candidate(grid: Iterable[float], root: Path, clips: int) -> Chosen:
    """Equal rates: the smaller one. `clips` are held out."""
    every = {rate: logged_measurements(below(root, rate)) for rate in grid}
    top = {rate: max(records, key=order_of) for rate, records in every.items()}
    rate = max(sorted(top), key=lambda rate: order_of(top[rate])[:2])
    step = top[rate].step
    if not top[rate].metrics:
        return Chosen(rate, step, None, {})
    accuracy = {rate: accuracy_of(one) for rate, one in top.items()}
    summary = {rate: (accuracy[rate], one.step) for rate, one in top.items()}
    rates = [one for one in sorted(top) if accuracy[one] == accuracy[rate]]
    steps = sorted({one.step for one in every[rate] if accuracy_of(one) == accuracy[rate]})
    ties = (
        *tie_sentence("learning rates", rates, rate, accuracy[rate], clips, "smaller rate"),
        *tie_sentence(f"steps at learning rate {rate:g}", steps, step, accuracy[rate], clips, "earlier step"),
    )
    return Chosen(rate, step, accuracy[rate], summary, ties)


def tie_sentence(what: str, equal: list[Any], taken: Any, accuracy: float, clips: int, simpler: str) -> list[str]:
    if len(equal) < 2:
        return []
    return [
        f"{what} {', '.join(f'{one:g}' for one in equal)} tie at {accuracy:.1%} on the {clips} held-out clips; taken "
        f"is the one of the lowest cross-entropy there (equal too: the {simpler}), {taken:g}"
    ]
