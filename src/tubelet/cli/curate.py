"""Find what nobody wants to train on: black, frozen and blurred videos, several shots, near-duplicates; a page of them.

  tubelet curate CORPUS                                look, and write CORPUS/curation.html
  tubelet curate CORPUS --drop black,frozen,duplicate  and mark rows with these findings as not kept (column keep)
  tubelet curate CORPUS --drop none                    keep all rows again
  tubelet curate CORPUS --shots shots.csv              and write a list of all shots, for `tubelet index shots.csv`

No file is deleted. Rows that are not kept stay in the table, and no command selects them.
"""

import argparse
from pathlib import Path

from tubelet.cli.options import add_processes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("corpus", metavar="CORPUS", help="corpus folder")
    parser.add_argument(
        "--drop",
        metavar="FINDINGS",
        help="findings, by commas, whose videos are not kept: black, frozen, blurred, shots,\nduplicate, unreadable; "
        "or none",
    )
    parser.add_argument("--shots", metavar="CSV", help="write path, start and end of every shot of what is kept")
    parser.add_argument("--out", metavar="FILE", help="the page (default: CORPUS/curation.html)")
    add_processes(parser)


def run(args: argparse.Namespace) -> None:
    from tubelet.curation.curate import FINDINGS, curate
    from tubelet.curation.page import write_page
    from tubelet.progress import Bar

    drop = None if args.drop is None else [word for word in args.drop.split(",") if word and word != "none"]
    with Bar("looking at", "videos") as bar:
        found = curate(args.corpus, drop=drop, progress=bar)
    for name, count in found.counts.items():
        if count:
            print(f"{count:>6}  {name}: {FINDINGS[name]}")
    coverage = ", ".join(f"{count} {name}" for name, count in found.coverage.items())
    print(f"{coverage}; {len(found.dropped)} not kept")
    if args.shots:
        print(f"shots: {found.write_shots(args.shots)} in {args.shots}")
    page = write_page(found, Path(args.out) if args.out else found.corpus.folder / "curation.html")
    print(f"page: {page}")
