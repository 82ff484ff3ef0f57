"""Write the features of videos to a table (Parquet): id, path, start, end, feature, status, reason; one row per video.

A feature is the mean of the encoder's tokens of the centre clip, as in evaluation; with --windows one row per window
of a video of any length. A video that cannot be read keeps its row, with the reason. SOURCE is a video, a folder or a
list of videos, or a corpus."""

import argparse

from tubelet.cli.options import add_batch, add_running, running_of, shortened


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="run folder, or its checkpoint file")
    parser.add_argument("sources", nargs="+", metavar="SOURCE", help="videos, folders of videos, corpora")
    parser.add_argument("--out", required=True, metavar="FILE", help="the table, for instance features.parquet")
    parser.add_argument(
        "--windows", type=float, metavar="SECONDS", help="one row per window of this length of every video"
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
    parser.add_argument("--float16", action="store_true", help="store features as float16")
    add_batch(parser)
    parser.add_argument("--force", action="store_true", help="replace the table where it exists")
    parser.add_argument(
        "--only-missing", action="store_true", help="add to the table what it lacks, and keep the rows that it has"
    )
    add_running(parser)


def run(args: argparse.Namespace) -> None:
    from tubelet.corpus.listing import list_remarks
    from tubelet.errors import VideoError
    from tubelet.inference.features import embed_sources
    from tubelet.inference.kinds import FeatureKind, parse_layer
    from tubelet.progress import Bar

    unit = "videos" if args.windows is None else "pieces of videos"
    with Bar("embedding", unit.split()[0]) as bar:
        made = embed_sources(
            args.run, args.sources, args.out,
            kind=FeatureKind(args.features, parse_layer(args.layer), args.attention, args.float16),
            windows=args.windows, overlap=args.overlap, batch=args.batch, only_missing=args.only_missing,
            force=args.force, running=running_of(args), progress=bar, tell=print,
        )  # fmt: skip
    for line in shortened(
        [f"no feature: {row.id}: {row.reason}" for row in made.failed], ", each with its reason in the table"
    ):
        print(line)
    of = f"{' x '.join(map(str, made.shape))}" if len(made.shape) > 1 else f"width {made.shape[0]}"
    print(f"{args.out}: {made.rows} rows, {made.rows - len(made.failed)} features of {of}")
    print("\n".join([made.done.summary(unit), *list_remarks(args.sources)]))
    if made.rows and len(made.failed) == made.rows:
        raise VideoError(f"none of these videos could be read; the reasons are in {args.out}")
