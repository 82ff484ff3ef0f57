"""Find the clips of a corpus that lie nearest to a text, or to a clip: a list, and a contact sheet of middle frames.

For a text RUN was trained with captions (the objective Contrast). Any text can be asked for: a caption of the corpus,
or other words, which the aligner that the run was trained with turns into a vector. `--like` takes any run."""

import argparse
from pathlib import Path

from tubelet.cli.options import add_batch, add_limits, new_file


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="run folder; for a text one that was trained with captions")
    parser.add_argument("text", nargs="?", metavar="TEXT", help='what to look for, as "a red star"')
    parser.add_argument(
        "--like",
        metavar="CLIP[@START]",
        help="find clips like this video instead of a text: a file, or an id of the corpus; @START in seconds",
    )
    parser.add_argument("--on", metavar="CORPUS", help="corpus folder (default: the one it was trained on)")
    parser.add_argument("--split", default="all", help="only videos of this split (default: all)")
    parser.add_argument(
        "--moments", action="store_true", help="find moments inside of videos, each with its seconds, not whole videos"
    )
    parser.add_argument("--top", type=int, default=12, help="number of results (default: %(default)s)")
    parser.add_argument("--out", metavar="FILE", help="the contact sheet (default: RUN/pictures/search TEXT.png)")
    parser.add_argument(
        "--aligner", metavar="NAME", help="what embeds the text: a folder or a hub name (default: CORPUS/aligner)"
    )
    add_batch(parser)
    parser.add_argument("--force", action="store_true", help="replace the contact sheet where --out exists")
    add_limits(parser)


def run(args: argparse.Namespace) -> None:
    from tubelet.files import file_name, within
    from tubelet.inference.search import keep_search, search
    from tubelet.progress import Bar

    folder, asked = Path(args.run), args.text or f"like {args.like}"
    out = (
        new_file(args.out, args.force)
        if args.out
        else within(folder, "pictures", f"{file_name(f'search {asked}')}.png")
    )
    with Bar("reading", "clips") as bar:
        found = search(
            folder, args.text,
            like=args.like, on=args.on, split=args.split, top=args.top, aligner=args.aligner,
            moments=args.moments, batch=args.batch, progress=bar,
        )  # fmt: skip
    print("\n".join(found.lines()))
    words = [args.text] if args.like is None else ["--like", args.like]
    command = ["search", args.run, *words, "--on", str(found.corpus.folder), "--split", args.split]
    command += ["--top", str(args.top), *(["--aligner", args.aligner] if args.aligner else [])]
    command += ["--moments"] * args.moments
    keep_search(found, folder, out, command, args.split)
    what = "moments" if args.moments else "clips"
    print(f"{len(found.hits)} of {len(found.searched)} {what}, drawn in {out}; `tubelet report {folder}` shows them")
