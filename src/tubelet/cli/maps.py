"""Measure how well saliency maps find what captions name, where the ground truth is known.

  tubelet maps CORPUS                               the text maps of CORPUS/aligner, next to their controls
  tubelet maps CORPUS motion oracle_flow            maps that the corpus has, by name
  tubelet maps CORPUS aligner=CLIP scorer=surgery   the text maps of a CLIP or SigLIP
  tubelet maps CORPUS --online clip.size=64         how much cached text maps differ from online ones, of any corpus

The measure is the ROC area of a map for the subject, per clip, of a corpus of `tubelet synth`.
"""

import argparse
from typing import TYPE_CHECKING

from tubelet.cli.options import add_limits, fields_of

if TYPE_CHECKING:
    from tubelet.diagnostics.maps import MapMeasures
    from tubelet.diagnostics.online import MapDifference


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("corpus", metavar="CORPUS", help="corpus folder")
    parser.add_argument(
        "words",
        nargs="*",
        metavar="NAME | key=value",
        help="names of maps; fields aligner, reading and scorer, as of `tubelet saliency CORPUS Text`; with --online\n"
        "fields of clip and data too, as of `tubelet pretrain`",
    )
    parser.add_argument("--online", action="store_true", help="compare cached text maps with online ones")
    parser.add_argument("--source", metavar="NAME", help="captions of this source (default: subject, where it is)")
    parser.add_argument("--split", default="test", help="clips of this split (default: test)")
    parser.add_argument("--every", type=int, default=4, help="measure every N-th frame (default: 4)")
    parser.add_argument("--clips", type=int, help="number of clips to measure (default: all; with --online 64)")
    parser.add_argument("--out", metavar="FOLDER", help="folder for maps.json and maps.png")
    add_limits(parser)


def run(args: argparse.Namespace) -> None:
    from tubelet.diagnostics.maps import maps, write_maps
    from tubelet.diagnostics.online import compare_words
    from tubelet.progress import Bar

    if args.online:
        with Bar("comparing", "clips") as bar:
            print_difference(
                compare_words(args.corpus, *args.words, split=args.split, clips=args.clips, progress=bar), args.split
            )
        return
    with Bar("measuring", "clips") as bar:
        measured = maps(args.corpus, *args.words, **fields_of(args, "corpus", "words", "online", "out"), progress=bar)
    print_measured(measured)
    if args.out:
        print(", ".join(map(str, write_maps(measured, args.out))))


def print_measured(measured: "MapMeasures") -> None:
    from tubelet.cli.tables import print_table
    from tubelet.console import Console
    from tubelet.diagnostics.tables import map_table

    print_table(Console(), map_table(measured))
    error = next(iter(measured.table().values()))["all"]["overall"]["error"]
    aligner, spent = measured.protocol.get("aligner"), measured.trained.get("processor_seconds")
    print(
        f"standard error of the first figure {error:.3f}; grid {measured.protocol['grid']}"
        + ("" if aligner is None else f"; {aligner}")
        + ("" if spent is None else f", trained in {spent:g} s of processor time")
    )


def print_difference(found: "MapDifference", split: str) -> None:
    import statistics

    for clip in found.failed:
        print(f"left out: {clip}")
    low = sorted(found.correlation)[len(found.correlation) // 20]
    print(
        f"{len(found.correlation)} randomly cropped {split} clips, each with its cached map and its online map\n"
        f"correlation over the tubelets: mean {statistics.mean(found.correlation):.3f}, {low:.3f} or more in 95 %\n"
        f"hidden by Text at ratio 0.6: intersection over union {statistics.mean(found.iou):.2f} "
        f"(random masks {found.chance:.2f})\n"
        f"cost of online maps: {found.milliseconds:.0f} ms a clip"
    )
