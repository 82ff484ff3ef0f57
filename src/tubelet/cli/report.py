"""One self-contained page from run folders: pictures, curves, results, recipe, and how to run it again.

tubelet report runs/demo
tubelet report runs/pixels runs/both --out compared.html --open
"""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run folders; several stand side by side")
    parser.add_argument("--out", type=Path, default=Path("report.html"), help="the page to write (report.html)")
    parser.add_argument("--open", action="store_true", help="show it in the browser")


def run(args: argparse.Namespace) -> None:
    from tubelet.reports.page import report

    page = report(args.runs, args.out)
    print(f"report: {page} ({page.stat().st_size / 1e6:.1f} MB)")
    if args.open:
        import webbrowser

        webbrowser.open(page.resolve().as_uri())
