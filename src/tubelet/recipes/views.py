"""Two views of one clip: contrasted (SimCLR, MoCo, NNCLR, CVRL, rho clips, IIC, LSTCL,
ViC-MAE, CrossVideoMAE) or regressed (BYOL, BraVe).

All in miniature, on `miniature`'s clips and encoder. No recipe flips clips, which the papers do: captions and classes
may name a side. Projectors have LayerNorm where the papers have batch norm.
"""

import chz

from tubelet.loading.colours import ColourAugment
from tubelet.loading.pairings import Again, Apart, Same, Scrambled, Still
from tubelet.maskers import Nothing, Random
from tubelet.models.encoder import Vit
from tubelet.objectives import InstanceContrast, Nearest, Queue, Regress
from tubelet.recipes.pretrain import Pretrain
from tubelet.recipes.tiny import miniature
from tubelet.streams import Own, Stream
from tubelet.teachers import Momentum


def simclr() -> Pretrain:
    """SimCLR: two crops in other colours find each other among all clips of the step (arXiv 2002.05709).

    tubelet pretrain simclr --on corpora/synth --out runs/simclr

    From code (lightly's NT-Xent): both views are queries, 2B - 2 negatives. From the paper: temperature 0.1, no
    teacher. Ours: clips, one draw of colours a clip; the colours' numbers are MoCo v2's. Expected: docs/methods.md.
    """
    base = miniature()
    augment = ColourAugment()
    return chz.replace(
        base,
        data=chz.replace(base.data, augment=augment),
        masker=Nothing(),
        streams={"second": Stream(pairing=Again(augment=augment))},
        objectives={"views": InstanceContrast(of=("clip", "second"))},
    )


def moco() -> Pretrain:
    """MoCo v2: keys of a running average, and a queue of earlier ones (arXiv 1911.05722, 2003.04297).

    tubelet pretrain moco --on corpora/synth --out runs/moco

    From general knowledge of the papers, not read in code here: temperature 0.2, an MLP of two layers, the colours.
    Ours: a queue of 1024 in which a view's own video is left out, an average of decay 0.99 for short runs (theirs:
    65,536 and 0.999). Expected: docs/methods.md.
    """
    base = simclr()
    views = InstanceContrast(by="teacher", negatives=Queue(size=1024), temperature=0.2)
    return chz.replace(base, teacher=Momentum(decay=0.99), objectives={"views": views})


def nnclr() -> Pretrain:
    """NNCLR: a view's partner gives way to its nearest neighbour among earlier clips (arXiv 2104.14548).

    tubelet pretrain nnclr --on corpora/synth --out runs/nnclr

    From code (lightly's example): a bank of 4096, of one view; a predictor on the queries' side; both ways. Ours: a
    bank of 1024, the colours, clips. Expected: docs/methods.md.
    """
    views = InstanceContrast(negatives=Nearest(size=1024), predictor=True)
    return chz.replace(simclr(), objectives={"views": views})


def cvrl() -> Pretrain:
    """CVRL: two moments of one video, each in a crop and colours that stay the same over time (arXiv 2008.03800).

    tubelet pretrain cvrl --on corpora/synth --out runs/cvrl

    From the abstract: colours and crops consistent in time, two clips of one video. Ours: moments up to a second
    apart, equally likely (theirs grow rarer with distance), temperature 0.1. Expected: docs/methods.md.
    """
    apart = Apart(least=0.0, most=1.0, own_crop=True, augment=ColourAugment())
    return chz.replace(simclr(), streams={"second": Stream(pairing=apart)})


def rho_moco() -> Pretrain:
    """Several moments of one video, each a key that the clip finds (the study of rho clips, arXiv 2104.14558).

    tubelet pretrain rho_moco --on corpora/synth --out runs/rho_moco

    From general knowledge of the paper, not read: rho clips of a video, MoCo's loss averaged over them. Ours: three
    moments in all up to a second apart (`streams.fourth=Stream ...` adds one), each with a head and a queue of its own.
    Expected: docs/methods.md.
    """
    base, apart = moco(), Apart(least=0.0, most=1.0, own_crop=True, augment=ColourAugment())
    views = {name: chz.replace(base.objectives["views"], of=("clip", name), weight=0.5) for name in ("second", "third")}
    return chz.replace(
        base,
        streams={name: Stream(pairing=apart) for name in views},
        objectives={"views": views["second"], "others": views["third"]},
    )


def iic() -> Pretrain:
    """IIC: the clip's own frames in another order are a negative, so motion must be recognised (arXiv 2008.02531).

    tubelet pretrain iic --on corpora/synth --out runs/iic

    From the abstract: intra-negatives by breaking temporal order. Ours: the second view is another crop of the same
    frames in other colours, where theirs is of another modality; SimCLR's loss with one more negative a clip. For
    frames that are repeated: streams.scrambled.pairing.how=repeat. Expected: docs/methods.md.
    """
    base = simclr()
    scrambled = Stream(pairing=Scrambled(augment=ColourAugment()))
    return chz.replace(
        base,
        streams={**base.streams, "scrambled": scrambled},
        objectives={"views": InstanceContrast(against=("scrambled",))},
    )


def lstcl() -> Pretrain:
    """LSTCL: a short clip finds the longer one that it lies in among a teacher's keys (arXiv 2106.09212).

    tubelet pretrain lstcl --on corpora/synth --out runs/lstcl

    From general knowledge of the paper, not read: short against long, one encoder, a momentum teacher. Ours: the clip
    is short, every second frame, and the long view is twice as long, every fourth frame, about the same middle in
    another crop; candidates are the step's. Expected: docs/methods.md.
    """
    base = simclr()
    return chz.replace(
        base,
        data=chz.replace(base.data, sampling=chz.replace(base.data.sampling, stride=2)),
        streams={"second": Stream(pairing=Same(pace=2.0, augment=ColourAugment()))},
        teacher=Momentum(decay=0.99),
        objectives={"views": InstanceContrast(by="teacher", temperature=0.2)},
    )


def byol() -> Pretrain:
    """BYOL: from one view, what a running average makes of the other; no negatives (arXiv 2006.07733).

    tubelet pretrain byol --on corpora/synth --out runs/byol

    From general knowledge of the paper, not read in code here: 2 - 2 cos, a predictor on one side, both ways. Ours:
    decay 0.99 (theirs rises from 0.996), AdamW, and LayerNorm with centred targets for batch norm. The log's views.std,
    views.output.std and views.target.std say whether encoder, head or targets collapse. Expected: docs/methods.md.
    """
    return chz.replace(simclr(), teacher=Momentum(decay=0.99), objectives={"views": Regress(by="teacher", centre=0.9)})


def brave() -> Pretrain:
    """BraVe: a narrow view predicts a broad one, and the reverse, by two encoders (arXiv 2103.16559).

    tubelet pretrain brave --on corpora/synth --out runs/brave

    From the abstract: narrow and broad, two backbones, regression. From general knowledge, not read: stop-gradient
    targets, MLPs of its own for each view. Ours: the clip is narrow, every second frame; the broad view is twice as
    long about the same middle, in another crop. Expected: docs/methods.md.
    """
    base = lstcl()
    broad = Stream(pairing=Same(pace=2.0, augment=ColourAugment()), tower=Own(encoder=Vit(width=128, depth=2, heads=4)))
    return chz.replace(
        base,
        streams={"second": broad},
        teacher=miniature().teacher,
        objectives={"views": Regress(by="student", own_heads=True, centre=0.9)},
    )


def vic_mae() -> Pretrain:
    """ViC-MAE: two moments, each half hidden, are rebuilt by one decoder and find each other (arXiv 2303.12001).

    tubelet pretrain vic_mae --on corpora/synth --out runs/vic_mae

    From code (jeffhernandez1995/ViC-MAE): the mean of the tokens, an MLP of three layers, temperature 0.1, 0.97 of
    reconstruction to 0.03 of contrast, half hidden of each view. Ours: clips where theirs are frames, up to a second
    apart, each colour of a tubelet normalised on its own, widths. Expected: docs/methods.md.
    """
    base = miniature()
    masker = Random(ratio=0.5)
    pixels = chz.replace(base.objectives["pixels"], on=("clip", "second"), weight=0.97)
    apart = Apart(least=0.0, most=1.0, own_crop=True, augment=base.data.augment)
    return chz.replace(
        base,
        masker=masker,
        streams={"second": Stream(pairing=apart, masker=masker)},
        objectives={"pixels": pixels, "views": InstanceContrast(layers=3, weight=0.03)},
    )


def cross_video_mae() -> Pretrain:
    """CrossVideoMAE: a clip, the same clip augmented, and one of its frames find each other (arXiv 2502.07811).

    tubelet pretrain cross_video_mae --on corpora/synth --out runs/cross_video_mae
    tubelet evaluate runs/cross_video_mae cross_retrieval reconstruction

    From notes of the paper: contrasts of clip and augmented clip, and of clip and frame; pixels of both; .9 of the clip
    and .75 of the frame hidden, the frame by an encoder of its own. Ours: weights, temperature, no contrast frame by
    frame, and a frame's encoder that is trained here (theirs begins as a pretrained MAE). Expected: docs/methods.md.
    """
    base = miniature()
    pixels = base.objectives["pixels"]
    frame = Stream(
        pairing=Still(), masker=Random(ratio=0.75), tower=Own(encoder=base.encoder), frames=1, tubelet_frames=1
    )
    return chz.replace(
        base,
        masker=Random(ratio=0.9),
        streams={
            "second": Stream(pairing=Again(augment=ColourAugment()), masker=Random(ratio=0.9)),
            "frame": frame,
        },
        objectives={
            "pixels": pixels,
            "frame_pixels": chz.replace(pixels, on=("frame",)),
            "views": InstanceContrast(weight=0.1),
            "frames": InstanceContrast(of=("clip", "frame"), weight=0.1),
        },
    )
