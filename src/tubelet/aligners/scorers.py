"""Which tokens of a frozen vision transformer say what stands at a place: its own, or corrected ones.

CLIP was trained on whole images, and its last tokens carry the whole image everywhere: the similarity of raw tokens to
a text often points at the background. Both corrections change no weight and cost no training.

`raw`: what the last block leaves.
`value`: MaskCLIP (Zhou et al., ECCV 2022, arXiv 2112.01071). In the last block every token keeps to itself: its value,
through the block's output projection. The paper says it of an attention pooling, which has no residual and no MLP; of a
block we take it as literally, so both are left out of that block. There is no smoothing by keys and no pruning.
`surgery`: the architecture of CLIP Surgery (Li et al., arXiv 2304.05653). Beside the last `SURGERY` blocks runs a
second path that begins where they begin and adds in each the attention of values to values (scaled softmax of v v', per
head, output projection) of the *original* path's tokens; it skips the MLPs. The original path is unchanged. Their
feature surgery, which takes from every score what a set of texts share, is left out: a map here is of one caption.
"""

from typing import Any

from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

SCORERS = ("raw", "value", "surgery")
SURGERY = 6  # last blocks with a second path (all, of a model that has fewer)


def read_tokens(blocks: nn.ModuleList, tokens: Float[Tensor, "b n d"], scorer: str) -> Float[Tensor, "b n d"]:
    """The tokens after all blocks, before the last normalisation. Blocks are those of transformers' CLIP or SigLIP."""
    second = {"raw": 0, "value": 1, "surgery": SURGERY}[scorer]
    first = max(len(blocks) - second, 0)
    for block in list(blocks)[:first]:
        tokens = block(tokens, None)
    if scorer == "raw":
        return tokens
    if scorer == "value":
        last: Any = blocks[-1]
        return last.self_attn.out_proj(values(last, tokens))
    corrected = tokens
    for block in list(blocks)[first:]:
        corrected = corrected + value_attention(block, tokens)
        tokens = block(tokens, None)
    return corrected


def values(block: Any, tokens: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
    return block.self_attn.v_proj(block.layer_norm1(tokens))


def value_attention(block: Any, tokens: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
    """Attention in which a token heeds those whose values are like its own."""
    v = rearrange(values(block, tokens), "b n (h c) -> b h n c", h=block.self_attn.num_heads)
    heeded = functional.scaled_dot_product_attention(v, v, v)
    return block.self_attn.out_proj(rearrange(heeded, "b h n c -> b n (h c)"))
