"""The step of a pretraining that is kept: the best on held-out clips of train, for more can make an encoder worse.

After every `evaluate_every` steps the probe that `keep_best` names is fitted on a part of train and scored on groups of
train that are held out of it, as it selects its setting; test decides nothing. The weights of the best step so far
stand in `best.safetensors`, beside the checkpoint that a run resumes from. Start reading at `KeepBest`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from tubelet.checkpoint import BEST, CHECKPOINT, checkpoint_step, load_weights, save_weights
from tubelet.distributed import broadcast_from_rank0, is_rank0
from tubelet.log import Log
from tubelet.results import Metric, Result
from tubelet.run_record import Evaluated, read_log_parts
from tubelet.runs.folder import LOG
from tubelet.runs.selection import HELD_OUT


@dataclass(frozen=True)
class KeepBest:
    """Keeps the weights of a task in a run folder where they are the best so far."""

    folder: Path
    name: str  # of the probe

    def see(self, step: int, results: Mapping[str, Result], task: nn.Module, log: Log) -> None:
        """Logs how good this step is on the held-out clips, and keeps its weights where that is the best."""
        result = results.get(self.name)
        value = None if result is None else held_out_score(result)
        if result is None or value is None or not is_rank0():
            return
        best = self.best
        log.write("evaluation", step, name=HELD_OUT, metrics={result.measure: Metric(value)})
        if step and (best is None or value > score_of(best)):
            save_weights(self.folder / BEST, task, step)

    @property
    def measured(self) -> list[Evaluated]:
        """What is logged, in order of steps; of an untrained encoder too."""
        path = self.folder / LOG
        return [one for one in read_log_parts(path)[1] if one.name == HELD_OUT] if path.exists() else []

    @property
    def best(self) -> Evaluated | None:
        """The best step of those that were trained, the earlier one of equals."""
        return max((one for one in self.measured if one.step), key=score_of, default=None)

    def load(self, task: nn.Module, last: int) -> int:
        """Fills the task with the weights that are kept, and says of which step they are; the last where none is."""
        if broadcast_from_rank0(lambda: self.best is not None):
            return load_weights(self.folder / BEST, task)
        return last


def said_of_best(folder: Path, name: str) -> str:
    """Which step is kept, and whether more steps made it worse."""
    keeper = KeepBest(folder, name)
    best, measured = keeper.best, keeper.measured
    if best is None:
        return f"keep_best={name} could not be measured on held-out clips of train: the last step is kept"
    [measure] = best.metrics
    what, last = measure.replace("_", " "), checkpoint_step(folder / CHECKPOINT)
    kept = f"kept is step {best.step}, the best of {last} by {what} of {name} on held-out clips of train"
    score = 100 * score_of(best)
    ends = [f"{100 * score_of(one):.1f} after {one.step}" for one in measured if one.step == last > best.step]
    starts = [f"{100 * score_of(one):.1f} untrained" for one in measured if one.step == 0]
    said = f"{kept} ({', '.join([f'{score:.1f}', *ends, *starts])})"
    if ends and score_of(measured[-1]) < score_of(best):
        said += ": more steps made it worse"
    if starts and score_of(measured[0]) >= score_of(best):
        said += "; no step is better than the untrained encoder there"
    return said


def score_of(one: Evaluated) -> float:
    [metric] = one.metrics.values()
    return metric.value


def held_out_score(result: Result) -> float | None:
    """The best of all features and settings on held-out clips of train; None where nothing is held out."""
    scores = result.protocol.get("held_out_accuracy", {})
    return max((value for some in scores.values() for value in some.values()), default=None)
