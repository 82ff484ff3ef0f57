"""Online text maps: the cropped frames of each clip are scored while training, instead of cropping a cached map.

The paper scores the 224-pixel input; a cached map is computed from the whole frame once and cropped with the clip.
`OnlineTextMaps` does as the paper, at the cost of a forward pass of the aligner for every clip;
`tubelet.diagnostics.online` measures how much the two differ.
"""

import chz
import torch
from einops import rearrange, reduce
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from tubelet.aligners.base import Aligner, open_aligner
from tubelet.errors import RecipeError
from tubelet.stores.embeddings import Embeddings
from tubelet.stores.resample import area_weights
from tubelet.types import Batch, Clip


@chz.chz
class TextMaps:
    """Where the text maps of a run come from: the cached maps of the corpus, or the aligner, online."""

    online: bool = chz.field(
        default=False,
        doc="score the cropped frames of each clip with text.aligner while training, instead of reading cached maps",
    )
    aligner: str | None = chz.field(
        default=None, doc="online maps: folder of an aligner, or folder or hub name of a CLIP or SigLIP"
    )
    reading: str = chz.field(default="dense", doc="online maps: how CLIP is read, as in `tubelet saliency CORPUS Text`")
    scorer: str = chz.field(default="raw", doc="online maps: which tokens of CLIP are scored, as there")

    @chz.validate
    def _sensible(self) -> None:
        if self.online and self.aligner is None:
            raise RecipeError(
                "text.online=True scores clips with an aligner: name it, as text.aligner=CORPUS/aligner, or a CLIP"
            )

    def build(self, clip: Clip) -> "OnlineTextMaps | None":
        """What computes the maps of a batch; None where they are cached. The model is opened at first use."""
        return OnlineTextMaps(self, clip) if self.online else None


class OnlineTextMaps:
    """The text map of each clip of a batch, from its own frames and its caption's embedding."""

    def __init__(self, config: TextMaps, clip: Clip, aligner: Aligner | None = None) -> None:
        self.config, self.clip, self.opened = config, clip, aligner

    @property
    def aligner(self) -> Aligner:
        if self.opened is None:
            assert self.config.aligner is not None
            self.opened = open_aligner(self.config.aligner, self.config.reading, self.config.scorer)
        return self.opened

    def fits(self, embeddings: Embeddings) -> None:
        """`RecipeError` unless the captions' embeddings are of this very model."""
        made = embeddings.about["model"]
        if made != self.aligner.identity:
            raise RecipeError(
                f"text.online=True scores with {self.aligner.identity}, and the caption embeddings of the corpus were "
                f"made by {made}; name that one as text.aligner, or run `tubelet saliency CORPUS Text` with this one"
            )

    @torch.no_grad()
    def __call__(self, batch: Batch) -> Float[Tensor, "b n"]:
        """The cosine of patch and caption, by area at each position and the mean over each tubelet's frames."""
        assert batch.text is not None
        frames = rearrange(batch.video, "b c t h w -> (b t) h w c").cpu().numpy()
        patches = functional.normalize(self.aligner.patches(frames).float(), dim=-1)  # bt gh gw e
        texts = functional.normalize(batch.text.float().cpu(), dim=-1).repeat_interleave(self.clip.frames, dim=0)
        scores = torch.einsum("b y x e, b e -> b y x", patches, texts)
        _, rows, columns = self.clip.grid
        down, across = (
            torch.from_numpy(area_weights(0.0, 1.0, positions, cells))
            for positions, cells in ((rows, scores.shape[1]), (columns, scores.shape[2]))
        )
        in_positions = down @ scores @ across.T
        found = reduce(
            in_positions,
            "(b time_step t) y x -> b (time_step y x)",
            "mean",
            b=len(batch.video),
            t=self.clip.tubelet_frames,
        )
        return found.to(batch.video.device)
