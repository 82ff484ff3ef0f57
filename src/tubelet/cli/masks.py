"""Measure what every masker hides on a corpus, and draw a contact sheet.

  tubelet masks CORPUS                                       every masker at its own ratio
  tubelet masks CORPUS Tube Text Text:pick=bottom            these; fields of a masker after a colon, by commas
  tubelet masks CORPUS Tube my.py:Mine:ratio=0.5             one of your own, a class of your file
  tubelet masks CORPUS --ratio 0.6                           all that have a ratio at the same one
  tubelet masks CORPUS clip.size=64 data.sampling.stride=4   of other clips; encoder=Small for its FLOPs
  tubelet masks CORPUS Tube --like RUN                       the run's own mask on its clips, and another beside it
  tubelet masks CORPUS --crops data.augment.smallest=0.2     of clips as training crops them

A corpus of `tubelet synth` has ground truth: what share of the subject is hidden, whether the scores find it, and
whether the mask moves with what it hides. For other corpora only the columns without ground truth are shown.
Maskers whose maps are missing are left out, each with a line that says how to make them.
"""

import argparse
import sys

from tubelet.cli.options import add_limits, fields_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("corpus", metavar="CORPUS", help="corpus folder")
    parser.add_argument(
        "words",
        nargs="*",
        metavar="MASKER | key=value",
        help="maskers to measure (default: every one), as Tube or Motion:compensate=median,ratio=0.5;\n"
        "and fields of clip, data and encoder, as in `tubelet pretrain`",
    )
    parser.add_argument("--clips", type=int, default=100, help="number of clips of the split (default: %(default)s)")
    parser.add_argument("--ratio", type=float, help="this ratio for every masker that has one and was given none")
    parser.add_argument("--split", default="test", help="clips of this split, or all (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="random seed of the clips, the masks and fresh weights")
    parser.add_argument("--pictures", type=int, default=6, help="clips of the contact sheet (default: %(default)s)")
    parser.add_argument(
        "--like", metavar="RUN", help="clips, encoder and masker of this run, in place of a ViT-B on 224 pixels"
    )
    parser.add_argument(
        "--crops", action="store_true", help="clips as training crops them (data.augment), not the centre square"
    )
    parser.add_argument("--out", metavar="FOLDER", help="folder for masks.json and masks.png")
    add_limits(parser)


def run(args: argparse.Namespace) -> None:
    from tubelet.cli.tables import print_table
    from tubelet.console import Console
    from tubelet.diagnostics.masks import masks
    from tubelet.diagnostics.sheet import write_masks
    from tubelet.diagnostics.tables import LEGEND, mask_tables
    from tubelet.progress import Bar
    from tubelet.runs.hardware import hardware

    with Bar("masks", "clips") as bar:
        measured = masks(args.corpus, *args.words, **fields_of(args, "corpus", "words", "out"), progress=bar)
    for line in (*(f"{name}: {reason}" for name, reason in measured.left_out.items()), *measured.failed):
        print(f"left out: {line}", file=sys.stderr)
    console = Console(width=max(80, Console().width))
    for table in mask_tables(measured):
        print_table(console, table, first=(19, 23))
    print(LEGEND[measured.knows_truth])
    for name, remark in measured.remarks.items():
        print(f"{name}: {remark}")
    about, encoder = hardware(), measured.protocol["encoder"]
    print(
        f"ms: processor time of one clip's mask ({about['processor']}, {about['threads']} threads); GFLOP: forward\n"
        f"and backward of one clip in a {encoder['width']}-wide, {encoder['depth']}-deep encoder, and of a learned "
        "masker"
    )
    if args.out:
        print(", ".join(map(str, write_masks(measured, args.out))))
