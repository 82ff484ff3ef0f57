"""transformers' VideoMAE, as its documents say to use it: sdpa attention, fused AdamW, plain and compiled."""

import copy
from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from benchmarks.cases import Case
from benchmarks.implementations import Clips, Named
from tubelet.weights.layouts import TRANSFORMERS


class Transformers(Named):
    name = "transformers"
    layout = TRANSFORMERS

    def __init__(self, case: Case, state: Mapping[str, Tensor], device: torch.device):
        import transformers

        super().__init__(case.dtype, device)
        size = case.of
        config = transformers.VideoMAEConfig(
            image_size=size.clip.size,
            patch_size=size.clip.tubelet_size,
            num_frames=size.clip.frames,
            tubelet_size=size.clip.tubelet_frames,
            hidden_size=size.encoder.width,
            num_hidden_layers=size.encoder.depth,
            num_attention_heads=size.encoder.heads,
            intermediate_size=int(size.encoder.width * size.encoder.mlp_ratio),
            layer_norm_eps=size.encoder.layer_norm_eps,
            decoder_hidden_size=size.decoder.width,
            decoder_num_hidden_layers=size.decoder.depth,
            decoder_num_attention_heads=size.decoder.heads,
            decoder_intermediate_size=int(size.decoder.width * size.decoder.mlp_ratio),
            use_mean_pooling=False,
            norm_pix_loss=True,
            attn_implementation="sdpa",
        )
        self.model = transformers.VideoMAEForPreTraining(config).train()
        self.model.decoder.norm.eps = size.decoder.layer_norm_eps  # fixed at 1e-5 there, which is another function
        self.load(state, case)

    def loss(self, clips: Clips) -> Float[Tensor, ""]:
        with self.autocast():
            loss: Tensor = self.model(clips.pixels.transpose(1, 2), bool_masked_pos=clips.hidden).loss
        return loss

    @torch.no_grad()
    def features(self, clips: Clips) -> Float[Tensor, "b d"]:
        with self.autocast():
            tokens: Tensor = self.model.videomae(clips.pixels.transpose(1, 2)).last_hidden_state
        return tokens.float().mean(1)


class Compiled(Transformers):
    """Its blocks by torch.compile; the same parameters and the same optimizer as the plain one. A step alone: without
    gradients every block is compiled anew, for minutes."""

    name = "transformers, compiled"
    modes = ("step",)

    def __init__(self, plain: Transformers):
        super(Transformers, self).__init__(plain.dtype, plain.device)
        self.shared = plain
        self.model = copy.deepcopy(plain.model, {id(part): part for part in plain.model.parameters()})
        for block in (*self.model.videomae.encoder.layer, *self.model.decoder.decoder_layers):
            block.compile()
