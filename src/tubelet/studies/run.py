"""Runs the trials of a study that nobody has finished. Start reading at `run_trials`.

Several processes may work on one folder: each trial is taken by one of them, and the kernel gives it back when that one
ends, however it ends. A trial that was cut off resumes from its run's last checkpoint.
"""

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict

from tubelet.checksums import read_json, write_json
from tubelet.errors import PartlyMeasured, RunError, TubeletError
from tubelet.files import refuse_links_out, remove_leftovers
from tubelet.log import read_log
from tubelet.results import Result, read_results
from tubelet.runs.folder import LOG, RECIPE, read_run_config, versions
from tubelet.runs.hardware import hardware
from tubelet.runs.lock import locked
from tubelet.studies.cost import cost
from tubelet.studies.store import FORMAT, FinishedTrials
from tubelet.studies.trials import CORPUS, RUN, Trial

Run = Callable[[list[str]], int]  # a command without its first word, as the command line runs it
POINTS = 60  # of a curve that a trial keeps
CLOCK = "seconds.json"


@dataclass
class Outcome:
    """What a call did. `left_out`: variants that cannot be run here, and why."""

    finished: list[Trial] = field(default_factory=list)
    taken: list[Trial] = field(default_factory=list)  # by another process
    left_out: dict[str, str] = field(default_factory=dict)


def run_trials(
    trials: Iterable[Trial],
    corpus: Path,
    out: Path,
    finished: FinishedTrials,
    run: Run,
    curves: Iterable[str] = (),
    after: Callable[[Trial], None] = lambda trial: None,
) -> Outcome:
    """Runs what is missing, in order. A variant that the corpus does not allow is left out with the reason."""
    outcome = Outcome()
    for trial in trials:
        folder = folder_of(trial, out)
        if trial.variant in outcome.left_out:
            continue
        if finished.find(trial):
            remove_leftovers(folder)  # the lock, of one that was killed as the trial was finished
            continue
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with taken(folder):
                if finished.find(trial):  # another process was quicker
                    continue
                finished.add(trial, run_trial(trial, corpus, folder, run, tuple(curves)))
        except Elsewhere:
            outcome.taken.append(trial)
        except TubeletError as error:
            outcome.left_out[trial.variant] = str(error)
        else:
            outcome.finished.append(trial)
            after(trial)
    return outcome


def folder_of(trial: Trial, out: Path) -> Path:
    return out / "trials" / trial.name


class Elsewhere(Exception):
    """Another process works on this trial."""


@contextlib.contextmanager
def taken(folder: Path) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locked(folder))
        except RunError as error:
            raise Elsewhere from error
        refuse_links_out(folder)
        yield


def run_trial(trial: Trial, corpus: Path, folder: Path, run: Run, curves: tuple[str, ...]) -> dict[str, Any]:
    """Trains and measures; everything the commands print goes to a file next to the run."""
    own = folder / "run"
    left_out: dict[str, str] = {}
    nothing = True  # is measured
    clock = Clock.of(folder)
    before = trial.before(str(corpus), str(own))
    pretrain, *others = trial.commands(str(corpus), str(own))[len(before) :]
    with (folder / "output.txt").open("a", encoding="utf-8") as output, contextlib.redirect_stdout(output):
        for words in before:
            with clock.measures("before"):
                run(words)
        with clock.measures("train"):
            run(pretrain)
        for words in others:
            try:
                with clock.measures(words[0]):
                    run(words)
                nothing = False
            except TubeletError as error:  # no such labels on this corpus, say: the column stays empty
                nothing = nothing and not isinstance(error, PartlyMeasured)
                reason = str(error).replace(str(corpus.absolute()), CORPUS).replace(str(own.absolute()), RUN)
                left_out[" ".join(words[4:] if words[0] == "evaluate" else words[:1])] = reason
    if nothing and left_out:
        raise TubeletError(next(iter(left_out.values())))
    return content_of(trial, own, clock, left_out, curves)


def content_of(
    trial: Trial, run: Path, clock: "Clock", left_out: Mapping[str, str], curves: tuple[str, ...]
) -> dict[str, Any]:
    """The JSON of a finished trial: small, and without paths of this machine."""
    plan, price = read_run_config(run), cost(trial.config)
    return {
        "format": FORMAT,
        "hash": trial.hash,
        "study": trial.study,
        "variant": trial.variant,
        "seed": trial.seed,
        "recipe": trial.recipe if ".py:" not in trial.recipe else Path(trial.recipe.rpartition(":")[0]).name,
        "overrides": list(trial.overrides),
        "corpus": dict(trial.corpus),
        "steps": plan.steps,
        "clips": plan.steps * trial.config.batch * trial.config.accumulate * plan.world,
        "visible": price.tokens,
        "gflop": price.flops / 1e9,
        "derived": dict(plan.derived),
        "results": {name: small(result) for name, result in results_of(trial, run).items()},
        "left_out": dict(left_out),
        "curves": {term: curve(run, term) for term in (*losses(trial), *curves)},
        "precision": plan.precision,
        "hardware": hardware(),
        "versions": versions(),
        "seconds": clock.seconds,
        "processor_seconds": clock.processor,
        "commands": trial.lines,
        "values": trial.values,
    }


def losses(trial: Trial) -> list[str]:
    """Terms of the log: every loss and its mean-prediction baseline, which any study with this trial may plot."""
    return [term for name in trial.config.objectives for term in (name, f"{name}.baseline")]


def results_of(trial: Trial, run: Path) -> dict[str, Result]:
    """Of the run, and of every folder that its further commands wrote."""
    folders = [
        run,
        *(Path(words[words.index("--out") + 1]) for words in trial.further(run=str(run)) if "--out" in words),
    ]
    return {name: result for folder in folders for name, result in read_results(folder).items()}


def small(result: Result) -> dict[str, Any]:
    """What tables need of a result: metrics, those of baselines, how many clips, what was selected, warnings."""
    kept = {
        "counts": dict(result.counts),
        "step": result.step,
        "trained_on": dict(result.trained_on),
        "warnings": list(result.warnings),
        "verdict": result.verdict,
    }
    return {name: value for name, value in kept.items() if value} | {
        "evaluation": result.evaluation,
        "selected": dict(result.protocol.get("selected", {})),
        "metrics": numbers(result),
        "baselines": {name: {"metrics": numbers(one)} for name, one in result.baselines.items()},
    }


def numbers(result: Result) -> dict[str, dict[str, Any]]:
    return {name: metric.to_json() for name, metric in {**result.metrics, **result.references}.items()}


def curve(run: Path, term: str) -> list[list[float]]:
    """At most so many means of equal stretches of the log: [last step, mean]."""
    points = [(r["step"], r[term]) for r in read_log(run / LOG) if r["kind"] == "step" and r.get(term) is not None]
    size = max(1, -(-len(points) // POINTS))
    stretches = [points[at : at + size] for at in range(0, len(points), size)]
    return [[float(some[-1][0]), round(sum(value for _, value in some) / len(some), 5)] for some in stretches]


class Seconds(TypedDict):
    """What is kept of a clock."""

    seconds: dict[str, float]
    processor: dict[str, float]


class Clock:
    """Seconds by what was done, added up over all calls that worked on the trial; kept in its folder."""

    def __init__(self, path: Path, seconds: dict[str, float], processor: dict[str, float]) -> None:
        self.path, self.seconds, self.processor = path, seconds, processor

    @classmethod
    def of(cls, folder: Path) -> "Clock":
        path = folder / CLOCK
        remedy = "delete it, and time is counted from now on"
        kept = read_json(path, Seconds, RunError, remedy) if path.exists() else Seconds(seconds={}, processor={})
        return cls(path, kept["seconds"], kept["processor"])

    @contextlib.contextmanager
    def measures(self, what: str) -> Iterator[None]:
        wall, processor = time.perf_counter(), time.process_time()
        try:
            yield
        finally:
            for kept, passed in (
                (self.seconds, time.perf_counter() - wall),
                (self.processor, time.process_time() - processor),
            ):
                kept[what] = round(kept.get(what, 0.0) + passed, 2)
            write_json(self.path, {"seconds": self.seconds, "processor": self.processor})


def begun(trial: Trial, out: Path) -> bool:
    return (folder_of(trial, out) / "run" / RECIPE).exists()
