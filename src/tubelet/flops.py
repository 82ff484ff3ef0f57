"""What a step costs in FLOPs, counted by PyTorch on tensors without content. Start reading at `step_flops`."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from tubelet.maskers import Masker
from tubelet.models.decoder import Decoder
from tubelet.models.encoder import Vit
from tubelet.models.patches import cut
from tubelet.types import Batch, Clip


def step_flops(encoder: Vit, masker: Masker, clip: Clip, visible: int) -> int:
    """Of one clip, forward and backward: the encoder on its visible tubelets, and a learned masker's own network."""
    return encoder_flops(encoder, clip, visible) + policy_flops(encoder, masker, clip)


@lru_cache(maxsize=64)
def encoder_flops(encoder: Vit, clip: Clip, visible: int, backward: bool = True) -> int:
    with torch.inference_mode(False), torch.enable_grad(), torch.device("meta"):
        model = encoder.build(clip)
        where = torch.zeros(1, visible, dtype=torch.int64)
        with counted() as counter:
            total = model(torch.zeros(1, visible, clip.tubelet_values), where).sum()
            if backward:
                total.backward()
    return counter.get_total_flops()


def policy_flops(encoder: Vit, masker: Masker, clip: Clip) -> int:
    """Of a masker that does not learn 0."""
    with torch.inference_mode(False), torch.enable_grad(), torch.device("meta"):
        policy = masker.build(clip, encoder.width)
        if policy is None:
            return 0
        model = encoder.build(clip)
        key, video = (
            torch.zeros(1, dtype=torch.int64),
            torch.zeros(1, 3, clip.frames, clip.size, clip.size, dtype=torch.uint8),
        )
        with counted() as counter:
            with torch.no_grad():
                tokens = model.patches(cut(video, clip))
            log_prob = policy(Batch(video, key, ("",)), clip, key, tokens).log_prob
            assert log_prob is not None
            log_prob.sum().backward()
    return counter.get_total_flops()


@lru_cache(maxsize=64)
def decoder_flops(
    decoder: Decoder,
    width: int,
    clip: Clip,
    visible: int,
    decoded: int,
    memory: tuple[int, Clip, int] | None = None,  # of the stream that it attends to: width, clip, visible tokens
    values: int | None = None,  # numbers predicted a tubelet; None: its pixels
) -> int:
    """Of one clip, forward and backward: a decoder on the visible tokens of an encoder of this width."""
    with torch.inference_mode(False), torch.enable_grad(), torch.device("meta"):
        model = decoder.build(width, clip, values, None if memory is None else memory[:2])
        tokens = torch.zeros(1, visible, width, requires_grad=True)
        seen, asked = (torch.zeros(1, count, dtype=torch.int64) for count in (visible, decoded))
        attended = None
        if memory is not None:
            attended = (
                torch.zeros(1, memory[2], memory[0], requires_grad=True),
                torch.zeros(1, memory[2], dtype=torch.int64),
            )
        with counted() as counter:
            model(tokens, seen, asked, attended).sum().backward()
    return counter.get_total_flops()


@contextmanager
def counted() -> Iterator[FlopCounterMode]:
    """Counts attention too, which is one product after another then."""
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        yield counter
