"""Fine-tune a pretrained encoder to labels: select on a part of train, measure on test, keep the classifier.

The same command again resumes from the last checkpoint. `tubelet finetune RUN --help` lists the recipes,
`tubelet finetune RUN RECIPE --help` every field that key=value can override.
"""

import argparse
import inspect
import sys
from pathlib import Path

from tubelet.cli.options import add_limits, split_words
from tubelet.cli.parts import columns, listed


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="folder that `tubelet pretrain`, `finetune` or `import` wrote")
    parser.add_argument(
        "words", nargs="*", metavar="RECIPE|key=value", help="how (default: videomae), and fields of the recipe"
    )
    parser.add_argument("--on", metavar="CORPUS", help="corpus folder with labels (default: the run's)")
    parser.add_argument("--out", required=True, metavar="FOLDER", help="new, or this same fine-tuning to go on with")
    parser.add_argument(
        "--labels-share", type=float, metavar="SHARE", help="use so much of train's labels, as 0.1 (the same as "
        "labels_share=0.1)",
    )  # fmt: skip
    parser.add_argument("--scratch", action="store_true", help="the same encoder with fresh weights: the baseline")
    parser.add_argument("--labels", metavar="FILE", help="CSV or Parquet with a column video, id or path, and a label")
    parser.add_argument(
        "--label", metavar="COLUMN", help="the column of --labels, or of the truth beside the synthetic dataset"
    )
    parser.add_argument("--strict", action="store_true", help="refuse --labels of which a row names no video")
    parser.add_argument("--allow-seen", action="store_true", help="test on a split that the aligner was trained on")
    parser.add_argument(
        "--allow-changed", action="store_true", help="go on with a run of which videos hold something else by now"
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="train nothing and write nothing: say what it would be, and what it takes",
    )
    add_limits(parser)


def run(args: argparse.Namespace) -> None:
    from tubelet.cli.options import tell
    from tubelet.cli.tables import print_result
    from tubelet.console import Console
    from tubelet.corpus.table import Corpus
    from tubelet.distributed import is_rank0, process_group
    from tubelet.evaluations.labels import other_labels
    from tubelet.progress import Bar
    from tubelet.runs.dry_run import dry_run_finetune
    from tubelet.runs.finetune import corpus_of, finetune
    from tubelet.runs.run import next_commands

    words = words_of(args)
    said: list[str] = []  # of the table of labels
    labels = None
    if args.labels or args.label:
        corpus = Corpus.open(corpus_of(Path(args.run), args.on))
        labels = other_labels(corpus, args.labels and Path(args.labels), args.label, said, args.strict)
    if args.dry_run:
        print("\n".join(dry_run_finetune(args.run, *words, on=args.on, labels=labels)))
        return
    command = ["tubelet", *sys.argv[1:]] if sys.argv[1:2] == ["finetune"] else spoken(args)
    with process_group(), Bar(paced=False) as bar:
        done = finetune(
            args.run, *words, on=args.on, out=args.out, labels=labels, allow_seen=args.allow_seen,
            allow_changed=args.allow_changed, command=command, progress=bar, tell=tell,
        )  # fmt: skip
        if not done.finished:
            raise SystemExit(130)
        if not is_rank0():
            return
    print(f"{args.out}: {done.summary}; {next_commands(done)}")
    console = Console()
    if (result := done.results.get("finetune")) is not None:
        print_result(console, "finetune", result)
        for line in said:
            console.print(line, soft_wrap=True)
        console.print(f"written to {Path(args.out) / 'results.json'}", soft_wrap=True)


def words_of(args: argparse.Namespace) -> list[str]:
    """The recipe and its fields, those that have an option of their own among them."""
    share = [] if args.labels_share is None else [f"labels_share={args.labels_share}"]
    return [*args.words, *share, *(["scratch=True"] if args.scratch else [])]


def spoken(args: argparse.Namespace) -> list[str]:
    """The command in words, where it was not typed."""
    words = ["tubelet", "finetune", args.run, *args.words]
    for option in ("on", "out", "labels", "label", "labels_share"):
        value = getattr(args, option)
        words += [] if value is None else [f"--{option.replace('_', '-')}", str(value)]
    return words + (["--scratch"] if args.scratch else []) + (["--allow-seen"] if args.allow_seen else [])


def help_on(words: list[str], parser: argparse.ArgumentParser) -> str:
    """All recipes, or every field of the one that is named after the run."""
    named, _ = split_words(words)
    if len(named) < 2:
        recipes = columns(listed("tubelet.recipes.finetune", "FINETUNES"))
        return f"{parser.format_help().rstrip()}\n\nrecipes:\n{recipes}"
    from tubelet.config import describe
    from tubelet.recipes import tiny
    from tubelet.recipes.find import find
    from tubelet.recipes.finetune import FINETUNES
    from tubelet.runs.folder import read_kind, read_run_config

    name, recipe = find(named[1], FINETUNES)
    origin = read_run_config(named[0]).config if read_kind(named[0]) else tiny()
    return f"{name}: {inspect.getdoc(recipe)}\n\n{describe(recipe(origin))}"
