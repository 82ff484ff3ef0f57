"""Compute tracks, once per corpus: another signal of every video, beside its frames.

  tubelet track CORPUS                               the sources, and the tracks that the corpus has
  tubelet track CORPUS sound                         log-mel spectrogram of the files' sound
  tubelet track CORPUS sound bands=128 hop_ms=5
  tubelet track CORPUS sensors files=FOLDER          spectrograms of tables of times, devices and axes
  tubelet track CORPUS vectors run=RUN every=1.0     features that the encoder of a run has of every second
  tubelet track CORPUS vectors files=TABLE           the same, of `tubelet embed RUN CORPUS --windows SECONDS`
  tubelet track CORPUS import name=depth files=DIR   your own: .npy, .npz (moments, numbers)
  tubelet track CORPUS my.py:Mine                    a source of your own, a class of your file

Run again, it computes only what is missing; failed videos are tried again with --retry-failed, or when their file
changes. A video without the signal is counted, and left out where training asks for it. `tubelet track CORPUS SOURCE
--help` lists the fields of a source.
"""

import argparse
from typing import TYPE_CHECKING

from tubelet.cli.options import add_running, failure_lines, running_of, split_words

if TYPE_CHECKING:
    from tubelet.corpus.table import Corpus


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("corpus", metavar="CORPUS", help="corpus folder")
    parser.add_argument("words", metavar="SOURCE key=value", nargs="*", help="the source of the track, and its fields")
    add_running(parser)


def run(args: argparse.Namespace) -> None:
    from tubelet.corpus.table import Corpus
    from tubelet.errors import VideoError
    from tubelet.prepare import track
    from tubelet.progress import Bar
    from tubelet.recipes.named import track_source_of

    corpus = Corpus.open(args.corpus)
    if not args.words:
        print(sources_and_tracks(corpus))
        return
    source = track_source_of(args.words)
    with Bar("track", "videos") as bar:
        filled = track(corpus, source, running=running_of(args), progress=bar)
    print(
        f"{' and '.join(filled.maps)}: {filled.computed} computed now; {filled.videos} videos are complete "
        f"({filled.method})\n{filled.done.summary('videos')}"
    )
    for note in filled.notes:
        print(f"NOTE: {note}")
    for line in failure_lines(filled.done, "no track"):
        print(line)
    if filled.failed:
        first, reason = next(iter(filled.failed.items()))
        raise VideoError(
            f"{len(filled.failed)} of {filled.videos + len(filled.failed)} videos have no {filled.maps[0]} track "
            f"(first: {first}: {reason}); {source.remedy}"
        )


def sources_and_tracks(corpus: "Corpus") -> str:
    """The tracks that a corpus has, and every source with its fields."""
    from tubelet.config import describe
    from tubelet.prepare import tracks_of
    from tubelet.tracks import TRACKS

    there = tracks_of(corpus)
    lines = [f"tracks of {corpus.folder}:" if there else f"{corpus.folder} has no tracks", ""]
    for track in there:
        method = ", ".join(f"{name} {value}" for name, value in track.method.items())
        lines.append(f"  {track.name:<12}  {track.kind}, {track.videos} of {track.total} videos, {method}")
    lines += [""] if there else []
    lines.append("sources, as in `tubelet track CORPUS sound bands=128`:")
    for source in TRACKS:
        lines += ["", f"{source.word}: {story(source)}", describe(source())]
    return "\n".join(lines)


def story(source: type) -> str:
    return (source.__doc__ or "").partition("\n")[0]


def help_on(words: list[str], parser: argparse.ArgumentParser) -> str:
    """What `--help` prints after these words: the fields of the source that they name, else the options."""
    named, fields = split_words(words)
    if named:
        from tubelet.config import describe
        from tubelet.recipes.named import track_source_of
        from tubelet.tracks import TRACKS

        for source in TRACKS:
            if source.word in named:
                return f"{source.word}: {story(source)}\n\n{describe(track_source_of([source.word, *fields]))}"
    return parser.format_help().rstrip()
