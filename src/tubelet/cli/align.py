"""Train a small image-text aligner on a corpus's own frames and captions, a minute or two on a CPU.

  tubelet align CORPUS
  tubelet align CORPUS --from openai/clip-vit-base-patch32 --blocks 2      fine-tune a CLIP or SigLIP instead

It learns from the train split alone and is kept in CORPUS/aligner, with report.html: how training went, retrieval on
held-out pairs, heat maps. Run again, it says that it is there; interrupted, it goes on.
"""

import argparse
from typing import TYPE_CHECKING, Any

from tubelet.cli.options import add_limits

if TYPE_CHECKING:
    from pathlib import Path

    from tubelet.aligners.clip import ClipAligner
    from tubelet.aligners.lesson import Lesson
    from tubelet.corpus.table import Corpus

OPTIONS = ("steps", "batch", "frames", "most_frames", "lr", "hardness", "patience", "every", "held", "seed")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("corpus", metavar="CORPUS", help="corpus folder with captions")
    parser.add_argument(
        "--source", action="append", default=[], metavar="NAME", help="use captions of this source; may be repeated"
    )
    parser.add_argument(
        "--from",
        dest="model",
        metavar="MODEL",
        help="fine-tune this CLIP or SigLIP, a hub name or a local folder, instead of training a small aligner",
    )
    parser.add_argument(
        "--blocks",
        type=int,
        metavar="N",
        help="with --from: train the last N blocks of both towers only (default: all)",
    )
    length = parser.add_mutually_exclusive_group()
    length.add_argument(
        "--steps", type=int, help="training steps (default: 120, about 20 s on one core; with --from 500)"
    )
    length.add_argument("--seconds", type=float, help="as many steps as fit into this time on this machine")
    parser.add_argument("--batch", type=int, help="frames of a step (default: 64)")
    parser.add_argument("--frames", type=int, help="frames read of every video (default: 4)")
    parser.add_argument(
        "--most-frames", type=int, metavar="N", help="frames held in memory (default: 16384; with --from 8192)"
    )
    parser.add_argument("--lr", type=float, help="peak learning rate (default: 0.003; with --from 0.00001)")
    parser.add_argument(
        "--hardness",
        type=float,
        metavar="BETA",
        help="hard negatives: how much more a wrong caption counts the likelier it is (default: 0, all alike)",
    )
    parser.add_argument(
        "--patience",
        type=int,
        metavar="N",
        help="early stop: hold out part of the train videos, look at them every so many steps, stop after N looks\n"
        "without a better one and keep the best weights (default: 0, all steps on all train videos)",
    )
    parser.add_argument("--every", type=int, help="with --patience: steps between two looks (default: 20)")
    parser.add_argument("--held", type=float, metavar="SHARE", help="with --patience: share held out (default: 0.1)")
    parser.add_argument("--seed", type=int, help="seed of all draws (default: 0)")
    parser.add_argument("--out", metavar="FOLDER", help="where the aligner goes (default: CORPUS/aligner)")
    parser.add_argument("--force", action="store_true", help="replace another aligner that is there")
    add_limits(parser)


def run(args: argparse.Namespace) -> None:
    import hashlib
    import json
    import time
    from pathlib import Path

    import chz

    from tubelet.aligners.base import open_aligner, read_about
    from tubelet.aligners.examples import check_sources, enough, read_examples, with_texts
    from tubelet.aligners.lesson import Alignment
    from tubelet.aligners.matching import retrieval
    from tubelet.aligners.training import Curve, Keep, seconds_to_steps
    from tubelet.cli.bar import Bar
    from tubelet.corpus.table import Corpus
    from tubelet.diagnostics.aligner import write_training
    from tubelet.evaluations.trained_on import ALIGNER, FILE, TrainedOn, clips_of
    from tubelet.files import remove_leftovers
    from tubelet.report.aligner import write_page

    corpus = Corpus.open(args.corpus)
    check_sources(corpus, args.source)
    settings, clip = chosen(args)
    folder = Path(args.out) if args.out else corpus.folder / "aligner"
    made_from = record(corpus, settings, args.seconds, clip)
    remove_leftovers(folder)
    if is_there(folder, made_from, args.force):
        if not (folder / "report.html").exists():  # a kill came between
            learned_before = read_about(folder)
            with Bar("looking at maps", "clips") as bar:
                curve = Curve(learned_before["curve"], learned_before["best"])
                write_training(folder, corpus, open_aligner(folder), curve, settings, bar)
            print(f"its training in {write_page(folder)}")
        (folder / "training.pt").unlink(missing_ok=True)
        print(f"{folder} holds this aligner already; next: tubelet saliency text {args.corpus}")
        return
    with Bar("decoding", "videos") as bar:
        examples = read_examples(corpus, "train", settings, bar)
    with Bar("held out", "videos") as bar:
        held_out = read_examples(corpus, "test", settings, bar)
    enough(examples, corpus)
    trained_on = clips_of(corpus, examples.videos, ALIGNER, "captions")
    failed = {**examples.failed, **held_out.failed}
    for name, reason in failed.items():
        print(f"left out: {name}: {reason}")
    if beyond := len(with_texts(corpus, "train", settings)) - len(examples.videos) - len(examples.failed):
        print(
            f"left out by lot: {beyond} captioned train videos, as memory is to hold {settings.most_frames} frames; "
            "--most-frames and --frames say how many"
        )
    if args.seconds is not None:
        assert isinstance(settings, Alignment)
        settings = chz.replace(settings, steps=seconds_to_steps(examples, settings, args.seconds))
    mark = hashlib.sha256(json.dumps(record(corpus, settings, None, clip), sort_keys=True).encode()).hexdigest()
    keep = Keep(folder / "training.pt", mark)
    began, spent = time.monotonic(), time.process_time()
    with Bar("aligning", "steps") as bar:
        aligner, curve = learned(examples, settings, clip, keep, bar)
    seconds, processor = time.monotonic() - began, time.process_time() - spent
    about: dict[str, Any] = {
        **record(corpus, settings, args.seconds, clip),
        "videos": len(examples.videos),
        "texts": len(examples.texts),
        "failed": failed,
        "seconds": round(seconds, 1),
        "processor_seconds": round(processor, 1),
        "curve": curve.rows,
        "best": curve.best,
    }
    words = f", {len(aligner.words.seen)} words" if hasattr(aligner, "words") else ""
    print(
        f"{len(examples.videos)} train videos, {len(examples.texts)} different captions{words}; "
        f"{seconds:.0f} s ({processor:.0f} s of processor time)"
    )
    if curve.best is not None:
        print(f"{len(curve.rows)} steps; the weights of step {curve.best} were kept, the best for held-out pairs")
    if len(held_out.videos) > 1:
        result = retrieval(aligner, held_out, settings)
        about["held_out"] = vars(result)
        print(
            f"held out, {result.videos} videos and {result.texts} captions, recall at 1: "
            f"caption to frame {result.text_to_frame:.3f} (chance {result.chance_text_to_frame:.3f}), "
            f"frame to caption {result.frame_to_text:.3f} (chance {result.chance_frame_to_text:.3f})"
        )
    else:
        print("fewer than 2 captioned videos in the test split: nothing held out to retrieve")
    begun = () if clip is None else (f"{ALIGNER} began with {args.model}: what that was trained on is not known here",)
    TrainedOn(trained_on, begun).with_looks(corpus, examples.videos).write(folder / FILE)
    save(aligner, folder, about)
    keep.done()
    with Bar("looking at maps", "clips") as bar:
        write_training(folder, corpus, aligner, curve, settings, bar)
    print(f"{aligner.identity} in {folder}, its training in {write_page(folder)}")
    print(f"next: tubelet saliency text {args.corpus}" + (f" --aligner {args.out}" if args.out else ""))


def chosen(args: argparse.Namespace) -> "tuple[Lesson, ClipAligner | None]":
    """The settings that were asked for, and the CLIP that is fine-tuned where one is."""
    from tubelet.aligners.lesson import Alignment
    from tubelet.aligners.tuning import Tuning, opened
    from tubelet.errors import RecipeError

    given = {name: value for name in OPTIONS if (value := getattr(args, name)) is not None}
    given["sources"] = tuple(sorted(set(args.source)))
    if not args.patience and (args.every is not None or args.held is not None):
        raise RecipeError("--every and --held belong to early stop: give --patience too")
    if args.model is None:
        if args.blocks is not None:
            raise RecipeError("--blocks concerns a CLIP or SigLIP: name it with --from")
        return Alignment(**given), None
    if args.seconds is not None:
        raise RecipeError("--seconds measures the small aligner: with --from, give --steps")
    aligner, settings = opened(Tuning(model=args.model, blocks=args.blocks, **given))
    return settings, aligner


def learned(examples: Any, settings: "Lesson", clip: "ClipAligner | None", keep: Any, bar: Any) -> Any:
    """The aligner and its curve."""
    from tubelet.aligners.lesson import Alignment
    from tubelet.aligners.training import learn
    from tubelet.aligners.tuning import Tuning, tune

    if clip is None:
        assert isinstance(settings, Alignment)
        return learn(examples, settings, bar, keep)
    assert isinstance(settings, Tuning)
    return tune(clip, examples, settings, bar, keep)


def save(aligner: Any, folder: "Path", about: dict[str, Any]) -> None:
    from tubelet.aligners import tuning
    from tubelet.aligners.learned import Learned

    if isinstance(aligner, Learned):
        aligner.about = about
        aligner.save(folder)
    else:
        tuning.save(aligner, folder, about)


def record(
    corpus: "Corpus", settings: "Lesson", seconds: float | None, clip: "ClipAligner | None" = None
) -> dict[str, Any]:
    """What an aligner was made from: two with the same record are the same."""
    import chz

    begun = {}
    if clip is not None:
        from tubelet.aligners.tuning import Tuning

        assert isinstance(settings, Tuning)
        begun = {"from": {"name": settings.model, "identity": clip.identity}}
    return {
        **begun,
        "corpus": {"name": corpus.name, "fingerprint": corpus.fingerprint(), "splits": ["train"]},
        "settings": {**chz.asdict(settings), "sources": list(settings.sources)},
        "seconds_asked": seconds,
    }


def is_there(folder: "Path", made_from: dict[str, Any], force: bool) -> bool:
    """Whether this very aligner is in the folder. Another one there is an error, unless it may be replaced."""
    from tubelet.aligners.base import read_about
    from tubelet.errors import CorpusError, WeightsError

    if not (folder / "aligner.json").exists():
        return False
    try:
        about = read_about(folder)
    except WeightsError:
        if not force:
            raise
        return False
    plain = {} if "from" in about else record_defaults()  # of fields that an earlier version did not have
    was, now = ({**record, "settings": {**plain, **record.get("settings", {})}} for record in (about, made_from))
    if made_from["seconds_asked"] is not None:  # then the number of steps is the machine's, not the user's
        for one in (was, now):
            one["settings"].pop("steps", None)
    differ = [name for name in {**now, "from": None} if was.get(name) != now.get(name)]
    if not differ:
        return True
    if force:
        return False
    settings = [name for name in now["settings"] if was["settings"].get(name) != now["settings"][name]]
    raise CorpusError(
        f"{folder} holds another aligner (different {', '.join(settings or differ)}): "
        "keep it and give --out NEW, or replace it with --force"
    )


def record_defaults() -> dict[str, Any]:
    import chz

    from tubelet.aligners.lesson import Alignment

    return {**chz.asdict(Alignment()), "sources": []}
