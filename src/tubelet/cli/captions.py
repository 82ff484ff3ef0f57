"""Look at the captions of a corpus: coverage, lengths, faults, common words, and samples beside their frames."""

import argparse

from tubelet.cli.options import add_limits


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("corpus", metavar="CORPUS", help="corpus folder")
    parser.add_argument("--source", metavar="NAME", help="captions of this source alone")
    parser.add_argument(
        "--samples", type=int, default=12, help="captions in the picture (default: %(default)s; 0: none)"
    )
    parser.add_argument("--seed", type=int, default=0, help="which samples (default: %(default)s)")
    parser.add_argument(
        "--out", metavar="FOLDER", help="folder for captions.json and captions.png (default: CORPUS/captions)"
    )
    add_limits(parser)


def run(args: argparse.Namespace) -> None:
    from pathlib import Path

    from tubelet.captioning.overview import captions, write_overview

    found = captions(args.corpus, args.source)
    print("\n".join(found.lines()))
    written = write_overview(found, Path(args.out) if args.out else None, args.samples, args.seed)
    for line in written.failed:
        print(f"  no frame of {line}")
    print(", ".join(map(str, written.files)))
