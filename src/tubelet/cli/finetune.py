"""Fine-tune a pretrained encoder to labels: select on a part of train, measure on test, keep the classifier.

The same command again resumes from the last checkpoint. `tubelet finetune RUN --help` lists the recipes,
`tubelet finetune RUN RECIPE --help` every field that key=value can override.
"""

import argparse
import inspect

from tubelet.cli.options import add_training, split_words, trained
from tubelet.cli.parts import columns, parts_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="folder that `tubelet pretrain`, `finetune` or `import` wrote")
    parser.add_argument(
        "words", nargs="*", metavar="RECIPE|key=value", help="how (default: videomae), and fields of the recipe"
    )
    parser.add_argument("--on", metavar="CORPUS", help="corpus folder with labels (default: the run's)")
    parser.add_argument(
        "--labels-share", type=float, metavar="SHARE", help="use this share of train's labels, as 0.1 (the same as "
        "labels_share=0.1)",
    )  # fmt: skip
    parser.add_argument("--scratch", action="store_true", help="the same encoder with fresh weights: the baseline")
    parser.add_argument("--labels", metavar="FILE", help="CSV or Parquet with a column video, id or path, and a label")
    parser.add_argument(
        "--label", metavar="COLUMN", help="the column of --labels, or of the ground truth of the synthetic dataset"
    )
    parser.add_argument("--strict", action="store_true", help="fail if a row of --labels matches no video")
    parser.add_argument("--allow-seen", action="store_true", help="test on a split that the aligner was trained on")
    add_training(parser)


def run(args: argparse.Namespace) -> None:
    from tubelet.cli.tables import print_result
    from tubelet.console import Console
    from tubelet.runs.dry_run import dry_run_finetune
    from tubelet.runs.finetune import finetune
    from tubelet.runs.run import next_commands

    share = [] if args.labels_share is None else [f"labels_share={args.labels_share}"]
    words = [args.run, *args.words, *share, *(["scratch=True"] if args.scratch else [])]
    labels = {"labels": args.labels, "label": args.label, "strict": args.strict}
    if args.dry_run:
        print("\n".join(dry_run_finetune(*words, on=args.on, **labels)))
    elif done := trained(finetune, args, *words, allow_seen=args.allow_seen, **labels):
        print(f"{args.out}: {done.summary}; {next_commands(done)}")
        if (result := done.results.get("finetune")) is not None:
            console = Console()
            print_result(console, "finetune", result)
            console.print(f"written to {args.out}/results.json", soft_wrap=True)


def help_on(words: list[str], parser: argparse.ArgumentParser) -> str:
    """All recipes, or every field of the one that is named after the run."""
    named, _ = split_words(words)
    if len(named) < 2:
        recipes = columns(parts_of("tubelet.recipes.finetune", "FINETUNES"))
        return f"{parser.format_help().rstrip()}\n\nRecipes:\n{recipes}"
    from tubelet.config import describe
    from tubelet.recipes import tiny
    from tubelet.recipes.find import find
    from tubelet.recipes.finetune import FINETUNES
    from tubelet.runs.folder import read_kind, read_run_config

    name, recipe = find(named[1], FINETUNES)
    origin = read_run_config(named[0]).config if read_kind(named[0]) else tiny()
    return f"{name}: {inspect.getdoc(recipe)}\n\n{describe(recipe(origin))}"
