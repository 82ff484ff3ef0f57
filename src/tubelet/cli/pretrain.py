"""Pretrain an encoder by a recipe: train, checkpoint, measure.

The same command again resumes from the last checkpoint. `tubelet pretrain RECIPE --help` lists every field that
key=value can override. On several GPUs: `torchrun --nproc-per-node 8 -m tubelet pretrain ...`, or `srun tubelet ...`.
"""

import argparse
import inspect

from tubelet.cli.options import add_training, split_words, trained
from tubelet.cli.parts import columns, parts_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", metavar="RECIPE", help="name of a recipe, or your own path/to/file.py:function")
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="a field of the recipe, as in masker.ratio=0.9"
    )
    parser.add_argument("--on", required=True, metavar="CORPUS", help="corpus folder, from `tubelet index` or `synth`")
    add_training(parser)


def run(args: argparse.Namespace) -> None:
    from tubelet.runs.dry_run import dry_run
    from tubelet.runs.pretrain import pretrain
    from tubelet.runs.run import next_commands

    words = [args.recipe, *args.overrides]
    if args.dry_run:
        print("\n".join(dry_run(*words, on=args.on, out=args.out)))
    elif done := trained(pretrain, args, *words):
        print(f"{args.out}: {done.summary}; {next_commands(done, args.on)}")


def help_on(words: list[str], parser: argparse.ArgumentParser) -> str:
    """What `--help` prints after these words: every field of the recipe they name, or all recipes and parts."""
    named, fields = split_words(words)
    if named:
        from tubelet.config import describe, override
        from tubelet.recipes import RECIPES
        from tubelet.recipes.find import find

        name, recipe = find(named[0], RECIPES)
        return f"{name}: {inspect.getdoc(recipe)}\n\n{describe(override(recipe(), fields))}"
    parts = {
        "Recipes:": parts_of("tubelet.recipes", "RECIPES"),
        "Maskers (what is hidden), as masker=NAME:": parts_of("tubelet.maskers", "MASKERS"),
        "Decode masks (which hidden tubelets are reconstructed), as decode=NAME:": parts_of(
            "tubelet.maskers", "DECODES"
        ),
        "Objectives, as objectives.MINE=NAME:": parts_of("tubelet.objectives", "OBJECTIVES"),
        "Targets (what is predicted of hidden tubelets), as objectives.MINE.target=NAME:": parts_of(
            "tubelet.objectives.targets", "TARGETS"
        ),
        "Decoders, as objectives.MINE.decoder=NAME:": parts_of("tubelet.models", "DECODERS"),
        "Loss schedules, as objectives.MINE.when=NAME:": parts_of("tubelet.objectives.when", "WHENS"),
        "Extra streams (read beside the clip), with streams.MINE=Stream, as streams.MINE.pairing=NAME:": parts_of(
            "tubelet.loading.pairings", "PAIRINGS"
        ),
        "Stream encoders, as streams.MINE.tower=NAME:": parts_of("tubelet.streams.towers", "TOWERS"),
        "Teachers (a second network without gradient), as teacher=NAME:": parts_of("tubelet.teachers", "TEACHERS"),
    }
    width = max(len(name) for lines in parts.values() for name, _ in lines)
    blocks = [f"{title}\n{columns(lines, width)}" for title, lines in parts.items()]
    return "\n\n".join([parser.format_help().rstrip(), *blocks])
