"""Write the features of videos to a table (Parquet): id, start, feature, status, reason, a row a video.

A feature is the mean of the encoder's tokens of the centre clip, as in evaluation. A video that cannot be read keeps
its row, with the reason. SOURCE is a video, a folder of videos, or a corpus."""

import argparse

from tubelet.commands.running import SHOWN, add_running, running_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="run folder, or its checkpoint file")
    parser.add_argument("sources", nargs="+", metavar="SOURCE", help="videos, folders of videos, corpora")
    parser.add_argument("--out", required=True, metavar="FILE", help="the table, for instance features.parquet")
    parser.add_argument("--batch", type=int, default=16, help="clips of one forward pass (default: %(default)s)")
    parser.add_argument("--force", action="store_true", help="replace the table where it exists")
    parser.add_argument(
        "--only-missing", action="store_true", help="add to the table what it lacks, and keep the rows that it has"
    )
    add_running(parser)


def run(args: argparse.Namespace) -> None:
    from pathlib import Path

    import torch

    from tubelet.commands.bar import Bar
    from tubelet.data.loader import Data
    from tubelet.errors import RunError
    from tubelet.export import load_encoder, sampling_of
    from tubelet.export.features import write_features

    out = Path(args.out)
    running = running_of(args)
    if out.exists() and not (args.force or args.only_missing):
        raise RunError(
            f"{out} exists; name another file with --out, complete it with --only-missing, or replace it with --force"
        )
    encoder = load_encoder(args.run).to("cuda" if torch.cuda.is_available() else "cpu")
    data = Data(sampling=sampling_of(encoder))
    with Bar("embedding", "videos") as bar:
        rows, failed, done = write_features(
            encoder,
            args.sources,
            out,
            data,
            batch=args.batch,
            only_missing=args.only_missing,
            running=running,
            progress=bar,
        )
    for row in failed[:SHOWN]:
        print(f"no feature: {row.id}: {row.reason}")
    if len(failed) > SHOWN:
        print(f"and {len(failed) - SHOWN} more, each with its reason in the table")
    print(f"{out}: {rows} rows, {rows - len(failed)} features of width {encoder.width}")
    print(done.told("videos"))
