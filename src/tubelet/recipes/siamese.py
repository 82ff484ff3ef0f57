"""One frame is predicted from another of the same video: SiamMAE and CropMAE, at the size of `miniature`."""

import chz

from tubelet.loading.augment import Augment
from tubelet.loading.pairings import Apart, Inside
from tubelet.maskers import Nothing, Random
from tubelet.models import Cross
from tubelet.objectives import Pixels
from tubelet.objectives.targets import PerTubelet
from tubelet.recipes.pretrain import Pretrain
from tubelet.recipes.tiny import miniature
from tubelet.streams import Stream
from tubelet.types import Clip


def siam_mae() -> Pretrain:
    """SiamMAE (Gupta et al., NeurIPS 2023, arXiv 2305.14344): a frame whole, a later one hidden but for 1 in 20.

    tubelet pretrain siam_mae --on corpora/synth --out runs/siam_mae
    tubelet evaluate runs/siam_mae propagation reconstruction

    From the code (of CropMAE, which contains it): one encoder for both, .95 of the later frame hidden, a decoder of
    cross and self attention to the first frame, each patch normalised whole. Ours: the gap of a quarter of a second to
    a second (theirs was not readable), patches of 8 pixels, and norms before attention (theirs come after).

    Expected: docs/methods.md.
    """
    return chz.replace(
        miniature(),
        clip=Clip(frames=1, size=64, tubelet_frames=1, tubelet_size=8),
        masker=Nothing(),
        streams={"later": Stream(pairing=Apart(least=0.25, most=1.0, order="after"), masker=Random(ratio=0.95))},
        objectives={"pixels": reconstruction("later")},
    )


def crop_mae() -> Pretrain:
    """CropMAE (Eymaël et al., ECCV 2024, arXiv 2403.17823): a crop of one frame from the whole of the same frame.

    tubelet pretrain crop_mae --on corpora/synth --out runs/crop_mae
    tubelet evaluate runs/crop_mae propagation reconstruction

    From the code: the local crop is .3 to .6 of the global one and mirrored on its own, all but 2 of its patches are
    hidden. Ours: the size, and as in `siam_mae`.

    Expected: docs/methods.md.
    """
    base = siam_mae()
    return chz.replace(
        base,
        data=chz.replace(base.data, augment=Augment(smallest=0.1, largest=1.0)),
        streams={"local": Stream(pairing=Inside(smallest=0.3, largest=0.6, flip=True), masker=Random(ratio=0.965))},
        objectives={"pixels": reconstruction("local")},
    )


def reconstruction(of: str) -> Pixels:
    """Of this stream, by a decoder that attends to the clip."""
    decoder = Cross(attend_to="clip", width=96, depth=2, heads=3, positions="grid")
    return Pixels(on=(of,), target=PerTubelet(frames="all"), decoder=decoder)
