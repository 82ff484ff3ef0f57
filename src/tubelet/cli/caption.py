"""Write a caption for every video, by a model that looks at it, from a file, or from its label.

  tubelet caption CORPUS captioner.model=Salesforce/blip2-opt-2.7b        BLIP-2 on 3 key frames
  tubelet caption CORPUS captioner=ImageToText captioner.model=FOLDER     any image-to-text checkpoint
  tubelet caption CORPUS captioner=VideoToText captioner.model=FOLDER     one that reads whole videos
  tubelet caption CORPUS captioner=Files captioner.path=FILE              CSV, JSON lines, subtitles, ...
  tubelet caption CORPUS captioner=Templates                              "a video of LABEL"
  tubelet caption CORPUS captioner=Descriptions captioner.path=FILE       what somebody wrote of each class

Run again, a command looks only at what is missing. `tubelet caption --help captioner=NAME` lists every field.
"""

import argparse

from tubelet.cli.options import add_running, running_of, split_words
from tubelet.cli.parts import columns, parts_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("corpus", metavar="CORPUS", help="corpus folder")
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="a field, as in captioner.prompt='a photo of'"
    )
    add_running(parser)


def run(args: argparse.Namespace) -> None:
    from tubelet.captioning import Captioning, caption
    from tubelet.config import override
    from tubelet.errors import VideoError
    from tubelet.progress import Bar
    from tubelet.wording import plural

    job = override(Captioning(), args.overrides)
    with Bar("captions", "videos") as bar:
        done = caption(args.corpus, job, running=running_of(args), progress=bar)
    looked = f", {done.computed} looked at now" if done.computed else ""
    print(f"{plural(done.captions, 'caption')} of {plural(done.videos, 'video')} in {args.corpus}{looked}")
    for line in done.faults.lines():
        print(f"  {line}")
    if done.left_out:
        print(f"  {done.left_out} left out (filters, and empty ones)")
    for remark in done.remarks:
        print(f"  note: {remark}")
    if done.failed:
        for video, reason in done.failed.items():
            print(f"no caption: {video}: {reason}")
        first, few = next(iter(done.failed)), len(done.failed)
        raise VideoError(
            f"{few} of {plural(few + done.videos, 'video')} {'has' if few == 1 else 'have'} no caption "
            f"(first: {first}: {done.failed[first]}); put the files right and run this again "
            "(--retry-failed tries them as they are)"
        )


def help_on(words: list[str], parser: argparse.ArgumentParser) -> str:
    """What `--help` prints after these words: the captioners, or every field of the one that is named."""
    _, fields = split_words(words)
    if fields:
        from tubelet.captioning import Captioning
        from tubelet.config import describe, override

        return describe(override(Captioning(), fields))
    parts = columns(parts_of("tubelet.captioning", "CAPTIONERS"))
    return f"{parser.format_help().rstrip()}\n\nwhere captions come from, as captioner=NAME:\n{parts}"
