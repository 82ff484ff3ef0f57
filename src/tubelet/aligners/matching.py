"""A frame's score for a caption, the contrast of such scores, and the retrieval by them."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional

from tubelet.aligners.base import Aligner
from tubelet.aligners.config import AlignerTraining
from tubelet.aligners.examples import Examples, membership


def smooth_max(similarity: Float[Tensor, "b p c"], sharpness: float) -> Float[Tensor, "b c"]:
    """Between the mean (0) and the maximum (infinity) over patches."""
    if sharpness <= 0:
        return similarity.mean(1)
    count = similarity.shape[1]
    return (torch.logsumexp(sharpness * similarity, dim=1) - math.log(count)) / sharpness


def info_nce(
    scores: Float[Tensor, "b c"], column: Int64[Tensor, "b"], belongs: Bool[Tensor, "b c"], hardness: float = 0.0
) -> Float[Tensor, ""]:
    """InfoNCE both ways. `column` says which of the distinct captions was drawn with each frame.

    `belongs` says which captions belong to its video: those are no negatives of it, nor it of them.
    """
    own = scores.gather(1, column[:, None])  # b 1
    others = scores.masked_fill(belongs, -torch.inf)
    of_captions = torch.logsumexp(torch.cat([own, weight_negatives(others, hardness)], 1), dim=1) - own[:, 0]
    of_frames = torch.logsumexp(torch.cat([own, weight_negatives(others.T[column], hardness)], 1), dim=1) - own[:, 0]
    return (of_captions.mean() + of_frames.mean()) / 2


def weight_negatives(others: Float[Tensor, "b c"], hardness: float) -> Float[Tensor, "b c"]:
    """Negatives weighted by exp(hardness * score), the weights of a row 1 in the mean and constants to the gradient.

    The weights of Robinson et al. (ICLR 2021, arXiv 2010.04592), without their correction for false negatives: captions
    that belong are known here. Where there is no negative, the score is minus infinity.
    """
    if not hardness:
        return others
    said = hardness * others.detach()
    count = others.isfinite().sum(1, keepdim=True).clamp(min=1)
    mean = torch.logsumexp(said, dim=1, keepdim=True) - count.log()
    return torch.where(others.isfinite(), others + said - mean, others)


@dataclass(frozen=True)
class Retrieval:
    """How often the right one comes first, text to frame and frame to text, among the videos of a split."""

    videos: int
    texts: int
    text_to_frame: float
    frame_to_text: float
    chance_text_to_frame: float
    chance_frame_to_text: float


def retrieval(aligner: Aligner, examples: Examples, settings: AlignerTraining) -> Retrieval:
    """Recall at 1 with the middle frame of every video: a video counts as right for any text that it has."""
    return recall(score_table(aligner, examples, settings.sharpness), membership(examples))


def score_table(aligner: Aligner, examples: Examples, sharpness: float) -> Float[Tensor, "videos texts"]:
    """The middle frame of every video, scored for every text."""
    scores = []
    named = functional.normalize(aligner.texts(examples.texts), dim=-1)
    for indices in examples.of_video:
        frame = examples.frames[indices[len(indices) // 2]]
        patches = functional.normalize(aligner.patches(frame[None]), dim=-1)
        scores.append(smooth_max(patches.flatten(1, 2) @ named.T, sharpness)[0])
    return torch.stack(scores)


def recall(table: Float[Tensor, "videos texts"], right: Bool[Tensor, "videos texts"]) -> Retrieval:
    videos, texts = table.shape
    return Retrieval(
        videos=videos,
        texts=texts,
        text_to_frame=float(right.T[torch.arange(texts), table.argmax(0)].float().mean()),
        frame_to_text=float(right[torch.arange(videos), table.argmax(1)].float().mean()),
        chance_text_to_frame=float(right.float().mean(0).mean()),
        chance_frame_to_text=float(right.float().mean(1).mean()),
    )
