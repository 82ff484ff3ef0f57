"""Energy: how badly a run reconstructs a clip from a part of it, differentiable to the clip's pixels.

WildVidFit (arXiv 2407.10625) guides a diffusion model by the gradient of a frozen VideoMAE's loss: video that moves
smoothly is easy to reconstruct. `reconstruction_energy` is that loss; `Energy` measures whether it tells clips from the
same clips with their frames shuffled, and from noise. Start reading at `reconstruction_energy`.
"""

from functools import partial
from typing import ClassVar

import chz
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from tubelet.errors import RecipeError
from tubelet.evaluations.base import Context, Evaluation
from tubelet.evaluations.intervals import in_words
from tubelet.evaluations.tally import Tally, pixel_task, tallied, videos_of
from tubelet.models.patches import cut, gather
from tubelet.objectives.predict import PredictLoss
from tubelet.objectives.targets import PerColour
from tubelet.objectives.targets.base import EPS
from tubelet.results import LOSS, Result
from tubelet.seeds import fold, key, uniform
from tubelet.tasks import Pretraining
from tubelet.types import CLIP, Batch, Encoded

VARIANTS = ("video", "shuffled", "noise")


def reconstruction_energy(
    task: Pretraining, video: Float[Tensor, "b 3 t h w"] | UInt8[Tensor, "b 3 t h w"], keys: Int64[Tensor, "b"]
) -> Float[Tensor, "b"]:
    """The loss of each clip (pixels 0-255) under the mask that its key draws, with a gradient to float pixels, whatever
    they are: those that are visible and those that are to be predicted. `RecipeError` where the run has no decoder of
    normalised pixels of the clip itself, or its mask needs maps."""
    head = task.pixel_head
    plain = head is not None and type(head) is PredictLoss and type(head.config.target) is PerColour
    if head is None or not plain or head.config.streams != (CLIP,):
        raise RecipeError("energy needs a decoder that predicts the normalised pixels of the clip from the clip alone")
    if task.needs or task.policy is not None:
        raise RecipeError(f"energy draws its masks without maps, and {type(task.masker).__name__} needs some")
    tubelets, shown = cut(video, task.clip), video.detach().byte()  # the head decodes tokens; masks are drawn by keys
    batch = Batch(shown, keys, ("",) * len(video))
    mask = task.draw(batch)
    tokens = task.encoder(gather(tubelets, mask.visible), mask.visible)
    prediction = head.predict(Encoded(task.clip, batch, mask, cut(shown, task.clip), tokens))
    target = standardised(gather(tubelets, mask.decode).float())
    return (prediction.float() - target).square().mean((1, 2))


def standardised(tubelets: Float[Tensor, "b q p"]) -> Float[Tensor, "b q p"]:
    """VideoMAE's target by plain formulas, through which gradients flow (one of no contrast has none)."""
    values = tubelets.unflatten(-1, (3, -1))
    centred = values - values.mean(-1, keepdim=True)
    variance = centred.square().sum(-1, keepdim=True) / (values.shape[-1] - 1)
    spread = torch.where(variance > 0, variance, 1.0).sqrt() * (variance > 0)
    return (centred / (spread + 255 * EPS)).flatten(-2)


@chz.chz
class Energy(Evaluation):
    name: ClassVar[str] = "energy"

    split: str = chz.field(default="test", doc="whose clips are measured")
    clips: int | None = chz.field(default=None, doc="largest number of videos, by a keyed choice; None takes all")
    samples: int = chz.field(default=1000, doc="bootstrap samples of the intervals")

    def run(self, context: Context) -> Result:
        task = pixel_task(context, self.name)
        videos, clips = videos_of(context, self.split, self.clips)
        done = tallied(context, videos, "energies", partial(measure_energies, task), Tally)
        found = {name: done.array(name) for name in VARIANTS}
        higher = {name: (found[name] > found["video"]).astype(float) for name in VARIANTS[1:]}
        metric = partial(done.metric, seed=context.seed, samples=self.samples)
        return Result(
            metrics={
                **{name: metric(values, LOSS) for name, values in found.items()},
                **{f"{name}_above_video": metric(values, "fraction") for name, values in higher.items()},
            },
            protocol={
                "clips": f"{clips}, masked by keys of the video's id",
                "energy": "mean squared error of normalised pixels over the decoded tubelets, the mean over clips",
                "shuffled": "the same frames in an order drawn by a key; noise: uniform in 0-255",
                "above_video": "the share of clips whose shuffled frames, or noise, have more energy than they",
                "intervals": in_words(self.samples),
            },
            counts={self.split: done.counts()},
            failed={self.split: done.failed},
        )


def measure_energies(task: Pretraining, batch: Batch, done: Tally) -> None:
    device = next(task.parameters()).device
    keys = torch.tensor([key(0, "energy of " + name) for name in batch.ids])
    order = uniform(fold(keys, "order"), task.clip.frames).argsort(1)
    shuffled = batch.video.gather(2, order[:, None, :, None, None].expand(batch.video.shape))
    noise = (256 * uniform(fold(keys, "noise"), batch.video[0].numel())).view(batch.video.shape).to(torch.uint8)
    for name, video in zip(VARIANTS, (batch.video, shuffled, noise), strict=True):
        done.values[name] += reconstruction_energy(task, video.to(device), keys.to(device)).tolist()
