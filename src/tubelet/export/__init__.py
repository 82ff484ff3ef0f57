"""The Python face: `encoder = tubelet.load_encoder("RUN")`, `features = tubelet.embed(encoder, "clip.mp4")`."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from tubelet.checkpoint import CHECKPOINT
from tubelet.data.augment import Crop, crop_frames
from tubelet.data.sample import Sampling
from tubelet.data.video import Reader
from tubelet.data.views import CENTRE, View
from tubelet.errors import VideoError, WeightsError
from tubelet.models.encoder import Encoder
from tubelet.recipes.folder import CLASSIFIER, RECIPE, load_task
from tubelet.types import Clip

Source = str | Path | np.ndarray


def load_encoder(path: str | Path) -> Encoder:
    """The encoder of a run folder, also a fine-tuned one, or of its weights file, on the CPU, in evaluation mode.

    It carries the clip size (`encoder.clip`) and the frame sampling (`encoder.sampling`) that it was trained with.
    """
    path = Path(path).expanduser()
    run = path.parent if path.is_file() else path
    if not path.exists():
        raise WeightsError(f"there is no run folder and no checkpoint at {path}; train one with `tubelet pretrain`")
    if not (run / RECIPE).exists():
        raise WeightsError(
            f"{path} has no {RECIPE} beside it, which says what its weights are; name a folder of `tubelet pretrain`"
        )
    if path.is_file() and path.name not in (CHECKPOINT, CLASSIFIER):
        raise WeightsError(f"{path} is no checkpoint; name the folder {run} or {run / CHECKPOINT}")
    config, task = load_task(run)
    vars(task.encoder)["sampling"] = config.data.sampling
    return task.encoder


def embed(
    encoder: Encoder, source: Source | Sequence[Source], *, sampling: Sampling | None = None, batch: int = 8
) -> Float[Tensor, "v d"]:
    """One feature a video: the mean of the encoder's tokens of its centre clip, as in evaluation.

    A video is a path or an array of frames, uint8 "t h w 3". Frames are chosen as in training (`encoder.sampling`)
    unless said otherwise. A video that cannot be read is a `VideoError`; `tubelet embed` makes a row of it instead.
    """
    sources = [source] if isinstance(source, str | Path | np.ndarray) else list(source)
    sampling = sampling or sampling_of(encoder)
    if not sources:
        return torch.empty(0, encoder.width)
    features = [
        embed_clips(encoder, torch.stack([centre_clip(one, encoder.clip, sampling) for one in sources[i : i + batch]]))
        for i in range(0, len(sources), batch)
    ]
    return torch.cat(features)


def sampling_of(encoder: Encoder) -> Sampling:
    """What the encoder was trained with, where it came from a run."""
    found = vars(encoder).get("sampling", None)
    return found if isinstance(found, Sampling) else Sampling()


def embed_clips(encoder: Encoder, video: UInt8[Tensor, "b 3 t h w"]) -> Float[Tensor, "b d"]:
    device = next(encoder.parameters()).device
    training = encoder.training
    encoder.eval()
    try:
        with torch.no_grad():
            return encoder.encode(video.to(device)).float().mean(1).cpu()
    finally:
        encoder.train(training)


def centre_clip(source: Source, clip: Clip, sampling: Sampling) -> UInt8[Tensor, "3 t h w"]:
    """The clip in the middle of a video, its middle square."""
    if isinstance(source, np.ndarray):
        if source.dtype != np.uint8 or source.ndim != 4 or source.shape[-1] != 3 or not len(source):
            raise VideoError(
                f"frames must be a uint8 array of shape (time, height, width, 3), not {source.dtype} {source.shape}"
            )
        if sampling.frames_apart is None:
            raise VideoError(
                "frames in an array have no times, and step_ms needs them; pass sampling=Sampling(stride=4)"
            )
        chosen = sampling.times(np.arange(len(source), dtype=np.float64), clip, "centre").times
        frames = source[chosen.astype(int)]
        height, width = frames.shape[1:3]
        return crop_frames(frames, Crop.centre(height, width), clip.size)
    return file_clip(Path(source), clip, sampling)


def file_clip(
    path: Path,
    clip: Clip,
    sampling: Sampling,
    start: float | None = None,
    end: float | None = None,
    view: View = CENTRE,
) -> UInt8[Tensor, "3 t h w"]:
    """The clip in the middle of a file, or of a span of it; or another view of it."""
    try:
        with Reader(path, -math.inf if start is None else start, math.inf if end is None else end) as reader:
            begin: Any = "centre" if view.time is None else view.time
            frames = reader.frames(sampling.times(reader.times, clip, begin).times)
    except VideoError as error:
        raise VideoError(f"{path}: {error}") from error
    height, width = frames.shape[1:3]
    return crop_frames(frames, Crop.along(height, width, view.place), clip.size)
