"""Where a run with learned masks looks: its visible tubelets against the truth of the embedded corpus.

    python benchmarks/adaptive.py RUN --on CORPUS [--split test] [--most 400] [--draws 8]

One centre clip a video. *Density* is the mean cover of the visible tubelets by a thing, over the mean cover of all
tubelets: 1 is what random masks give. Cover is the share of a tubelet's pixels that the thing owns. Clips where the
thing is not seen are left out. Means over clips with their standard errors.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from einops import reduce

from tubelet.checkpoint import CHECKPOINT, checkpoint_step
from tubelet.corpus.table import Corpus
from tubelet.loading.loader import eval_batches
from tubelet.recipes import Pretrain
from tubelet.runs.folder import load_task
from tubelet.seeds import key
from tubelet.synthetic import truth

THINGS = ("subject", "distractors", "ground")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--on", type=Path, required=True)
    parser.add_argument("--split", default="test")
    parser.add_argument("--most", type=int, default=400)
    parser.add_argument("--draws", type=int, default=8)
    options = parser.parse_args()
    config, task = load_task(options.run)
    corpus = Corpus.open(options.on)
    videos = corpus.select(options.split)[: options.most]
    rows: dict[str, list[np.ndarray]] = {"drawn": [], "probability": []}
    cameras = []
    with torch.inference_mode():
        for batch in eval_batches(corpus, videos, config.clip, config.data, batch=32, needs=task.needs):
            cover = np.stack([covers(corpus, name, config) for name in batch.ids])  # b 3 n
            cameras += [truth(corpus, name).camera for name in batch.ids]
            shown = []
            for number in range(options.draws):
                keys = torch.tensor([key(number, "where " + name) for name in batch.ids])
                mask = task.draw(replace(batch, key=keys))
                weights = torch.zeros(len(batch), config.clip.num_tubelets).scatter(1, mask.visible, 1.0)
                shown.append(weights.numpy() / mask.visible.shape[1])
            rows["drawn"].append(density(np.mean(shown, 0), cover))
            if mask.log_prob is not None:
                rows["probability"].append(density(mask.log_prob.exp().numpy(), cover))
    print(f"{options.run}: step {checkpoint_step(options.run / CHECKPOINT)}, {len(cameras)} clips of {options.split}")
    for name, parts in rows.items():
        if parts:
            values = np.concatenate(parts)
            for camera in ("all", *sorted(set(cameras))):
                chosen = np.array([camera in ("all", one) for one in cameras])
                print(f"  {name}, {camera} ({chosen.sum()}): {summary(values[chosen])}")


def covers(corpus: Corpus, name: str, config: Pretrain) -> np.ndarray:
    """Of every tubelet of the centre clip: the share of subject, distractors and ground. 3 n"""
    known = truth(corpus, name)
    video = next(video for video in corpus.videos if video.id == name)
    stamps = np.arange(len(known.owner)) / video.fps
    times = config.data.sampling.times(stamps, config.clip, "centre").times
    owner = known.owner[np.abs(stamps[None] - times[:, None]).argmin(1)]
    things = np.stack([owner == 1, owner >= 2, owner == 0]).astype(np.float32)
    time_steps, rows, columns = config.clip.grid
    return reduce(things, "o (s t) (r h) (c w) -> o (s r c)", "mean", s=time_steps, r=rows, c=columns)


def density(weights: np.ndarray, cover: np.ndarray) -> np.ndarray:
    """Cover under these weights (they sum to 1), over the mean cover; NaN where there is none. b 3"""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.einsum("bn,bon->bo", weights, cover) / cover.mean(2)


def summary(values: np.ndarray) -> str:
    means = np.nanmean(values, 0)
    errors = np.nanstd(values, 0, ddof=1) / np.sqrt((~np.isnan(values)).sum(0))
    return ", ".join(
        f"{thing} {mean:.3f} ± {error:.3f}" for thing, mean, error in zip(THINGS, means, errors, strict=True)
    )


if __name__ == "__main__":
    main()
