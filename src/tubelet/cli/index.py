"""Make a corpus of your videos: a table of every file, whatever its state.

  tubelet index clips/ --out corpora/mine --labels labels.csv
  tubelet index list.csv more/ one.mp4 --out corpora/mine --captions captions.csv
  tubelet index clips/ --out corpora/mine --labels-from-folders
  tubelet index long-videos/ --out corpora/mine --segment 10s
  tubelet index s3://bucket/videos --out corpora/mine           (docs/object-stores.md)
  tubelet index shard.tar train-00000-of-00001.parquet lerobot/ --out corpora/mine    (docs/packs.md)
  tubelet index ucfTrainTestlist/ --dataset ucf101 --videos UCF-101/ --split 1 --out corpora/ucf101-1

A list has one video per line: path[,label][,start,end][,group][,split]. Labels: path,label[,group][,split].
Captions: path,caption[,source][,time]. Moments: path,start,end,label, or a file of ActivityNet, EPIC-Kitchens or Ego4D
(docs/moments.md). A table of two columns needs no header; names are paths, or their ends where
only one video has them. Rows that match no video are counted and listed; with --strict they are an error
(docs/tables.md).
With --update every row's file is checked again: a changed one is read anew, a moved one is recognised by its content
and keeps its row, a deleted one is marked missing.

  tubelet index --update --out corpora/mine                     check the files
  tubelet index --update --verify --out corpora/mine            the same, and read every file whole
  tubelet index --update --root /new/disk --out corpora/mine    the videos now lie below that folder

A bad file does not stop indexing: it keeps its row, with status and reason.

With --dataset the sources are official annotation files, or the folder that holds them: ucf101, hmdb51, diving48,
ssv2, kinetics, epic100, jester, msrvtt, msvd, webvid (docs/datasets.md).
"""

import argparse

from tubelet.cli.options import add_running, fields_of, running_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "sources",
        nargs="*",
        metavar="SOURCE",
        help="folder (searched recursively), video file, or list; optional with --update",
    )
    parser.add_argument("--out", required=True, metavar="CORPUS", help="folder of the corpus, new or empty")
    parser.add_argument("--labels", metavar="CSV", help="path,label[,group][,split]")
    parser.add_argument("--captions", metavar="CSV", help="path,caption[,source][,time]")
    parser.add_argument("--moments", metavar="FILE", help="path,start,end,label, or an official file")
    parser.add_argument(
        "--labels-from-folders",
        action="store_true",
        help="the label is the name of the folder that a file lies in; folders train, test, val above give the split",
    )
    parser.add_argument("--strict", action="store_true", help="fail if a row matches no video")
    parser.add_argument("--segment", metavar="TIME", help="one row per segment of this length (10s); files are not cut")
    parser.add_argument("--dataset", metavar="NAME", help="the sources are this data set's official annotation files")
    parser.add_argument("--videos", metavar="FOLDER", help="--dataset: folder of its videos, searched recursively")
    parser.add_argument("--split", metavar="NAME", help="--dataset: which official split (ucf101, hmdb51, msrvtt)")
    parser.add_argument("--target", metavar="NAME", help="of EPIC-Kitchens, what the label is: action, verb or noun")
    parser.add_argument(
        "--update", action="store_true", help="check every row of a corpus again, and add new files from SOURCE"
    )
    parser.add_argument(
        "--verify", action="store_true", help="--update: read every file whole, even if its time is unchanged"
    )
    parser.add_argument("--root", metavar="FOLDER", help="--update: the folder that the videos are in now")
    parser.add_argument(
        "--frame-rate", type=float, metavar="FPS", help="frames per second of image sequences (default: 25)"
    )
    parser.add_argument(
        "--deinterlace", action=argparse.BooleanOptionalAction, default=None,
        help="deinterlace (bwdif), one output frame per input frame (default: frames as they are decoded)",
    )  # fmt: skip
    parser.add_argument(
        "--square-pixels", action=argparse.BooleanOptionalAction, default=None,
        help="stretch frames whose pixels are not square (default: frames as they are decoded)",
    )  # fmt: skip
    parser.add_argument("--name", help="name of the corpus in every result (default: that of the folder)")
    add_running(parser, seconds=120.0)


def run(args: argparse.Namespace) -> None:
    from tubelet.corpus.index import index
    from tubelet.corpus.summary import summary
    from tubelet.progress import Bar

    with Bar("looking into", "files") as bar:
        corpus = index(**fields_of(args), running=running_of(args), progress=bar)
    print("\n".join(summary(corpus, args.out, segmented=args.segment is not None)))
