"""Runs beside each other: means, spread over seeds, differences paired by seed. Runs that differ in nothing but their
seed are one method; the first run's method is what the others are compared with.

With --out FOLDER it writes report.html (with plots), comparison.md and comparison.tex there."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run folders, all seeds of all methods")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="where the page, Markdown and LaTeX go")


def run(args: argparse.Namespace) -> None:
    from tubelet.cli.tables import column_heads, print_rows
    from tubelet.console import Console
    from tubelet.errors import RunError
    from tubelet.reports.compare import compare, tables_of, write_comparison
    from tubelet.reports.page import report

    if args.out is not None and args.out.is_file():
        raise RunError(f"{args.out} is a file; name a folder with --out")
    found = compare(args.runs)
    console = Console()
    for sentence in found.unfair:
        console.print(f"NOT THE SAME: {sentence}", soft_wrap=True)
    short = column_heads([*(method.name for method in found.methods), *found.others])
    for table in tables_of(found):
        header, *rows = ([short.get(cell, cell) for cell in row] for row in (table[0], *table[1]))
        print_rows(console, header, rows)
    if args.out is not None:
        write_comparison(found, args.out)
        page = report(args.runs, args.out / "report.html")
        console.print(f"written to {page.parent}: report.html, comparison.md, comparison.tex")
