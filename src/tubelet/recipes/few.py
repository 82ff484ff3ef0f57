"""A few hundred clips of few people or places: what moves is learned from, not who and where."""

import chz

from tubelet.evaluations import Linear
from tubelet.loading.augment import Augment
from tubelet.loading.pseudo_motion import PseudoMotion
from tubelet.maskers import Tube
from tubelet.recipes.pretrain import Pretrain
from tubelet.recipes.tiny import miniature_fine
from tubelet.video.sampling import Segments


def few_clips() -> Pretrain:
    """For a few hundred clips of one action each: whole clips, their background taken away, tubes at .75.

    An encoder of pixels that few people or cameras trained knows them by their looks, which says nothing of the next
    one. Of each pixel its mean over the clip is taken away before anything is hidden, so that tubelets hold what moves.
    A minute of one core.

    tubelet pretrain few_clips --on corpora/mine --out runs/few
    tubelet evaluate runs/few linear linear.cv=leave_one_group_out --baselines
    tubelet study few --on corpora/mine --out studies

    Expected: docs/results/few-clips.md.
    """
    base = miniature_fine()
    return chz.replace(
        base,
        clip=chz.replace(base.clip, subtract_background=True),
        data=chz.replace(base.data, sampling=Segments(), augment=Augment(smallest=0.3)),
        masker=Tube(ratio=0.75),
        steps=150,
        save_every=150,
        evaluations={"linear": Linear()},
    )


def pseudo_motion() -> Pretrain:
    """Data Collection-free Masked Video Modeling (ECCV 2024, arXiv 2409.06665): still frames are set in motion.

    tubelet pretrain pseudo_motion --on corpora/mine --out runs/pseudo

    From the abstract and summaries: a single frame is zoomed and moved again and again, two such clips are mixed, tubes
    at .75. Ours: the strengths, frames of the corpus's own videos, the size. In half of the clips alone:
    data.augment.share=0.5.

    Expected: docs/results/few-clips.md.
    """
    base = miniature_fine()
    augment = PseudoMotion(smallest=0.3, share=1.0)
    return chz.replace(base, data=chz.replace(base.data, augment=augment), masker=Tube(ratio=0.75))
