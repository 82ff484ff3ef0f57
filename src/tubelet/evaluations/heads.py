"""The classifier that a linear probe keeps with the run, for new videos: its best pool, learned from all of train."""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from einops import reduce
from jaxtyping import Float
from torch import Tensor, nn

from tubelet.checksums import read_safetensors, write_safetensors
from tubelet.distributed import is_rank0
from tubelet.errors import WeightsError
from tubelet.evaluations.base import Context
from tubelet.evaluations.features import encode
from tubelet.evaluations.linear import Head, Linear
from tubelet.results import Result

FOLDER = "classifiers"  # of a run, one file an entry of results.json
PARTS = ("shift", "scale", "weight", "bias")


@dataclass(frozen=True)
class KeptHead:
    """A linear map on one pool of the tokens of an encoder at this step."""

    pool: str
    classes: tuple[str, ...]
    step: int
    head: Head

    def pooled(self, tokens: Float[Tensor, "b n d"], time_steps: int) -> Float[Tensor, "b d"]:
        """What is scored of the tokens of clips with so many time steps."""
        if self.pool == "temporal_concat":
            return reduce(tokens, "b (time_step position) d -> b time_step d", "mean", time_step=time_steps).flatten(1)
        return reduce(tokens, "b n d -> b d", "mean")

    def of_clips(self, encoder: nn.Module, time_steps: int, device: torch.device | str) -> "Scores":
        return Scores(self, encoder, time_steps, device)


@dataclass(frozen=True)
class Scores:
    """Clips, uint8 "b 3 t h w", to a score a class."""

    kept: KeptHead
    encoder: nn.Module
    time_steps: int
    device: torch.device | str

    def __call__(self, video: Tensor) -> Tensor:
        return self.with_features(video)[0]

    def with_features(self, video: Tensor) -> tuple[Tensor, Tensor]:
        """The scores, and the features that they are of."""
        tokens = encode(self.encoder, video.to(self.device)).float().cpu()
        features = self.kept.pooled(tokens, self.time_steps)
        return self.kept.head.scores(features), features


def best_head(probe: Linear, context: Context, result: Result, step: int = 0) -> KeptHead:
    """Of what `probe.run` selected: the pool with the highest held-out accuracy, at its setting, from all of train."""
    protocol = result.protocol
    top = {pool: max(scores.values(), default=0.0) for pool, scores in protocol["held_out_accuracy"].items()}
    pool = max(top, key=lambda pool: top[pool])
    train = context.features("train").with_label()
    [head] = probe.fit(train, pool, [protocol["selected"][pool]])
    return KeptHead(pool, tuple(train.classes), step, head)


def write_head(kept: KeptHead, path: Path) -> None:
    if not is_rank0():
        return
    about = {"pool": kept.pool, "classes": kept.classes, "step": kept.step, "layer": kept.head.layer}
    tensors = {name: getattr(kept.head, name).contiguous() for name in PARTS}
    write_safetensors(path, tensors, {"about": json.dumps(about, ensure_ascii=False)})


def read_head(path: Path) -> KeptHead:
    try:
        tensors, metadata = read_safetensors(path)
        about = json.loads(metadata["about"])
        head = Head(**{name: tensors[name] for name in PARTS}, layer=about["layer"])
        return KeptHead(about["pool"], tuple(about["classes"]), about["step"], head)
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{path} cannot be read as a classifier ({error}); measure the probe again") from error
