"""Runs the cells of a study that nobody has finished. Start reading at `run_study`.

Several processes may work on one folder: each cell is taken by one of them, and the kernel gives it back when that one
ends, however it ends. A cell that was cut off goes on from its run's last checkpoint.
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
from tubelet.runs.folder import LOG, RECIPE, hardware, locked, read_run_config, versions
from tubelet.studies.price import price
from tubelet.studies.trials import CORPUS, FORMAT, RUN, Cell, Finished

Run = Callable[[list[str]], int]  # a command without its first word, as the command line runs it
POINTS = 60  # of a curve that a cell keeps
CLOCK = "seconds.json"


@dataclass
class Outcome:
    """What a call did. `left_out`: ways that cannot be run here, and why."""

    finished: list[Cell] = field(default_factory=list)
    taken: list[Cell] = field(default_factory=list)  # by another process
    left_out: dict[str, str] = field(default_factory=dict)


def run_study(
    cells: Iterable[Cell],
    corpus: Path,
    out: Path,
    finished: Finished,
    run: Run,
    curves: Iterable[str] = (),
    tell: Callable[[Cell, Mapping[str, Any]], None] = lambda cell, content: None,
) -> Outcome:
    """Runs what is missing, in order. A way that the corpus does not allow is left out with the reason."""
    outcome = Outcome()
    for cell in cells:
        folder = out / "cells" / cell.name
        if cell.way in outcome.left_out:
            continue
        if finished.find(cell):
            remove_leftovers(folder)  # the lock, of one that was killed as the cell was finished
            continue
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with taken(folder):
                if finished.find(cell):  # another process was quicker
                    continue
                content = run_cell(cell, corpus, folder, run, tuple(curves))
                finished.add(cell, content)
        except Elsewhere:
            outcome.taken.append(cell)
        except TubeletError as error:
            outcome.left_out[cell.way] = str(error)
        else:
            outcome.finished.append(cell)
            tell(cell, content)
    return outcome


class Elsewhere(Exception):
    """Another process works on this cell."""


@contextlib.contextmanager
def taken(folder: Path) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locked(folder))
        except RunError as error:
            raise Elsewhere from error
        refuse_links_out(folder)
        yield


def run_cell(cell: Cell, corpus: Path, folder: Path, run: Run, curves: tuple[str, ...]) -> dict[str, Any]:
    """Trains and measures; everything the commands print goes to a file beside the run."""
    own = folder / "run"
    left_out: dict[str, str] = {}
    nothing = True  # is measured
    clock = Clock.of(folder)
    pretrain, *after = cell.commands(str(corpus), str(own))
    with (folder / "output.txt").open("a", encoding="utf-8") as output, contextlib.redirect_stdout(output):
        with clock.measures("train"):
            run(pretrain)
        for words in after:
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
    return content_of(cell, own, clock, left_out, curves)


def content_of(
    cell: Cell, run: Path, clock: "Clock", left_out: Mapping[str, str], curves: tuple[str, ...]
) -> dict[str, Any]:
    """The JSON of a finished cell: small, and free of places on this machine."""
    plan, cost = read_run_config(run), price(cell.config)
    return {
        "format": FORMAT,
        "hash": cell.hash,
        "study": cell.study,
        "way": cell.way,
        "seed": cell.seed,
        "recipe": cell.recipe if ".py:" not in cell.recipe else Path(cell.recipe.rpartition(":")[0]).name,
        "words": list(cell.words),
        "corpus": dict(cell.corpus),
        "steps": plan.steps,
        "clips": plan.steps * cell.config.batch * cell.config.accumulate * plan.world,
        "visible": cost.tokens,
        "gflop": cost.flops / 1e9,
        "derived": dict(plan.derived),
        "results": {name: small(result) for name, result in results_of(cell, run).items()},
        "left_out": dict(left_out),
        "curves": {term: curve(run, term) for term in (*losses(cell), *curves)},
        "hardware": hardware(),
        "versions": versions(),
        "seconds": clock.seconds,
        "processor_seconds": clock.processor,
        "commands": cell.lines,
        "values": cell.values,
    }


def losses(cell: Cell) -> list[str]:
    """Terms of the log: every loss and its trivial level, which any study with this cell may draw."""
    return [term for name in cell.config.objectives for term in (name, f"{name}.trivial")]


def results_of(cell: Cell, run: Path) -> dict[str, Result]:
    """Of the run, and of every folder that its further commands wrote."""
    folders = [
        run,
        *(Path(words[words.index("--out") + 1]) for words in cell.further(run=str(run)) if "--out" in words),
    ]
    return {name: result for folder in folders for name, result in read_results(folder).items()}


def small(result: Result) -> dict[str, Any]:
    """What tables need of a result: metrics, those of baselines, how many clips, what was selected, what is marked."""
    kept = {
        "metrics": flat(result),
        "counts": dict(result.counts),
        "step": result.step,
        "seen": dict(result.trained_on),
        "marks": list(result.warnings),
    }
    return {name: value for name, value in kept.items() if value} | {
        "selected": dict(result.protocol.get("selected", {})),
        "baselines": {name: flat(one) for name, one in result.baselines.items()},
    }


IN_CELLS = {"r2": "skill", "copy_r2": "nearest_skill", "mean_prediction_loss": "trivial", "copy_loss": "nearest"}


def flat(result: Result) -> dict[str, float]:
    """Every number by the name that the files of cells have for it."""
    numbers = {**result.metrics, **result.references}
    return {IN_CELLS.get(name, name): metric.value for name, metric in numbers.items()}


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
    """Seconds by what was done, added up over all calls that worked on the cell; kept in its folder."""

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


def begun(cell: Cell, out: Path) -> bool:
    return (out / "cells" / cell.name / "run" / RECIPE).exists()
