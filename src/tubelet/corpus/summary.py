"""What is in a corpus that was just made, in lines for the command line. Start reading at `summary`."""

from collections import Counter
from pathlib import Path
from statistics import median

from tubelet.corpus.estimate import estimate
from tubelet.corpus.index import Indexed
from tubelet.corpus.table import Corpus
from tubelet.wording import plural

FEW = 5  # videos of a split on which a figure says nothing


def summary(corpus: Indexed, out: str | Path, segmented: bool = False) -> list[str]:
    """A line each: what is in the corpus, what is not and why, and what the next steps will cost."""
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
    lines += [f"  note: {remark}" for remark in corpus.remarks]
    lines.append(f"  {corpus.done.summary('files')}")
    if corpus.looked_again:
        lines.append(f"  looked at again: {corpus.looked_again}")
    if usable:
        lines += ["next steps, estimated on this machine:", *(f"  {line}" for line in estimate(corpus))]
    else:
        lines.append(f"  none can be used; see status and reason in {out}/videos.parquet")
    return lines


def failures(corpus: Corpus) -> list[str]:
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


def single_group(corpus: Corpus) -> list[str]:
    """Where all labelled videos of train are one group, no classifier can select its setting there; where those of test
    are, its figures are of that group alone."""
    means = {
        "train": "a classifier can hold nothing out there to select its setting on; give more groups in --labels "
        "(path,group), or the setting, as in linear.grid=1.0",
        "test": "figures on it say nothing of other groups; `tubelet evaluate RUN linear "
        "linear.cv=leave_one_group_out` tests every group",
    }
    lines = []
    for split, meaning in means.items():
        videos = [video for video in corpus.select(split) if video.label]
        groups = {video.group for video in videos}
        if len(groups) == 1 and len({video.label for video in videos}) > 1:
            lines.append(f"  {split} is one group ({groups.pop()}, {len(videos)} labelled videos): {meaning}")
    return lines


def contents(corpus: Corpus) -> list[str]:
    """Classes, splits, captions."""
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
