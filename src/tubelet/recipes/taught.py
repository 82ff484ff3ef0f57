"""What a teacher makes of the clip in place of its pixels: V-JEPA, UMT and VideoPrism, at the size of `miniature`."""

import chz

from tubelet.maskers import Block, Random, Tube
from tubelet.models import Decoder, Shuffled
from tubelet.objectives import DistilGlobal, DistilTokens, Predict
from tubelet.objectives.targets import Features
from tubelet.recipes.pretrain import Pretrain
from tubelet.recipes.tiny import miniature
from tubelet.teachers import Aligned, Frozen, Momentum


def vjepa() -> Pretrain:
    """A reconstruction of V-JEPA (Bardes et al., 2024, arXiv 2404.08471): its own running average is predicted.

    tubelet pretrain vjepa --on corpora/synth --out runs/vjepa

    From the abstract: features are predicted, no pixels, and there is no other teacher. Ours: everything else, as
    decay, L1, block masks at .75, the size. Watch `features.std` and `features.target.std` in the log: towards 0 they
    collapse.

    Expected: docs/methods.md.
    """
    features = Predict(target=Features(loss="l1"), decoder=Decoder(width=96, depth=1, heads=3, positions="grid"))
    return chz.replace(
        miniature(), masker=Block(ratio=0.75), teacher=Momentum(decay=0.99), objectives={"features": features}
    )


def umt() -> Pretrain:
    """UMT (Li et al., ICCV 2023, arXiv 2303.16058): visible tokens learn to be an aligner's at the same positions.

    tubelet align corpora/synth
    tubelet pretrain umt --on corpora/synth teacher.aligner=corpora/synth/aligner --out runs/umt

    From the code: .8 hidden, 2 - 2 cos, visible tokens alone. Theirs hides by the attention of the teacher's class
    token: masker=Attention masker.ratio=.8, where the corpus has such maps (`tubelet saliency corpora/synth
    Attention`). Ours: the last block alone, tubelets of two frames, any aligner in place of CLIP, the size.
    Nothing that this recipe trains is measured here yet.
    """
    return chz.replace(miniature(), masker=Random(ratio=0.8), teacher=Aligned(), objectives={"tokens": DistilTokens()})


def videoprism_2() -> Pretrain:
    """A reconstruction of VideoPrism's second stage (Zhao et al., ICML 2024, arXiv 2402.13217).

    tubelet pretrain tiny_text_guided --on corpora/synth --out runs/stage-1
    tubelet pretrain videoprism_2 --on corpora/synth init=runs/stage-1 teacher.init=runs/stage-1 --out runs/stage-2

    From the abstract: a frozen video-text encoder teaches its tokens and a global embedding, and the decoder gets the
    tokens shuffled. Ours: ratio, losses, the first stage, the size.
    Nothing that this recipe trains is measured here yet.
    """
    decoder = Shuffled(width=96, depth=1, heads=3, positions="grid")
    return chz.replace(
        miniature(),
        masker=Tube(ratio=0.65),
        teacher=Frozen(),
        objectives={
            "features": Predict(target=Features(loss="cosine"), decoder=decoder),
            "whole": DistilGlobal(),
        },
    )
