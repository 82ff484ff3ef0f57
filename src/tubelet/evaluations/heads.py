"""A linear map on frozen features, kept with the run: what a probe has learned, for new videos."""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from einops import reduce
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from tubelet.checkpoint import write_atomically
from tubelet.errors import WeightsError

FOLDER = "classifiers"  # of a run, one file an entry of results.json
PARTS = ("shift", "scale", "weight", "bias")


@dataclass(frozen=True)
class Head:
    """`(feature - shift) / scale @ weight + bias`, of one pool of the tokens."""

    pool: str
    classes: tuple[str, ...]
    step: int  # of the encoder
    layer_norm: bool  # each feature vector is normalised first
    shift: Float[Tensor, "d"]
    scale: Float[Tensor, "d"]
    weight: Float[Tensor, "d classes"]
    bias: Float[Tensor, "classes"]

    def scores(self, tokens: Float[Tensor, "b n d"], slots: int) -> Float[Tensor, "b classes"]:
        """Of the tokens of clips with so many slots."""
        if self.pool == "slots":
            features = reduce(tokens, "b (slot place) d -> b slot d", "mean", slot=slots).flatten(1)
        else:
            features = tokens.mean(1)
        x = features.double()
        if self.layer_norm:
            x = torch.nn.functional.layer_norm(x, x.shape[1:])
        return (x - self.shift) / self.scale @ self.weight + self.bias


def write_head(head: Head, path: Path) -> None:
    about = {"pool": head.pool, "classes": head.classes, "step": head.step, "layer_norm": head.layer_norm}
    tensors = {name: getattr(head, name).contiguous() for name in PARTS}
    write_atomically(path, save(tensors, metadata={"about": json.dumps(about, ensure_ascii=False)}))


def read_head(path: Path) -> Head:
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads(file.metadata()["about"])
            about["classes"] = tuple(about["classes"])
            return Head(**about, **{name: file.get_tensor(name) for name in PARTS})
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{path} cannot be read as a classifier ({error}); measure the probe again") from error
