"""Measure what every masker hides on a corpus, and draw a contact sheet.

  tubelet masks CORPUS                                       every masker at its own ratio
  tubelet masks CORPUS Tube Text Text:pick=bottom            these; fields of a masker after a colon, by commas
  tubelet masks CORPUS Tube my.py:Mine:ratio=0.5             one of your own, a class of your file
  tubelet masks CORPUS --ratio 0.6                           all that have a ratio at the same one
  tubelet masks CORPUS clip.size=64 data.sampling.stride=4   of other clips; encoder=Small for its FLOPs
  tubelet masks CORPUS --crops data.augment.smallest=0.2     of clips as training crops them

Of a corpus of `tubelet synth` the truth is known: what share of the subject is hidden, whether the scores find it, and
whether the mask moves with what it hides. Of any other corpus the columns that need no truth are shown. Maskers whose
maps are missing are left out, each with a line that says how to make them.
"""

import argparse
from typing import TYPE_CHECKING

from tubelet.cli.options import add_limits

if TYPE_CHECKING:
    from rich.table import Table

    from tubelet.diagnostics.masks import Measured
    from tubelet.maskers import Masker
    from tubelet.recipes import Pretrain

FIELDS = ("clip", "data", "encoder")
COLUMNS = {
    "visible": "seen",
    "hidden": "hidden",
    "subject_hidden": "cover",
    "roc_auc": "ROC",
    "roc_auc_distractors": "distr",
    "motion_iou": "follow",
    "motion_iou_visible": "shown",
    "step_iou": "step_iou",
    "step_iou_visible": "shown",
    "entropy": "entr",
    "milliseconds": "ms",
    "gflop": "GFLOP",
}
ALWAYS = ("visible", "hidden", "entropy", "milliseconds", "gflop")
KNOWN = ("subject_hidden", "roc_auc", "roc_auc_distractors", "motion_iou", "motion_iou_visible")
UNKNOWN = ("step_iou", "step_iou_visible")
TOLD = {
    True: "seen: visible tubelets; hidden: their share, which is chance for cover: the share of the\n"
    "subject that is hidden; ROC: of the scores for the subject; distr: against distractors\n"
    "alone; follow, shown: IoU of what is hidden, and of what is visible, with the next time step's\n"
    "along the true motion; entr: entropy, 1 any tubelet is as likely, 0 always the same mask",
    False: "seen: visible tubelets; hidden: the share of the others; stays, shown: IoU of what is\n"
    "hidden, and of what is visible, with the next time step's; entr: entropy, 1 any tubelet is as\n"
    "likely, 0 always the same mask",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("corpus", metavar="CORPUS", help="corpus folder")
    parser.add_argument(
        "words",
        nargs="*",
        metavar="MASKER | key=value",
        help="maskers to measure (default: every one), as Tube or Motion:compensate=median,ratio=0.5;\n"
        "and fields of clip, data and encoder, as in `tubelet pretrain`",
    )
    parser.add_argument("--clips", type=int, default=100, help="so many clips of the split (default: %(default)s)")
    parser.add_argument("--ratio", type=float, help="this ratio for every masker that has one and was given none")
    parser.add_argument("--split", default="test", help="clips of this split, or all (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the clips, the masks and fresh weights")
    parser.add_argument("--pictures", type=int, default=6, help="clips of the contact sheet (default: %(default)s)")
    parser.add_argument(
        "--like", metavar="RUN", help="clips and encoder of this run, in place of a ViT-B on 224 pixels"
    )
    parser.add_argument(
        "--crops", action="store_true", help="clips as training crops them (data.augment), not the centre square"
    )
    parser.add_argument("--out", metavar="FOLDER", help="folder for masks.json and masks.png")
    add_limits(parser)


def run(args: argparse.Namespace) -> None:
    import sys
    from pathlib import Path

    from tubelet.checksums import write_json
    from tubelet.console import Console
    from tubelet.corpus.table import Corpus
    from tubelet.diagnostics.masks import measure
    from tubelet.diagnostics.sheet import write_sheet
    from tubelet.errors import RecipeError
    from tubelet.progress import Bar
    from tubelet.runs.folder import hardware, versions

    for name in ("clips", "pictures"):
        if getattr(args, name) < 1:
            raise RecipeError(f"--{name} must be at least 1, not {getattr(args, name)}")
    corpus = Corpus.open(args.corpus)
    fields = [word for word in args.words if sets_a_field(word)]
    if not args.crops and (unused := [word for word in fields if word.startswith("data.augment")]):
        raise RecipeError(f"{unused[0]}: say --crops too, else the centre square of every clip is measured")
    config = configured(corpus, args.split, fields, args.like)
    maskers = named([word for word in args.words if not sets_a_field(word)], args.ratio)
    with Bar("masks", "clips") as bar:
        measured = measure(
            corpus,
            maskers,
            clip=config.clip,
            data=config.data,
            encoder=config.encoder,
            clips=args.clips,
            seed=args.seed,
            pictures=args.pictures,
            crops=args.crops,
            progress=bar,
        )
    for name, reason in measured.left_out.items():
        print(f"left out: {name}: {reason}", file=sys.stderr)
    for clip in measured.failed:
        print(f"left out: {clip}", file=sys.stderr)
    console = Console(width=max(80, Console().width))
    for table in tables(measured):
        console.print(table)
    print(TOLD[measured.knows_truth])
    for name, remark in measured.remarks.items():
        print(f"{name}: {remark}")
    about = hardware()
    width, depth = config.encoder.width, config.encoder.depth
    print(
        f"ms: processor time of one clip's mask ({about['processor']}, {about['threads']} threads); GFLOP: forward\n"
        f"and backward of one clip in a {width}-wide, {depth}-deep encoder, and of a learned masker"
    )
    if args.out:
        folder = Path(args.out)
        folder.mkdir(parents=True, exist_ok=True)
        result = {"hardware": about, "versions": versions(), **measured.as_json()}
        write_json(folder / "masks.json", result)
        write_sheet(measured, folder / "masks.png")
        print(f"{folder / 'masks.json'}, {folder / 'masks.png'}")


def sets_a_field(word: str) -> bool:
    """Whether the word is key=value, not a masker with its own after a colon."""
    return "=" in word.partition(":")[0]


def configured(corpus: object, split: str, words: list[str], like: str | None = None) -> "Pretrain":
    import chz

    from tubelet.config import override
    from tubelet.corpus.table import Corpus
    from tubelet.diagnostics.masks import plain_data
    from tubelet.errors import RecipeError
    from tubelet.models import Base
    from tubelet.recipes import Pretrain
    from tubelet.runs.folder import read_run_config

    assert isinstance(corpus, Corpus)
    for word in words:
        if word.partition("=")[0].partition(".")[0] not in FIELDS:
            raise RecipeError(
                f"{word}: only fields of {', '.join(FIELDS)} can be set here; a masker's stand after "
                "its name, as in Text:pick=bottom"
            )
        if word.startswith("data.split="):
            raise RecipeError(f"{word}: say it with --split")
    base = Pretrain(data=plain_data(corpus, split), encoder=Base(), steps=1)
    if like is not None:
        run = read_run_config(like).config
        data = chz.replace(base.data, sampling=run.data.sampling, augment=run.data.augment)
        base = chz.replace(base, clip=run.clip, encoder=run.encoder, data=data)
    return override(base, words)


def named(words: list[str], ratio: float | None) -> "dict[str, Masker]":
    """The maskers that these words name, by what they are called in the table; of no words every listed one."""
    from tubelet.config import override
    from tubelet.errors import RecipeError
    from tubelet.maskers import MASKERS
    from tubelet.recipes import Pretrain

    if ratio is not None and not 0 < ratio < 1:
        raise RecipeError(f"--ratio must be between 0 and 1, not {ratio:g}")
    found: dict[str, Masker] = {}
    for word in words or [part.__name__ for part in MASKERS]:
        name, fields = own_masker(word) if ".py:" in word else word.partition(":")[::2]
        given = [f"masker.{field}" for field in fields.split(",") if field]
        masker = override(Pretrain(steps=1), [f"masker={name}"]).masker
        if ratio is not None and hasattr(masker, "ratio") and not any(w.startswith("masker.ratio=") for w in given):
            given.append(f"masker.ratio={ratio}")
        label = " ".join(filter(None, (name, *fields.split(","))))
        if label in found:
            raise RecipeError(f"{word} is named twice")
        found[label] = override(Pretrain(steps=1), [f"masker={name}", *given]).masker
    return found


def own_masker(word: str) -> tuple[str, str]:
    """The class that FILE.py:CLASS:fields names, once its file is loaded, and the fields."""
    from tubelet.errors import RecipeError
    from tubelet.maskers import Masker
    from tubelet.recipes.find import load_file

    path, _, rest = word.partition(".py:")
    name, _, fields = rest.partition(":")
    found = load_file(f"{path}.py:{name}", "masker")
    if not (isinstance(found, type) and issubclass(found, Masker)):
        raise RecipeError(f"{path}.py:{name} is no masker; name a class of the file that derives from Masker")
    return name, fields


def tables(measured: "Measured") -> "list[Table]":
    """All figures of every masker over all clips; and, where the truth is known, by the camera."""
    by_clip = measured.table()
    of_clips = KNOWN if measured.knows_truth else UNKNOWN
    order = [measure for measure in COLUMNS if measure in ALWAYS or measure in of_clips]
    about = measured.protocol
    shown = [
        table(
            f"{len(measured.videos)} {about['split']} clips of {about['corpus']}, means",
            "",
            [COLUMNS[measure] for measure in order],
        )
    ]
    for name, fixed in measured.fixed.items():
        figures = [fixed[what] if what in ALWAYS else by_clip[name][what]["overall"]["mean"] for what in order]
        shown[0].add_row(name, *(spelled(what, figure) for what, figure in zip(order, figures, strict=True)))
    if not measured.knows_truth:
        return shown
    cameras = [camera for camera in next(iter(by_clip.values()))["subject_hidden"] if camera != "overall"]
    parts = ("subject_hidden", "roc_auc", "motion_iou")
    clips = ", ".join(f"{measured.cameras.count(camera)} {camera}" for camera in cameras)
    shown.append(
        table(f"by camera ({clips})", "", [f"{COLUMNS[part]}\n{camera}" for part in parts for camera in cameras])
    )
    for name, row in by_clip.items():
        cells = [spelled(part, row[part][camera]["mean"]) for part in parts for camera in cameras]
        shown[1].add_row(name, *cells)
    if measured.maps:
        shown.append(
            table("ROC area of the maps themselves, on the tubelets / against distractors", "", ["overall", *cameras])
        )
        for name, areas in measured.table_of_maps().items():
            shown[2].add_row(
                name,
                *(
                    f"{spelled('roc_auc', areas['all'][camera]['mean'])} / "
                    f"{spelled('roc_auc', areas['distractors'][camera]['mean'])}"
                    for camera in ("overall", *cameras)
                ),
            )
    return shown


def table(title: str, first: str, columns: list[str]) -> "Table":
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    made = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=0, pad_edge=False)
    made.add_column(first, no_wrap=False, min_width=19, max_width=23)
    for column in columns:
        made.add_column(column, justify="right", no_wrap=True)
    return made


def spelled(measure: str, figure: float) -> str:
    if figure != figure:
        return "-"
    if measure == "visible":
        return str(int(figure))
    if measure in ("milliseconds", "gflop"):
        return f"{figure:.2f}" if figure < 10 else f"{figure:.0f}"
    return f"{figure:.2f}".removeprefix("0")
