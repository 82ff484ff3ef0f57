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

    from tubelet.captioning.overview import draw, overview, samples
    from tubelet.checksums import write_json
    from tubelet.corpus.table import Corpus
    from tubelet.errors import CorpusError

    if args.samples < 0:
        raise CorpusError(f"--samples must be 0 or more, not {args.samples}")
    corpus = Corpus.open(args.corpus)
    if not corpus.captions:
        raise CorpusError(f"{args.corpus} has no captions; write some with `tubelet caption {args.corpus}`")
    found = overview(corpus, args.source)
    for line in found.lines():
        print(line)
    out = Path(args.out) if args.out else corpus.folder / "captions"
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "captions.json", found.as_json())
    written = [out / "captions.json"]
    if args.samples and found.captions:
        for line in draw(samples(found, args.samples, args.seed), out / "captions.png"):
            print(f"  no frame of {line}")
        written.append(out / "captions.png")
    print(", ".join(map(str, written)))
