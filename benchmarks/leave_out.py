"""What the small aligner learns from a handful of captioned videos: every one left out in turn, then in pairs.

    python benchmarks/leave_out.py CORPUS OUT.json [--steps 120] [--seed 0]

One left out: its frame among all texts of the corpus, and its texts among all frames. Those of the others were trained
on, so what is unknown competes with what is known by heart. Two left out (each video beside the next, in a ring): both
are unknown, so that is the fair question: is a text of one nearer to its frame than to the other? Chance is
a half. All else are the defaults of `tubelet align`; a video counts by its middle frame.
"""

import argparse
import json
from pathlib import Path

import chz
import numpy as np

from tubelet.aligners.config import SmallAlignerTraining
from tubelet.aligners.examples import Examples, membership, read_examples, subset
from tubelet.aligners.matching import score_table
from tubelet.aligners.training import train_small_aligner
from tubelet.corpus.table import Corpus
from tubelet.diagnostics.truth import roc_area


def alone(table: np.ndarray, right: np.ndarray, index: int) -> dict[str, float]:
    """The video at this place among all: videos x texts."""
    own = right[index]
    return {
        "caption_to_frame": float((table[:, own].argmax(0) == index).mean()),
        "frame_to_caption": float(own[table[index].argmax()]),
        "chance_frame_to_caption": float(own.mean()),
        "area": roc_area(table[index, own], table[index, ~own]),
    }


def beside(table: np.ndarray, right: np.ndarray, one: int, other: int) -> dict[str, float]:
    """Two videos alone: which frame do texts of only one of them fit better, and how well are they distinguished."""
    of_one, of_other = right[one] & ~right[other], right[other] & ~right[one]
    won = np.concatenate([(table[one] > table[other])[of_one], (table[other] > table[one])[of_other]])
    areas = [
        roc_area(table[one, of_one], table[one, of_other]),
        roc_area(table[other, of_other], table[other, of_one]),
    ]
    return {"caption_to_frame": float(won.mean()), "area": float(np.mean(areas))}


def trained(examples: Examples, out: list[int], settings: SmallAlignerTraining) -> np.ndarray:
    """The scores of all videos for all texts, by an aligner that never saw these videos nor their texts."""
    rest = [index for index in range(len(examples.videos)) if index not in out]
    aligner = train_small_aligner(subset(examples, rest), settings)[0]
    return score_table(aligner, examples, settings.sharpness).numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    settings = chz.replace(SmallAlignerTraining(), steps=args.steps, seed=args.seed)
    examples = read_examples(Corpus.open(args.corpus), "all", settings)
    right = membership(examples).numpy()
    count = len(examples.videos)
    found: dict[str, list[dict[str, object]]] = {"one": [], "two": []}
    for index in range(count):
        one = alone(trained(examples, [index], settings), right, index)
        found["one"].append({"video": examples.videos[index].id, "texts": int(right[index].sum()), **one})
        print(found["one"][-1], flush=True)
    for index in range(count):
        other = (index + 1) % count
        two = beside(trained(examples, [index, other], settings), right, index, other)
        found["two"].append({"videos": [examples.videos[index].id, examples.videos[other].id], **two})
        print(found["two"][-1], flush=True)
    args.out.write_text(json.dumps({"settings": chz.asdict(settings), **found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
