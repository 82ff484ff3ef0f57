"""Reconstruction of held-out clips: how much of their variance the decoder explains (R^2).

The protocol, whole. One centre clip a video of `split`, the masks of the run's own masker, drawn from a key of the
video's id alone: the same clips and the same masks at every step, for every seed and for every run with this masker
(a learned masker's masks are those of its weights, a schedule's those of its end).
Loss is the mean squared error over exactly the tubelets that are predicted, in normalised pixels. Means are over clips,
and `r2` is 1 - loss / `mean_prediction_loss` of those means, where the latter is what predicting 0 costs. What copying
the nearest visible tubelet costs is a property of the masks, not of the encoder: it is among the references.
A clip that cannot be read is named and counted; nothing takes its place.
"""

from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, ClassVar

import chz
import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from tubelet.corpus.schema import Video
from tubelet.corpus.table import normalise_text, number_texts
from tubelet.evaluations.base import Context, Evaluation
from tubelet.evaluations.intervals import Interval, in_words, of_mean
from tubelet.evaluations.tally import Tally, pixel_task, tallied, videos_of
from tubelet.models.patches import gather
from tubelet.reports.pictures import Samples, save
from tubelet.results import LOSS, RATIO, Metric, Result
from tubelet.seeds import key
from tubelet.tasks import Pretraining
from tubelet.tasks import Reconstruction as Rebuilt
from tubelet.types import CLIP, Batch, Clip, Mask


@chz.chz
class Reconstruction(Evaluation):
    name: ClassVar[str] = "reconstruction"

    split: str = chz.field(default="test", doc="whose clips are reconstructed")
    clips: int | None = chz.field(default=None, doc="largest number of videos, by a keyed choice; None takes all")
    pictures: int = chz.field(default=6, doc="clips that are kept as pictures for the report")
    samples: int = chz.field(default=1000, doc="bootstrap samples of the intervals")

    def run(self, context: Context) -> Result:
        task = pixel_task(context, self.name)
        stream = CLIP if task.pixel_head is None else task.pixel_head.config.on[0]
        masker = task.masker if stream == CLIP else task.streams[stream].masker
        clip = task.clip_of(stream)
        videos, clips = videos_of(context, self.split, self.clips)
        shown = first_by_key([video for video in videos if video.status == "ok"], self.pictures)
        measure = partial(measure_batch, context, task, {video.id for video in shown})
        done = tallied(
            context, videos, "reconstructions", measure, ReconstructionTally,
            needs=task.needs, text=bool(task.online_maps), streams=task.reads,
        )  # fmt: skip
        if done.shown and context.pictures is not None:
            save(collect(done.shown, context), context.pictures)
        loss, mean, copy = (done.array(name) for name in ("loss", "mean", "copy"))
        interval = partial(of_r2, mean=mean, groups=done.groups, seed=context.seed, samples=self.samples)
        copied = {
            "copy_loss": Metric(float(copy.mean()), unit=LOSS),
            "copy_r2": Metric(r2(copy, mean), interval(copy), unit=RATIO),
        }
        return Result(
            metrics={
                "r2": Metric(r2(loss, mean), interval(loss), unit=RATIO),
                "loss": Metric(float(loss.mean()), unit=LOSS),
            },
            references={
                "mean_prediction_loss": Metric(float(mean.mean()), unit=LOSS),
                **(copied if done.scored <= done.hidden else {}),  # what is visible is its own copy
                "flat": Metric(float(done.array("flat").mean())),
            },
            protocol={
                "clips": f"{clips}, chosen and masked by keys of the video's id alone",
                "mask": f"{type(masker).__name__}, {done.hidden} of {clip.num_tubelets} tubelets "
                f"hidden, {done.scored} scored",
                "loss": "mean squared error of normalised pixels over the scored tubelets, mean over clips",
                "r2": "1 - loss / mean_prediction_loss",
                "mean_prediction_loss": "the same loss of predicting 0, the mean of every normalised tubelet",
                "copy_loss": "the same loss of copying the nearest visible tubelet, normalised by its own statistics "
                "(distance in steps of the grid, ties to the lower index), where only hidden ones are scored; "
                "copy_r2: 1 - copy_loss / mean_prediction_loss. Properties of masks and clips, whatever the encoder",
                "flat": "the share of the scored tubelets that are of one colour",
                "intervals": in_words(self.samples),
            },
            counts={self.split: done.counts()},
            failed={self.split: done.failed},
        )


@dataclass
class ReconstructionTally(Tally):
    """One number a clip, and whole clips for the pictures."""

    shown: list[dict[str, Any]] = field(default_factory=list)
    short: int = 0
    hidden: int = 0
    scored: int = 0

    def add(self, other: Tally) -> None:
        super().add(other)
        assert isinstance(other, ReconstructionTally)
        self.shown += other.shown
        self.short += other.short
        self.hidden, self.scored = other.hidden or self.hidden, other.scored or self.scored

    def counts(self) -> dict[str, int]:
        counts = super().counts()
        return {"used": counts["used"], "failed": counts["failed"], "short": self.short, "groups": counts["groups"]}


def measure_batch(
    context: Context, task: Pretraining, shown: set[str], batch: Batch, done: ReconstructionTally
) -> None:
    """Of a batch: `mean` is what predicting the mean costs, `copy` what copying the nearest visible tubelet costs."""
    device = next(task.parameters()).device
    keyed = replace(batch, key=torch.tensor([key(0, "reconstruction of " + name) for name in batch.ids]))
    rebuilt = task.reconstruct(keyed.to(device))
    mask = rebuilt.seen.mask
    clip = rebuilt.seen.clip
    near = nearest_visible(mask, clip)
    target = rebuilt.target.values  # b q p
    copied = rebuilt.kind.standardise(gather(rebuilt.seen.tubelets, near), mask.decode, clip).values
    done.values["loss"] += clip_means((rebuilt.prediction - target).square())
    done.values["mean"] += clip_means(target.square())
    done.values["copy"] += clip_means((copied - target).square())
    done.values["flat"] += rebuilt.target.flat.float().mean(1).tolist()
    done.short += 0 if batch.short is None else int(batch.short.sum())
    done.hidden, done.scored = mask.hidden.shape[1], mask.decode.shape[1]
    for index, name in enumerate(batch.ids):
        if name in shown:
            done.shown.append(keep(index, keyed, rebuilt, near, context, done))


def clip_means(errors: Float[Tensor, "b q p"]) -> list[float]:
    return [float(value) for value in errors.double().mean((1, 2))]


def nearest_visible(mask: Mask, clip: Clip) -> Int64[Tensor, "b q"]:
    """Of every scored tubelet the visible one fewest steps away (Euclidean on the grid), ties to the lower index."""
    _, rows, columns = clip.grid
    index = torch.arange(clip.num_tubelets, device=mask.visible.device)
    where = torch.stack([index // (rows * columns), index // columns % rows, index % columns], -1).double()  # n 3
    scored, visible = where[mask.decode], where[mask.visible]
    distance = visible.square().sum(-1)[:, None] - 2 * scored @ visible.mT  # b q k, up to a constant of each scored one
    return mask.visible.gather(1, (distance * clip.num_tubelets + mask.visible[:, None]).argmin(-1))


def keep(
    index: int, batch: Batch, rebuilt: Rebuilt, near: Int64[Tensor, "b q"], context: Context, done: ReconstructionTally
) -> dict[str, Any]:
    """One clip as the arrays of `Samples`."""
    clip, batch, name = rebuilt.seen.clip, rebuilt.seen.batch, batch.ids[index]
    heat = batch.maps.get("text")
    inside = {"c": 3, "t": clip.tubelet_frames, "y": clip.tubelet_size}
    video = next(video for video in context.corpus.videos if video.id == name)
    whole = rebuilt.kind.fill(rebuilt.prediction[index], clip)
    return {
        "frames": rearrange(batch.video[index], "c t h w -> t h w c").cpu().numpy(),
        "hidden": rebuilt.seen.mask.hidden[index].cpu().numpy(),
        "scored": rebuilt.seen.mask.decode[index].cpu().numpy(),
        "nearest": near[index].cpu().numpy(),
        "prediction": rearrange(whole.half().cpu(), "q (c t y x) -> q t y x c", **inside).numpy(),
        "mean": rebuilt.target.mean[index].cpu().numpy(),
        "std": rebuilt.target.std[index].cpu().numpy(),
        "loss": np.float64(done.values["loss"][index]),
        "mean_prediction_loss": np.float64(done.values["mean"][index]),
        "clip": np.array([clip.frames, clip.size, clip.tubelet_frames, clip.tubelet_size]),
        "ids": name,
        "captions": caption_of(batch, index, video, context),
        "labels": video.label or "",
        "text": np.zeros(0, np.float32) if heat is None else heat[index].float().cpu().numpy(),
    }


def caption_of(batch: Batch, index: int, video: Video, context: Context) -> str:
    """The caption that guided the mask, or the video's first of the run's source; "" where there is none."""
    captions = context.corpus.captions_of(video, context.data.captions.source)
    if batch.caption is not None and int(batch.caption[index]) >= 0:
        number = number_texts(context.corpus.captions)
        captions = [c for c in captions if number[normalise_text(c.text)] == int(batch.caption[index])] or captions
    return captions[0].text if captions else ""


def collect(shown: list[dict[str, Any]], context: Context) -> Samples:
    shown = sorted(shown, key=lambda one: one["ids"])
    arrays = {name: np.array([one[name] for one in shown]) for name in shown[0] if name != "clip"}
    return Samples(clip=shown[0]["clip"], corpus=np.array(context.corpus.name), **arrays)


def first_by_key(videos: list[Video], count: int) -> list[Video]:
    """The same few videos every time, whatever else the corpus holds."""
    return sorted(videos, key=lambda video: key(0, "picture of " + video.id))[:count]


def r2(loss: Float64[np.ndarray, "v"], mean: Float64[np.ndarray, "v"]) -> float:
    """The explained variance; 0 where every tubelet is flat and there is nothing to predict."""
    return float(1 - loss.mean() / mean.mean()) if mean.mean() > 0 else 0.0


def of_r2(
    loss: Float64[np.ndarray, "v"], mean: Float64[np.ndarray, "v"], groups: list[str], *, seed: int, samples: int
) -> Interval | None:
    """Its interval: the mean over groups of each group's R^2, weighted by what predicting the mean costs there."""
    names, index = np.unique(groups, return_inverse=True)
    whole = np.maximum(np.bincount(index, mean), 1e-30)
    left = np.bincount(index, loss)
    return of_mean(1 - left / whole, names.tolist(), seed=seed, samples=samples, weights=whole)
