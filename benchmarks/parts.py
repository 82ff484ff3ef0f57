"""The parts of a step, each in turns with the way that others take.

    python -m benchmarks parts --dtype bf16 --rounds 7
    python -m benchmarks parts --part attention,optimizer

input: from the clip to the tokens that the encoder sees. target: the normalised pixels of hidden tubelets. attention:
the whole module beside transformers', and the kernel that is chosen beside sdpa and plain products. optimizer: AdamW
fused, in a loop, foreach. mask: 32 clips at once beside a loop. augmentation: bytes in one pass beside floats.
"""

import argparse
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks import plots, tables, timing
from benchmarks.assembled import HEIGHT, WIDTH, decoded
from benchmarks.cases import DTYPES, SIZES, Case, Dtype
from benchmarks.implementations import Tubelet, batch_of, clips_for, recipe_of
from benchmarks.options import common, words_of
from benchmarks.peers import Transformers
from benchmarks.timing import Work
from tubelet.loading.augment import Augment
from tubelet.maskers import Text, Tube
from tubelet.models.attention import attend
from tubelet.models.blocks import Attention
from tubelet.models.patches import cut, gather
from tubelet.objectives.targets import PerColour
from tubelet.types import Batch, Clip
from tubelet.video.crop import crop_frames

Ways = dict[str, Work]  # the first one is tubelet's
LENGTHS = (
    (160, 768, 12),
    (632, 768, 12),
    (1568, 384, 6),
)  # tokens, width, heads: the encoder at .9 and .6, the decoder

OPTIMIZED = "S224"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--part", type=words_of([*PARTS]), default=[*PARTS], help=f"of {', '.join(PARTS)}")
    parser.add_argument("--dtype", type=words_of(DTYPES), default=[*DTYPES], help=f"of {', '.join(DTYPES)}")
    parser.add_argument("--size", choices=[*SIZES], default="B224", help="of input and target (default: %(default)s)")
    common(parser)


def run(options: argparse.Namespace) -> None:
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    rows: list[dict[str, Any]] = []
    figures: list[dict[str, Any]] = []
    ratios: dict[str, timing.Ratio] = {}
    for part in options.part:
        for dtype in options.dtype if part in TYPED else options.dtype[:1]:
            for case, ways in PARTS[part](options.size, dtype, device).items():
                taken = timing.in_turns(ways, device, options.rounds, least=0.2)
                name = f"{case}, {dtype}" if part in TYPED else case
                rows += rows_of(name, taken)
                ours = taken[next(iter(ways))]
                ratios |= {
                    f"{name}: {way}": timing.ratio(times, ours) for way, times in taken.items() if times is not ours
                }
                figures += [
                    {"part": name, "way": way, "round": number, "seconds": one.seconds, "wall": one.wall}
                    for way, times in taken.items()
                    for number, one in enumerate(times)
                ]
    tables.write(options.out, rows, figures, [], options.threads, options.device)
    if options.out:
        plots.bars(ratios, "time over tubelet's", options.out.with_suffix(".svg"))


def rows_of(name: str, taken: Mapping[str, list[timing.Taken]]) -> list[dict[str, Any]]:
    first = next(iter(taken))
    return [
        {
            "part": name,
            "way": way,
            "ms": f"{1e3 * timing.median(times):.3g}",
            "its time over tubelet's": "" if way == first else str(timing.ratio(times, taken[first])),
        }
        for way, times in taken.items()
    ]


def differentiated(function: Callable[[], Tensor], dtype: Dtype, device: torch.device) -> Work:
    """Forward under autocast, and backward."""

    def work() -> None:
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=dtype == "bf16"):
            value = function().sum()
        value.backward()

    return work


def input_stage(size: str, dtype: Dtype, device: torch.device) -> dict[str, Ways]:
    case = Case(size, 0.9, dtype)
    tubelet = Tubelet(recipe_of(case), dtype, device)
    peer = Transformers(case, tubelet.task.state_dict(), device)
    clips = clips_for(tubelet, batch_of(case.of.clip, 1))
    video, visible, encoder = clips.batch.video, clips.mask.visible, tubelet.task.encoder
    embeddings = peer.model.videomae.embeddings

    def ours() -> Tensor:
        return encoder.embed_tubelets(gather(cut(video, case.of.clip), visible), visible)

    def theirs() -> Tensor:
        tokens: Tensor = embeddings(clips.pixels.transpose(1, 2), clips.hidden)
        return tokens

    ways = {"tubelet": ours, "transformers": theirs}
    return {f"input, {size} .9": {name: differentiated(way, dtype, device) for name, way in ways.items()}}


def target(size: str, dtype: Dtype, device: torch.device) -> dict[str, Ways]:
    case = Case(size, 0.9, dtype)
    tubelet = Tubelet(recipe_of(case), dtype, device)
    clips = clips_for(tubelet, batch_of(case.of.clip, 1))
    tubelets = cut(clips.batch.video, case.of.clip)
    decode, clip, kind = clips.mask.decode, case.of.clip, PerColour()

    def ours() -> object:
        return kind.standardise(gather(tubelets, decode), decode, clip)

    def theirs() -> Tensor:
        whole = clips.pixels * 0.225 + 0.45
        flat = cut(whole, clip).unflatten(2, (3, -1))
        spread = flat.var(dim=3, keepdim=True).sqrt() + 1e-6
        return ((flat - flat.mean(dim=3, keepdim=True)) / spread)[clips.hidden]

    return {f"target, {size} .9": {"tubelet": ours, "of the whole clip, by boolean index": theirs}}


def attention(size: str, dtype: Dtype, device: torch.device) -> dict[str, Ways]:
    import transformers
    from transformers.models.videomae.modeling_videomae import VideoMAEAttention

    found: dict[str, Ways] = {}
    for tokens, width, heads in LENGTHS:
        config = transformers.VideoMAEConfig(
            hidden_size=width, num_attention_heads=heads, attn_implementation="sdpa", use_mean_pooling=False
        )
        ours, theirs = Attention(width, heads).to(device), VideoMAEAttention(config).to(device)
        x = torch.randn(1, tokens, width, device=device, requires_grad=True)
        q, k, v = (torch.randn(1, heads, tokens, width // heads, device=device, requires_grad=True) for _ in range(3))
        modules = {"tubelet": partial(ours, x), "transformers, sdpa": partial(first_of, theirs, x)}
        kernels = {
            "tubelet": partial(dispatched, q, k, v, dtype),
            "sdpa": partial(cast_sdpa, q, k, v, dtype),
            "products": partial(products, q, k, v, dtype),
        }
        for what, ways in (("attention", modules), ("attention kernel", kernels)):
            found[f"{what}, {tokens} tokens of {heads} heads"] = {
                name: differentiated(way, dtype, device) for name, way in ways.items()
            }
    return found


def first_of(module: nn.Module, x: Tensor) -> Tensor:
    made = module(x)
    result: Tensor = made[0] if isinstance(made, tuple) else made
    return result


def dispatched(q: Tensor, k: Tensor, v: Tensor, dtype: Dtype) -> Tensor:
    q, k, v = (halved(part, dtype).transpose(1, 2) for part in (q, k, v))
    return attend(q, k, v)


def cast_sdpa(q: Tensor, k: Tensor, v: Tensor, dtype: Dtype) -> Tensor:
    return F.scaled_dot_product_attention(halved(q, dtype), halved(k, dtype), halved(v, dtype))


def products(q: Tensor, k: Tensor, v: Tensor, dtype: Dtype) -> Tensor:
    q, k, v = (halved(part, dtype) for part in (q, k, v))
    return ((q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)).softmax(-1).to(v.dtype) @ v


def halved(part: Tensor, dtype: Dtype) -> Tensor:
    return part.bfloat16() if dtype == "bf16" else part


def optimizer(size: str, dtype: Dtype, device: torch.device) -> dict[str, Ways]:
    ways: Ways = {}
    for name, fused, foreach in (("fused (tubelet)", True, False), ("loop", False, False), ("foreach", False, True)):
        model = Tubelet(recipe_of(Case(OPTIMIZED, 0.9, "fp32")), "fp32", device).task
        for parameter in model.parameters():
            parameter.grad = torch.full_like(parameter, 1e-3)
        ways[name] = torch.optim.AdamW(model.parameters(), lr=1e-6, fused=fused, foreach=foreach).step
    return {f"AdamW, {OPTIMIZED}": ways}


def mask(size: str, dtype: Dtype, device: torch.device) -> dict[str, Ways]:
    clip, count = Clip(), 32
    key = torch.arange(count, device=device)
    similarity = torch.rand(count, clip.num_tubelets, device=device)
    batch = Batch(
        torch.zeros(count, 3, 16, 224, 224, dtype=torch.uint8, device=device),
        key,
        ("",) * count,
        maps={"text": similarity},
    )
    random = np.random.default_rng(0)

    def tube_loop() -> object:
        return [np.tile(random.random(clip.num_positions).argsort()[: int(0.9 * clip.num_positions)], 8) for _ in key]

    def text_loop() -> object:
        grids = similarity.unflatten(1, (clip.grid[0], -1))
        return [[step.argsort(descending=True)[: int(0.6 * len(step))] for step in one] for one in grids]

    return {
        "mask, Tube .9 of 32 clips": {"tubelet": lambda: Tube()(batch, clip, key), "a loop, NumPy": tube_loop},
        "mask, Text .6 of 32 clips": {"tubelet": lambda: Text()(batch, clip, key), "a loop, torch": text_loop},
    }


def augmentation(size: str, dtype: Dtype, device: torch.device) -> dict[str, Ways]:
    frames, augment, random = decoded(16, 0), Augment(), np.random.default_rng(0)
    planes = torch.from_numpy(frames).permute(0, 3, 1, 2)

    def ours() -> object:
        return crop_frames(frames, augment.draw(random, HEIGHT, WIDTH), 224)

    def theirs() -> object:
        top, left, rows, columns = augment.draw(random, HEIGHT, WIDTH).pixels(HEIGHT, WIDTH)
        inside = (planes.float() / 255)[..., top : top + rows, left : left + columns]
        return F.interpolate(inside, (224, 224), mode="bilinear", antialias=True)

    return {f"augmentation, 16 frames of {HEIGHT}x{WIDTH} to 224": {"tubelet, bytes": ours, "floats": theirs}}


PARTS: dict[str, Callable[[str, Dtype, torch.device], dict[str, Ways]]] = {
    "input": input_stage,
    "target": target,
    "attention": attention,
    "optimizer": optimizer,
    "mask": mask,
    "augmentation": augmentation,
}
TYPED = ("input", "attention")  # parts that autocast changes
