"""Make a corpus of your videos: a table of every file, whatever its state.

  tubelet index clips/ --out corpora/mine --labels labels.csv
  tubelet index list.csv more/ one.mp4 --out corpora/mine --captions captions.csv
  tubelet index clips/ --out corpora/mine --labels-from-folders
  tubelet index long-videos/ --out corpora/mine --segment 10s
  tubelet index ucfTrainTestlist/ --dataset ucf101 --videos UCF-101/ --split 1 --out corpora/ucf101-1

A list names a video a line: path[,label][,start,end][,group][,split]. Labels: path,label[,group][,split].
Captions: path,caption[,source][,time]. A table of two columns needs no header; names are paths, or their ends where
only one video has them. Rows that name no video are counted and named, and with --strict refused (docs/tables.md).
With --update every row's file is looked at again: one that changed is looked into anew, one that moved is recognised
by its content and keeps its row, one that is gone is marked missing.

  tubelet index --update --out corpora/mine                     look at what is there
  tubelet index --update --verify --out corpora/mine            the same, and read every file whole
  tubelet index --update --root /new/disk --out corpora/mine    the videos now lie below that folder

No file is fatal: one that cannot be used keeps its row, with status and reason.

With --dataset the sources are official annotation files, or the folder that holds them: ucf101, hmdb51, diving48,
ssv2, kinetics, epic100, jester, msrvtt, msvd, webvid (docs/datasets.md).
"""

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING

from tubelet.cli.options import add_running, running_of

if TYPE_CHECKING:
    from tubelet.corpus.index import Indexed
    from tubelet.corpus.official import Dataset
    from tubelet.corpus.table import Corpus
    from tubelet.video.reading import Reading

FEW = 5  # videos of a split on which a figure says nothing


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "sources",
        nargs="*",
        metavar="SOURCE",
        help="folder (searched to its end), video file, or list; with --update none need be given",
    )
    parser.add_argument("--out", required=True, metavar="CORPUS", help="folder of the corpus, new or empty")
    parser.add_argument("--labels", metavar="CSV", help="path,label[,group][,split]")
    parser.add_argument("--captions", metavar="CSV", help="path,caption[,source][,time]")
    parser.add_argument(
        "--labels-from-folders",
        action="store_true",
        help="the label is the name of the folder that a file lies in; folders train, test, val above say the split",
    )
    parser.add_argument("--strict", action="store_true", help="refuse tables of which a row names none of the videos")
    parser.add_argument("--segment", metavar="TIME", help="one row per segment of so long (10s), without cutting files")
    parser.add_argument("--dataset", metavar="NAME", help="the sources are this data set's official annotation files")
    parser.add_argument("--videos", metavar="FOLDER", help="--dataset: where its videos lie, in whatever folders")
    parser.add_argument("--split", metavar="NAME", help="--dataset: which official split (ucf101, hmdb51, msrvtt)")
    parser.add_argument("--target", metavar="NAME", help="--dataset epic100: what the label is: action, verb or noun")
    parser.add_argument(
        "--update", action="store_true", help="look at every row of a corpus again, and add what is new in SOURCE"
    )
    parser.add_argument("--verify", action="store_true", help="--update: read every file whole, whatever its time says")
    parser.add_argument("--root", metavar="FOLDER", help="--update: the folder below which the videos lie now")
    parser.add_argument(
        "--frame-rate", type=float, metavar="FPS", help="frames a second of image sequences (default: 25, and said)"
    )
    parser.add_argument(
        "--deinterlace", action=argparse.BooleanOptionalAction, default=None,
        help="make interlaced frames whole (bwdif), one frame a frame (default: frames as they are decoded)",
    )  # fmt: skip
    parser.add_argument(
        "--square-pixels", action=argparse.BooleanOptionalAction, default=None,
        help="stretch frames whose pixels are not square (default: frames as they are decoded)",
    )  # fmt: skip
    parser.add_argument("--name", help="name of the corpus in every result (default: that of the folder)")
    add_running(parser, seconds=120.0)


def run(args: argparse.Namespace) -> None:
    from pathlib import Path

    from tubelet.corpus.index import index
    from tubelet.corpus.listing import seconds
    from tubelet.errors import TubeletError
    from tubelet.progress import Bar

    segment = None if args.segment is None else seconds(args.segment, "--segment", "length")
    if segment is not None and segment <= 0:
        raise TubeletError("--segment must be positive")
    again = args.update or args.verify or args.root is not None
    if not args.sources and not again:
        raise TubeletError("name a SOURCE: a folder, video files or lists of videos; --update alone needs none")
    if args.labels_from_folders and not args.sources:
        raise TubeletError("--labels-from-folders needs the SOURCE whose folders are the labels")
    if args.root is not None and not Path(args.root).is_dir():
        raise TubeletError(f"--root {args.root} is no folder; name the one below which the videos lie now")
    running = running_of(args)
    dataset = the_dataset(args)
    with Bar("looking into", "files") as bar:
        indexed = index(
            args.sources,
            args.out,
            labels=args.labels,
            captions=args.captions,
            labels_from_folders=args.labels_from_folders,
            strict=args.strict,
            segment=segment,
            name=args.name,
            update=again,
            verify=args.verify,
            root=args.root,
            dataset=dataset,
            videos=args.videos,
            reading=reading_of(args),
            running=running,
            progress=bar,
        )
    print(summary(indexed, args.out, segmented=segment is not None))


def reading_of(args: argparse.Namespace) -> "Reading | None":
    """What the options say, and where they do not, what was said when the corpus was made; None where none is given."""
    from pathlib import Path

    from tubelet.corpus.index import said_before
    from tubelet.errors import TubeletError

    if args.frame_rate is not None and not 0 < args.frame_rate < 100_000:
        raise TubeletError(f"--frame-rate {args.frame_rate:g} must be frames a second, as 12 or 29.97")
    said = {"rate": args.frame_rate, "deinterlace": args.deinterlace, "square": args.square_pixels}
    said = {name: value for name, value in said.items() if value is not None}
    return replace(said_before(Path(args.out).expanduser()), **said) if said else None


def the_dataset(args: argparse.Namespace) -> "Dataset | None":
    """The data set with its choices; one that it does not have, and options that need one, are refused."""
    import difflib
    import typing

    import chz

    from tubelet.corpus.official import DATASETS
    from tubelet.errors import RecipeError

    if args.dataset is not None and args.labels_from_folders:
        raise RecipeError(
            "--labels-from-folders labels videos of your own; an official data set says its labels itself"
        )
    choices = {name: value for name in ("split", "target") if (value := getattr(args, name)) is not None}
    if args.dataset is None:
        if lone := [*choices, *(["videos"] if args.videos else [])]:
            raise RecipeError(f"--{lone[0]} goes with --dataset NAME, one of: {', '.join(DATASETS)}")
        return None
    if args.dataset not in DATASETS:
        near = difflib.get_close_matches(args.dataset.lower(), DATASETS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"one of: {', '.join(DATASETS)}"
        raise RecipeError(f"there is no data set {args.dataset!r}; {hint}")
    if args.videos is None:
        raise RecipeError(f"--dataset {args.dataset} needs --videos FOLDER, which holds its files")
    if args.segment is not None:
        raise RecipeError("--segment cuts videos of your own; an official data set says itself where a row begins")
    cls = DATASETS[args.dataset]
    fields = chz.chz_fields(cls)
    for name, value in choices.items():
        if name not in fields:
            raise RecipeError(f"{args.dataset} has no --{name} to choose")
        if value not in (words := typing.get_args(fields[name].final_type)):
            raise RecipeError(f"--{name} of {args.dataset} is one of {', '.join(words)}, not {value!r}")
    return cls(**choices)


def summary(indexed: "Indexed", out: str, segmented: bool) -> str:
    """What is in the corpus, what is not and why, and what the next steps will cost."""
    from statistics import median

    from tubelet.corpus.estimate import estimate

    corpus = indexed.corpus
    usable = corpus.select("all")
    lines = [f"{corpus.name} in {out}: {len(corpus.videos)} rows, {len(usable)} ok", *failures(corpus)]
    if usable:
        lengths = [video.duration for video in usable]
        middle = median(lengths)
        frames = median(video.frames for video in usable)
        lines.append(
            f"  length: median {middle:.1f} s ({frames:g} frames), {min(lengths):.1f} to {max(lengths):.1f} s, "
            f"{sum(lengths) / 3600:.2g} h in all"
        )
        if short := sum(video.frames < 61 for video in usable):
            lines.append(f"  short: {short} have fewer than the 61 frames that 16 frames at stride 4 span")
        lines += contents(corpus)
        if middle > 30 and not segmented:
            lines.append(f"  long videos: --segment 10s would make about {sum(lengths) / 10:.0f} rows of them")
    lines += [f"  note: {remark}" for remark in indexed.remarks]
    lines.append(f"  {indexed.done.told('files')}")
    if indexed.looked_again:
        lines.append(f"  looked at again: {indexed.looked_again}")
    if usable:
        lines += ["next steps, estimated on this machine:", *(f"  {line}" for line in estimate(indexed))]
    else:
        lines.append(f"  none can be used; see status and reason in {out}/videos.parquet")
    return "\n".join(lines)


def failures(corpus: "Corpus") -> list[str]:
    """How many rows cannot be used, by status, with an example; then those that hold less than they promise."""
    bad: dict[str, list[str]] = {}
    noted = []
    for video in corpus.videos:
        if video.status != "ok":
            bad.setdefault(video.status, []).append(f"{video.id}: {video.reason}")
        elif video.reason:
            noted.append(f"{video.id}: {video.reason}")
    lines = [f"  {status}: {len(some)} ({some[0]})" for status, some in sorted(bad.items(), key=lambda i: -len(i[1]))]
    return lines + ([f"  ok with a remark: {len(noted)} ({noted[0]})"] if noted else [])


def single_group(corpus: "Corpus") -> list[str]:
    """Where all labelled videos of train are one group, no classifier can select its setting there."""
    train = [video for video in corpus.select("all") if video.split == "train" and video.label]
    groups = {video.group for video in train}
    if len(groups) != 1 or len({video.label for video in train}) < 2:
        return []
    return [
        f"  train is one group ({groups.pop()}, {len(train)} labelled videos): a classifier can hold nothing out there "
        "to select its setting on; give more groups in --labels (path,group), or the setting, as in linear.grid=1.0"
    ]


def contents(corpus: "Corpus") -> list[str]:
    """Classes, splits, captions."""
    from collections import Counter

    from tubelet.corpus.listing import plural

    usable = corpus.select("all")
    splits = Counter(video.split for video in usable)
    groups = len({video.group for video in usable})
    lines = [f"  splits: {', '.join(f'{name} {count}' for name, count in sorted(splits.items()))} ({groups} groups)"]
    if corpus.labels:
        counts = Counter(video.label for video in usable)
        shown = [f"{name} {counts[name]}" for name in corpus.labels[:6]] + ["..."] * (len(corpus.labels) > 6)
        none = f", {counts[None]} rows without" if counts[None] else ""
        lines.append(f"  classes: {len(corpus.labels)} ({', '.join(shown)}){none}")
        for split in ("train", "test"):
            there = {video.label for video in usable if video.split == split}
            if absent := [name for name in corpus.labels if name not in there]:
                lines.append(
                    f"  no {split} video of {len(absent)} classes (first: {absent[0]}): a split column can say more"
                )
    elif "test" not in splits or "train" not in splits:
        lines.append("  a split is empty: with so few groups, give a split column in --labels")
    if 0 < splits["test"] < FEW:
        lines.append(
            f"  test holds {plural(splits['test'], 'video')}, too few to measure on: "
            "a split column in --labels (path,split) moves some there"
        )
    lines += single_group(corpus)
    if corpus.captions:
        sources = Counter(caption.source for caption in corpus.captions)
        shown = [f"{name} {count}" for name, count in sorted(sources.items())]
        videos = len({caption.video for caption in corpus.captions})
        lines.append(f"  captions: {len(corpus.captions)} of {plural(videos, 'video')} ({', '.join(shown)})")
    return lines
