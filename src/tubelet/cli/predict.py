"""Write the labels of videos to a table (Parquet): id, path, start, end, label, probability, caution, status, reason,
and trained_on: by whom (classifier, encoder, aligner), whatever the video is called here. "encoder (look-alike)" is a
video whose frames look trained on: re-encoded, cut and lengthened copies are found, mirrored and cropped ones are not.

RUN is a folder of `tubelet finetune`, or of `tubelet pretrain` with a linear probe (`tubelet evaluate RUN linear`).
SOURCE is a video, a folder, a list of videos, or a corpus. An unreadable video keeps its row, with the reason."""

import argparse

from tubelet.cli.options import add_batch, add_processes, new_file, running_of, shortened


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="folder with a classifier")
    parser.add_argument("sources", nargs="+", metavar="SOURCE", help="videos, folders or lists of videos, corpora")
    parser.add_argument("--out", required=True, metavar="FILE", help="the table, for instance labels.parquet")
    parser.add_argument(
        "--split", metavar="SPLIT", help="only these videos, as test: of corpora, or of lists with this column"
    )
    parser.add_argument(
        "--unseen",
        action="store_true",
        help="only the videos that the classifier has not learned from, nor from copies",
    )
    parser.add_argument("--views", metavar="5x3", help="pieces x squares of a video (default: as it was tested)")
    parser.add_argument("--all", action="store_true", help="the probability of every class, too")
    parser.add_argument("--classifier", metavar="NAME", help="which, where a run has several: an entry of its results")
    add_batch(parser)
    parser.add_argument("--force", action="store_true", help="replace the table where it exists")
    add_processes(parser)


def run(args: argparse.Namespace) -> None:
    from tubelet.corpus.listing import list_remarks
    from tubelet.errors import VideoError
    from tubelet.inference.predict import predict
    from tubelet.progress import Bar
    from tubelet.wording import plural

    out = new_file(args.out, args.force)
    with Bar("labelling", "videos") as bar:
        found = predict(
            args.run, args.sources,
            split=args.split, unseen=args.unseen, views=args.views, all_classes=args.all, classifier=args.classifier,
            batch=args.batch, running=running_of(args), progress=bar,
        )  # fmt: skip
    found.write(out)
    rows, failed, classifier = len(found.table), found.failed, found.classifier
    for line in shortened(
        [f"no label: {row.id}: {row.reason}" for row in failed], ", each with its reason in the table"
    ):
        print(line)
    print(f"{out}: {rows} rows, {rows - len(failed)} labels of {len(classifier.classes)} classes")
    if found.left_out:
        print(f"left out: {plural(found.left_out, 'video')} that look like clips that the classifier was trained on")
    if classifier.familiarity is None:
        print("NOTE: features of the training clips were not saved, so videos that are unlike them are not marked")
    elif found.cautions:
        print(f"NOTE: {found.cautions} of these videos are unlike the training clips; see the column caution")
    print("\n".join([found.done.summary("videos"), *list_remarks(args.sources), *classifier.trained_on.unknown]))
    if rows and len(failed) == rows:
        raise VideoError(f"none of these videos could be read; the reasons are in {out}")
