"""Write the features of videos to a table (Parquet): id, path, start, end, feature, status, reason, a row a video.

A feature is the mean of the encoder's tokens of the centre clip, as in evaluation; with --windows a row for each window
of a video of any length. A video that cannot be read keeps its row, with the reason. SOURCE is a video, a folder or a
list of videos, or a corpus."""

import argparse

from tubelet.cli.options import SHOWN, add_running, running_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="run folder, or its checkpoint file")
    parser.add_argument("sources", nargs="+", metavar="SOURCE", help="videos, folders of videos, corpora")
    parser.add_argument("--out", required=True, metavar="FILE", help="the table, for instance features.parquet")
    parser.add_argument(
        "--windows", type=float, metavar="SECONDS", help="a row for each window of so many seconds of every video"
    )
    parser.add_argument(
        "--overlap",
        default="0",
        metavar="SHARE|SECONDS",
        help="how much of a window is in the next one too: 0.5, 50%%, or 1.5s (default: none)",
    )
    parser.add_argument(
        "--features",
        choices=["mean", "time_step", "token"],
        default="mean",
        help="one for a clip, for each time step, or for each token (default: %(default)s)",
    )
    parser.add_argument(
        "--layer", metavar="N|all", help="of the output of block N, or of every block (default: the encoder's output)"
    )
    parser.add_argument(
        "--attention", action="store_true", help="the share of attention that each token gets in the last block, too"
    )
    parser.add_argument("--float16", action="store_true", help="numbers of half the size")
    parser.add_argument("--batch", type=int, default=16, help="clips of one forward pass (default: %(default)s)")
    parser.add_argument("--force", action="store_true", help="replace the table where it exists")
    parser.add_argument(
        "--only-missing", action="store_true", help="add to the table what it lacks, and keep the rows that it has"
    )
    add_running(parser)


def run(args: argparse.Namespace) -> None:
    from pathlib import Path

    import torch

    from tubelet.corpus.listing import told_of_lists
    from tubelet.errors import RecipeError, RunError
    from tubelet.inference.embed import load_encoder
    from tubelet.inference.features import write_features
    from tubelet.inference.kinds import FeatureKind, parse_layer
    from tubelet.inference.windows import Windows, too_short
    from tubelet.loading.data import Data
    from tubelet.progress import Bar

    out = Path(args.out)
    running = running_of(args)
    kind = FeatureKind(args.features, parse_layer(args.layer), args.attention, args.float16)
    windows = None if args.windows is None else Windows.of(args.windows, args.overlap)
    if windows is None and args.overlap != "0":
        raise RecipeError("--overlap is of windows; say how long they are with --windows SECONDS")
    if out.exists() and not (args.force or args.only_missing):
        raise RunError(
            f"{out} exists; name another file with --out, complete it with --only-missing, or replace it with --force"
        )
    encoder = load_encoder(args.run).to("cuda" if torch.cuda.is_available() else "cpu")
    data = Data(sampling=encoder.sampling)
    if windows is not None and (line := too_short(windows, data.sampling, encoder.clip)):
        print(line)
    with Bar("embedding", "videos" if windows is None else "pieces") as bar:
        rows, failed, done = write_features(
            encoder,
            args.sources,
            out,
            data,
            batch=args.batch,
            only_missing=args.only_missing,
            kind=kind,
            windows=windows,
            running=running,
            progress=bar,
        )
    for row in failed[:SHOWN]:
        print(f"no feature: {row.id}: {row.reason}")
    if len(failed) > SHOWN:
        print(f"and {len(failed) - SHOWN} more, each with its reason in the table")
    *axes, width = kind.shape(encoder)
    of = f"{' x '.join(map(str, axes))} x {width}" if axes else f"width {width}"
    print(f"{out}: {rows} rows, {rows - len(failed)} features of {of}")
    print(done.told("videos" if windows is None else "pieces of videos"))
    for line in told_of_lists(args.sources):
        print(line)
