"""Video encoders of others, as transformers builds them: V-JEPA 2 and VideoPrism. They see whole clips, and are
measured as they are; `tubelet import` makes a run of their weights."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import chz
import torch
from einops import rearrange
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn

from tubelet.errors import RecipeError, WeightsError
from tubelet.models.encoder import Encoder, Vit
from tubelet.models.patches import MEAN, STD
from tubelet.types import Clip
from tubelet.video.sampling import Sampling

Colours = tuple[float, float, float]


@dataclass(frozen=True)
class Family:
    """Where transformers has it, and how its files say what it is."""

    title: str
    module: str
    config: str
    model: str
    first: str  # the weight whose name says where the encoder stands in a file
    mean: Colours  # of pixels in [0, 1], where no preprocessor says it
    std: Colours

    def load(self, name: str) -> Any:
        """A class of transformers."""
        try:
            module = import_module(f"transformers.models.{self.module}")
            if not hasattr(module, name):
                module = import_module(f"transformers.models.{self.module}.modeling_{self.module}")
            return getattr(module, name)
        except ImportError as error:
            raise WeightsError(
                f"{self.title} needs a transformers that has it ({error}); `pip install -U 'tubelet[vl]'`"
            ) from None


FAMILIES = {
    "vjepa2": Family(
        "V-JEPA 2", "vjepa2", "VJEPA2Config", "VJEPA2Encoder", "embeddings.patch_embeddings.proj.weight",
        MEAN, STD,
    ),
    "videoprism_vision_model": Family(
        "VideoPrism", "videoprism", "VideoPrismVisionConfig", "VideoPrismVisionModel",
        "spatial_embeddings.patch_embeddings.projection.weight", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0),
    ),
}  # fmt: skip


@chz.chz
class OtherEncoder(Vit):
    """Size and settings are those of its files."""

    family: str = chz.field(default="vjepa2", doc="vjepa2 or videoprism_vision_model")
    settings: str = chz.field(default="{}", doc="its config.json")
    mean: Colours = chz.field(default=MEAN, doc="of pixels in [0, 1]")
    std: Colours = chz.field(default=STD, doc="of pixels in [0, 1]")

    @classmethod
    def of(cls, settings: Mapping[str, Any], mean: Colours | None, std: Colours | None) -> "OtherEncoder":
        """Of a config.json, and of what its preprocessor says of pixels."""
        settings = settings.get("vision_config", settings)
        family = FAMILIES[settings["model_type"]]
        config = family.load(family.config)(**settings)
        width = config.hidden_size
        if settings["model_type"] == "vjepa2":
            depth, ratio = config.num_hidden_layers, config.mlp_ratio
        else:
            depth = config.num_spatial_layers + config.num_temporal_layers
            ratio = config.intermediate_size / width
        return cls(
            width=width, depth=depth, heads=config.num_attention_heads, mlp_ratio=float(ratio),
            layer_norm_eps=config.layer_norm_eps, family=settings["model_type"],
            settings=json.dumps(dict(settings), sort_keys=True), mean=mean or family.mean, std=std or family.std,
        )  # fmt: skip

    @property
    def known(self) -> Family:
        return FAMILIES[self.family]

    @property
    def clip(self) -> Clip:
        """The clips that it was trained on."""
        config = self.known.load(self.known.config)(**json.loads(self.settings))
        if self.family == "vjepa2":
            size, frames, tubelet = config.crop_size, config.frames_per_clip, (config.tubelet_size, config.patch_size)
        else:
            size, frames, tubelet = config.image_size, config.num_frames, config.tubelet_size[:2]
        return Clip(frames=frames, size=size, tubelet_frames=tubelet[0], tubelet_size=tubelet[1])

    def build(self, clip: Clip) -> "WholeClipEncoder":
        if not self.final_norm:
            raise only_measured(self.known)
        own = self.clip
        frames = clip.frames if self.family == "vjepa2" else own.frames  # its positions are relative
        if clip != chz.replace(own, frames=frames):
            only = "" if self.family == "vjepa2" else f"{own.frames} frames of "
            raise RecipeError(
                f"{self.known.title} reads clips of {only}{own.size} pixels, in tubelets of "
                f"{'x'.join(map(str, own.tubelet))}; leave clip.* as its files say"
            )
        return WholeClipEncoder(self, clip)


class WholeClipEncoder(Encoder):
    """`encode` as any encoder has it. Nothing can be hidden from it, and nothing of it is trained."""

    def __init__(self, config: OtherEncoder, clip: Clip):
        nn.Module.__init__(self)
        self.config: OtherEncoder = config
        self.clip = clip
        self.width = config.width
        self.sampling = Sampling()
        known, said = config.known, json.loads(config.settings)
        settings = known.load(known.config)(**said)
        settings._attn_implementation = "sdpa" if config.family == "vjepa2" else "eager"  # the other caps its logits
        self.model: Any = known.load(known.model)(settings)
        self.mean: Tensor
        self.std: Tensor
        for name in ("mean", "std"):
            values = torch.tensor(getattr(config, name)).view(3, 1, 1)
            self.register_buffer(name, values, persistent=False)

    def encode(self, video: UInt8[Tensor, "b 3 t h w"] | Float[Tensor, "b 3 t h w"]) -> Float[Tensor, "b n d"]:
        pixels = (rearrange(video, "b c t h w -> b t c h w").float() / 255 - self.mean) / self.std
        tokens: Tensor = self.model(pixels).last_hidden_state
        return tokens

    def embed_tubelets(
        self, tubelets: UInt8[Tensor, "b k p"] | Float[Tensor, "b k p"], where: Int64[Tensor, "b k"]
    ) -> Float[Tensor, "b k d"]:
        raise only_measured(self.config.known)


def only_measured(family: Family) -> RecipeError:
    return RecipeError(
        f"{family.title} can be measured, embedded with and searched by: it sees whole clips and gives the tokens of "
        "its last layer; masks, other layers, training and export are for tubelet's own encoder"
    )
