"""Frames and clips that come as arrays, not as files: what shapes are read, and how. Start at `clip_of_frames`."""

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from tubelet.errors import VideoError
from tubelet.types import Clip
from tubelet.video.crop import Crop, crop_frames
from tubelet.video.sampling import Sampling


def clip_of_frames(frames: np.ndarray | Tensor, clip: Clip, sampling: Sampling) -> UInt8[Tensor, "c 3 t size size"]:
    """Of frames "t h w 3" one clip, chosen and cut as of a file, or of several such; clips "3 t h w" or "b 3 t h w" of
    the size that the encoder reads as they are."""
    size = (3, clip.frames, clip.size, clip.size)
    values = frames.detach().cpu() if isinstance(frames, Tensor) else torch.from_numpy(np.ascontiguousarray(frames))
    if values.dtype == torch.uint8 and values.ndim in (4, 5) and len(values):
        if values.shape[-4:] == size:
            return values.reshape(-1, *size)
        if values.shape[-1] == 3 and values.shape[-4]:
            videos = values.numpy() if values.ndim == 5 else values.numpy()[None]
            return torch.stack([clip_of_video(video, clip, sampling) for video in videos])
    raise VideoError(
        f"frames must be a uint8 array of shape (time, height, width, 3), or clips of this encoder, "
        f"(3, {clip.frames}, {clip.size}, {clip.size}), with or without a batch before; "
        f"not {str(frames.dtype).removeprefix('torch.')} {tuple(frames.shape)}"
    )


def clip_of_video(
    frames: UInt8[np.ndarray, "all h w 3"], clip: Clip, sampling: Sampling
) -> UInt8[Tensor, "3 t size size"]:
    if sampling.frames_apart is None:
        raise VideoError("frames in an array have no times, and step_ms needs them; pass sampling=Sampling(stride=4)")
    indices = sampling.times(np.arange(len(frames), dtype=np.float64), clip, "centre").times.astype(int)
    height, width = frames.shape[1:3]
    return crop_frames(frames[indices], Crop.centre(height, width), clip.size)
