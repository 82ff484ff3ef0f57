"""Write the labels of videos to a table (Parquet): id, path, start, end, label, probability, caution, status, reason,
and trained_on: by whom (classifier, encoder, aligner), whatever the video is called here.

RUN is a folder of `tubelet finetune`, or of `tubelet pretrain` with a linear probe (`tubelet evaluate RUN linear`).
SOURCE is a video, a folder, a list of videos, or a corpus. A video that cannot be read keeps its row and says why."""

import argparse

from tubelet.cli.options import SHOWN, add_processes, running_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="folder with a classifier")
    parser.add_argument("sources", nargs="+", metavar="SOURCE", help="videos, folders or lists of videos, corpora")
    parser.add_argument("--out", required=True, metavar="FILE", help="the table, for instance labels.parquet")
    parser.add_argument("--split", metavar="SPLIT", help="of corpora only these videos, as test")
    parser.add_argument(
        "--rest", action="store_true", help="of corpora only the videos that the classifier has not learned from"
    )
    parser.add_argument("--views", metavar="5x3", help="pieces x squares of a video (default: as it was tested)")
    parser.add_argument("--all", action="store_true", help="the probability of every class, too")
    parser.add_argument("--classifier", metavar="NAME", help="which, where a run has several: an entry of its results")
    parser.add_argument("--batch", type=int, default=16, help="clips of one forward pass (default: %(default)s)")
    parser.add_argument("--force", action="store_true", help="replace the table where it exists")
    add_processes(parser)


def run(args: argparse.Namespace) -> None:
    from pathlib import Path

    import torch

    from tubelet.corpus.listing import told_of_lists
    from tubelet.errors import RunError
    from tubelet.inference.predict import write_predictions
    from tubelet.progress import Bar
    from tubelet.runs.classifier import load_classifier
    from tubelet.video.views import parse

    out = Path(args.out)
    if out.exists() and not args.force:
        raise RunError(f"{out} exists; name another file with --out, or replace it with --force")
    running = running_of(args)
    views = None if args.views is None else parse(args.views)
    classifier = load_classifier(args.run, args.classifier, "cuda" if torch.cuda.is_available() else "cpu")
    with Bar("labelling", "videos") as bar:
        rows, cautions, done = write_predictions(
            classifier, args.sources, out,
            views=views, split=args.split, rest=args.rest, every_class=args.all, batch=args.batch,
            running=running, progress=bar,
        )  # fmt: skip
    failed = [row for row in rows if row.status != "ok"]
    for row in failed[:SHOWN]:
        print(f"no label: {row.id}: {row.reason}")
    if len(failed) > SHOWN:
        print(f"and {len(failed) - SHOWN} more, each with its reason in the table")
    print(f"{out}: {len(rows)} rows, {len(rows) - len(failed)} labels of {len(classifier.classes)} classes")
    if classifier.familiarity is None:
        print("NOTE: this classifier was kept without the features of its clips, so unlike videos are not told apart")
    elif cautions:
        print(f"NOTE: {cautions} of these videos are unlike the clips that were learned from; see the column caution")
    print(done.told("videos"))
    for line in told_of_lists(args.sources):
        print(line)
    for line in classifier.trained_on.unknown:
        print(line)
