"""Train in phases: ordinary commands, one after another, each shown before it runs.

  tubelet phases videomae_v2 --on CORPUS --out runs/v2 --dry-run      the commands, to read or to type
  tubelet phases videomae_v2 --on CORPUS --out runs/v2
  tubelet phases videomae_v2 --on CORPUS --out runs/v2 seed=1 target.steps=50 target.on=OTHER

A field is set of all phases (seed=1) or of one (target.steps=50). The same command again skips finished phases and
resumes interrupted ones. Your own phases are a function in a file: `tubelet phases mine.py:mine`.
"""

import argparse
from pathlib import Path

from tubelet.cli.options import add_limits, split_words
from tubelet.cli.parts import columns, parts_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("phases", metavar="PHASES", help="their name, or your own path/to/file.py:function")
    parser.add_argument(
        "words", nargs="*", metavar="key=value", help="a field of all phases, or PHASE.key=value, as target.steps=50"
    )
    parser.add_argument("--on", type=Path, required=True, metavar="CORPUS", help="corpus folder of all phases")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="folder for the run of each phase")
    parser.add_argument("--allow-changed", action="store_true", help="resume although some videos changed since")
    parser.add_argument("--dry-run", action="store_true", help="print the commands; run none")
    add_limits(parser)


def run(args: argparse.Namespace) -> None:
    import shlex

    from tubelet.cli.options import tell
    from tubelet.distributed import is_rank0, process_group
    from tubelet.interrupt import exit_code
    from tubelet.progress import Bar
    from tubelet.recipes.phases import resolve_phases
    from tubelet.runs.phases import phases
    from tubelet.runs.run import next_commands

    if args.dry_run:
        for phase in resolve_phases(args.phases, args.words, args.on, args.out):
            print(shlex.join(phase.command))
        return
    with process_group(), Bar(paced=False) as bar:
        runs = phases(
            args.phases, *args.words, on=args.on, out=args.out, allow_changed=args.allow_changed, progress=bar,
            tell=tell,
        )  # fmt: skip
        *_, last = runs.values()
        if (finished := last.finished) and is_rank0():
            for done in runs.values():
                print(f"{done.folder}: {done.summary}")
            print(next_commands(last, args.on))
    if not finished:
        raise SystemExit(exit_code())


def help_on(words: list[str], parser: argparse.ArgumentParser) -> str:
    """All sequences of phases, or the commands of the one that is named."""
    named, fields = split_words(words)
    if not named:
        return f"{parser.format_help().rstrip()}\n\nphases:\n{columns(parts_of('tubelet.recipes.phases', 'PHASES'))}"
    import inspect
    import shlex

    from tubelet.recipes.find import find
    from tubelet.recipes.phases import PHASES, resolve_phases

    name, declares = find(named[0], PHASES, "sequence of phases")
    lines = [shlex.join(phase.command) for phase in resolve_phases(declares, fields, Path("CORPUS"), Path("FOLDER"))]
    return "\n".join([f"{name}: {inspect.getdoc(declares)}", "", *lines])
