"""Score every place of every frame once, and keep the maps with the corpus.

  tubelet saliency text CORPUS     how much each place is like each caption; caption embeddings too
  tubelet saliency check CORPUS    how well those maps find what captions name, where the truth is known

Run again, `text` computes only what is missing.
"""

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tubelet.align import Aligner
    from tubelet.data.table import Corpus


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", choices=("text", "check"), help="what to do")
    parser.add_argument("corpus", metavar="CORPUS", help="corpus folder with captions")
    parser.add_argument(
        "--aligner",
        metavar="NAME",
        help="folder of an aligner, or folder or hub name of a CLIP (default: CORPUS/aligner, from `tubelet align`)",
    )
    parser.add_argument(
        "--reading",
        default="dense",
        choices=("dense", "upsample", "crop"),
        help="how CLIP is read (default: %(default)s): dense, the frame enlarged until its tokens make the grid;\n"
        "upsample, its tokens at its own size, interpolated; crop, every patch encoded alone (slow)",
    )
    parser.add_argument(
        "--source", action="append", default=[], metavar="NAME", help="captions of this source; may be repeated"
    )
    parser.add_argument(
        "--rate", help='text: layers a second, or "all" frames (default: 4; all of the embedded corpus)'
    )
    parser.add_argument("--split", default="test", help="check: clips of this split (default: %(default)s)")
    parser.add_argument("--every", type=int, default=4, help="check: look at every so many frames (default: 4)")
    parser.add_argument("--clips", type=int, help="check: look at so many clips (default: all)")
    parser.add_argument("--out", metavar="FOLDER", help="check: folder for check.json and check.png")


def run(args: argparse.Namespace) -> None:
    from tubelet.data.table import Corpus

    corpus = Corpus.open(args.corpus)
    if args.what == "text":
        text(args, corpus)
    else:
        check(args, corpus)


def text(args: argparse.Namespace, corpus: "Corpus") -> None:
    """`tubelet saliency text`"""
    from tubelet.commands.bar import Bar
    from tubelet.errors import VideoError
    from tubelet.saliency import text as saliency

    rate = layers_a_second(args.rate, corpus)
    saliency.captioned(corpus, args.source)
    aligner = the_aligner(args, corpus)
    with Bar("text maps", "videos") as bar:
        filled = saliency.fill(corpus, aligner, rate, args.source, progress=bar)
    print(
        f"{filled.computed} maps computed now; {filled.videos} videos and {filled.captions} captions are complete "
        f"({aligner.identity}, {f'{rate:g} layers a second' if rate else 'every frame'})"
    )
    if filled.failed:
        for name, reason in filled.failed.items():
            print(f"no map: {name}: {reason}")
        first = next(iter(filled.failed))
        raise VideoError(
            f"{len(filled.failed)} of {filled.videos + len(filled.failed)} videos have no text maps "
            f"(first: {first}: {filled.failed[first]}); put the files right and run this again"
        )


def check(args: argparse.Namespace, corpus: "Corpus") -> None:
    """`tubelet saliency check`"""
    import json
    from pathlib import Path

    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    from tubelet.commands.bar import Bar
    from tubelet.errors import RecipeError
    from tubelet.saliency import check as checking

    if len(args.source) > 1:
        raise RecipeError("saliency check looks at one caption a clip: give one --source")
    for name in ("every", "clips"):
        if (value := getattr(args, name)) is not None and value < 1:
            raise RecipeError(f"--{name} must be at least 1, not {value}")
    source = args.source[0] if args.source else ("subject" if "subject" in corpus.sources else None)
    aligner = the_aligner(args, corpus)
    with Bar("checking", "clips") as bar:
        checked = checking.check(corpus, aligner, source, args.split, args.every, args.clips, progress=bar)
    table = checked.table()
    cameras = list(next(iter(table.values()))["all"])
    shown = Table(
        title=f"ROC area per clip, mean over {len(checked.videos)} {args.split} clips", title_justify="left", box=SIMPLE
    )
    shown.caption = "all patches / distractor patches alone"
    for column in ("", *cameras):
        shown.add_column(column, justify="right" if column else "left", no_wrap=True)
    for row, by_side in table.items():
        pairs = ([by_side[against][camera]["mean"] for against in checking.AGAINST] for camera in cameras)
        shown.add_row(
            row, *(" / ".join("-" if area != area else f"{area:.3f}".lstrip("0") for area in pair) for pair in pairs)
        )
    Console().print(shown)
    error = table["text map"]["all"]["overall"]["error"]
    about = getattr(aligner, "about", {})
    trained = {name: about[name] for name in ("seconds", "processor_seconds", "settings") if name in about}
    print(
        f"standard error of the first figure {error:.3f}; grid {checked.protocol['grid']}; {aligner.identity}"
        + (
            f", trained in {trained['processor_seconds']:g} s of processor time"
            if "processor_seconds" in trained
            else ""
        )
    )
    if args.out:
        folder = Path(args.out)
        folder.mkdir(parents=True, exist_ok=True)
        result = {**checking.as_json(checked), "trained": trained}
        (folder / "check.json").write_text(json.dumps(result, indent=1) + "\n")
        checking.contact_sheet(checked.examples, folder / "check.png")
        print(f"{folder / 'check.json'}, {folder / 'check.png'}")


def the_aligner(args: argparse.Namespace, corpus: "Corpus") -> "Aligner":
    from tubelet.align import open_aligner
    from tubelet.errors import CorpusError

    if args.aligner:
        return open_aligner(args.aligner, args.reading)
    folder = corpus.folder / "aligner"
    if not (folder / "aligner.json").is_file():
        raise CorpusError(
            f"{args.corpus} has no aligner; train one with `tubelet align {args.corpus}`, "
            "or name a CLIP with --aligner PATH"
        )
    return open_aligner(folder)


def layers_a_second(rate: str | None, corpus: "Corpus") -> float | None:
    """None for every frame, the default where the corpus was rendered by us and all of it is short."""
    from tubelet.errors import RecipeError

    if rate is None:
        return None if "synth" in corpus.about else 4.0
    if rate == "all":
        return None
    try:
        number = float(rate)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise RecipeError(f'--rate must be a positive number or "all", not {rate!r}')
    return number
