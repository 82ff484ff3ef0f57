"""Run a declared grid of trials (variants x seeds), and report mean, spread and paired differences.

  tubelet study                                       all studies, and what each asks
  tubelet study masks --on CORPUS --out studies --dry-run     the trials, and how long they will take
  tubelet study masks --on CORPUS --out studies               runs what is missing; again, it resumes
  tubelet study masks --on CORPUS --out studies --only text tube --seeds 0 1 2
  tubelet study masks --on CORPUS --out studies --tables      the pages of what is finished by now
  tubelet study masks --recipe videomae --on CORPUS --out studies    the same question of another recipe
  tubelet study path/to/mine.py:mine --on CORPUS --out studies
  tubelet study --trials studies/finished --collect table     all finished trials as one table

A finished trial is one small JSON file in --trials, or a row of a table there that --collect wrote; it is not run
again, on any machine, unless its hash changes.
"""

import argparse
from pathlib import Path

from tubelet.cli.options import add_limits


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "study", nargs="?", metavar="STUDY", help="name of a study, or your own path/to/file.py:function"
    )
    parser.add_argument("--on", type=Path, metavar="CORPUS", help="corpus folder")
    parser.add_argument("--out", type=Path, default=Path("studies"), help="folder for runs and pages (%(default)s)")
    parser.add_argument("--trials", type=Path, metavar="FOLDER", help="folder of the finished trials (OUT/finished)")
    parser.add_argument("--seeds", type=int, nargs="+", metavar="SEED", help="these seeds (0, 1, 2 ... of the study)")
    parser.add_argument("--recipe", metavar="RECIPE", help="ask it of this recipe, in place of the study's own")
    parser.add_argument("--only", nargs="+", metavar="VARIANT", help="only these variants; * matches anything")
    parser.add_argument(
        "--jobs", type=int, default=1, help="number of processes, each on a trial (default: %(default)s)"
    )
    parser.add_argument("--tables", action="store_true", help="write the pages of what is finished; run none")
    parser.add_argument("--dry-run", action="store_true", help="list the trials and how long they will take; run none")
    parser.add_argument(
        "--collect", type=Path, metavar="FOLDER", help="add the finished trials of --trials to the table in FOLDER"
    )
    add_limits(parser)


def run(args: argparse.Namespace) -> None:
    from tubelet import cli
    from tubelet.console import Console
    from tubelet.errors import RecipeError
    from tubelet.reports.study import check_pages
    from tubelet.studies import STUDIES
    from tubelet.studies.store import FinishedTrials
    from tubelet.studies.study import OpenedStudy, check_some, run_study

    console = Console(stderr=True)
    if args.collect:
        count = FinishedTrials(args.trials or args.out / "finished").collect(args.collect)
        console.print(f"{count} trials in the table in {args.collect}", soft_wrap=True)
        return
    if args.study is None:
        for declares in STUDIES:
            print(f"{declares.__name__:<11} {declares().question}")
        return
    if args.on is None:
        raise RecipeError("a study needs a corpus: name it with --on CORPUS")
    if args.jobs < 1:
        raise RecipeError(f"--jobs must be at least 1, not {args.jobs}")
    opened = OpenedStudy.of(args.study, args.on, args.out, args.recipe, args.seeds, args.only, args.trials)
    if args.dry_run:
        for trial in opened.chosen:
            print(f"{opened.state(trial):<9} {trial.seed}  {trial.variant}: {' '.join(trial.overrides)}")
    if not args.tables and (missing := opened.missing):
        estimate, left = opened.estimate(), len(opened.chosen) - len(missing)
        words = f"{left} of {len(opened.chosen)} trials are finished; {len(missing)} to run"
        console.print(f"{words}{estimate.spelled(missing, args.jobs)}", soft_wrap=True)
    if args.dry_run:
        return
    if args.tables:
        check_pages(opened.name, opened.out / opened.name)
        check_some(opened)
        report = opened.report()
    else:
        report = run_study(
            opened, args.jobs, lambda done, total, what: console.print(f"{done} of {total}: {what}"), cli.run
        )
    for variant, reason in report.left_out.items():
        console.print(f"left out: {variant}: {reason}", soft_wrap=True)
    for trial in report.taken:
        console.print(f"another process works on {trial.variant}, seed {trial.seed}")
    print(report.markdown)
    console.print(f"written: {report.page} and {report.page.with_suffix('.md')}", soft_wrap=True)
