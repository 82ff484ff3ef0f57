"""Whether a video is like any that a classifier learned from: how far its feature lies from theirs.

A classifier names a class for whatever it is shown. Beside it the features of its training clips are kept, and how far
each of them lies from those of other groups; a video that lies farther from all of them than 99 % of these do is unlike
what was learned. That is the k-nearest-neighbour distance of Sun et al. (Out-of-Distribution Detection with Deep
Nearest Neighbors, ICML 2022), on features that are less their mean and of length 1. Start reading at `Familiarity`.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from tubelet.checksums import Damaged, read_safetensors, write_safetensors
from tubelet.corpus.schema import Video
from tubelet.corpus.table import Corpus
from tubelet.distributed import is_rank0
from tubelet.errors import WeightsError
from tubelet.evaluations.sharded import map_batches
from tubelet.loading.data import Data
from tubelet.seeds import key
from tubelet.types import Batch, Clip

FOLDER = "familiarity"  # of a run, one file a classifier
MOST = 2000  # clips whose features are kept, by a keyed choice
NEAREST = 10  # the distance is to this neighbour; of few clips to a nearer one
FEWEST = 20  # of fewer clips nothing is said
SHARE = 0.99


@dataclass(frozen=True)
class Familiarity:
    """Features of training clips, of length 1 after their mean was subtracted, and how far is too far from them."""

    known: Float[Tensor, "v d"]
    shift: Float[Tensor, "d"]
    limit: float
    nearest: int

    @classmethod
    def of(cls, features: Float[Tensor, "v d"], ids: Sequence[str], groups: Sequence[str]) -> "Familiarity | None":
        """None where there are too few clips, or no two groups, to say what is far."""
        chosen = sorted(range(len(ids)), key=lambda index: key(0, "familiarity " + ids[index]))[:MOST]
        if len(chosen) < FEWEST or len({groups[index] for index in chosen}) < 2:
            return None
        values = features[torch.tensor(chosen)].float()
        shift = values.mean(0)
        known = normalize(values - shift, dim=1)
        number = {name: index for index, name in enumerate(dict.fromkeys(groups))}
        group = torch.tensor([number[groups[index]] for index in chosen])
        apart = torch.cdist(known, known).masked_fill(group[:, None] == group, torch.inf)
        nearest = min(NEAREST, max(1, len(chosen) // 10))
        distances = apart.kthvalue(nearest, dim=1).values
        finite = distances[distances.isfinite()]
        if not len(finite):
            return None
        return cls(known, shift, float(finite.quantile(SHARE)), nearest)

    def distances(self, features: Float[Tensor, "b d"]) -> Float[Tensor, "b"]:
        """From the training clips, as a multiple of the limit: above 1 is unlike them."""
        asked = normalize(features.float().cpu() - self.shift, dim=1)
        return torch.cdist(asked, self.known).kthvalue(self.nearest, dim=1).values / max(self.limit, 1e-6)


def familiar_with(
    encode: Callable[[Tensor], Tensor],
    corpus: Corpus,
    videos: Sequence[Video],
    clip: Clip,
    data: Data,
    batch: int,
    device: torch.device,
) -> Familiarity | None:
    """Of the features "b d" that `encode` makes of the centre clips of these videos."""
    of_id = {video.id: replace(video, label=None) for video in videos}
    some = sorted(of_id, key=lambda name: key(0, "familiarity " + name))[:MOST]
    features: list[Tensor] = []
    ids: list[str] = []

    def encoded(read: Batch) -> tuple[tuple[str, ...], Tensor | None]:
        with torch.no_grad():
            return read.ids, encode(read.video.to(device)).float().cpu() if len(read) else None

    for names, found in map_batches(
        "features to be familiar with", encoded, corpus, [of_id[name] for name in some], clip, data, batch=batch
    ):
        ids += names
        features += [] if found is None else [found]
    return Familiarity.of(torch.cat(features), ids, [of_id[name].group for name in ids]) if ids else None


def caution(distance: float) -> str:
    """What a table says of a video at this distance; nothing where it is like others."""
    if distance <= 1:
        return ""
    return f"unlike the clips that were learned from: {distance:.2f} times as far from them as 99 % of them lie apart"


def write_familiarity(run: Path, classifier: str, familiarity: Familiarity | None) -> None:
    """Beside the run's classifier of this name; of one that has none the file goes."""
    if not is_rank0():
        return
    path = run / FOLDER / f"{classifier}.safetensors"
    if familiarity is None:
        path.unlink(missing_ok=True)
        return
    about = {"limit": familiarity.limit, "nearest": familiarity.nearest}
    tensors = {"known": familiarity.known.half(), "shift": familiarity.shift}
    write_safetensors(path, tensors, {"about": json.dumps(about)})


def read_familiarity(run: Path, classifier: str) -> Familiarity | None:
    path = run / FOLDER / f"{classifier}.safetensors"
    try:
        tensors, metadata = read_safetensors(path)
        about = json.loads(metadata["about"])
        return Familiarity(tensors["known"].float(), tensors["shift"], about["limit"], about["nearest"])
    except FileNotFoundError:
        return None
    except (OSError, Damaged, KeyError, ValueError) as error:
        raise WeightsError(
            f"{path} is damaged ({error}); delete it, and `tubelet predict` works without its caution"
        ) from error
