"""Text maps of the clips themselves, while training: the cropped frames are scored, not the crop of a cached map.

The paper scores the 224-pixel input; a cached map is made of the whole frame once, and is cut like it. `Exact` is the
paper's way, at the price of the aligner's forward pass for every clip; `compare` says how much the two differ, so
that the cost of caching is a number.
"""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass

import chz
import numpy as np
import torch
from einops import rearrange, reduce
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from tubelet.aligners import Aligner, open_aligner
from tubelet.corpus.table import Corpus
from tubelet.errors import RecipeError
from tubelet.loading.data import Data
from tubelet.loading.loader import train_batches
from tubelet.progress import Progress, silent
from tubelet.stores.embeddings import Embeddings
from tubelet.stores.resample import area_weights
from tubelet.types import Batch, Budget, Clip, Mask

BATCH = 8


@chz.chz
class TextMaps:
    """Where the text maps of a run come from: the corpus, or the aligner itself."""

    exact: bool = chz.field(
        default=False, doc="score the cropped frames of every clip with text.aligner, instead of reading kept maps"
    )
    aligner: str | None = chz.field(
        default=None, doc="of exact: folder of an aligner, or folder or hub name of a CLIP or SigLIP"
    )
    reading: str = chz.field(default="dense", doc="of exact: how CLIP is read, as in `tubelet saliency text`")
    scorer: str = chz.field(default="raw", doc="of exact: which tokens of CLIP are scored, as there")

    @chz.validate
    def _sensible(self) -> None:
        if self.exact and self.aligner is None:
            raise RecipeError(
                "text.exact=True scores clips with an aligner: name it, as text.aligner=CORPUS/aligner, or a CLIP"
            )

    def build(self, clip: Clip) -> "Exact | None":
        """What makes the maps of a batch; None where the corpus holds them. The model is opened when first used."""
        return Exact(self, clip) if self.exact else None


class Exact:
    """The text map of each clip of a batch, from its own frames and its caption's embedding."""

    def __init__(self, config: TextMaps, clip: Clip, aligner: Aligner | None = None) -> None:
        self.config, self.clip, self.opened = config, clip, aligner

    @property
    def aligner(self) -> Aligner:
        if self.opened is None:
            assert self.config.aligner is not None
            self.opened = open_aligner(self.config.aligner, self.config.reading, self.config.scorer)
        return self.opened

    def fits(self, embeddings: Embeddings) -> None:
        """`RecipeError` unless the captions' embeddings are of this very model."""
        made = embeddings.about["model"]
        if made != self.aligner.identity:
            raise RecipeError(
                f"text.exact=True scores with {self.aligner.identity}, and the caption embeddings of the corpus were "
                f"made by {made}; name that one as text.aligner, or run `tubelet saliency text` with this one"
            )

    @torch.no_grad()
    def __call__(self, batch: Batch) -> Float[Tensor, "b n"]:
        """The cosine of patch and caption, by area at each place and the mean over each tubelet's frames."""
        assert batch.text is not None
        frames = rearrange(batch.video, "b c t h w -> (b t) h w c").cpu().numpy()
        patches = functional.normalize(self.aligner.patches(frames).float(), dim=-1)  # bt gh gw e
        texts = functional.normalize(batch.text.float().cpu(), dim=-1).repeat_interleave(self.clip.frames, dim=0)
        scores = torch.einsum("b y x e, b e -> b y x", patches, texts)
        _, rows, columns = self.clip.grid
        down, across = (
            torch.from_numpy(area_weights(0.0, 1.0, places, cells))
            for places, cells in ((rows, scores.shape[1]), (columns, scores.shape[2]))
        )
        in_places = down @ scores @ across.T
        found = reduce(
            in_places, "(b slot t) y x -> b (slot y x)", "mean", b=len(batch.video), t=self.clip.tubelet_frames
        )
        return found.to(batch.video.device)


@dataclass(frozen=True)
class Compared:
    """Kept maps against exact ones on randomly cropped clips, one figure a clip."""

    correlation: list[float]  # of the two maps, over the tubelets
    agreement: list[float]  # intersection over union of what the two hide
    chance: float  # the same of two random masks with as many hidden
    milliseconds: float  # of the aligner, a clip
    failed: tuple[str, ...]


def compare(
    corpus: Corpus,
    aligner: Aligner,
    clip: Clip,
    data: Data,
    clips: int = 64,
    ratio: float = 0.6,
    seed: int = 0,
    progress: Progress = silent,
) -> Compared:
    """The two maps of so many training clips of `data.split`, each with its own crop and time, hidden slot by slot."""
    exact = Exact(TextMaps(), clip, aligner)
    exact.fits(Embeddings.open(corpus))
    budget = Budget(int(clip.num_places * ratio + 1e-9), "slot", clip.grid)
    correlation: list[float] = []
    agreement: list[float] = []
    failed: tuple[str, ...] = ()
    spent = 0.0
    for batch in cropped(corpus, clip, data, clips, seed):
        failed += batch.failed
        if len(batch):
            began = time.perf_counter()
            found = exact(batch)
            spent += time.perf_counter() - began
            kept = batch.maps["text"]
            correlation += [float(np.corrcoef(a, b)[0, 1]) for a, b in zip(kept.numpy(), found.numpy(), strict=True)]
            agreement += shared(Mask.hide_top(kept, budget).hidden, Mask.hide_top(found, budget).hidden)
        progress(len(correlation) + len(failed), clips, "")
    share = budget.total / clip.num_tubelets
    return Compared(correlation, agreement, share / (2 - share), 1000 * spent / max(len(correlation), 1), failed)


def cropped(corpus: Corpus, clip: Clip, data: Data, clips: int, seed: int) -> Iterator[Batch]:
    """At least so many clips with their kept maps and their captions' embeddings, as training would see them."""
    steps = math.ceil(clips / BATCH)
    return train_batches(
        corpus, clip, data, needs=("text",), text=True, batch=BATCH, seed=seed, first_step=0, last_step=steps
    )


def shared(one: Tensor, other: Tensor) -> list[float]:
    """Intersection over union of two sets of tubelets, clip by clip."""
    pairs = zip(one.tolist(), other.tolist(), strict=True)
    return [len({*a} & {*b}) / len({*a} | {*b}) for a, b in pairs]
