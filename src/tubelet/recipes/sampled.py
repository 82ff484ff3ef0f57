"""Predictions that are sampled, or contrasted: DiffMAE, SiamMCVAE and CPC, at the size of `miniature`."""

import chz

from tubelet.maskers import Future, Past, Random
from tubelet.models import Cross
from tubelet.objectives import Cpc, Denoise, Variational
from tubelet.objectives.targets import PerTubelet
from tubelet.recipes.pretrain import Pretrain
from tubelet.recipes.siamese import siam_mae
from tubelet.recipes.tiny import miniature
from tubelet.streams import Stream


def diffmae() -> Pretrain:
    """DiffMAE (Wei et al., ICCV 2023, arXiv 2304.03283): what is hidden is denoised, given what is visible.

    tubelet pretrain diffmae --on corpora/synth --out runs/diffmae
    tubelet evaluate runs/diffmae reconstruction

    From the abstract: a diffusion model conditioned on what is visible. Ours: schedule, cross attention alone from the
    hidden to the visible, .75 hidden at random, and 10 steps of sampling.

    Expected: docs/methods.md.
    """
    decoder = Cross(width=96, depth=2, heads=3, positions="grid", self_attention=False)
    objective = Denoise(target=PerTubelet(frames="all"), decoder=decoder)
    return chz.replace(miniature(), masker=Random(ratio=0.75), objectives={"pixels": objective})


def siam_mcvae() -> Pretrain:
    """SiamMCVAE: as `siam_mae`, but the decoder reads samples, whose divergence from a normal is part of the loss.

    tubelet pretrain siam_mcvae --on corpora/synth --out runs/siam_mcvae

    From the abstract: a siamese masked conditional variational autoencoder. Ours: everything else.

    Expected: docs/methods.md.
    """
    decoder = Cross(attend_to="clip", width=96, depth=2, heads=3, positions="grid")
    objective = Variational(on=("later",), target=PerTubelet(frames="all"), decoder=decoder)
    return chz.replace(siam_mae(), objectives={"pixels": objective})


def cpc() -> Pretrain:
    """CPC (van den Oord et al., arXiv 1807.03748): the first half of a clip finds its second half.

    tubelet pretrain cpc --on corpora/synth --out runs/cpc

    From memory of the paper: a linear map for every step ahead and InfoNCE. Ours: one transformer in place of an
    encoder and a recurrent network; the masks keep what is predicted out of the context.

    Expected: docs/methods.md.
    """
    return chz.replace(
        miniature(),
        masker=Future(ratio=0.5),
        streams={"future": Stream(masker=Past(ratio=0.5))},
        objectives={"cpc": Cpc()},
    )
