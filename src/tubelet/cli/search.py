"""Find the clips of a corpus that lie nearest to a text, or to a clip: a list, and a contact sheet of middle frames.

For a text RUN was trained with captions (the objective Contrast). Any text can be asked for: a caption of the corpus,
or other words, which the aligner that the run was trained with turns into a vector. `--like` takes any run."""

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tubelet.cli.options import add_limits

if TYPE_CHECKING:
    from tubelet.corpus.table import Corpus
    from tubelet.evaluations import Context
    from tubelet.evaluations.features import Features
    from tubelet.inference.search import Hit
    from tubelet.tasks import Pretraining


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="run folder; for a text one that was trained with captions")
    parser.add_argument("text", nargs="?", metavar="TEXT", help='what to look for, as "a red star"')
    parser.add_argument(
        "--like",
        metavar="CLIP[@START]",
        help="what looks like this video in place of a text: a file, or an id of the corpus; from so many seconds on",
    )
    parser.add_argument("--on", metavar="CORPUS", help="corpus folder (default: the one it was trained on)")
    parser.add_argument("--split", default="all", help="only videos of this split (default: all)")
    parser.add_argument("--top", type=int, default=12, help="how many (default: %(default)s)")
    parser.add_argument("--out", metavar="FILE", help="the contact sheet (default: RUN/pictures/search TEXT.png)")
    parser.add_argument(
        "--aligner", metavar="NAME", help="what embeds the text: a folder or a hub name (default: CORPUS/aligner)"
    )
    parser.add_argument("--batch", type=int, default=16, help="clips of one forward pass (default: %(default)s)")
    parser.add_argument("--force", action="store_true", help="replace the contact sheet where --out exists")
    add_limits(parser)


def run(args: argparse.Namespace) -> None:
    from pathlib import Path

    import torch

    from tubelet.checkpoint import checkpoint_step
    from tubelet.corpus.table import Corpus
    from tubelet.errors import RecipeError, RunError
    from tubelet.evaluations import Context
    from tubelet.evaluations.cache import FOLDER
    from tubelet.evaluations.pictures import keep_thumbnails
    from tubelet.evaluations.results import merge_result
    from tubelet.evaluations.trained_on import roles
    from tubelet.files import file_name, within
    from tubelet.inference.search import draw, told
    from tubelet.progress import Bar
    from tubelet.runs.folder import load_task, read_run_config, weights_file
    from tubelet.runs.record import of_run

    if args.top < 1:
        raise RecipeError(f"--top must be at least 1, not {args.top}")
    if (args.text is None) == (args.like is None):
        raise RecipeError('a search is for a text or for a clip: `tubelet search RUN "a red star"`, or --like CLIP')
    folder, asked = Path(args.run), args.text or f"like {args.like}"
    out = Path(args.out) if args.out else within(folder, "pictures", f"{file_name(f'search {asked}')}.png")
    if args.out and out.exists() and not args.force:
        raise RunError(f"{out} exists; name another file with --out, or replace it with --force")
    plan = read_run_config(folder)
    config, task = load_task(folder)
    if not (args.on or plan.corpus["path"]):
        raise RunError(f"{folder} was imported and trained on no corpus here; name one with --on CORPUS")
    task.to("cuda" if torch.cuda.is_available() else "cpu")
    corpus = Corpus.open(args.on or plan.corpus["path"])
    warnings: list[str] = []
    with Bar("reading", "clips") as bar:
        context = Context(
            encoder=task.encoder, corpus=corpus, clip=config.clip, data=config.data, task=task, texts=plan.texts,
            keep=folder / FOLDER, seed=config.seed, batch=args.batch, progress=bar,
        )  # fmt: skip
        if args.like is None:
            find = by_text(args, task, context, plan.corpus["path"], warnings)
        else:
            find = by_clip(args, task, context)
        features = context.features(args.split)
    hits = find(features)
    record = of_run(folder)
    trained_on = {name: roles(clips) for name, clips in record.find(hit.video for hit in hits).items()}
    for place, hit in enumerate(hits, start=1):
        captions = "; ".join(dict.fromkeys(caption.text for caption in corpus.captions_of(hit.video)[:2]))
        learned = f"trained on: {trained_on[hit.video.id]}" if hit.video.id in trained_on else ""
        about = "   ".join(filter(None, [hit.video.id, hit.video.label, learned, captions]))
        print(f"{place:>3}   {hit.score:+.3f}   {hit.video.split:<5}   {about}")
    for line in record.unknown:
        print(line)
    for line in warnings:
        print(f"NOTE: {line}")
    if features.failed:
        print(f"{len(features.failed)} videos could not be read, first {features.failed[0]}")
    draw(asked, hits, out)
    words = [args.text] if args.like is None else ["--like", args.like]
    command = ["search", args.run, *words, "--on", str(corpus.folder), "--split", args.split, "--top", str(args.top)]
    result = {
        "corpus": context.identity,
        "step": checkpoint_step(weights_file(folder)),
        "asked": {"command": command + (["--aligner", args.aligner] if args.aligner else [])},
        "counts": {args.split: {**features.counts(), "used": len(features), "unlabelled": 0}},
        "failed": {args.split: list(features.failed)},
        "examples": {"search": [told(asked, hits, corpus)]},
        "warnings": warnings,
    }
    merge_result(folder, f"search {asked}", result)
    keep_thumbnails(corpus, [hit.video.id for hit in hits], folder)
    print(f"{len(hits)} of {len(features)} clips, drawn in {out}; `tubelet report {folder}` shows them")


def by_text(
    args: argparse.Namespace, task: "Pretraining", context: "Context", home: str, warnings: list[str]
) -> "Callable[[Features], list[Hit]]":
    """The nearest to a text, in the space of the contrast head; words of it that nobody learned are `warnings`."""
    from pathlib import Path

    from tubelet.corpus.table import Corpus
    from tubelet.inference.search import head_of, nearest, text_vector, words_unlearned

    corpora = [context.corpus, *([Corpus.open(home)] if home else [])]
    head = head_of(task, Path(args.run))
    trained_with = context.texts.identity(corpora[-1])
    aligner = aligner_of(args, *corpora)
    warnings += words_unlearned(args.text, aligner, trained_with)
    vector = text_vector(args.text, aligner, trained_with, *corpora, series=context.texts.series)
    videos = {video.id: video for video in context.corpus.videos}
    return lambda features: nearest(head, features, vector, videos, args.top)


def by_clip(args: argparse.Namespace, task: "Pretraining", context: "Context") -> "Callable[[Features], list[Hit]]":
    """The nearest to a clip, by the encoder's features."""
    from tubelet.inference.embed import embed_at
    from tubelet.inference.search import alike, clip_named

    asked = clip_named(args.like, context.corpus)
    if asked.video is not None and asked.start is None:
        vector = context.features("all").mean_of(asked.video)
    else:
        vector = embed_at(task.encoder, asked.path, asked.start, context.data.sampling)
    return lambda features: alike(features, vector, context.corpus, args.top, asked.video)


def aligner_of(args: argparse.Namespace, *corpora: "Corpus") -> Any | None:
    """The aligner that is named, or the one that lies beside one of the corpora."""
    from tubelet.aligners.base import open_aligner

    if args.aligner:
        return open_aligner(args.aligner)
    for corpus in corpora:
        if (corpus.folder / "aligner" / "aligner.json").is_file():
            return open_aligner(corpus.folder / "aligner")
    return None
