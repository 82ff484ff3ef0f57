"""Train a small image-text aligner on a corpus's own frames and captions, a minute or two on a CPU.

It learns from the train split alone and is kept in CORPUS/aligner. Run again, it says that it is there.
"""

import argparse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from tubelet.align.training import Alignment
    from tubelet.data.table import Corpus


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("corpus", metavar="CORPUS", help="corpus folder with captions")
    parser.add_argument(
        "--source", action="append", default=[], metavar="NAME", help="use captions of this source; may be repeated"
    )
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--steps", type=int, help="training steps (default: 120, about 20 s on one core)")
    length.add_argument("--seconds", type=float, help="as many steps as fit into this time on this machine")
    parser.add_argument("--batch", type=int, default=64, help="frames of a step (default: %(default)s)")
    parser.add_argument("--frames", type=int, default=4, help="frames read of every video (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of all draws (default: %(default)s)")
    parser.add_argument("--out", metavar="FOLDER", help="where the aligner goes (default: CORPUS/aligner)")
    parser.add_argument("--force", action="store_true", help="replace another aligner that is there")


def run(args: argparse.Namespace) -> None:
    import time
    from pathlib import Path

    import chz

    from tubelet.align import training
    from tubelet.commands.bar import Bar
    from tubelet.data.table import Corpus

    corpus = Corpus.open(args.corpus)
    training.check_sources(corpus, args.source)
    settings = training.Alignment(
        sources=tuple(sorted(set(args.source))), batch=args.batch, frames=args.frames, seed=args.seed
    )
    if args.steps is not None:
        settings = chz.replace(settings, steps=args.steps)
    folder = Path(args.out) if args.out else corpus.folder / "aligner"
    made_from = record(corpus, settings, args.seconds)
    if is_there(folder, made_from, args.force):
        print(f"{folder} holds this aligner already; next: tubelet saliency text {args.corpus}")
        return
    with Bar("decoding", "videos") as bar:
        examples = training.read_examples(corpus, "train", settings, bar)
    with Bar("held out", "videos") as bar:
        held_out = training.read_examples(corpus, "test", settings, bar)
    training.enough(examples, corpus)
    failed = {**examples.failed, **held_out.failed}
    for name, reason in failed.items():
        print(f"left out: {name}: {reason}")
    if args.seconds is not None:
        settings = chz.replace(settings, steps=training.seconds_to_steps(examples, settings, args.seconds))
    began, spent = time.monotonic(), time.process_time()
    with Bar("aligning", "steps") as bar:
        aligner = training.train(examples, settings, bar)
    seconds, processor = time.monotonic() - began, time.process_time() - spent
    aligner.about = {
        **record(corpus, settings, args.seconds),
        "videos": len(examples.videos),
        "texts": len(examples.texts),
        "failed": failed,
        "seconds": round(seconds, 1),
        "processor_seconds": round(processor, 1),
    }
    words = f"{len(aligner.words.seen)} words"
    print(
        f"{len(examples.videos)} train videos, {len(examples.texts)} different captions, {words}; "
        f"{seconds:.0f} s ({processor:.0f} s of processor time)"
    )
    if len(held_out.videos) > 1:
        result = training.retrieval(aligner, held_out, settings)
        aligner.about["held_out"] = vars(result)
        print(
            f"held out, {result.videos} videos and {result.texts} captions, recall at 1: "
            f"caption to frame {result.text_to_frame:.3f} (chance {result.chance_text_to_frame:.3f}), "
            f"frame to caption {result.frame_to_text:.3f} (chance {result.chance_frame_to_text:.3f})"
        )
    else:
        print("fewer than 2 captioned videos in the test split: nothing held out to retrieve")
    aligner.save(folder)
    print(f"{aligner.identity} in {folder}")
    print(f"next: tubelet saliency text {args.corpus}" + (f" --aligner {args.out}" if args.out else ""))


def record(corpus: "Corpus", settings: "Alignment", seconds: float | None) -> dict[str, Any]:
    """What an aligner was made from: two with the same record are the same."""
    import chz

    return {
        "corpus": {"name": corpus.name, "fingerprint": corpus.fingerprint(), "splits": ["train"]},
        "settings": {**chz.asdict(settings), "sources": list(settings.sources)},
        "seconds_asked": seconds,
    }


def is_there(folder: "Path", made_from: dict[str, Any], force: bool) -> bool:
    """Whether this very aligner is in the folder. Another one there is an error, unless it may be replaced."""
    import json

    from tubelet.errors import CorpusError

    try:
        about = json.loads((folder / "aligner.json").read_text())
    except FileNotFoundError:
        return False
    except ValueError:
        about = {}
    was, now = ({**record, "settings": dict(record.get("settings", {}))} for record in (about, made_from))
    if made_from["seconds_asked"] is not None:  # then the number of steps is the machine's, not the user's
        for one in (was, now):
            one["settings"].pop("steps", None)
    differ = [name for name in now if was.get(name) != now[name]]
    if not differ:
        return True
    if force:
        return False
    settings = [name for name in now["settings"] if was["settings"].get(name) != now["settings"][name]]
    raise CorpusError(
        f"{folder} holds another aligner (different {', '.join(settings or differ)}): "
        "keep it and give --out NEW, or replace it with --force"
    )
