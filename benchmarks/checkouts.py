"""Official repositories, where a path to a checkout is given: their models by import, in their own words.

Nothing of them is here. A model is built, called and given its target as its README and its training script describe.
They import timm, of a version that still has `timm.models.layers`; where one is missing the peer is absent.
"""

import contextlib
import importlib
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from benchmarks.cases import Case
from benchmarks.implementations import Clips, Implementation, Named
from tubelet.models.patches import MEAN, STD
from tubelet.weights.layouts import OFFICIAL


class VideoMae(Named):
    """github.com/MCG-NJU/VideoMAE, given the fused AdamW that its loop does not have."""

    name = "VideoMAE"
    layout = OFFICIAL
    module = "modeling_pretrain"

    def __init__(self, path: Path, case: Case, state: Mapping[str, Tensor], device: torch.device):
        super().__init__(case.dtype, device)
        size = case.of
        if size.clip.frames != 16 or size.encoder.mlp_ratio != size.decoder.mlp_ratio:
            raise ValueError(f"{self.name} has no model of {case}")
        with importable(path):
            made = importlib.import_module(self.module).PretrainVisionTransformer
        self.model = made(
            img_size=size.clip.size,
            patch_size=size.clip.tubelet_size,
            encoder_embed_dim=size.encoder.width,
            encoder_depth=size.encoder.depth,
            encoder_num_heads=size.encoder.heads,
            decoder_num_classes=size.clip.tubelet_values,
            decoder_embed_dim=size.decoder.width,
            decoder_depth=size.decoder.depth,
            decoder_num_heads=size.decoder.heads,
            mlp_ratio=size.encoder.mlp_ratio,
            qkv_bias=True,
            norm_layer=partial(nn.LayerNorm, eps=size.encoder.layer_norm_eps),
        ).train()
        self.clip = size.clip
        self.load(state, case)
        self.everything = torch.zeros(1, size.clip.num_tubelets, dtype=torch.bool, device=device)

    def loss(self, clips: Clips) -> Float[Tensor, ""]:
        labels = self.labels(clips)
        with self.autocast():
            return nn.functional.mse_loss(self.model(clips.pixels, clips.hidden), labels)

    @torch.no_grad()
    def labels(self, clips: Clips) -> Float[Tensor, "b m p"]:
        """Of the whole clip, as its loop makes them: pixels back from their normalised form, then by tubelet."""
        mean, std = (torch.tensor(values, device=self.device).view(3, 1, 1, 1) for values in (MEAN, STD))
        tubelets = rearrange(
            clips.pixels * std + mean,
            "b c (nt t) (nh h) (nw w) -> b (nt nh nw) (t h w) c",
            t=self.clip.tubelet_frames,
            h=self.clip.tubelet_size,
            w=self.clip.tubelet_size,
        )
        spread = tubelets.var(dim=2, unbiased=True, keepdim=True).sqrt() + 1e-6
        standardised = (tubelets - tubelets.mean(dim=2, keepdim=True)) / spread
        return standardised.flatten(2)[clips.hidden].unflatten(0, (len(clips.hidden), -1))

    @torch.no_grad()
    def features(self, clips: Clips) -> Float[Tensor, "b d"]:
        with self.autocast():
            tokens: Tensor = self.model.encoder(clips.pixels, self.everything.expand(len(clips.pixels), -1))
        return tokens.float().mean(1)


class VideoMaeV2(VideoMae):
    """github.com/OpenGVLab/VideoMAEv2, every hidden tubelet decoded: the same loss as VideoMAE."""

    name = "VideoMAE V2"
    module = "models.modeling_pretrain"


class MaeSt(Implementation):
    """github.com/facebookresearch/mae_st: equally many tokens and layers, other masks and another loss (a tubelet is
    normalised over its colours too), its own weights; no features, as its encoder for them is another file."""

    name = "mae_st"
    same_loss = False
    modes = ("step", "forward")

    def __init__(self, path: Path, case: Case, state: Mapping[str, Tensor], device: torch.device):
        super().__init__(case.dtype, device)
        size = case.of
        if path.name != "mae_st":
            raise ValueError("its modules import one another as mae_st: the folder must have this name")
        with importable(path.parent):
            made = importlib.import_module("mae_st.models_mae").MaskedAutoencoderViT
        self.model: nn.Module = made(
            img_size=size.clip.size,
            patch_size=size.clip.tubelet_size,
            embed_dim=size.encoder.width,
            depth=size.encoder.depth,
            num_heads=size.encoder.heads,
            decoder_embed_dim=size.decoder.width,
            decoder_depth=size.decoder.depth,
            decoder_num_heads=size.decoder.heads,
            mlp_ratio=size.encoder.mlp_ratio,
            norm_layer=partial(nn.LayerNorm, eps=size.encoder.layer_norm_eps),
            norm_pix_loss=True,
            num_frames=size.clip.frames,
            t_patch_size=size.clip.tubelet_frames,
            pred_t_dim=size.clip.frames,
            sep_pos_embed=True,
        )
        self.model.to(device).train()
        self.hides = 1 - (size.visible(case.ratio) + 0.5) / size.clip.num_tubelets  # it rounds what stays down

    def loss(self, clips: Clips) -> Float[Tensor, ""]:
        with self.autocast():
            loss: Tensor = self.model(clips.pixels, mask_ratio=self.hides)[0]
        return loss


CHECKOUTS: dict[str, Callable[[Path, Case, Mapping[str, Tensor], torch.device], Implementation]] = {
    "videomae": VideoMae,
    "videomae_v2": VideoMaeV2,
    "mae_st": MaeSt,
}


@contextlib.contextmanager
def importable(path: Path) -> Iterator[None]:
    """This folder before everything else, and its modules forgotten afterwards: two checkouts have equal names."""
    if not path.is_dir():
        raise FileNotFoundError(f"no folder at {path}")
    before = set(sys.modules)
    sys.path.insert(0, str(path))
    try:
        yield
    finally:
        sys.path.remove(str(path))
        for name in set(sys.modules) - before:
            found = getattr(sys.modules[name], "__file__", None)
            if found and Path(found).is_relative_to(path):
                del sys.modules[name]
