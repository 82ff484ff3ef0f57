"""Score every place of every frame once, and keep the maps with the corpus.

  tubelet saliency text CORPUS                   how much each place is like each caption; caption embeddings too
  tubelet saliency motion CORPUS                 how each place moves, as the video's own codec tells it
  tubelet saliency flow CORPUS                   how each place moves, by optical flow
  tubelet saliency attention CORPUS --aligner CLIP   what a CLIP or SigLIP attends to in each frame
  tubelet saliency oracle CORPUS                 where the subject is and how all moves, of a corpus of `tubelet synth`
  tubelet saliency noise CORPUS                  noise that is smooth in space and time: a control of guided masks
  tubelet saliency import CORPUS NAME FILE...    maps of your own, .npy or .npz (layers, rows, columns[, 2])
  tubelet saliency check CORPUS                  how well maps find what captions name, where the truth is known
  tubelet saliency exact CORPUS [key=value ...]  how much kept text maps differ from those of the cropped clips

Run again, a command computes only what is missing; what failed is tried again with --retry-failed, or as soon as its
file changes.
"""

import argparse
from typing import TYPE_CHECKING

from tubelet.cli.options import add_running, failures, running_of

if TYPE_CHECKING:
    from tubelet.aligners import Aligner
    from tubelet.corpus.table import Corpus
    from tubelet.saliency_maps.filling import Filled
    from tubelet.saliency_maps.flow import Engine


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", choices=tuple(JOBS), help="what to do")
    parser.add_argument("corpus", metavar="CORPUS", help="corpus folder")
    parser.add_argument(
        "files",
        metavar="NAME FILE",
        nargs="*",
        help="import: the maps' name, and where they are; exact: fields of clip and data, as clip.size=64",
    )
    parser.add_argument(
        "--aligner",
        metavar="NAME",
        help="text, attention: folder of an aligner, or folder or hub name of a CLIP or SigLIP\n"
        "(default: CORPUS/aligner, from `tubelet align`)",
    )
    parser.add_argument(
        "--reading",
        default="dense",
        choices=("dense", "upsample", "crop"),
        help="text, attention: how CLIP is read (default: %(default)s): dense, the frame enlarged until its tokens\n"
        "make the grid; upsample, its tokens at its own size, interpolated; crop, every patch encoded alone (slow)",
    )
    parser.add_argument(
        "--scorer",
        default="raw",
        choices=("raw", "value", "surgery"),
        help="text: which tokens of CLIP or SigLIP are scored (default: %(default)s): value, the last block's\n"
        "value path (MaskCLIP); surgery, attention of values to values (CLIP Surgery)",
    )
    parser.add_argument(
        "--source", action="append", default=[], metavar="NAME", help="text: captions of this source; may be repeated"
    )
    parser.add_argument(
        "--another",
        action="store_true",
        help="text: captions of another video too, for the control data.captions.whose=another",
    )
    parser.add_argument(
        "--rate", help='text, attention: layers a second, or "all" frames (default: 4; all of the embedded corpus)'
    )
    parser.add_argument(
        "--engine",
        choices=("dis", "farneback", "raft"),
        help="flow: who estimates it (default: dis); dis and farneback are OpenCV's (pip install 'tubelet[flow]'),\n"
        "raft torchvision's",
    )
    parser.add_argument("--weights", metavar="FILE", help="flow: weights of raft, a file of torchvision's")
    parser.add_argument(
        "--fallback", choices=("flow",), help="motion: what stands in where a codec tells of no motion vectors"
    )
    parser.add_argument(
        "--cells",
        type=int,
        default=14,
        help="motion, flow, oracle, noise: cells along a map's short side (default: 14)",
    )
    parser.add_argument(
        "--map",
        action="append",
        default=[],
        metavar="NAME",
        help="check: maps of this name against the subject, instead of the text maps; may be repeated",
    )
    parser.add_argument("--split", default="test", help="check, exact: clips of this split (default: test)")
    parser.add_argument("--every", type=int, default=4, help="check: look at every so many frames (default: 4)")
    parser.add_argument("--clips", type=int, help="check, exact: look at so many clips (default: all; exact: 64)")
    parser.add_argument("--out", metavar="FOLDER", help="check: folder for check.json and check.png")
    add_running(parser)


def run(args: argparse.Namespace) -> None:
    from tubelet.corpus.table import Corpus
    from tubelet.errors import RecipeError

    if args.files and args.what not in ("import", "exact"):
        raise RecipeError(f"saliency {args.what} takes a corpus and nothing else, not {args.files[0]!r}")
    if args.cells < 1:
        raise RecipeError(f"--cells must be at least 1, not {args.cells}")
    corpus = Corpus.open(args.corpus)
    JOBS[args.what](args, corpus)


def text(args: argparse.Namespace, corpus: "Corpus") -> None:
    """`tubelet saliency text`"""
    from pathlib import Path

    from tubelet.progress import Bar
    from tubelet.runs.record import keep_with_series
    from tubelet.saliency_maps import text as saliency

    rate = layers_a_second(args.rate, corpus)
    saliency.captioned(corpus, args.source)
    aligner = the_aligner(args, corpus)
    with Bar("text maps", "videos") as bar:
        filled = saliency.fill(
            corpus, aligner, rate, args.source, another=args.another, running=running_of(args), progress=bar
        )
    keep_with_series(corpus, Path(args.aligner) if args.aligner else None, aligner.identity)
    print(
        f"{filled.computed} maps computed now; {filled.videos} videos and {filled.captions} captions are complete "
        f"({aligner.identity}, {f'{rate:g} layers a second' if rate else 'every frame'})\n{filled.done.told('videos')}"
    )
    for remark in filled.remarks:
        print(f"NOTE: {remark}")
    tell_failed(filled, "text", "put the files right and run this again (--retry-failed tries them as they are)")


def motion(args: argparse.Namespace, corpus: "Corpus") -> None:
    """`tubelet saliency motion`"""
    from tubelet.progress import Bar
    from tubelet.saliency_maps import motion as saliency

    fallback = the_engine(args) if args.fallback else None
    with Bar("motion maps", "videos") as bar:
        filled = saliency.fill(corpus, fallback, args.cells, running_of(args), bar)
    tell(filled, "codec motion vectors" + (f", else {fallback.identity['engine']} flow" if fallback else ""))
    silent = any("--fallback flow" in reason for reason in filled.failed.values())
    remedy = (
        "run this again with --fallback flow"
        if silent
        else "put the files right and run this again (--retry-failed tries them as they are)"
    )
    tell_failed(filled, "motion", remedy)


def flow(args: argparse.Namespace, corpus: "Corpus") -> None:
    """`tubelet saliency flow`"""
    from tubelet.progress import Bar
    from tubelet.saliency_maps import flow as saliency

    engine = the_engine(args)
    with Bar("flow maps", "videos") as bar:
        filled = saliency.fill(corpus, engine, args.cells, running_of(args), bar)
    tell(filled, f"{engine.identity['engine']} flow")
    tell_failed(filled, "flow", "put the files right and run this again (--retry-failed tries them as they are)")


def attention(args: argparse.Namespace, corpus: "Corpus") -> None:
    """`tubelet saliency attention`"""
    from tubelet.aligners.clip import ClipAligner
    from tubelet.errors import RecipeError
    from tubelet.progress import Bar
    from tubelet.saliency_maps import attention as saliency

    rate = layers_a_second(args.rate, corpus)
    if not isinstance(teacher := the_aligner(args, corpus) if args.aligner else None, ClipAligner):
        raise RecipeError(
            "attention maps are those of a transformer's own token: name a CLIP or SigLIP, "
            "as --aligner openai/clip-vit-base-patch16 or a folder that holds one"
        )
    with Bar("attention maps", "videos") as bar:
        filled = saliency.fill(corpus, teacher, rate, running_of(args), bar)
    tell(filled, f"{teacher.identity}, {f'{rate:g} layers a second' if rate else 'every frame'}")
    tell_failed(filled, "attention", "put the files right and run this again (--retry-failed tries them as they are)")


def oracle(args: argparse.Namespace, corpus: "Corpus") -> None:
    """`tubelet saliency oracle`"""
    from tubelet.progress import Bar
    from tubelet.saliency_maps import oracle as saliency

    with Bar("oracle maps", "videos") as bar:
        filled = saliency.fill(corpus, args.cells, running_of(args), bar)
    tell(filled, "oracle and oracle_flow, from the truth")
    tell_failed(filled, "oracle", "render the corpus again with `tubelet synth`")


def noise(args: argparse.Namespace, corpus: "Corpus") -> None:
    """`tubelet saliency noise`"""
    from tubelet.progress import Bar
    from tubelet.saliency_maps import noise as saliency

    with Bar("noise maps", "videos") as bar:
        filled = saliency.fill(corpus, args.cells, running_of(args), bar)
    tell(filled, "noise by the video's id")


def import_(args: argparse.Namespace, corpus: "Corpus") -> None:
    """`tubelet saliency import`"""
    from pathlib import Path

    from tubelet.errors import RecipeError
    from tubelet.progress import Bar
    from tubelet.saliency_maps.imported import import_maps

    if not args.files:
        raise RecipeError("saliency import needs a name for the maps and their files: CORPUS NAME FILE...")
    name, *files = args.files
    with Bar(f"{name} maps", "videos") as bar:
        filled = import_maps(corpus, name, [Path(file) for file in files], progress=bar)
    total = len(corpus.select("all"))
    print(f"{filled.computed} maps kept now; {filled.videos} of {total} videos have {name} maps")


def tell(filled: "Filled", how: str) -> None:
    print(f"{filled.computed} maps computed now; {filled.videos} videos are complete ({how})")
    print(filled.done.told("videos"))


def tell_failed(filled: "Filled", name: str, remedy: str) -> None:
    """Names every video without a map; the exit code tells too."""
    from tubelet.errors import VideoError

    if not filled.failed:
        return
    for line in failures(filled.done, "no map"):
        print(line)
    first = next(iter(filled.failed))
    raise VideoError(
        f"{len(filled.failed)} of {filled.videos + len(filled.failed)} videos have no {name} maps "
        f"(first: {first}: {filled.failed[first]}); {remedy}"
    )


def the_engine(args: argparse.Namespace) -> "Engine":
    from pathlib import Path

    from tubelet.errors import RecipeError
    from tubelet.saliency_maps.flow import Dis, Farneback, Raft

    if (args.engine == "raft") != bool(args.weights):
        raise RecipeError("--engine raft and --weights FILE belong together")
    if args.engine == "raft":
        return Raft(Path(args.weights))
    return Farneback() if args.engine == "farneback" else Dis()


def check(args: argparse.Namespace, corpus: "Corpus") -> None:
    """`tubelet saliency check`"""
    from pathlib import Path

    from rich.box import SIMPLE
    from rich.table import Table

    from tubelet.checksums import write_json
    from tubelet.console import Console
    from tubelet.diagnostics import maps as checking
    from tubelet.errors import RecipeError
    from tubelet.progress import Bar

    if len(args.source) > 1:
        raise RecipeError("saliency check looks at one caption a clip: give one --source")
    for name in ("every", "clips"):
        if (value := getattr(args, name)) is not None and value < 1:
            raise RecipeError(f"--{name} must be at least 1, not {value}")
    source = args.source[0] if args.source else ("subject" if "subject" in corpus.sources else None)
    aligner = None if args.map else the_aligner(args, corpus)
    where = source, args.split, args.every, args.clips
    with Bar("checking", "clips") as bar:
        checked = (
            checking.check_maps(corpus, args.map, *where, progress=bar)
            if aligner is None
            else checking.check(corpus, aligner, *where, progress=bar)
        )
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
    error = next(iter(table.values()))["all"]["overall"]["error"]
    about = getattr(aligner, "about", {})
    trained = {name: about[name] for name in ("seconds", "processor_seconds", "settings") if name in about}
    print(
        f"standard error of the first figure {error:.3f}; grid {checked.protocol['grid']}"
        + ("" if aligner is None else f"; {aligner.identity}")
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
        write_json(folder / "check.json", result)
        checking.contact_sheet(checked.examples, folder / "check.png")
        print(f"{folder / 'check.json'}, {folder / 'check.png'}")


def exact(args: argparse.Namespace, corpus: "Corpus") -> None:
    """`tubelet saliency exact`"""
    import statistics

    from tubelet.config import override
    from tubelet.diagnostics.masks import plain_data
    from tubelet.errors import RecipeError
    from tubelet.progress import Bar
    from tubelet.recipes import Pretrain
    from tubelet.saliency_maps.exact import compare

    for word in args.files:
        if word.partition(".")[0] not in ("clip", "data"):
            raise RecipeError(f"{word}: only fields of clip and data can be set here, as in clip.size=64")
    config = override(Pretrain(data=plain_data(corpus, args.split), steps=1), args.files)
    with Bar("comparing", "clips") as bar:
        found = compare(corpus, the_aligner(args, corpus), config.clip, config.data, args.clips or 64, progress=bar)
    for clip in found.failed:
        print(f"left out: {clip}")
    correlation, agreement = found.correlation, found.agreement
    low = sorted(correlation)[len(correlation) // 20]
    print(
        f"{len(correlation)} randomly cropped {args.split} clips, each with its kept map and that of its own frames\n"
        f"correlation over the tubelets: {statistics.mean(correlation):.3f} in the mean, {low:.3f} or more in 95 %\n"
        f"what Text hides at .6: intersection over union {statistics.mean(agreement):.2f} (of random masks "
        f"{found.chance:.2f})\n"
        f"price of exact maps: {found.milliseconds:.0f} ms a clip"
    )


def the_aligner(args: argparse.Namespace, corpus: "Corpus") -> "Aligner":
    from tubelet.aligners import open_aligner
    from tubelet.errors import CorpusError

    if args.aligner:
        return open_aligner(args.aligner, args.reading, args.scorer)
    folder = corpus.folder / "aligner"
    if not (folder / "aligner.json").is_file():
        raise CorpusError(
            f"{args.corpus} has no aligner; train one with `tubelet align {args.corpus}`, "
            "or name a CLIP with --aligner PATH"
        )
    return open_aligner(folder, args.reading, args.scorer)


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


JOBS = {
    "text": text,
    "motion": motion,
    "flow": flow,
    "attention": attention,
    "oracle": oracle,
    "noise": noise,
    "import": import_,
    "check": check,
    "exact": exact,
}
