"""Run a declared grid of trainings (ways x seeds), and say what it shows: mean, spread, paired differences.

  tubelet study                                       all studies, and what each asks
  tubelet study masks --on CORPUS --out studies --dry-run     the cells, and how long they will take
  tubelet study masks --on CORPUS --out studies               runs what is missing; again, it goes on
  tubelet study masks --on CORPUS --out studies --only text tube --seeds 0 1 2
  tubelet study masks --on CORPUS --out studies --tables      the pages of what is finished by now
  tubelet study masks --recipe videomae --on CORPUS --out studies    the same question of another recipe
  tubelet study path/to/mine.py:mine --on CORPUS --out studies

A finished cell is one small JSON file in --cells; it is not run again, on any machine, unless its hash changes.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tubelet.cli.options import add_limits

if TYPE_CHECKING:
    from tubelet.corpus.table import Corpus
    from tubelet.report.study import Grid
    from tubelet.studies import Study
    from tubelet.studies.trials import Cell, Finished


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "study", nargs="?", metavar="STUDY", help="name of a study, or your own path/to/file.py:function"
    )
    parser.add_argument("--on", type=Path, metavar="CORPUS", help="corpus folder")
    parser.add_argument("--out", type=Path, default=Path("studies"), help="folder for runs and pages (%(default)s)")
    parser.add_argument("--cells", type=Path, metavar="FOLDER", help="folder of the finished cells (OUT/finished)")
    parser.add_argument("--seeds", type=int, nargs="+", metavar="SEED", help="these seeds (0, 1, 2 ... of the study)")
    parser.add_argument("--recipe", metavar="RECIPE", help="ask it of this recipe, in place of the study's own")
    parser.add_argument("--only", nargs="+", metavar="WAY", help="only these ways; * stands for anything")
    parser.add_argument("--jobs", type=int, default=1, help="so many processes, each on a cell (%(default)s)")
    parser.add_argument("--tables", action="store_true", help="write the pages of what is finished; run none")
    parser.add_argument("--dry-run", action="store_true", help="list the cells and how long they will take; run none")
    add_limits(parser)


def run(args: argparse.Namespace) -> None:
    from dataclasses import replace

    from tubelet.console import Console
    from tubelet.corpus.table import Corpus
    from tubelet.errors import RecipeError, RunError
    from tubelet.recipes import RECIPES
    from tubelet.recipes.find import find
    from tubelet.report.study import check_pages, write_pages
    from tubelet.studies import STUDIES
    from tubelet.studies.trials import Finished, cells_of

    if args.study is None:
        for declares in STUDIES:
            print(f"{declares.__name__:<11} {declares().question}")
        return
    if args.on is None:
        raise RecipeError("a study needs a corpus: name it with --on CORPUS")
    if args.jobs < 1:
        raise RecipeError(f"--jobs must be at least 1, not {args.jobs}")
    _, declares = find(args.study, STUDIES, "study")
    study, name = declares(), declares.__name__
    if args.recipe:
        _, recipe = find(args.recipe, RECIPES)
        study, name = replace(study, recipe=args.recipe), f"{name}-{recipe.__name__}"
    corpus = Corpus.open(args.on)
    finished = Finished(args.cells or args.out / "finished")
    every = cells_of(name, study, corpus, args.seeds or range(study.seeds))
    cells = chosen(every, args.only)
    missing = [cell for cell in cells if finished.find(cell) is None]
    console = Console(stderr=True)
    if args.dry_run:
        for cell in cells:
            print(f"{state(cell, finished, args.out):<9} {cell.seed}  {cell.way}: {' '.join(cell.words)}")
    if missing and not args.tables:
        console.print(plan(missing, len(cells), corpus, finished, args.jobs), soft_wrap=True)
    if args.dry_run:
        return
    check_pages(name, args.out / name)
    other = f" --recipe {args.recipe}" if args.recipe else ""
    again = f"tubelet study {args.study}{other} --on CORPUS --out OUT"

    def pages(left_out: dict[str, str]) -> str:
        """Of what this and any other process has finished by now."""
        now = Finished(finished.folder)
        return write_pages(grid_of(name, study, every, now, left_out, again), args.out / name)

    left_out = {} if args.tables else work(args, cells, finished, study, pages)
    for way, reason in left_out.items():
        console.print(f"left out: {way}: {reason}", soft_wrap=True)
    now = Finished(finished.folder)
    if not any(now.find(cell) for cell in cells):
        reasons = "; the reasons stand above" * bool(left_out)
        raise RunError(f"no cell of the study {name} is finished{reasons}")
    print(pages(left_out))
    stem = args.out / name
    console.print(f"written: {stem}.html and {stem}.md", soft_wrap=True)


def chosen(cells: "Sequence[Cell]", only: Sequence[str] | None) -> "list[Cell]":
    """The cells of these ways."""
    import difflib
    from fnmatch import fnmatchcase

    from tubelet.errors import RecipeError

    if only is None:
        return list(cells)
    ways = list(dict.fromkeys(cell.way for cell in cells))
    for pattern in only:
        if not any(fnmatchcase(way, pattern) for way in ways):
            close = difflib.get_close_matches(pattern, ways, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"its ways: {', '.join(ways)}"
            raise RecipeError(f"the study has no way {pattern!r}; {hint}")
    return [cell for cell in cells if any(fnmatchcase(cell.way, pattern) for pattern in only)]


def state(cell: "Cell", finished: "Finished", out: Path) -> str:
    from tubelet.studies.run import begun

    if finished.find(cell):
        return "finished"
    return "begun" if begun(cell, out) else "missing"


def plan(missing: "Sequence[Cell]", total: int, corpus: "Corpus", finished: "Finished", jobs: int) -> str:
    """How many cells there are to run, and how long that takes."""
    from datetime import timedelta

    from tubelet.studies.estimate import estimate

    found = estimate(missing, corpus, finished)
    seconds = found.total(missing)
    words = f"{total - len(missing)} of {total} cells are finished; {len(missing)} to run"
    if seconds is None:
        return f"{words} ({found.how})"
    return f"{words}, about {timedelta(seconds=round(seconds / jobs))} ({found.how})"


def work(
    args: argparse.Namespace,
    cells: "Sequence[Cell]",
    finished: "Finished",
    study: "Study",
    pages: Callable[[dict[str, str]], str],
) -> dict[str, str]:
    """Runs the cells, here and in further processes of the same command, and writes the pages after each; returns the
    ways that were left out."""
    import subprocess
    import sys
    import time

    from tubelet import cli
    from tubelet.studies.run import run_study
    from tubelet.studies.trials import Finished
    from tubelet.trust import trusts_code

    began, done = time.monotonic(), 0

    def tell(cell: "Cell", content: object) -> None:
        nonlocal done
        done += 1
        minutes, seconds = divmod(round(time.monotonic() - began), 60)
        print(f"{minutes}:{seconds:02}  {done} done here  {cell.way}, seed {cell.seed}", file=sys.stderr, flush=True)
        pages({})

    words = [sys.executable, "-m", "tubelet", "study", args.study, "--on", str(args.on), "--out", str(args.out)]
    words += ["--cells", str(finished.folder), "--seeds", *map(str, dict.fromkeys(cell.seed for cell in cells))]
    words += ["--recipe", args.recipe] if args.recipe else []
    words += ["--trust-code"] * trusts_code()
    words += ["--only", *dict.fromkeys(cell.way for cell in cells)]
    done_already = all(map(finished.find, cells))
    others = [subprocess.Popen(words, stdout=subprocess.DEVNULL) for _ in range(0 if done_already else args.jobs - 1)]
    try:
        outcome = run_study(cells, args.on, args.out, finished, cli.run, study.curves, tell)
        for other in others:
            other.wait()
    finally:
        for other in others:
            other.terminate()
    if outcome.taken and others:  # what another process took and did not finish
        outcome = run_study(cells, args.on, args.out, Finished(finished.folder), cli.run, study.curves, tell)
    for cell in outcome.taken:
        print(f"another process works on {cell.way}, seed {cell.seed}", file=sys.stderr)
    return outcome.left_out


def grid_of(
    name: str, study: "Study", cells: "Sequence[Cell]", finished: "Finished", left_out: dict[str, str], again: str
) -> "Grid":
    """What is finished, as the report reads it."""
    from tubelet.evaluations.results import entry_name
    from tubelet.report.study import Column, Grid

    columns = []
    for measure in study.measures:
        corpus = dict(cells[0].corpus)
        columns.append(
            Column(
                measure.title,
                entry_name(measure.evaluation, corpus, corpus, measure.label),
                measure.metric,
                measure.percent,
            )
        )
    return Grid(
        name=name,
        question=study.question,
        ways={way: declared.words for way, declared in study.ways.items()},
        columns=tuple(columns),
        seeds=tuple(dict.fromkeys(cell.seed for cell in cells)),
        cells={(cell.way, cell.seed): found for cell in cells if (found := finished.find(cell)) is not None},
        commands={cell.way: tuple(cell.lines) for cell in reversed(cells)},
        differences=study.differences,
        left_out=left_out,
        curves=study.curves,
        again=again,
    )
