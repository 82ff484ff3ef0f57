"""Runs beside each other: means, spread over seeds, differences paired by seed. Runs that differ in nothing but their
seed are one method; the first run's method is what the others are compared with.

With --out FOLDER it writes report.html (with plots), comparison.md and comparison.tex there."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run folders, all seeds of all methods")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="where the page, Markdown and LaTeX go")


def run(args: argparse.Namespace) -> None:
    from rich import box
    from rich.table import Table

    from tubelet.console import Console
    from tubelet.errors import RunError
    from tubelet.files import write_atomically
    from tubelet.report.compare import as_latex, as_markdown, compare, difference_table, value_table
    from tubelet.report.folder import read_runs
    from tubelet.report.page import write_report

    if args.out is not None and args.out.is_file():
        raise RunError(f"{args.out} is a file; name a folder with --out")
    found = compare(read_runs(args.runs))
    console = Console()
    for sentence in found.unfair:
        console.print(f"NOT THE SAME: {sentence}", soft_wrap=True)
    tables = [value_table(found)] + ([difference_table(found)] if found.differences else [])
    for header, rows in tables:
        table = Table(box=box.SIMPLE, padding=(0, 1, 0, 0))
        for name in header:
            table.add_column(name, justify="right" if table.columns else "left", overflow="fold")
        for row in rows:
            table.add_row(*row)
        console.print(table)
    if args.out is not None:
        texts = {args.out / "comparison.md": as_markdown(found), args.out / "comparison.tex": as_latex(found)}
        for path, text in texts.items():
            if path.exists() and path.read_text(encoding="utf-8").split("\n")[0] != text.split("\n")[0]:
                raise RunError(f"{path} exists and is no comparison; name another folder with --out")
        page = write_report(args.runs, args.out / "report.html")
        for path, text in texts.items():
            write_atomically(path, text.encode())
        console.print(f"written to {page.parent}: report.html, comparison.md, comparison.tex")
