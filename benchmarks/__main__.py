"""What tubelet costs: a step beside that of others, its parts, its memory, its input, and how all of it grows.

Run it from a checkout: python -m benchmarks WHAT. Figures are processor time on a CPU, which others may share, and the
time between two events on a GPU. What is compared takes turns; a ratio is the median over rounds, with quartiles.
"""

import argparse
import os
from collections.abc import Sequence

VERBS = (
    "step",
    "text_guided",
    "against",
    "parts",
    "operators",
    "memory",
    "pipeline",
    "features",
    "scaling",
    "methods",
    "figures",
    "gpu",
    "soak",
)


def main(words: Sequence[str] | None = None) -> None:
    options = parser_of().parse_args(words)
    # Libraries read how many threads they may have once, when they are loaded.
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(options.threads))
    options.run(options)


def parser_of() -> argparse.ArgumentParser:
    from importlib import import_module

    as_written = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("python -m benchmarks", description=__doc__, formatter_class=as_written)
    verbs = parser.add_subparsers(required=True, metavar="WHAT")
    for name in VERBS:
        module = import_module(f"benchmarks.{name}")
        summary = (module.__doc__ or "").partition("\n")[0]
        verb = verbs.add_parser(name, help=summary, description=module.__doc__, formatter_class=as_written)
        module.arguments(verb)
        verb.set_defaults(run=module.run)
    return parser


if __name__ == "__main__":
    main()
