"""Measure how well saliency maps find what captions name, where the ground truth is known.

  tubelet maps CORPUS                               the text maps of CORPUS/aligner, next to their controls
  tubelet maps CORPUS motion oracle_flow            maps that the corpus has, by name
  tubelet maps CORPUS aligner=CLIP scorer=surgery   the text maps of a CLIP or SigLIP
  tubelet maps CORPUS --online clip.size=64         how much cached text maps differ from online ones, of any corpus

The measure is the ROC area of a map for the subject, per clip, of a corpus of `tubelet synth`.
"""

import argparse
from typing import TYPE_CHECKING

from tubelet.cli.options import add_limits

if TYPE_CHECKING:
    from tubelet.corpus.table import Corpus


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
    parser.add_argument("--every", type=int, default=4, help="measure every so many frames (default: 4)")
    parser.add_argument("--clips", type=int, help="measure so many clips (default: all; with --online 64)")
    parser.add_argument("--out", metavar="FOLDER", help="folder for maps.json and maps.png")
    add_limits(parser)


def run(args: argparse.Namespace) -> None:
    from tubelet.corpus.table import Corpus
    from tubelet.errors import RecipeError

    for name in ("every", "clips"):
        if (value := getattr(args, name)) is not None and value < 1:
            raise RecipeError(f"--{name} must be at least 1, not {value}")
    corpus = Corpus.open(args.corpus)
    (compare if args.online else measure)(args, corpus)


def measure(args: argparse.Namespace, corpus: "Corpus") -> None:
    from pathlib import Path

    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from tubelet.checksums import write_json
    from tubelet.cli.saliency import source_of
    from tubelet.console import Console
    from tubelet.diagnostics import maps as measuring
    from tubelet.diagnostics.truth import AGAINST
    from tubelet.progress import Bar
    from tubelet.saliency_maps import Text
    from tubelet.saliency_maps.text import aligner_of

    names = [word for word in args.words if "=" not in word]
    text = source_of(["Text", *(word for word in args.words if "=" in word)])
    assert isinstance(text, Text)
    source = args.source or ("subject" if "subject" in corpus.sources else None)
    aligner = None if names else aligner_of(corpus, text.aligner, text.reading, text.scorer)
    where = source, args.split, args.every, args.clips
    with Bar("measuring", "clips") as bar:
        measured = (
            measuring.measure_maps(corpus, names, *where, progress=bar)
            if aligner is None
            else measuring.measure_aligner(corpus, aligner, *where, progress=bar)
        )
    table = measured.table()
    cameras = list(next(iter(table.values()))["all"])
    title = f"ROC area per clip, mean over {len(measured.videos)} {args.split} clips"
    shown = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=0, pad_edge=False)
    shown.caption = "all patches / distractor patches only"
    for column in ("", *cameras):
        shown.add_column(column, justify="right" if column else "left", no_wrap=True)
    for row, by_side in table.items():
        pairs = ([by_side[against][camera]["mean"] for against in AGAINST] for camera in cameras)
        shown.add_row(
            row, *(" / ".join("-" if area != area else f"{area:.3f}".lstrip("0") for area in pair) for pair in pairs)
        )
    Console().print(shown)
    error = next(iter(table.values()))["all"]["overall"]["error"]
    about = getattr(aligner, "about", {})
    trained = {name: about[name] for name in ("seconds", "processor_seconds", "settings") if name in about}
    print(
        f"standard error of the first figure {error:.3f}; grid {measured.protocol['grid']}"
        + ("" if aligner is None else f"; {aligner.identity}")
        + (f", trained in {about['processor_seconds']:g} s of processor time" if "processor_seconds" in trained else "")
    )
    if args.out:
        folder = Path(args.out)
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "maps.json", {**measuring.as_json(measured), "trained": trained})
        measuring.write_sheet(measured, folder / "maps.png")
        print(f"{folder / 'maps.json'}, {folder / 'maps.png'}")


def compare(args: argparse.Namespace, corpus: "Corpus") -> None:
    import statistics

    from tubelet.cli.saliency import source_of
    from tubelet.config import override
    from tubelet.diagnostics.masks import plain_data
    from tubelet.diagnostics.online import compare
    from tubelet.errors import RecipeError
    from tubelet.progress import Bar
    from tubelet.recipes import Pretrain
    from tubelet.saliency_maps import Text
    from tubelet.saliency_maps.text import aligner_of

    of_run = [word for word in args.words if word.partition("=")[0].partition(".")[0] in ("clip", "data")]
    others = [word for word in args.words if word not in of_run]
    for word in others:
        if word.partition("=")[0] not in ("aligner", "reading", "scorer"):
            raise RecipeError(
                f"{word}: only aligner, reading, scorer and fields of clip and data can be set here, as in clip.size=64"
            )
    text, config = (
        source_of(["Text", *others]),
        override(Pretrain(data=plain_data(corpus, args.split), steps=1), of_run),
    )
    assert isinstance(text, Text)
    aligner = aligner_of(corpus, text.aligner, text.reading, text.scorer)
    with Bar("comparing", "clips") as bar:
        found = compare(corpus, aligner, config.clip, config.data, args.clips or 64, progress=bar)
    for clip in found.failed:
        print(f"left out: {clip}")
    low = sorted(found.correlation)[len(found.correlation) // 20]
    print(
        f"{len(found.correlation)} randomly cropped {args.split} clips, each with its cached map and its online map\n"
        f"correlation over the tubelets: mean {statistics.mean(found.correlation):.3f}, {low:.3f} or more in 95 %\n"
        f"hidden by Text at ratio 0.6: intersection over union {statistics.mean(found.iou):.2f} "
        f"(random masks {found.chance:.2f})\n"
        f"cost of online maps: {found.milliseconds:.0f} ms a clip"
    )
