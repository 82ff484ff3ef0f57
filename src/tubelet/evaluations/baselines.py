"""What a trained encoder is compared with: itself before training, and no encoder at all."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import chz
import torch
from einops import rearrange, reduce
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.nn.functional import interpolate, one_hot

from tubelet.corpus.table import Corpus
from tubelet.evaluations.base import Context, Evaluation
from tubelet.evaluations.cache import corpus_cache, remembered
from tubelet.evaluations.stream import StreamEncoder
from tubelet.models.patches import cut
from tubelet.results import Metric, Result
from tubelet.seeds import key
from tubelet.synthetic import CEILING, VERSION
from tubelet.types import Clip, Words


class MeanImage(nn.Module):
    """Pixels instead of an encoder: one 'token' a time step, its mean image at `side` x `side`; of another signal the
    mean of its values.

    So the mean of the tokens is the clip's mean image, and the time steps side by side are the clip as a tiny video.
    """

    def __init__(self, clip: Clip, side: int = 16) -> None:
        super().__init__()
        self.clip, self.side = clip, side
        self.config = f"mean image {side}x{side}"

    def encode(self, video: Shaped[Tensor, "b c t h w"]) -> Float[Tensor, "b n d"]:
        return small_time_steps(scaled(video, self.clip), self.clip, self.side)


class DifferenceImage(nn.Module):
    """The same of motion: one 'token' a time step, how far its frames are from the one before each, at `side` x `side`.

    Differences are absolute, for signed ones add up to the last frame less the first, whatever moved between; and they
    are taken before the image is made small, which would average away what moves by a pixel or two. The first frame has
    none before it and takes the difference to the second.
    """

    def __init__(self, clip: Clip, side: int = 16) -> None:
        super().__init__()
        self.clip, self.side = clip, side
        self.config = f"difference image {side}x{side}"

    def encode(self, video: Shaped[Tensor, "b c t h w"]) -> Float[Tensor, "b n d"]:
        frames = scaled(video, self.clip)
        moved = (frames[:, :, 1:] - frames[:, :, :-1]).abs()
        first = moved[:, :, :1] if moved.shape[2] else torch.zeros_like(frames)
        return small_time_steps(torch.cat([first, moved], 2), self.clip, self.side)


def scaled(video: Shaped[Tensor, "b c t h w"], clip: Clip) -> Float[Tensor, "b values t h w"]:
    """Pixels in [0, 1]; the values of another signal as they are, a word as a channel of its own."""
    if isinstance(clip, Words):
        return one_hot(video.flatten(1).long(), clip.vocabulary).float().mT[..., None, None]
    return video.float() if clip.track else video.float() / 255


def small_time_steps(frames: Float[Tensor, "b c t h w"], clip: Clip, side: int) -> Float[Tensor, "b s p"]:
    """The mean of the frames of each time step, at `side` x `side`; of another signal whole."""
    if clip.track:
        return reduce(frames, "b c (s t) h w -> b s (h w c)", "mean", t=clip.tubelet_frames)
    time_steps = reduce(frames, "b c (time_step t) h w -> (b time_step) c h w", "mean", t=clip.tubelet_frames)
    small = interpolate(time_steps, size=(side, side), mode="bilinear", antialias=True, align_corners=False)
    return rearrange(small, "(b time_step) c h w -> b time_step (h w c)", time_step=clip.grid[0])


class RawPixels(nn.Module):
    """The tubelets themselves, as the encoder gets them: a token is the values of its pixels in [0, 1]."""

    def __init__(self, clip: Clip) -> None:
        super().__init__()
        self.clip = clip
        self.config = "raw pixels"

    def encode(self, video: Shaped[Tensor, "b c t h w"]) -> Float[Tensor, "b n p"]:
        if isinstance(self.clip, Words):
            return small_time_steps(scaled(video, self.clip), self.clip, 1)
        return cut(video, self.clip).float() / (1 if self.clip.track else 255)


def untrained(context: Context) -> Context:
    """The same encoder at random initialisation, by the same seed; without heads."""
    if context.stream is not None:
        assert context.task is not None
        stream = StreamEncoder.untrained(context.task, context.stream.name, context.seed)
        return of_no_run(context, stream.to(next(context.encoder.parameters()).device))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(key(context.seed, "weights"))  # as pretraining begins
        encoder = context.encoder.config.build(context.clip)  # type: ignore[operator,union-attr]
    device = next(context.encoder.parameters()).device
    return of_no_run(context, encoder.to(device))


def mean_image(context: Context) -> Context:
    """No encoder: small pixels of the same clips, measured in the same way."""
    return of_pixels(context, MeanImage)


def raw_pixels(context: Context) -> Context:
    """No encoder: what the encoder is given, measured in the same way."""
    return of_pixels(context, RawPixels)


def difference_image(context: Context) -> Context:
    """No encoder: how much each place changes from frame to frame, measured in the same way."""
    return of_pixels(context, DifferenceImage)


def of_pixels(context: Context, kind: type[MeanImage | RawPixels | DifferenceImage]) -> Context:
    """The clips as they are read, also where the run's own encoder takes their background away."""
    whole = replace(context, clip=chz.replace(context.clip, subtract_background=False))
    return of_no_run(whole, kind(whole.extraction.shown))


def of_no_run(context: Context, encoder: nn.Module) -> Context:
    """The same clips through another encoder, whose features are kept with the corpus for all runs."""
    keep = None if context.keep is None else corpus_cache(context.corpus)
    return replace(context, encoder=encoder, task=None, folder=None, keep=keep, computed={})


BASELINES = {
    "random": untrained,
    "mean_image": mean_image,
    "raw_pixels": raw_pixels,
    "difference_image": difference_image,
}


def baseline_result(evaluation: Evaluation, context: Context) -> Result:
    """What the evaluation says of a baseline: kept with its features, so that no run asks twice."""

    def ask() -> tuple[dict[str, Any], list[str]]:
        result = evaluation.run(context)
        groups = {pool: {"by_group": part["by_group"]} for pool, part in result.details.items() if "by_group" in part}
        small = Result(metrics=result.metrics, protocol=result.protocol, details=groups)
        return small.to_json(), list(context.computed)

    if context.keep is None:
        return Result.from_json(ask()[0])
    question = {
        "evaluation": repr(evaluation),
        "view": context.extraction.view,
        "corpus": context.identity,
        "labels": None if context.labels is None else dict(context.labels),
        "seed": context.seed,
        "limit": context.limit,
        "where": context.data.where,
    }
    return Result.from_json(
        remembered(
            context.keep / "baselines", question, type(evaluation), lambda name: context.unlabelled(name).digest(), ask
        )
    )


def asks_for_all(metric: str) -> bool:
    """Whether it is plain accuracy among all classes: not the mean over classes, not some ways of an episode."""
    return metric.rpartition(".")[2] == "accuracy" and "way_" not in metric


def ceiling(corpus: Corpus, metrics: Iterable[str]) -> Result | None:
    """The accuracies among these metrics that a supervised reference reaches on the labels of the synthetic dataset,
    from pixels alone; None where there are none, and of any other corpus."""
    known = {name: Metric(CEILING.accuracy) for name in metrics if asks_for_all(name)}
    return Result(known, {"conditions": CEILING.conditions}) if known and corpus.name == VERSION else None
