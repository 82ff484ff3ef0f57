"""TGM: Text-Guided Video Masked Autoencoder (Fan et al., ECCV 2024, arXiv 2408.00759) as a recipe."""

import chz

from tubelet.maskers import Text
from tubelet.objectives import Contrast, Pixels
from tubelet.recipes.pretrain import Pretrain
from tubelet.recipes.videomae import videomae


def text_guided() -> Pretrain:
    """The paper: ViT-B, the patches most like the caption hidden at .6, pixels and video-text contrast summed 1:1.

    tubelet index videos/ --captions captions.csv --out corpora/mine
    tubelet align corpora/mine
    tubelet saliency corpora/mine Text
    torchrun --nproc-per-node 8 -m tubelet pretrain text_guided --on corpora/mine --out runs/text_guided

    The paper trains 200 epochs in its main table. Negatives of the contrast are those of one forward pass over all
    processes; accumulate does not add any.
    Nothing that this recipe trains is measured here yet; on two cores see docs/results/real-input.md.
    """
    return chz.replace(
        videomae(),
        masker=Text(ratio=0.6),
        objectives={"pixels": Pixels(), "contrast": Contrast()},
        epochs=200.0,
    )
