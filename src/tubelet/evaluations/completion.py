"""Completion: what the decoder puts into a hole of any shape, beside copying and blending what is around it in time.

A hole is a set of whole tubelets: the future, the middle of the frame, one time step, tubelets at random, or a user's
own (`complete`). Where the target is normalised by statistics that the hole hides, those of the nearest visible tubelet
take their place (ours), so nothing of the hole is ever looked at. Start reading at `complete`.
"""

from functools import partial
from typing import ClassVar, Literal

import chz
import torch
from einops import repeat
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

from tubelet.errors import RecipeError
from tubelet.evaluations.base import Context, Evaluation
from tubelet.evaluations.intervals import in_words
from tubelet.evaluations.reconstruction import nearest_visible
from tubelet.evaluations.tally import Tally, pixel_task, tallied, videos_of
from tubelet.maskers import Centre, Future, Masker, Random
from tubelet.models.patches import cut, gather, join
from tubelet.objectives.targets import PixelTarget
from tubelet.results import Result
from tubelet.seeds import key
from tubelet.tasks import Pretraining
from tubelet.types import CLIP, Batch, Clip, Encoded, Mask

DECIBEL = "dB"
Video3 = UInt8[Tensor, "b 3 t h w"]


def complete(task: Pretraining, video: Video3, hole: Bool[Tensor, "nt nh nw"] | Bool[Tensor, "b nt nh nw"]) -> Video3:
    """The clips with what the decoder says of the hole; everything else stays as it is, to the bit.

    `hole` is true for each tubelet that is to be filled, equally many of every clip. `RecipeError` where the run has no
    decoder that predicts pixels of the clip itself, `ValueError` where a hole is empty or leaves nothing.
    """
    head, clip = task.pixel_head, task.clip
    if head is None or head.config.on != (CLIP,) or head.config.decoder.memory:
        raise RecipeError("completion needs a decoder that predicts pixels of the clip from the clip alone")
    if clip.subtract_background:
        raise RecipeError("completion fills in pixels, and a run of clip.subtract_background=True knows what moves")
    kind = head.config.target
    assert isinstance(kind, PixelTarget)
    mask = mask_of(hole.expand(len(video), *clip.grid), clip)
    tubelets = cut(video, clip)
    with torch.inference_mode():
        batch = Batch(video, torch.zeros(len(video), dtype=torch.int64, device=video.device), ("",) * len(video))
        tokens = task.encoder(gather(tubelets, mask.visible), mask.visible)
        prediction = head.predict(Encoded(clip, batch, mask, tubelets, tokens)).float()
        around = gather(tubelets, nearest_visible(mask, clip))
        pixels = kind.fill(kind.standardise(around, mask.hidden, clip).pixels(prediction), clip)
    filled = tubelets.clone()
    index = mask.hidden[..., None].expand(-1, -1, tubelets.shape[-1])
    return join(filled.scatter_(1, index, pixels.round().clamp(0, 255).byte()), clip)


def mask_of(hole: Bool[Tensor, "b nt nh nw"], clip: Clip) -> Mask:
    flat = hole.flatten(1)
    counts = flat.sum(1)
    if not (counts == counts[0]).all() or not 0 < int(counts[0]) < clip.num_tubelets:
        raise ValueError(
            f"a hole must hide some of {clip.num_tubelets} tubelets and not all, equally many of every clip"
        )
    hidden = flat.nonzero()[:, 1].view(len(flat), -1)
    return Mask(visible=(~flat).nonzero()[:, 1].view(len(flat), -1), hidden=hidden, decode=hidden)


@chz.chz
class Completion(Evaluation):
    name: ClassVar[str] = "completion"

    hole: Literal["future", "centre", "frame", "random"] = chz.field(
        default="frame", doc="the second half, the middle of all frames, one time step in the middle, or any tubelets"
    )
    share: float = chz.field(default=0.5, doc="share of the tubelets that is hidden, of future, centre and random")
    split: str = chz.field(default="test", doc="whose clips are completed")
    clips: int | None = chz.field(default=None, doc="largest number of videos, by a keyed choice; None takes all")
    samples: int = chz.field(default=1000, doc="bootstrap samples of the intervals")

    @chz.validate
    def _share(self) -> None:
        if not 0 < self.share < 1:
            raise RecipeError(f"completion.share={self.share:g} must be above 0 and below 1")

    def masker(self) -> Masker:
        if self.hole == "future":
            return Future(ratio=self.share)
        if self.hole == "centre":
            return Centre(ratio=self.share)
        return Random(ratio=self.share)

    def holes(self, batch: Batch, clip: Clip) -> Bool[Tensor, "b nt nh nw"]:
        """The hole of each clip, by a key of its id."""
        if self.hole == "frame":
            hole = torch.zeros(clip.grid, dtype=torch.bool)
            hole[clip.grid[0] // 2] = True
            return hole.expand(len(batch), -1, -1, -1)
        keys = torch.tensor([key(0, "hole of " + name) for name in batch.ids])
        hidden = self.masker()(batch, clip, keys).hidden
        flat = torch.zeros(len(batch), clip.num_tubelets, dtype=torch.bool)
        return flat.scatter_(1, hidden, True).unflatten(1, clip.grid)

    def run(self, context: Context) -> Result:
        task = pixel_task(context, self.name)
        if self.hole == "frame" and context.clip.grid[0] < 2:
            raise RecipeError("completion.hole=frame needs clips of two time steps or more; take hole=centre")
        videos, clips = videos_of(context, self.split, self.clips)
        done = tallied(context, videos, "completions", partial(self.measure, task), Tally)
        metrics = {
            name: done.metric(done.array(name), DECIBEL, seed=context.seed, samples=self.samples)
            for name in ("psnr", "copy_psnr", "blend_psnr")
        }
        return Result(
            metrics={"psnr": metrics.pop("psnr")},
            references=metrics,
            protocol={
                "clips": clips,
                "hole": self.hole if self.hole == "frame" else f"{self.hole}, {self.share:g} of the tubelets",
                "psnr": "10 log10(255^2 / mean squared error of the pixels in the hole), the mean over clips",
                "copy_psnr": "of copying, at the same place, the nearest frame in time that shows it (the earlier of "
                "two); where none does, the nearest visible tubelet",
                "blend_psnr": "of a linear blend in time of the frames before and after that show it, else of the copy",
                "statistics": "a normalised target takes the mean and spread of the nearest visible tubelet",
                "intervals": in_words(self.samples),
            },
            counts={self.split: done.counts()},
            failed={self.split: done.failed},
        )

    def measure(self, task: Pretraining, batch: Batch, done: Tally) -> None:
        hole, video = self.holes(batch, task.clip), batch.video
        device = next(task.parameters()).device
        found = {"psnr": complete(task, video.to(device), hole.to(device)).cpu()}
        found |= {"copy_psnr": copied(video, hole, task.clip), "blend_psnr": blended(video, hole, task.clip)}
        hidden = pixels_of(hole, task.clip)
        for name, other in found.items():
            done.values[name] += psnr(video, other, hidden)


def psnr(video: Video3, other: Tensor, hidden: Bool[Tensor, "b t h w"]) -> list[float]:
    """In decibels, of the pixels of the hole alone; an exact copy counts as an error of half a level."""
    error = (video.double() - other.double()).square().mean(1)  # b t h w
    mean = (error * hidden).flatten(1).sum(1) / hidden.flatten(1).sum(1)
    return (10 * torch.log10(255**2 / mean.clamp(min=0.25))).tolist()


def pixels_of(hole: Bool[Tensor, "b nt nh nw"], clip: Clip) -> Bool[Tensor, "b t h w"]:
    side, depth = clip.tubelet_size, clip.tubelet_frames
    return repeat(hole, "b nt nh nw -> b (nt t) (nh y) (nw x)", t=depth, y=side, x=side)


def copied(video: Video3, hole: Bool[Tensor, "b nt nh nw"], clip: Clip) -> Float[Tensor, "b 3 t h w"]:
    """Each hidden pixel as the nearest frame in time shows it, else as the nearest visible tubelet does."""
    before, after = visible_around(hole, clip)
    time = torch.arange(clip.frames)[:, None, None]
    nearer = torch.where((after < 0) | ((before >= 0) & (time - before <= after - time)), before, after)
    return with_elsewhere(video, take(video, nearer, clip), nearer < 0, hole, clip)


def blended(video: Video3, hole: Bool[Tensor, "b nt nh nw"], clip: Clip) -> Float[Tensor, "b 3 t h w"]:
    """Each hidden pixel on the line in time between the frames before and after that show it."""
    before, after = visible_around(hole, clip)
    time = torch.arange(clip.frames)[:, None, None]
    both = (before >= 0) & (after >= 0)
    share = torch.where(both & (after > before), (time - before) / (after - before).clamp(min=1), (before < 0).float())
    share = spread(share.float(), clip)[:, None]
    first = take(video, torch.where(before >= 0, before, after), clip)
    last = take(video, torch.where(after >= 0, after, before), clip)
    return with_elsewhere(video, (1 - share) * first + share * last, (before < 0) & (after < 0), hole, clip)


def visible_around(
    hole: Bool[Tensor, "b nt nh nw"], clip: Clip
) -> tuple[Int64[Tensor, "b t nh nw"], Int64[Tensor, "b t nh nw"]]:
    """At each position and frame the last frame before and the first after (or this one) that is visible; -1: none."""
    visible = ~hole.repeat_interleave(clip.tubelet_frames, dim=1)
    time = torch.arange(clip.frames)[:, None, None]
    before = torch.where(visible, time, -1).cummax(1).values
    after = torch.where(visible, time, clip.frames).flip(1).cummin(1).values.flip(1)
    return before, torch.where(after == clip.frames, -1, after)


def take(video: Video3, frame: Int64[Tensor, "b t nh nw"], clip: Clip) -> Float[Tensor, "b 3 t h w"]:
    """At each position and frame, what that other frame shows there."""
    index = spread(frame.clamp(min=0), clip)[:, None].expand(-1, 3, -1, -1, -1)
    return video.gather(2, index).float()


def spread(values: Tensor, clip: Clip) -> Tensor:
    """From positions to their pixels: "b t nh nw" to "b t h w"."""
    return values.repeat_interleave(clip.tubelet_size, -2).repeat_interleave(clip.tubelet_size, -1)


def with_elsewhere(
    video: Video3, made: Float[Tensor, "b 3 t h w"], never: Bool[Tensor, "b t nh nw"], hole: Tensor, clip: Clip
) -> Float[Tensor, "b 3 t h w"]:
    """With the nearest visible tubelet where no frame ever shows the position."""
    if not never.any():
        return made
    mask, tubelets = mask_of(hole, clip), cut(video, clip)
    index = mask.hidden[..., None].expand(-1, -1, tubelets.shape[-1])
    nearest = join(tubelets.clone().scatter_(1, index, gather(tubelets, nearest_visible(mask, clip))), clip)
    return torch.where(spread(never, clip)[:, None], nearest.float(), made)
