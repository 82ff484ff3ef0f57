"""Train a small image-text aligner on a corpus's own frames and captions, in a minute or two on a CPU.

  tubelet align CORPUS
  tubelet align CORPUS sources=human patience=5                          early stopping on held-out train videos
  tubelet align CORPUS --image facebook/dinov2-small --text sentence-transformers/all-MiniLM-L6-v2
                                                    project two frozen pretrained models into one space (LiT)
  tubelet align CORPUS --from openai/clip-vit-base-patch32 blocks=2      fine-tune a CLIP or SigLIP instead
  tubelet align CORPUS --compare CORPUS/aligner LIT MODEL                one table of several, next to controls

It is trained on the train split only and kept in CORPUS/aligner with report.html: training curves, retrieval on
held-out pairs, heat maps. The same command again trains nothing; interrupted, it resumes. `tubelet align --help`
lists every field; with --from MODEL, those of fine-tuning; with --image and --text, those of the projections.
"""

import argparse
import re
from typing import TYPE_CHECKING

from tubelet.cli.options import add_limits, split_words

if TYPE_CHECKING:
    from tubelet.aligners.config import AlignerTraining


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("corpus", metavar="CORPUS", help="corpus folder with captions")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="a field of the training, as in steps=200")
    parser.add_argument(
        "--from",
        dest="model",
        metavar="MODEL",
        help="fine-tune this CLIP or SigLIP, a hub name or a local folder, instead of training a small aligner",
    )
    parser.add_argument(
        "--image",
        metavar="MODEL",
        help="with --text: the frozen vision model, a hub name or local folder of transformers, or a run of tubelet",
    )
    parser.add_argument(
        "--text",
        metavar="MODEL",
        help="with --image: the frozen text model, a hub name or local folder of transformers",
    )
    parser.add_argument(
        "--compare",
        nargs="+",
        metavar="ALIGNER",
        help="train none; measure these, folders of aligners or models, in one table",
    )
    parser.add_argument("--seconds", type=float, help="as many steps as fit into this time on this machine")
    parser.add_argument("--out", metavar="FOLDER", help="where the aligner goes (default: CORPUS/aligner)")
    parser.add_argument("--force", action="store_true", help="replace another aligner that is there")
    add_limits(parser)


def run(args: argparse.Namespace) -> None:
    from tubelet.prepare import align
    from tubelet.progress import Bar

    if args.compare:
        print_compared(args)
        return
    with Bar() as bar:
        made = align(
            args.corpus,
            training_of(args.overrides, args.model, args.image, args.text),
            out=args.out,
            seconds=args.seconds,
            force=args.force,
            progress=bar,
        )
    following = f"next: tubelet saliency {args.corpus} Text" + (f" aligner={args.out}" if args.out else "")
    if not made.new:
        print(f"{made.folder} holds this aligner already; its report: {made.page}\n{following}")
        return
    for name, reason in made.failed.items():
        print(f"left out: {name}: {reason}")
    if made.dropped:
        fields = training_of(args.overrides, args.model, args.image, args.text)
        print(f"{made.dropped} captioned train videos were dropped at random: max_frames={fields.max_frames}")
    words = f", {made.words} words" if made.words is not None else ""
    print(
        f"{made.videos} train videos, {made.texts} distinct captions{words}; "
        f"{made.seconds:.0f} s ({made.processor_seconds:.0f} s of processor time)"
    )
    if made.best is not None:
        print(f"{made.steps} steps; kept the weights of step {made.best}, which had the lowest validation loss")
    if (found := made.retrieval) is None:
        print("fewer than 2 captioned videos in the test split: no retrieval to measure")
    else:
        print(
            f"test split, {found.videos} videos and {found.texts} captions, recall at 1: "
            f"caption to frame {found.text_to_frame:.3f} (chance {found.chance_text_to_frame:.3f}), "
            f"frame to caption {found.frame_to_text:.3f} (chance {found.chance_frame_to_text:.3f})"
        )
    print(f"{made.identity} in {made.folder}; its report: {made.page}\n{following}")


def print_compared(args: argparse.Namespace) -> None:
    from tubelet.cli.tables import print_table
    from tubelet.console import Console
    from tubelet.diagnostics.aligners import compare_aligners
    from tubelet.progress import Bar

    fields = [word for word in args.compare if re.match(r"\w+=", word)]  # argparse takes all that follows
    settings = training_of([*args.overrides, *fields])
    aligners = [word for word in args.compare if word not in fields]
    with Bar() as bar:
        found = compare_aligners(args.corpus, aligners, sources=settings.sources, progress=bar)
    print_table(Console(), found.table)


def training_of(
    overrides: list[str], model: str | None = None, image: str | None = None, text: str | None = None
) -> "AlignerTraining":
    """The training that these words ask for."""
    from tubelet.aligners.config import ClipFinetuning, LitTraining, SmallAlignerTraining
    from tubelet.config import override
    from tubelet.errors import RecipeError

    if (image is None) != (text is None):
        raise RecipeError("--image and --text go together: give the vision model and the text model")
    if image is not None and text is not None:
        if model is not None:
            raise RecipeError("--from fine-tunes one model of both towers; give either it or --image and --text")
        return override(LitTraining(image=image, text=text), overrides)
    if model is None:
        return override(SmallAlignerTraining(), overrides)
    return override(ClipFinetuning(model=model), overrides)


def help_on(words: list[str], parser: argparse.ArgumentParser) -> str:
    """What `--help` prints after these words: the options, then every field of the training."""
    from tubelet.config import describe

    _, overrides = split_words(words)
    model, image, text = (
        words[words.index(option) + 1] if option in words[:-1] else None for option in ("--from", "--image", "--text")
    )
    fields = describe(training_of(overrides, model, image, text))
    return f"{parser.format_help().rstrip()}\n\nfields:\n{fields}"
