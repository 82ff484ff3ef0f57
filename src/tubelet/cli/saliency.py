"""Compute saliency maps, once per corpus.

  tubelet saliency CORPUS                                     the sources, and the maps that the corpus has
  tubelet saliency CORPUS Text                                similarity of patches and captions, by CORPUS/aligner
  tubelet saliency CORPUS Text aligner=openai/clip-vit-base-patch16 scorer=surgery
  tubelet saliency CORPUS Motion fallback=Dis                 codec motion vectors, else optical flow
  tubelet saliency CORPUS Flow engine=Raft engine.weights=FILE
  tubelet saliency CORPUS Attention aligner=CLIP              where the class token of a CLIP or SigLIP attends
  tubelet saliency CORPUS Oracle                              ground truth, of a corpus of `tubelet synth`
  tubelet saliency CORPUS Parts                               whose each cell is: ground, subject, each distractor
  tubelet saliency CORPUS Noise                               smooth noise: a control for guided masks
  tubelet saliency CORPUS Imported name=mine files=FOLDER     your own: .npy, .npz (layers, rows, columns[, 2])
  tubelet saliency CORPUS my.py:Mine                          a source of your own, a class of your file

Run again, it computes only what is missing; failed videos are tried again with --retry-failed, or when their file
changes. `tubelet saliency CORPUS SOURCE --help` lists the fields of a source.
"""

import argparse
from typing import TYPE_CHECKING

from tubelet.cli.options import add_running, failure_lines, running_of, split_words
from tubelet.cli.parts import parts_of

if TYPE_CHECKING:
    from tubelet.corpus.table import Corpus


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("corpus", metavar="CORPUS", help="corpus folder")
    parser.add_argument("words", metavar="SOURCE key=value", nargs="*", help="the source of the maps, and its fields")
    add_running(parser)


def run(args: argparse.Namespace) -> None:
    from tubelet.corpus.table import Corpus
    from tubelet.errors import VideoError
    from tubelet.prepare import saliency
    from tubelet.progress import Bar
    from tubelet.recipes.named import source_of

    corpus = Corpus.open(args.corpus)
    if not args.words:
        print(sources_and_maps(corpus))
        return
    source = source_of(args.words)
    with Bar(f"{' and '.join(source.maps)} maps", "videos") as bar:
        filled = saliency(corpus, source, running=running_of(args), progress=bar)
    captions = "" if filled.captions is None else f" and {filled.captions} captions"
    print(
        f"{filled.computed} maps computed now; {filled.videos} videos{captions} are complete ({filled.method})\n"
        f"{filled.done.summary('videos')}"
    )
    for note in filled.notes:
        print(f"NOTE: {note}")
    for line in failure_lines(filled.done, "no map"):
        print(line)
    if filled.failed:
        first, reason = next(iter(filled.failed.items()))
        raise VideoError(
            f"{len(filled.failed)} of {filled.videos + len(filled.failed)} videos have no {' and '.join(filled.maps)} "
            f"maps (first: {first}: {reason}); {source.remedy}"
        )


def sources_and_maps(corpus: "Corpus | None" = None) -> str:
    """The maps that a corpus has, and every source with its fields."""
    from tubelet.config import describe
    from tubelet.prepare import maps_of
    from tubelet.saliency_maps import SOURCES

    lines = []
    if corpus is not None:
        there = maps_of(corpus)
        lines += [f"maps of {corpus.folder}:" if there else f"{corpus.folder} has no maps", ""]
        for maps in there:
            method = ", ".join(f"{name} {value}" for name, value in maps.method.items())
            lines.append(f"  {maps.name:<12}  {maps.kind}, {maps.videos} of {maps.total} videos, {method}")
        lines += [""] if there else []
    lines.append("sources, as in `tubelet saliency CORPUS Text scorer=surgery`:")
    for source, (name, story) in zip(SOURCES, parts_of("tubelet.saliency_maps", "SOURCES"), strict=True):
        lines += ["", f"{name}: {story}", describe(source())]
    return "\n".join(lines)


def help_on(words: list[str], parser: argparse.ArgumentParser) -> str:
    """What `--help` prints after these words: the fields of the source that they name, else the options."""
    named, fields = split_words(words)
    for name, story in parts_of("tubelet.saliency_maps", "SOURCES"):
        if name in named:
            from tubelet.config import describe
            from tubelet.recipes.named import source_of

            return f"{name}: {story}\n\n{describe(source_of([name, *fields]))}"
    return parser.format_help().rstrip()
