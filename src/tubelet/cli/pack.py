"""Pack the videos of a corpus into a few large files: tar shards with a table of offsets.

  tubelet pack CORPUS --out PACK                       H.264 at a short side of 256, a key frame every 12 frames
  tubelet pack CORPUS --out PACK --size 320 --gop 8
  tubelet pack CORPUS --out PACK --copy                the bytes of each file as they are, sound included
  tubelet pack CORPUS --out PACK --to parquet          Parquet files as Hugging Face data sets keep videos
  tubelet pretrain tiny --on PACK --out RUN            a pack is a corpus: every command reads it, by offset

Shards are uncompressed tar files with WebDataset names (000000017.mp4, .json, .txt); PACK/pack.parquet is the videos
table with the columns shard and offset. `tubelet index SHARD.tar ...` reads those of others (docs/packs.md).
"""

import argparse

from tubelet.cli.options import add_running, failure_lines, fields_of, running_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("corpus", metavar="CORPUS", help="corpus folder")
    parser.add_argument("--out", required=True, metavar="PACK", help="folder of the pack, new or empty")
    parser.add_argument("--to", choices=("tar", "parquet"), default="tar", help="form of shards (default: %(default)s)")
    parser.add_argument("--copy", action="store_true", help="keep the bytes of each file")
    parser.add_argument("--size", type=int, default=256, help="short side of the frames (default: %(default)s)")
    parser.add_argument("--gop", type=int, default=12, help="frames from key frame to key frame (default: %(default)s)")
    parser.add_argument("--crf", type=int, default=20, help="quality, 0 best to 51 (default: %(default)s)")
    add_running(parser)


def run(args: argparse.Namespace) -> None:
    from tubelet.corpus.pack import pack
    from tubelet.errors import VideoError
    from tubelet.progress import Bar
    from tubelet.wording import plural

    with Bar("packing", "files") as bar:
        packed = pack(**fields_of(args), running=running_of(args), progress=bar)
    print(
        f"{args.out}: {plural(len(packed.corpus.videos), 'row')}, {plural(packed.shards, 'shard')}, "
        f"{packed.size / 2**20:.1f} MiB of videos\n{packed.done.summary('files')}"
    )
    for line in failure_lines(packed.done, "not packed"):
        print(line)
    if packed.failed:
        first, reason = next(iter(packed.failed.items()))
        raise VideoError(
            f"{plural(len(packed.failed), 'file')} could not be packed (first: {first}: {reason}); the others are"
        )
