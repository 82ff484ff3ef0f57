"""Models of other code: those of transformers, and a plain VideoMAE under the official names, by its paper."""

import math

import torch
import transformers
from torch.nn import functional as F

from tubelet.models import Decoder, Vit
from tubelet.types import Clip

CLIP = Clip(frames=4, size=32, tubelet_size=8)
ENCODER, DECODER = Vit(width=32, depth=2, heads=4), Decoder(width=24, depth=1, heads=2)


def config_of(clip=CLIP, encoder=ENCODER, decoder=DECODER, **more):
    return transformers.VideoMAEConfig(
        image_size=clip.size,
        patch_size=clip.tubelet_size,
        num_frames=clip.frames,
        tubelet_size=clip.tubelet_frames,
        hidden_size=encoder.width,
        num_hidden_layers=encoder.depth,
        num_attention_heads=encoder.heads,
        intermediate_size=int(encoder.width * encoder.mlp_ratio),
        decoder_hidden_size=decoder.width,
        decoder_num_hidden_layers=decoder.depth,
        decoder_num_attention_heads=decoder.heads,
        decoder_intermediate_size=int(decoder.width * decoder.mlp_ratio),
        attn_implementation="sdpa",
        **{"use_mean_pooling": False} | more,
    )


def random_model(kind, config, seed=0):
    """transformers' model with no weight at its start: biases and norms too."""
    torch.manual_seed(seed)
    model = getattr(transformers, kind)(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.rand_like(parameter) - 0.05)
    return model


def processor_of(clip=CLIP):
    """As the published models have it: ImageNet's mean and deviation."""
    from transformers.models.videomae.image_processing_pil_videomae import VideoMAEImageProcessorPil

    return VideoMAEImageProcessorPil(
        size={"shortest_edge": clip.size},
        crop_size={"height": clip.size, "width": clip.size},
        image_mean=[0.485, 0.456, 0.406],
        image_std=[0.229, 0.224, 0.225],
    )


def saved(model, folder, processor=True):
    """A folder of `save_pretrained`."""
    model.save_pretrained(folder)
    if processor:
        processor_of(Clip(frames=model.config.num_frames, size=model.config.image_size,
                          tubelet_size=model.config.patch_size)).save_pretrained(folder)  # fmt: skip
    return folder


def pixels_of(video):
    """What transformers takes of clips in uint8."""
    mean, std = (torch.tensor(v).view(3, 1, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    return ((video / 255 - mean) / std).transpose(1, 2)


def video_of(clip=CLIP, count=2, seed=0):
    random = torch.Generator().manual_seed(seed)
    shape = (count, 3, clip.frames, clip.size, clip.size)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=random)


def official_state(clip=CLIP, encoder=ENCODER, decoder=None, classes=0, seed=0):
    """Random weights under the names of the official code: for pretraining with a decoder, for classes fine-tuned."""
    random = torch.Generator().manual_seed(seed)
    state = {}

    def add(name, *shape):
        state[name] = torch.randn(*shape, generator=random) * 0.05 + (1 if "norm" in name and "weight" in name else 0)

    def stack(start, width, depth, hidden):
        for n in range(depth):
            at = f"{start}blocks.{n}."
            for name, shape in {
                "norm1.weight": (width,), "norm1.bias": (width,),
                "attn.q_bias": (width,), "attn.v_bias": (width,), "attn.qkv.weight": (3 * width, width),
                "attn.proj.weight": (width, width), "attn.proj.bias": (width,),
                "norm2.weight": (width,), "norm2.bias": (width,),
                "mlp.fc1.weight": (hidden, width), "mlp.fc1.bias": (hidden,),
                "mlp.fc2.weight": (width, hidden), "mlp.fc2.bias": (width,),
            }.items():  # fmt: skip
                add(at + name, *shape)

    start = "encoder." if decoder else ""
    kernel = (3, clip.tubelet_frames, clip.tubelet_size, clip.tubelet_size)
    add(f"{start}patch_embed.proj.weight", encoder.width, *kernel)
    add(f"{start}patch_embed.proj.bias", encoder.width)
    stack(start, encoder.width, encoder.depth, int(encoder.width * encoder.mlp_ratio))
    if decoder:
        add("encoder.norm.weight", encoder.width)
        add("encoder.norm.bias", encoder.width)
        add("encoder_to_decoder.weight", decoder.width, encoder.width)
        add("mask_token", 1, 1, decoder.width)
        stack("decoder.", decoder.width, decoder.depth, int(decoder.width * decoder.mlp_ratio))
        for name, shape in {"norm.weight": (decoder.width,), "norm.bias": (decoder.width,),
                            "head.weight": (math.prod(kernel), decoder.width),
                            "head.bias": (math.prod(kernel),)}.items():  # fmt: skip
            add(f"decoder.{name}", *shape)
    if classes:
        for name, shape in {"fc_norm.weight": (encoder.width,), "fc_norm.bias": (encoder.width,),
                            "head.weight": (classes, encoder.width), "head.bias": (classes,)}.items():  # fmt: skip
            add(name, *shape)
    return state


def official_tokens(state, pixels, heads, start=""):
    """The encoder of the paper in plain operations, eps 1e-6, positions by the published formula."""
    weight = state[f"{start}patch_embed.proj.weight"]
    x = F.conv3d(pixels.transpose(1, 2), weight, state[f"{start}patch_embed.proj.bias"], stride=weight.shape[2:])
    x = x.flatten(2).transpose(1, 2)
    width = x.shape[-1]
    index, column = torch.arange(x.shape[1], dtype=torch.float64)[:, None], torch.arange(width, dtype=torch.float64)
    angle = index / 10000 ** (2 * torch.div(column, 2, rounding_mode="floor") / width)
    x = x + torch.where(column % 2 == 0, angle.sin(), angle.cos()).float()
    number = 0
    while (at := f"{start}blocks.{number}.") + "attn.qkv.weight" in state:
        own = {name.removeprefix(at): value for name, value in state.items() if name.startswith(at)}
        y = F.layer_norm(x, (width,), own["norm1.weight"], own["norm1.bias"], 1e-6)
        bias = torch.cat((own["attn.q_bias"], torch.zeros(width), own["attn.v_bias"]))
        q, k, v = (
            F.linear(y, own["attn.qkv.weight"], bias).unflatten(-1, (3, heads, width // heads)).permute(2, 0, 3, 1, 4)
        )
        mixed = ((q * (width // heads) ** -0.5) @ k.mT).softmax(-1) @ v
        x = x + F.linear(mixed.transpose(1, 2).flatten(2), own["attn.proj.weight"], own["attn.proj.bias"])
        y = F.layer_norm(x, (width,), own["norm2.weight"], own["norm2.bias"], 1e-6)
        y = F.gelu(F.linear(y, own["mlp.fc1.weight"], own["mlp.fc1.bias"]))
        x = x + F.linear(y, own["mlp.fc2.weight"], own["mlp.fc2.bias"])
        number += 1
    if f"{start}norm.weight" in state:
        x = F.layer_norm(x, (width,), state[f"{start}norm.weight"], state[f"{start}norm.bias"], 1e-6)
    return x


def mmaction_state(state):
    """A fine-tuned official state under the names of mmaction2, with its table of positions."""
    renamed = {}
    for name, value in state.items():
        name = name.replace("patch_embed.proj.", "patch_embed.projection.")
        name = name.replace("mlp.fc1.", "mlp.layers.0.0.").replace("mlp.fc2.", "mlp.layers.1.")
        head = {"head.weight": "cls_head.fc_cls.weight", "head.bias": "cls_head.fc_cls.bias"}
        renamed[head.get(name, f"backbone.{name}")] = value
    return renamed
