"""Train a small image-text aligner on a corpus's own frames and captions, in a minute or two on a CPU.

  tubelet align CORPUS
  tubelet align CORPUS sources=human patience=5                          early stopping on held-out train videos
  tubelet align CORPUS --from openai/clip-vit-base-patch32 blocks=2      fine-tune a CLIP or SigLIP instead

It is trained on the train split only and kept in CORPUS/aligner with report.html: training curves, retrieval on
held-out pairs, heat maps. The same command again trains nothing; interrupted, it resumes. `tubelet align --help`
lists every field; with --from MODEL, those of fine-tuning.
"""

import argparse
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
    parser.add_argument("--seconds", type=float, help="as many steps as fit into this time on this machine")
    parser.add_argument("--out", metavar="FOLDER", help="where the aligner goes (default: CORPUS/aligner)")
    parser.add_argument("--force", action="store_true", help="replace another aligner that is there")
    add_limits(parser)


def run(args: argparse.Namespace) -> None:
    from tubelet.prepare import align
    from tubelet.progress import Bar

    with Bar() as bar:
        made = align(
            args.corpus,
            training_of(args.model, args.overrides),
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
        fields = training_of(args.model, args.overrides)
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


def training_of(model: str | None, overrides: list[str]) -> "AlignerTraining":
    """The training that these words ask for."""
    from tubelet.aligners.config import ClipFinetuning, SmallAlignerTraining
    from tubelet.config import override

    if model is None:
        return override(SmallAlignerTraining(), overrides)
    return override(ClipFinetuning(model=model), overrides)


def help_on(words: list[str], parser: argparse.ArgumentParser) -> str:
    """What `--help` prints after these words: the options, then every field of the training."""
    from tubelet.config import describe

    _, overrides = split_words(words)
    model = words[words.index("--from") + 1] if "--from" in words[:-1] else None
    return f"{parser.format_help().rstrip()}\n\nfields:\n{describe(training_of(model, overrides))}"
