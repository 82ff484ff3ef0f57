"""Other targets, masks, rates and measures: ST-MAE, HVM-1, MotionMAE, SlowFast's input and Ego-Only, at the size of
`miniature`."""

import chz

from tubelet.evaluations import Segmentation
from tubelet.loading.augment import Augment
from tubelet.loading.data import Data
from tubelet.loading.pairings import Same
from tubelet.maskers import Random, Tube
from tubelet.models import Decoder
from tubelet.objectives import Pixels, Predict
from tubelet.objectives.targets import Difference, PerTubelet, Raw
from tubelet.recipes.pretrain import Pretrain
from tubelet.recipes.tiny import miniature, small_decoder
from tubelet.streams import Joint, Stream
from tubelet.video.sampling import Sampling


def st_mae() -> Pretrain:
    """ST-MAE (Feichtenhofer et al., NeurIPS 2022, arXiv 2205.09113): random tubelets at .9, four clips a piece.

    tubelet pretrain st_mae --on corpora/synth --out runs/st_mae

    From the code: the mask, repeated sampling of 4, one frame a tubelet predicted, all its values normalised together.
    A video counts once for each of its repeats in `epochs`. Left out: learned positions. Ours: the size.

    Expected: docs/methods.md.
    """
    base = miniature()
    return chz.replace(
        base,
        data=chz.replace(base.data, augment=chz.replace(base.data.augment, repeats=4)),
        masker=Random(ratio=0.9),
        objectives={"pixels": Pixels(target=PerTubelet(), decoder=DECODER)},
    )


def hvm() -> Pretrain:
    """HVM-1 (Orhan, 2024, arXiv 2407.18067): ST-MAE of raw pixels, every frame of a tubelet predicted.

    tubelet pretrain hvm --on corpora/synth --out runs/hvm

    From the code: raw pixels as the encoder gets them, all frames, gradients cut at .1; .9 hidden at 224 pixels (.95 at
    448: masker.ratio=.95). Ours: AdamW for their Adam, the size.
    Nothing that this recipe trains is measured here yet.
    """
    base = st_mae()
    return chz.replace(
        base,
        objectives={"pixels": Pixels(target=Raw(), decoder=DECODER)},
        optim=chz.replace(base.optim, clip_norm=0.1),
    )


def motion_mae() -> Pretrain:
    """MotionMAE (Yang et al., 2022, arXiv 2210.04154): what frames show, and how they change.

    tubelet pretrain motion_mae --on corpora/synth --out runs/motion_mae

    From the abstract: beside the patches, the temporal difference of nearby frames is predicted. Ours: the mask, which
    differences, equal weights, a decoder for each, the size.
    Nothing that this recipe trains is measured here yet.
    """
    base = miniature()
    motion = Predict(target=Difference(), decoder=DECODER)
    return chz.replace(base, objectives={**base.objectives, "motion": motion})


DECODER = Decoder(width=96, depth=1, heads=3, positions="grid")


def ego_only() -> Pretrain:
    """Ego-Only: pixels of long videos, then what happens at each moment of them (arXiv 2301.01380).

    tubelet synth --kind synth-long --out corpora/synth-long
    tubelet pretrain ego_only --on corpora/synth-long --out runs/ego_only
    tubelet export runs/ego_only --to localiser --on corpora/synth-long --out features

    From the abstract: masked autoencoding of the very videos whose moments are found, no other pretraining; temporal
    segmentation; features for a localiser of others. Ours: tubes at .9, a linear map of frozen features in place of
    fine-tuning, neighbours of one label as segments, size. Expected: docs/moments.md.
    """
    base = miniature()
    return chz.replace(
        base,
        data=Data(sampling=Sampling(stride=1), augment=Augment(smallest=0.5), cache=True),
        masker=Tube(ratio=0.9),
        evaluations={"segmentation": Segmentation()},
    )


def slow_fast() -> Pretrain:
    """Two rates, as SlowFast's input: few frames, and four times as many, little of each (arXiv 1812.03982).

    tubelet pretrain slow_fast --on corpora/synth --out runs/slow_fast
    tubelet evaluate runs/slow_fast missing

    From general knowledge of the paper, not read: slow and fast frames of the same span, the fast ones light, both
    fused. Ours: everything else; its network is not here. Of the fast frames .9 is hidden, they have a block of their
    own before both meet, and both are rebuilt. Expected: docs/methods.md.
    """
    base = miniature()
    fast = Stream(frames=32, pairing=Same(pace=0.25), masker=Tube(ratio=0.9), tower=Joint(blocks=1, last=1))
    return chz.replace(
        base,
        streams={"fast": fast},
        objectives={**base.objectives, "fast": Pixels(on=("fast",), decoder=small_decoder(), weight=0.5)},
    )
