"""Upload the encoder of a run, or a corpus, to the Hugging Face hub, with a card.

  tubelet push RUN owner/name --license apache-2.0 --dry-run    what would be uploaded; nothing leaves this machine
  tubelet push RUN owner/name --license apache-2.0 --private
  tubelet push CORPUS owner/name --license cc-by-4.0            captions, splits, labels and maps, without the videos
  tubelet push CORPUS owner/name --license cc-by-4.0 --videos   with them

An encoder is exported as transformers reads it, loaded again and compared before anything is sent. From then on
`tubelet.load_encoder("hf://owner/name")` and `AutoModel.from_pretrained("owner/name")` open it. A corpus is a data set
of the hub, and opens as hf://datasets/owner/name wherever a corpus does.
"""

import argparse

from tubelet.cli.options import fields_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source", metavar="RUN|CORPUS", help="folder of `tubelet pretrain`, `finetune`, `import` or `index`"
    )
    parser.add_argument("repository", metavar="OWNER/NAME", help="the repository; it is created where there is none")
    parser.add_argument("--private", action="store_true", help="create it as a private repository")
    parser.add_argument("--update", action="store_true", help="add a commit to a repository that holds files already")
    parser.add_argument("--license", metavar="NAME", help="for the card, as in apache-2.0")
    parser.add_argument("--decoder", action="store_true", help="of a run: with the decoder")
    parser.add_argument("--videos", action="store_true", help="of a corpus: with its videos")
    parser.add_argument("--dry-run", action="store_true", help="list what would be uploaded; upload nothing")


def run(args: argparse.Namespace) -> None:
    from tubelet.formats.hub import listing, push

    pushed = push(**fields_of(args))
    total = sum(pushed.files.values()) / 1e6
    print(f"{len(pushed.files)} files, {total:.2f} MB, to {pushed.repository}:", *listing(pushed.files), sep="\n")
    print(f"pushed: {pushed.url}" if pushed.url else "dry run: nothing was uploaded")
