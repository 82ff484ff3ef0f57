"""What is known of real clips before anything is trained: baselines and untrained encoders, with the background of the
clips and without it, by group.

    python benchmarks/untrained.py CORPUS [STRIDE]

Every second of 16 frames, spread over each whole clip or STRIDE apart, 64x64 pixels. One group is left out after the
other and its clips are answered by ridge regression of the classes on standardised features, classes weighted equally
(penalty a tenth of the mean squared feature). Printed are balanced accuracies, then the encoder without background
less each other one, whose better pool counts, with the 95 % interval over groups.
"""

import sys

import chz
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor
from torch.nn.functional import one_hot

from tubelet.corpus.table import Corpus
from tubelet.evaluations.baselines import DifferenceImage, MeanImage, RawPixels
from tubelet.evaluations.classification import by_group
from tubelet.evaluations.features import Features, encode, outline
from tubelet.evaluations.folds import folds_of
from tubelet.evaluations.intervals import of_difference
from tubelet.evaluations.selection import score
from tubelet.evaluations.sharded import map_batches
from tubelet.loading.data import Data
from tubelet.models.encoder import Vit
from tubelet.results import BALANCED
from tubelet.types import Clip
from tubelet.video.sampling import Sampling, Segments

PENALTY, SEEDS = 0.1, 3


def main(folder: str, stride: str | None = None) -> None:
    corpus = Corpus.open(folder)
    classes = sorted({video.label for video in corpus.videos if video.label})
    videos = [video for video in corpus.videos if video.status == "ok" and video.label]
    sampling = Segments() if stride is None else Sampling(stride=int(stride))
    data = Data(sampling=sampling, cache=True)
    read = map_batches(
        "clips", lambda batch: [*zip(batch.ids, batch.video, strict=True)], corpus, videos,
        Clip(frames=16, size=64, tubelet_size=8), data, batch=16,
    )  # fmt: skip
    found: dict[str, UInt8[Tensor, "3 t h w"]] = {name: clip[:, ::2] for part in read for name, clip in part}
    clips = outline([video for video in videos if video.id in found], classes)
    shown = torch.stack([found[name] for name in clips.ids])

    plain = Clip(frames=8, size=64, tubelet_size=8)
    moving = chz.replace(plain, subtract_background=True)
    encoders: dict[str, torch.nn.Module] = {
        "mean image": MeanImage(plain), "difference image": DifferenceImage(plain), "raw pixels": RawPixels(plain),
    }  # fmt: skip
    for seed in range(SEEDS):
        for name, clip in (("untrained", plain), ("untrained, without background", moving)):
            torch.manual_seed(seed)
            encoders[f"{name}, seed {seed}"] = Vit(width=128, depth=2, heads=4).build(clip).eval()
    answers: dict[str, dict[str, Tensor]] = {}
    for name, encoder in encoders.items():
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=isinstance(encoder.config, Vit)):
            tokens = torch.cat([encode(encoder, some).float() for some in shown.split(16)])
        steps = tokens.unflatten(1, (4, -1)).mean(2)
        pools = {"mean": steps.mean(1), "time steps": steps.flatten(1)}
        answers[name] = {pool: answered(features, clips) for pool, features in pools.items()}
        print(name, {pool: percent(score(own, clips.label, BALANCED)) for pool, own in answers[name].items()})

    for seed in range(SEEDS):
        for pool, own in answers[f"untrained, without background, seed {seed}"].items():
            for name in (*list(encoders)[:3], f"untrained, seed {seed}"):
                better = max(answers[name].values(), key=lambda one: score(one, clips.label, BALANCED))
                compared = of_difference(by_group(own, clips), by_group(better, clips), balanced=True, seed=0)
                assert compared is not None
                difference, interval = compared
                print(f"seed {seed}, {pool}, less {name}:", percent(difference), [*map(percent, interval or ())])


def answered(features: Float[Tensor, "v d"], clips: Features) -> Int64[Tensor, "v"]:
    """The class of every clip, by those of other groups."""
    predicted = torch.zeros_like(clips.label)
    for fold in folds_of(clips, "leave_one_group_out"):
        asked = torch.zeros(len(clips), dtype=torch.bool)
        asked[fold.index] = True
        fitted, label = features[~asked].double(), clips.label[~asked]
        shift, scale = fitted.mean(0), fitted.std(0).clamp_min(1e-8)
        fitted, queries = (fitted - shift) / scale, (features[asked].double() - shift) / scale
        count = torch.bincount(label, minlength=len(clips.classes)).clamp_min(1)
        root = (len(label) / len(clips.classes) / count[label]).double().sqrt()[:, None]
        kernel = fitted @ fitted.T
        ridge = PENALTY * kernel.diagonal().mean() * torch.eye(len(label), dtype=torch.float64)
        target = one_hot(label, len(clips.classes)).double() - 1 / len(clips.classes)
        weight = root * torch.linalg.solve(root * kernel * root.T + ridge, root * target)
        predicted[asked] = (queries @ fitted.T @ weight).argmax(1)
    return predicted


def percent(share: float) -> float:
    return round(100 * share, 1)


if __name__ == "__main__":
    main(*sys.argv[1:])
