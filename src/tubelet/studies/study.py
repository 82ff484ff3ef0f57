"""`tubelet.study`: trains every variant of a question with every seed, and says which differences are significant."""

import difflib
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path

import pandas as pd

from tubelet.corpus.table import Corpus
from tubelet.errors import RecipeError, RunError, TubeletError
from tubelet.evaluations.results import entry_name
from tubelet.progress import Progress, silent
from tubelet.recipes import RECIPES
from tubelet.recipes.find import find
from tubelet.reports.study import Column, Grid, check_pages, compared, tables, write_pages
from tubelet.studies import STUDIES
from tubelet.studies.base import Declares, Study
from tubelet.studies.estimate import Estimate, estimate
from tubelet.studies.run import Run, begun, run_trials
from tubelet.studies.store import FinishedTrials
from tubelet.studies.trials import Trial, trials_of
from tubelet.trust import trusts_code


@dataclass(frozen=True)
class StudyReport:
    """What is finished of a study. `metrics` and `differences` are tidy frames; `markdown` is the page."""

    grid: Grid
    markdown: str
    page: Path  # the same as HTML, with plots
    taken: tuple[Trial, ...] = ()  # trials that another process works on

    @property
    def left_out(self) -> Mapping[str, str]:
        """Variants that could not be run on this corpus, and why."""
        return self.grid.left_out

    @property
    def metrics(self) -> pd.DataFrame:
        """A row a metric of a trial: variant, seed, entry, baseline, metric, value and its interval."""
        return self.grid.metrics

    @property
    def differences(self) -> pd.DataFrame:
        """A row a paired difference: its mean, 95 % interval, p-value and whether it is significant."""
        rows = [
            (name, column.title, one.mean, one.half, one.seeds, one.p, one.significant)
            for (name, column), one in compared(self.grid).items()
        ]
        return pd.DataFrame(rows, columns=["difference", "measure", "mean", "half", "seeds", "p", "significant"])

    def __str__(self) -> str:
        return self.markdown

    def _repr_html_(self) -> str:
        return "".join(
            f"<h4>{table.title}</h4>{pd.DataFrame(table.rows, columns=table.head).to_html(index=False)}"
            for table in tables(self.grid)
        )


@dataclass(frozen=True)
class OpenedStudy:
    """A declared study on a corpus, and what is finished of it."""

    asked: str  # as it was asked for
    name: str  # of its pages
    study: Study
    corpus: Corpus
    out: Path
    folder: Path  # of the finished trials
    recipe: str | None = None
    trials: Sequence[Trial] = ()  # all
    chosen: Sequence[Trial] = ()  # those to run now
    seeds: Sequence[int] = field(default=())

    @classmethod
    def of(
        cls,
        question: str | Declares,
        on: Path | str | Corpus,
        out: Path | str = "studies",
        recipe: str | None = None,
        seeds: Iterable[int] | None = None,
        only: Sequence[str] | None = None,
        trials: Path | str | None = None,
    ) -> "OpenedStudy":
        declares = find(question, STUDIES, "study")[1] if isinstance(question, str) else question
        asked = question if isinstance(question, str) else ""
        study, name, out = declares(), declares.__name__, Path(out)
        if recipe:
            study, name = replace(study, recipe=recipe), f"{name}-{find(recipe, RECIPES)[1].__name__}"
        corpus = Corpus.of(on)
        numbers = list(range(study.seeds) if seeds is None else dict.fromkeys(seeds))
        every = trials_of(name, study, corpus, numbers)
        folder = Path(trials) if trials else out / "finished"
        return cls(asked, name, study, corpus, out, folder, recipe, every, chosen_trials(every, only), numbers)

    @cached_property
    def finished(self) -> FinishedTrials:
        return FinishedTrials(self.folder)

    @property
    def missing(self) -> list[Trial]:
        return [trial for trial in self.chosen if self.finished.find(trial) is None]

    def state(self, trial: Trial) -> str:
        if self.finished.find(trial):
            return "finished"
        return "begun" if begun(trial, self.out) else "missing"

    def estimate(self) -> Estimate:
        return estimate(self.missing, self.corpus, self.finished)

    def report(self, left_out: Mapping[str, str] | None = None, taken: Sequence[Trial] = ()) -> StudyReport:
        """Writes the pages of what this and any other process has finished by now."""
        stem = self.out / self.name
        grid = self.grid(FinishedTrials(self.folder), left_out or {})
        return StudyReport(grid, write_pages(grid, stem), stem.with_suffix(".html"), tuple(taken))

    def grid(self, finished: FinishedTrials, left_out: Mapping[str, str]) -> Grid:
        records = [(trial, record) for trial in self.trials if (record := finished.find(trial)) is not None]
        keys = pd.DataFrame(
            [(trial.hash, trial.variant, trial.seed) for trial, _ in records], columns=["trial", "variant", "seed"]
        )
        corpus = dict(self.trials[0].corpus)
        other = f" --recipe {self.recipe}" if self.recipe else ""
        return Grid(
            name=self.name,
            question=self.study.question,
            variants={name: variant.words for name, variant in self.study.variants.items()},
            columns=tuple(
                Column(one.title, entry_name(one.evaluation, corpus, corpus, one.label), one.metric, one.percent)
                for one in self.study.measures
            ),
            seeds=tuple(self.seeds),
            trials={(trial.variant, trial.seed): record for trial, record in records},
            metrics=keys.merge(finished.metrics, on="trial"),
            curves=keys.merge(finished.curves, on="trial"),
            commands={trial.variant: tuple(trial.lines) for trial in reversed(self.trials)},
            differences=self.study.differences,
            left_out=left_out,
            plotted=self.study.curves,
            again=f"tubelet study {self.asked}{other} --on CORPUS --out OUT",
        )


def study(
    question: str | Declares,
    *,
    on: Path | str | Corpus,
    out: Path | str = "studies",
    recipe: str | None = None,
    seeds: Iterable[int] | None = None,
    only: Sequence[str] | None = None,
    trials: Path | str | None = None,
    jobs: int = 1,
    progress: Progress = silent,
    run: Run | None = None,
) -> StudyReport:
    """Runs the trials that are not finished yet, each as ordinary commands, and reports all that are.

    question: a study's name, `path/to/file.py:function`, or a function that returns a `Study`.
    only: these variants; `*` matches anything. trials: a folder of finished trials, in place of OUT/finished.
    jobs: number of processes, each on a trial of its own. run: runs a command given as words, in place of a process.
    """
    return run_study(
        OpenedStudy.of(question, on, out, recipe, seeds, only, trials), jobs, progress, run or in_a_process
    )


def run_study(opened: OpenedStudy, jobs: int, progress: Progress, run: Run) -> StudyReport:
    if jobs < 1:
        raise RecipeError(f"jobs must be at least 1, not {jobs}")
    if jobs > 1 and not opened.asked:
        raise RecipeError("several jobs need a study that has a name: give path/to/file.py:function")
    check_pages(opened.name, opened.out / opened.name)
    missing, done = opened.missing, 0

    def after(trial: Trial) -> None:
        nonlocal done
        done += 1
        progress(done, len(missing), f"{trial.variant}, seed {trial.seed}")
        opened.report()

    folder, terms = opened.corpus.folder, opened.study.curves
    others = [subprocess.Popen(again(opened), stdout=subprocess.DEVNULL) for _ in range(jobs - 1 if missing else 0)]
    try:
        outcome = run_trials(opened.chosen, folder, opened.out, opened.finished, run, terms, after)
        for other in others:
            other.wait()
    finally:
        for other in others:
            other.terminate()
    if outcome.taken and others:  # what another process took and did not finish
        now = FinishedTrials(opened.folder)
        outcome = run_trials(opened.chosen, folder, opened.out, now, run, terms, after)
    left_out, taken = outcome.left_out, outcome.taken
    check_some(opened, left_out, taken)
    return opened.report(left_out, taken)


def check_some(opened: OpenedStudy, left_out: Mapping[str, str] | None = None, taken: Sequence[Trial] = ()) -> None:
    """An error where there is nothing to report."""
    now = FinishedTrials(opened.folder)
    if not any(now.find(trial) for trial in opened.chosen):
        reasons = [f"{variant}: {reason}" for variant, reason in (left_out or {}).items()]
        reasons += [f"another process works on {trial.variant}, seed {trial.seed}" for trial in taken]
        raise RunError("; ".join([f"no trial of the study {opened.name} is finished", *reasons]))


def again(opened: OpenedStudy) -> list[str]:
    """The same command for another process."""
    words = [sys.executable, "-m", "tubelet", "study", opened.asked, "--on", str(opened.corpus.folder)]
    words += ["--out", str(opened.out), "--trials", str(opened.folder), "--seeds", *map(str, opened.seeds)]
    words += ["--recipe", opened.recipe] if opened.recipe else []
    words += ["--trust-code"] * trusts_code()
    return [*words, "--only", *dict.fromkeys(trial.variant for trial in opened.chosen)]


def in_a_process(words: list[str]) -> int:
    """A command as a process of its own; what it prints goes where this process prints."""
    command = [sys.executable, "-m", "tubelet", *words]
    done = subprocess.run(command, capture_output=True, text=True)
    print(done.stdout, end="")
    if done.returncode:
        reason = done.stderr.strip().splitlines()
        raise TubeletError(reason[-1] if reason else f"`tubelet {' '.join(words)}` failed")
    return done.returncode


def chosen_trials(trials: Sequence[Trial], only: Sequence[str] | None) -> list[Trial]:
    """The trials of these variants."""
    if only is None:
        return list(trials)
    variants = list(dict.fromkeys(trial.variant for trial in trials))
    for pattern in only:
        if not any(fnmatchcase(variant, pattern) for variant in variants):
            close = difflib.get_close_matches(pattern, variants, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"its variants: {', '.join(variants)}"
            raise RecipeError(f"the study has no variant {pattern!r}; {hint}")
    return [trial for trial in trials if any(fnmatchcase(trial.variant, pattern) for pattern in only)]
