"""Pixels become numbers of codes, and the numbers of what is hidden are predicted: at the size of `miniature`."""

import chz

from tubelet.maskers import Block, Frame, Nothing
from tubelet.objectives import Predict, Quantise
from tubelet.objectives.targets import Codes, Raw
from tubelet.recipes.pretrain import Pretrain
from tubelet.recipes.tiny import miniature, small_decoder
from tubelet.teachers import Tokenizer


def vq() -> Pretrain:
    """VQ-VAE (van den Oord et al., NeurIPS 2017, arXiv 1711.00937): a clip as numbers of codes, and back.

    tubelet pretrain vq --on corpora/synth --out runs/vq

    From the paper, not read in code: nearest codes, straight-through gradient, commitment .25, codes as running
    averages. Ours: a transformer on both sides, codes of length 1, dead ones that start anew, no prior, the size.
    Watch `pixels.perplexity` in the log: towards 1 all tokens have one code. With a teacher and
    objectives.pixels.target=Features the codes are those of features, as in BEiT v2 (arXiv 2208.06366).

    Expected: docs/methods.md.
    """
    return chz.replace(
        miniature(), masker=Nothing(), objectives={"pixels": Quantise(target=Raw(), decoder=small_decoder())}
    )


def beit() -> Pretrain:
    """BEiT (Bao et al., ICLR 2022, arXiv 2106.08254): the codes of what is hidden are predicted.

    tubelet pretrain vq --on corpora/synth --out runs/vq
    tubelet pretrain beit --on corpora/synth teacher.init=runs/vq --out runs/beit

    From the paper, not read in code: blocks of .4 hidden, the tokens of a discrete VAE, cross-entropy. Ours: clips for
    images, blocks that span all time steps, a decoder after an encoder that sees the rest alone, and `vq` for DALL-E's
    tokenizer.

    Expected: docs/methods.md.
    """
    codes = Predict(target=Codes(), decoder=small_decoder())
    return chz.replace(miniature(), masker=Block(ratio=0.4, blocks=4), teacher=Tokenizer(), objectives={"codes": codes})


def motion_aura() -> Pretrain:
    """MotionAura (ICLR 2025, arXiv 2410.07659), its pretraining alone: codes of time steps that are hidden whole.

    tubelet pretrain vq --on corpora/synth --out runs/vq
    tubelet pretrain motion_aura --on corpora/synth teacher.init=runs/vq --out runs/motion_aura

    From notes of the paper: whole frames are hidden, and codes are predicted. Ours: one quarter of the time steps, a
    tokenizer that is trained before, the size. Diffusion over codes and generation are not here.

    Expected: docs/methods.md.
    """
    return chz.replace(beit(), masker=Frame(ratio=0.25))
