"""What is hidden is chosen by parts or by an adversary, or half of it is decoded: at the size of `miniature`."""

import chz

from tubelet.maskers import Adversary, PartPriority, Parts, RunningCell, Tube
from tubelet.objectives import Alternate, Contrast, Criticised, Pixels
from tubelet.objectives.targets import Raw
from tubelet.recipes.pretrain import Pretrain
from tubelet.recipes.tiny import miniature, small_decoder


def semmae() -> Pretrain:
    """SemMAE (Li et al., NeurIPS 2022, arXiv 2206.10207): hides some of every part, at the end whole parts.

    tubelet saliency corpora/synth Parts
    tubelet pretrain semmae --on corpora/synth --out runs/semmae

    From the code: .75 hidden, and how the counts of each part move. Ours: the parts, which are those of the synthetic
    dataset's ground truth (theirs are learned), and clips in place of images.

    Expected: docs/methods.md.
    """
    return chz.replace(miniature(), masker=Parts(ratio=0.75))


def automae() -> Pretrain:
    """AutoMAE (Chen et al., CVPR 2023, arXiv 2303.06583): a learned mask hides what is hard, and things.

    tubelet saliency corpora/synth Oracle
    tubelet pretrain automae --on corpora/synth --out runs/automae

    From the abstract: an adversarial generator of masks, guided by objects. Ours: its losses and their weights, and the
    ground truth as the map of objects (masker.prior=attention takes that of a CLIP).

    Expected: docs/methods.md.
    """
    return chz.replace(miniature(), masker=Adversary(ratio=0.75, prior="oracle"))


def marlin() -> Pretrain:
    """MARLIN (Cai et al., CVPR 2023, arXiv 2211.06627): the background stays visible; adversarial loss.

    tubelet saliency corpora/synth Parts
    tubelet pretrain marlin --on corpora/synth --out runs/marlin

    From the code: .9 hidden by the priority of parts, raw pixels, and a critic that counts .01. Ours: the ground alone
    comes first (theirs is the ground, then skin), and a critic of bounded values that is trained in the same step.

    Expected: docs/methods.md.
    """
    objective = Criticised(adversary=0.01, target=Raw(), decoder=small_decoder())
    return chz.replace(miniature(), masker=PartPriority(ratio=0.9, first=(0,)), objectives={"pixels": objective})


def videomae_v2() -> Pretrain:
    """VideoMAE V2 (Wang et al., CVPR 2023, arXiv 2303.16727): tubes at .9, half of what is hidden is reconstructed.

    tubelet pretrain videomae_v2 --on corpora/synth --out runs/videomae_v2
    tubelet phases videomae_v2 --on corpora/synth --out runs/v2

    From the code: both masks, and the loss of what is hidden and decoded. Ours: the size.

    Expected: docs/methods.md.
    """
    return chz.replace(miniature(), masker=Tube(ratio=0.9), decode=RunningCell(share=0.5))


def internvideo() -> Pretrain:
    """InternVideo (Wang et al., arXiv 2212.03191): masked pixels and a contrast with captions take turns.

    tubelet align corpora/synth sources=subject
    tubelet saliency corpora/synth Text sources=subject
    tubelet pretrain internvideo --on corpora/synth --out runs/internvideo data.captions.source=subject

    From the abstract: both ways of learning, coordinated. Ours: one encoder for both (theirs has two), step by step;
    log_every must not be a multiple of 2, else only one of the losses is logged.

    Expected: docs/methods.md.
    """
    pixels = Pixels(when=Alternate(period=2, turn=0), decoder=small_decoder())
    contrast = Contrast(when=Alternate(period=2, turn=1), width=128)
    return chz.replace(miniature(), objectives={"pixels": pixels, "contrast": contrast}, log_every=11)
