"""Fine-tune a pretrained encoder to labels: select on a part of train, measure on test, keep the classifier.

The same command again goes on from the last checkpoint. `tubelet finetune RUN --help` lists the recipes,
`tubelet finetune RUN RECIPE --help` every field that key=value can override.
"""

import argparse
import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tubelet.cli.options import add_limits

if TYPE_CHECKING:
    from tubelet.recipes.finetune import Finetune


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
        "--label", metavar="COLUMN", help="the column of --labels, or of the truth beside the embedded corpus"
    )
    parser.add_argument("--strict", action="store_true", help="refuse --labels of which a row names no video")
    parser.add_argument("--allow-seen", action="store_true", help="test on a split that the aligner was trained on")
    parser.add_argument(
        "--allow-changed", action="store_true", help="go on with a run of which videos hold something else by now"
    )
    add_limits(parser)


def run(args: argparse.Namespace) -> None:
    import sys

    from tubelet.cli.evaluate import remarks, table
    from tubelet.console import Console
    from tubelet.corpus.table import Corpus
    from tubelet.errors import RunError
    from tubelet.evaluations.labels import other_labels
    from tubelet.evaluations.results import read_results
    from tubelet.launchers import launched
    from tubelet.progress import Bar
    from tubelet.runs.finetune import finetune
    from tubelet.runs.folder import read_run_config

    origin = read_run_config(args.run)
    name, config = configured(args, origin.config)
    if not (args.on or origin.corpus["path"]):
        raise RunError(f"{args.run} was imported and trained on no corpus here; name one with --on CORPUS")
    on = Path(args.on or origin.corpus["path"])
    labels = None
    said: list[str] = []  # of the table of labels
    if args.labels or args.label:
        labels = other_labels(Corpus.open(on), args.labels and Path(args.labels), args.label, said, args.strict)
    command = ["tubelet", *sys.argv[1:]] if sys.argv[1:2] == ["finetune"] else spoken(args)
    with Bar("testing", "videos") as bar:
        done = finetune(name, config, on, args.out, command, labels, bar, args.allow_seen, args.allow_changed)
    if not done:
        raise SystemExit(130)
    if launched().rank:
        return  # one of several processes tells
    console = Console()
    result = read_results(Path(args.out)).get("finetune")
    if result is not None:
        console.print(table("finetune", result, console.width))
        for line in (*said, *remarks(result)):
            console.print(line, soft_wrap=True)
        console.print(f"written to {Path(args.out) / 'results.json'}", soft_wrap=True)


def configured(args: argparse.Namespace, origin: Any) -> "tuple[str, Finetune]":
    """The recipe's name and the config that the words ask for."""
    import chz

    from tubelet.config import override
    from tubelet.errors import RecipeError
    from tubelet.recipes.find import find
    from tubelet.recipes.finetune import FINETUNES

    named = [word for word in args.words if "=" not in word]
    if len(named) > 1:
        raise RecipeError(f"{' and '.join(named)}: name one recipe; fields are written key=value")
    name, recipe = find(named[0] if named else "videomae", FINETUNES)
    words = [word for word in args.words if "=" in word]
    if args.labels_share is not None:
        words.append(f"labels_share={args.labels_share}")
    words += ["scratch=True"] if args.scratch else []
    config = override(recipe(origin), words)
    given = {word.partition("=")[0] for word in words}
    if "optim.base_lr" in given and "rates" not in given:  # one learning rate, in place of the recipe's grid
        config = chz.replace(config, rates=())
    return name, chz.replace(config, init=str(Path(args.run)))


def spoken(args: argparse.Namespace) -> list[str]:
    """The command in words, where it was not typed."""
    words = ["tubelet", "finetune", args.run, *args.words]
    for option in ("on", "out", "labels", "label", "labels_share"):
        value = getattr(args, option)
        words += [] if value is None else [f"--{option.replace('_', '-')}", str(value)]
    return words + (["--scratch"] if args.scratch else []) + (["--allow-seen"] if args.allow_seen else [])


def help_on(words: list[str], parser: argparse.ArgumentParser) -> str:
    """All recipes, or every field of the one that is named after the run."""
    from tubelet.config import describe
    from tubelet.recipes import tiny
    from tubelet.recipes.find import find
    from tubelet.recipes.finetune import FINETUNES
    from tubelet.runs.folder import read_kind, read_run_config

    named = [word for word in words if "=" not in word and not word.startswith("-")]
    if len(named) < 2:
        lines = [f"  {one.__name__:<9} {(inspect.getdoc(one) or '').partition(chr(10))[0]}" for one in FINETUNES]
        return "\n".join([parser.format_help().rstrip(), "", "recipes:", *lines])
    name, recipe = find(named[1], FINETUNES)
    origin = read_run_config(named[0]).config if read_kind(named[0]) else tiny()
    return f"{name}: {inspect.getdoc(recipe)}\n\n{describe(recipe(origin))}"
