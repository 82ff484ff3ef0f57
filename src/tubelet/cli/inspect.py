"""Look at a corpus, or at runs, in the browser: a page on this machine alone.

  tubelet inspect corpora/mine                               videos, saliency maps, the mask of any masker
  tubelet inspect runs/mine                                  reconstructions, neighbours, search too
  tubelet inspect runs/a runs/b                              two runs side by side
  tubelet inspect runs/mine --static pages/mine             the same as files
  tubelet inspect corpora/mine clip.size=64 --masker my.py:Mine

The address holds a secret token, and the server listens on 127.0.0.1 alone. From another machine:
  ssh -L 8765:127.0.0.1:8765 HOST tubelet inspect CORPUS --port 8765 --no-open
"""

import argparse
from pathlib import Path

from tubelet.cli.options import add_limits


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "words",
        nargs="+",
        metavar="CORPUS | RUN | key=value",
        help="a corpus folder, or run folders of one corpus; of a corpus also fields of\nclip, data and encoder, as in "
        "`tubelet masks`",
    )
    parser.add_argument("--on", metavar="CORPUS", help="corpus folder (default: the one that the runs were trained on)")
    parser.add_argument(
        "--masker",
        action="append",
        default=[],
        metavar="MASKER",
        help="a further masker, as Text:pick=bottom or my.py:Mine:ratio=0.5 (may be given several times)",
    )
    parser.add_argument(
        "--aligner", metavar="NAME", help="what scores a typed text: a folder or a hub name (default: CORPUS/aligner)"
    )
    parser.add_argument("--static", metavar="FOLDER", help="write the page as files instead, to be kept or shared")
    parser.add_argument("--videos", type=int, default=12, help="of --static: number of videos (default: %(default)s)")
    parser.add_argument("--port", type=int, default=0, help="port to listen on (default: a free one)")
    parser.add_argument("--no-open", action="store_true", help="do not open the browser")
    add_limits(parser)


def run(args: argparse.Namespace) -> None:
    import signal
    import threading
    import webbrowser

    from tubelet.inspector.inspect import inspect
    from tubelet.progress import Bar

    named = [word for word in args.words if "=" not in word]
    fields = [word for word in args.words if "=" in word]
    with inspect(
        *named, words=fields, maskers=args.masker, on=args.on, aligner=args.aligner, port=args.port
    ) as inspector:
        if args.static:
            with Bar("recording", "videos") as bar:
                index = inspector.write(args.static, args.videos, progress=bar)
            print(f"inspector: {index} ({size_of(index.parent) / 1e6:.1f} MB)")
            return
        print(f"inspector: {inspector.url} (Ctrl-C ends it)", flush=True)
        for ending in (
            signal.SIGINT,
            signal.SIGTERM,
        ):  # also where a shell that started it in the background ignores one
            signal.signal(ending, signal.default_int_handler)  # what was encoded is removed then too
        if not args.no_open:
            webbrowser.open(inspector.url)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            print("inspector: closed")


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
