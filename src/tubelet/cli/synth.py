"""Render the synthetic dataset synth-1: short H.264 clips of a coloured shape that spins, bounces, grows ... among
distractors, with labels, captions (sources subject, verb, both), train and test splits, and beside each clip the exact
subject mask and flow. Run again, it resumes; more clips may be added later.

With --context it is synth-context-1, whose surroundings tell what the subject is (never what it does): the texture of
the ground and a companion go with its shape, its region of the frame with its colour; captions vary as people's do.
With --kind synth-2 the subject wears a face, of which half are forged, is heard (`tubelet track CORPUS sound`) and
carries four sensors. With --kind synth-long videos have five scenes, three of which show a motion; the label is their
order, and the moments of each motion are known."""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", metavar="CORPUS", help="folder of the corpus, new, empty or begun before")
    parser.add_argument(
        "--kind", default="synth-1", metavar="VERSION", help="synth-1, synth-2 or synth-long (default: %(default)s)"
    )
    parser.add_argument("--train", type=int, help="training clips (default: 1200; of synth-long 180)")
    parser.add_argument(
        "--test", type=int, help="test clips, half of them of held-out combinations (default: 400; of synth-long 60)"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of all draws (default: %(default)s)")
    parser.add_argument("--size", type=int, help="height and width of a frame (default: 96; of synth-long 64)")
    parser.add_argument(
        "--frames", type=int, default=32, help="frames of a clip or scene, at 15 per second (default: %(default)s)"
    )
    parser.add_argument(
        "--context", type=float, metavar="STRENGTH", help="probability that surroundings fit the subject, 0 to 1"
    )
    parser.add_argument("--workers", type=int, metavar="N", help="number of processes (default: one per core)")
    parser.add_argument(
        "--ceiling",
        metavar="FILE",
        help="render no corpus; measure instead how well a supervised network tells the label from pixels alone\n"
        "(minutes), and write the figure with its conditions; with --context, what the surroundings alone tell",
    )


def run(args: argparse.Namespace) -> None:
    import os

    from tubelet.errors import RecipeError

    workers = args.workers or len(os.sched_getaffinity(0))
    if (args.out is None) == (args.ceiling is None):
        raise RecipeError("give either --out CORPUS, to render, or --ceiling FILE, to measure (see `tubelet synth -h`)")
    if args.ceiling is not None and args.context is not None:
        print_surroundings(args.ceiling, args.context)
    elif args.ceiling is not None:
        print_ceiling(args.ceiling, workers)
    else:
        render_corpus(args, workers)


def render_corpus(args: argparse.Namespace, workers: int) -> None:
    from pathlib import Path

    from tubelet.progress import Bar
    from tubelet.synthetic import Size, write_synth

    size = Size.of(
        args.kind, args.train, args.test, args.size, seed=args.seed, frames=args.frames, context=args.context
    )
    with Bar("rendering", "clips") as bar:
        rendered = write_synth(Path(args.out), size, workers, bar)
    total = len(size.clips)
    state = f"{rendered} rendered now" if rendered else "complete already"
    print(f"{size.version} in {args.out}: {total} clips ({size.train} train, {size.test} test), {state}")
    print(f"next: tubelet align {args.out}")


def print_ceiling(path: str, workers: int) -> None:
    from pathlib import Path

    from tubelet.progress import Bar
    from tubelet.synthetic.ceiling import Reference, measure_ceiling, write_ceiling

    with Bar("training", "steps") as bar:
        result = measure_ceiling(Reference(), workers, bar)
    write_ceiling(Path(path), result)
    print(f"accuracy {result['metrics']['accuracy']:.3f} on the test clips: {result['conditions']}")
    print(f"written to {path}")


def print_surroundings(path: str, strength: float) -> None:
    from pathlib import Path

    from tubelet.progress import Bar
    from tubelet.synthetic import Size
    from tubelet.synthetic.ceiling import write_ceiling
    from tubelet.synthetic.surroundings import measure_surroundings

    Size(context=strength)  # refuses a strength that is none
    with Bar("rendering", "clips") as bar:
        result = measure_surroundings(strength, progress=bar)
    write_ceiling(Path(path), result)
    measured, best, chance = result["metrics"], result["best_guess"], result["chance"]
    for thing in ("shape", "colour", "motion"):
        ceiling = f", {best[thing]:.3f} at most by the cues" if thing in best else ""
        print(f"{thing:<7} {measured[f'surroundings.{thing}']:.3f} (chance {chance[thing]:.3f}{ceiling})")
    print(f"colour  {measured['region.colour']:.3f} from the subject's place alone")
    print(f"written to {path}")
