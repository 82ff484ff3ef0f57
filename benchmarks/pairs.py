"""How good the small aligner is, by how many training pairs it had: ROC area of its maps, and retrieval.

    tubelet synth --out CORPUS --train 3000 --test 400
    python benchmarks/pairs.py CORPUS OUT.json OUT.png [--pairs 100 300 1000 3000] [--seeds 0 1 2] [--steps 120 480]

A pair is a train clip with its captions; so many are drawn by lot, the same draw for all sizes of a seed, each within
the next. The batch and all else are the defaults of `tubelet align`. What is measured is the test split: ROC area of
the map of the subject's caption against the true subject, and recall at 1 of clips and captions. What OUT.json holds
already is not measured again.
"""

import argparse
import json
import time
from itertools import product
from pathlib import Path

import chz
import numpy as np

from tubelet.aligners.config import SmallAlignerTraining
from tubelet.aligners.examples import read_examples, subset
from tubelet.aligners.matching import retrieval
from tubelet.aligners.training import train_small_aligner
from tubelet.corpus.table import Corpus
from tubelet.diagnostics.maps import measure_aligner


def measure(
    corpus: Corpus,
    settings: SmallAlignerTraining,
    pairs: list[int],
    seeds: list[int],
    steps: list[int],
    clips: int,
    out: Path,
) -> list[dict[str, float]]:
    examples = read_examples(corpus, "train", settings)
    held_out = read_examples(corpus, "test", settings)
    rows: list[dict[str, float]] = json.loads(out.read_text()) if out.exists() else []
    there = {(row["pairs"], row["steps"], row["seed"]) for row in rows}
    for seed in seeds:
        order = np.random.default_rng(seed).permutation(len(examples.videos)).tolist()
        for count, long in product(pairs, steps):
            if (count, long, seed) in there:
                continue
            if count > len(order):
                raise SystemExit(f"{corpus.folder} has {len(order)} captioned train clips, fewer than {count}")
            own = chz.replace(settings, seed=seed, steps=long)
            began = time.process_time()
            aligner = train_small_aligner(subset(examples, sorted(order[:count])), own)[0]
            spent = time.process_time() - began
            found = retrieval(aligner, held_out, own)
            area = measure_aligner(corpus, aligner, "subject", "test", every=8, most=clips).table()["text map"]
            rows.append(
                {"pairs": count, "steps": long, "seed": seed, "processor_seconds": round(spent, 1)}
                | {name: getattr(found, name) for name in ("text_to_frame", "frame_to_text")}
                | {"chance": found.chance_frame_to_text, "texts": found.texts, "videos": found.videos}
                | {f"area_{side}": area[side]["overall"]["mean"] for side in area}
            )
            out.write_text(json.dumps(rows, indent=1) + "\n")
            print(rows[-1], flush=True)
    return rows


def draw(rows: list[dict[str, float]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.4))
    counts, lengths = sorted({row["pairs"] for row in rows}), sorted({row["steps"] for row in rows})
    for axis, names, title in (
        (left, {"area_all": "all patches", "area_distractors": "distractors' patches"}, "ROC area of the text map"),
        (right, {"frame_to_text": "frame to caption", "text_to_frame": "caption to frame"}, "recall at 1, held out"),
    ):
        for (colour, (name, label)), (style, long) in product(
            enumerate(names.items()), zip("-:", lengths, strict=False)
        ):
            of_count = [
                [row[name] for row in rows if (row["pairs"], row["steps"]) == (count, long)] for count in counts
            ]
            there = [(count, values) for count, values in zip(counts, of_count, strict=True) if values]
            indices, drawn = [count for count, _ in there], [values for _, values in there]
            look = {"color": f"C{colour}", "linestyle": style, "marker": "o"}
            axis.plot(indices, [np.mean(values) for values in drawn], label=f"{label}, {long} steps", **look)
            low, high = [min(values) for values in drawn], [max(values) for values in drawn]
            axis.fill_between(indices, low, high, color=f"C{colour}", alpha=0.15)
        axis.set_xscale("log")
        axis.set_xticks(counts, [str(count) for count in counts])
        axis.set_xlabel("training pairs")
        axis.set_title(title)
        axis.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--pairs", type=int, nargs="+", default=[100, 300, 1000, 3000])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, nargs="+", default=[120])
    parser.add_argument("--clips", type=int, default=200)
    parser.add_argument(
        "--hardness", type=float, default=0.0, help="of `tubelet align`; give it an OUT.json of its own"
    )
    args = parser.parse_args()
    corpus = Corpus.open(args.corpus)
    settings = SmallAlignerTraining(hardness=args.hardness)
    draw(measure(corpus, settings, args.pairs, args.seeds, args.steps, args.clips, args.out), args.picture)


if __name__ == "__main__":
    main()
