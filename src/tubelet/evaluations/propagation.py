"""Label propagation: a mask given in the first time step is carried through the clip by token similarity alone.

The protocol, whole (Jabri et al., arXiv 2006.14613, on the tokens of one centre clip). The mask of the first time step
is averaged over its positions. From time step to time step, every position takes the mean of the masks of its
`neighbours` most similar positions (cosine, weights exp(cosine / `temperature`)) among the first time step and the
`memory` time steps before its own, none farther than `radius` positions. The outcome is drawn bilinear at the size of
the truth, and its highest pixels, as many as the mask of the first time step has, are the mask (a threshold would find
nothing smaller than a position); `j` is its intersection over union with the truth, the mean over all time steps but
the first, then over clips. A clip whose subject is not seen in the first time step is named and left out. Nothing is
trained and nothing is selected. An encoder of a single time step (SiamMAE, CropMAE) encodes every time step of a longer
clip alone. Beside it: `still`, the first mask left where it is, and `grid`, the truth itself
averaged over the positions and drawn again, which no features on this grid can beat by much.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

import chz
import numpy as np
import torch
from einops import rearrange, reduce
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, interpolate, normalize

from tubelet.corpus.schema import Video
from tubelet.corpus.table import Corpus
from tubelet.distributed import map_over_ranks
from tubelet.errors import CorpusError, RecipeError, VideoError
from tubelet.evaluations.base import Context, Evaluation
from tubelet.evaluations.features import encode
from tubelet.evaluations.intervals import in_words, of_mean
from tubelet.files import within
from tubelet.results import Metric, Result
from tubelet.synthetic import truth
from tubelet.types import Clip
from tubelet.video.crop import Crop
from tubelet.video.reader import timestamps

MASKS = "masks"  # folder of a corpus: ID.npy, "t h w", of every frame of the video, not 0 where the subject is


@chz.chz
class Propagation(Evaluation):
    name: ClassVar[str] = "propagation"
    reads_tokens: ClassVar[bool] = True

    split: str = chz.field(default="test", doc="whose clips")
    memory: int = chz.field(default=7, doc="time steps before its own that a time step looks at, beside the first")
    neighbours: int = chz.field(default=5, doc="most similar positions that are averaged")
    temperature: float = chz.field(default=0.1, doc="of the weights")
    radius: float | None = chz.field(default=None, doc="positions that a match may be away (None: anywhere)")
    time_steps: int = chz.field(default=8, doc="of the clips of an encoder that sees one time step: each alone")
    samples: int = chz.field(default=1000, doc="bootstrap samples of the intervals")

    @chz.validate
    def _sensible(self) -> None:
        if self.memory < 0 or self.neighbours < 1 or not self.temperature > 0:
            raise RecipeError("propagation needs a memory of 0 or more, 1 neighbour or more, a temperature above 0")
        if self.time_steps < 2:
            raise RecipeError(f"propagation.time_steps={self.time_steps}: from the first there must be one to go to")

    def run(self, context: Context) -> Result:
        alone = context.clip.grid[0] == 1
        if alone:
            context.unlabelled(self.split)  # what is kept of a baseline counts while these are the same
            context = step_by_step(context, self.time_steps)
        features = context.with_tokens(self.split)
        assert features.tokens is not None
        every = features.tokens
        if every.values[0].size != context.clip.num_tubelets * every.width:
            raise CorpusError("propagation needs a token for every position, and this gives one for a whole time step")
        videos = context.corpus.by_id

        def follow(index: int) -> dict[str, float] | str:
            """What is measured of a clip, or why nothing is."""
            context.progress(index + 1, len(features), "")
            try:
                true = true_masks(context.corpus, videos[features.ids[index]], context)
            except VideoError as error:
                return str(error)
            if not true.masks[0].any():
                return "its first time step shows no subject, so there is nothing to carry"
            [tokens] = every.load(torch.tensor([index]))
            return measure_clip(tokens, true, context.clip, self)

        found: dict[str, list[float]] = {"j": [], "still": [], "grid": []}
        groups, failed = [], list(features.failed)
        for index, values in enumerate(map_over_ranks(range(len(features)), follow, "propagated masks")):
            if isinstance(values, str):
                failed.append(f"{features.ids[index]}: {values}")
                continue
            for measure, value in values.items():
                found[measure].append(value)
            groups.append(features.groups[index])
        if not groups:
            raise CorpusError(f"no clip of {self.split} has a mask; first: {failed[0]}")
        counts = features.counts() | {"used": len(groups), "failed": len(failed), "groups": len(set(groups))}
        metrics = {
            name: Metric(float(np.mean(each)), of_mean(np.array(each), groups, seed=context.seed, samples=self.samples))
            for name, each in found.items()
        }
        return Result(
            metrics={"j": metrics["j"]},
            references={name: metrics[name] for name in ("still", "grid")},
            protocol={
                "split": f"measured on {self.split}",
                "features": f"{every.width}-wide tokens of one centre clip a video, cosine"
                + (f"; each of its {self.time_steps} time steps is encoded alone" if alone else ""),
                "propagation": f"{self.neighbours} nearest patch positions among the first time step and "
                f"{self.memory} before, temperature {self.temperature:g}, "
                + ("anywhere" if self.radius is None else f"at most {self.radius:g} positions away"),
                "j": "intersection over union at the size of the ground truth, of as many pixels as the first mask "
                "has; mean over all time steps but the first, over clips",
                "still": "the same of the first mask, left where it is",
                "grid": "the same of the ground truth, averaged over the patches of the grid",
                "selection": "none: nothing is trained",
                "intervals": in_words(self.samples),
                "seed": context.seed,
            },
            counts={self.split: {name: value for name, value in counts.items() if name != "unlabelled"}},
            failed={self.split: failed},
        )


def step_by_step(context: Context, time_steps: int) -> Context:
    """The same with clips of so many time steps, for an encoder that sees one."""
    clip = chz.replace(context.clip, frames=time_steps * context.clip.frames)
    return replace(context, encoder=StepByStep(context.encoder, context.clip), clip=clip, computed={})


class StepByStep(nn.Module):
    """Encodes every time step of a clip alone; the tokens one time step after another."""

    def __init__(self, encoder: nn.Module, clip: Clip) -> None:
        super().__init__()
        self.encoder, self.clip = encoder, clip
        self.config = f"{encoder.config}, each time step alone"

    def encode(self, video: UInt8[Tensor, "b 3 t h w"]) -> Float[Tensor, "b n d"]:
        alone = rearrange(video, "b c (step t) h w -> (b step) c t h w", t=self.clip.frames)
        return rearrange(encode(self.encoder, alone), "(b step) n d -> b (step n) d", b=len(video))


@dataclass(frozen=True)
class TrueMasks:
    """The truth in the square that the encoder saw: one mask a time step, and how much of every position it covers."""

    masks: Bool[Tensor, "time_steps h w"]
    positions: Float[Tensor, "time_steps rows columns"]


def true_masks(corpus: Corpus, video: Video, context: Context) -> TrueMasks:
    """Of the frames of the centre clip, in its centre crop; a time step's mask is where most of its frames have it."""
    every = read_masks(corpus, video)
    times = timestamps(video.path, video.reading)
    if len(times) != len(every):
        raise VideoError(f"the file holds {len(times)} frames and its masks {len(every)}")
    chosen = context.data.sampling.times(times, context.clip, "centre").times
    masks = every[np.searchsorted(times, chosen - 1e-6)]
    colours = np.repeat(masks[..., None], 3, axis=-1).astype(np.uint8)
    square = Crop.centre(*masks.shape[1:]).cut(colours)[..., 0]
    frames = torch.from_numpy(np.ascontiguousarray(square)).float()
    time_steps = reduce(frames, "(time_step t) h w -> time_step h w", "mean", t=context.clip.tubelet_frames)
    return TrueMasks(time_steps >= 0.5, adaptive_avg_pool2d(time_steps[:, None], context.clip.grid[1:])[:, 0])


def read_masks(corpus: Corpus, video: Video) -> np.ndarray:
    """Of every frame of the video: a file of the user's, or the truth of the synthetic dataset."""
    path = within(corpus.folder / MASKS, f"{video.id}.npy")
    if path.exists():
        return np.load(path, allow_pickle=False) != 0
    if "synth" not in corpus.about:
        raise CorpusError(
            f"propagation needs masks, and {corpus.folder} has none; put one a video into {corpus.folder / MASKS}, "
            "as ID.npy of shape (frames, height, width), not 0 where the subject is"
        )
    mask: np.ndarray = truth(corpus, video).mask
    return mask


def measure_clip(tokens: Float[Tensor, "n d"], true: TrueMasks, clip: Clip, settings: Propagation) -> dict[str, float]:
    carried = propagate(tokens, true.positions[0], clip, settings)
    still = true.positions[:1].expand_as(true.positions)
    drawn = {"j": carried, "still": still, "grid": true.positions}
    return {name: overlap(enlarge_masks(maps[1:], true.masks[0]), true.masks[1:]) for name, maps in drawn.items()}


def propagate(
    tokens: Float[Tensor, "n d"], first: Float[Tensor, "rows columns"], clip: Clip, settings: Propagation
) -> Float[Tensor, "time_steps rows columns"]:
    """The soft mask of every time step; that of the first is given."""
    time_steps, rows, columns = clip.grid
    unit = rearrange(
        normalize(tokens.double(), dim=1), "(time_step position) d -> time_step position d", time_step=time_steps
    )
    near = neighbourhood(rows, columns, settings.radius)
    masks = [first.flatten().double()]
    for time_step in range(1, time_steps):
        seen = [0, *range(max(1, time_step - settings.memory), time_step)]
        similarity = unit[time_step] @ rearrange(unit[seen], "m position d -> (m position) d").T
        similarity = similarity.masked_fill(~near.repeat(1, len(seen)), -torch.inf)
        values, where = similarity.topk(min(settings.neighbours, similarity.shape[1]), dim=1)
        weight = (values / settings.temperature).softmax(1)
        masks.append((weight * torch.cat([masks[m] for m in seen])[where]).sum(1))
    return torch.stack(masks).float().unflatten(1, (rows, columns))


def neighbourhood(rows: int, columns: int, radius: float | None) -> Bool[Tensor, "p p"]:
    """Which positions may match which."""
    if radius is None:
        return torch.ones(rows * columns, rows * columns, dtype=torch.bool)
    position = torch.cartesian_prod(torch.arange(rows), torch.arange(columns)).double()
    return torch.cdist(position, position) <= radius


def enlarge_masks(maps: Float[Tensor, "s rows columns"], first: Bool[Tensor, "h w"]) -> Bool[Tensor, "s h w"]:
    """At the size of the first mask, its highest pixels, as many as that mask has."""
    large = interpolate(maps[:, None], size=first.shape, mode="bilinear", align_corners=False).flatten(1)
    highest = large.topk(int(first.sum()), dim=1).indices
    return torch.zeros_like(large, dtype=torch.bool).scatter_(1, highest, True).unflatten(1, first.shape)


def overlap(one: Bool[Tensor, "s h w"], other: Bool[Tensor, "s h w"]) -> float:
    """The mean of intersection over union; 1 where both are empty."""
    both, either = (one & other).sum((1, 2)).double(), (one | other).sum((1, 2)).double()
    return float(torch.where(either > 0, both / either.clamp(min=1), 1.0).mean())
