"""Clips beside other signals of the same moments: sound (Audiovisual MAE, TVLT, MAViL), body-worn sensors, words
(M3AE, SMAUG, CoCa); and clips of no frames at all, but of the features of a long video (LV-MAE).

All in miniature, on `miniature`'s clips and encoder.
"""

import chz

from tubelet.loading.data import Data
from tubelet.maskers import Nothing, Random, Schedule, Text, Tube
from tubelet.models.cross import Cross
from tubelet.models.decoder import Decoder
from tubelet.models.encoder import Vit
from tubelet.objectives import Captioning, Denoise, InstanceContrast, Match, Nodes, Predict
from tubelet.objectives.targets import Features, Ids, Raw, Unit
from tubelet.recipes.pretrain import Pretrain
from tubelet.recipes.tiny import miniature, small_decoder
from tubelet.streams import Bare, Joint, Own, Shared, Stream
from tubelet.teachers import FrozenJoint
from tubelet.types import Sensors, Sound, Vectors, Words
from tubelet.video.sampling import Sampling


def av_mae() -> Pretrain:
    """Audiovisual MAE: hidden tubelets and hidden patches of the spectrogram, each by a decoder (arXiv 2212.05922).

    tubelet synth --kind synth-2 --out corpora/synth-2
    tubelet track corpora/synth-2 sound
    tubelet pretrain av_mae --on corpora/synth-2 --out runs/av_mae
    tubelet evaluate runs/av_mae linear --stream sound

    From code (google-research/scenic, av_mae): .9 of the clip and .7 of the spectrogram hidden at random, values as
    they are, a weight of a half each; encoders of their own that end in common blocks. Ours: a decoder a signal, 1.9 s
    of sound about the clip's middle, size. Its other forms:

    separate encoders         streams.sound.tower=Own streams.sound.tower.encoder.width=128 ...
    one encoder for both      streams.sound.tower=Joint
    sound from the clip alone objectives.spectrogram.decoder=Cross objectives.spectrogram.decoder.attend_to=clip
                              objectives.spectrogram.decoder.inpaint=True

    Expected: docs/methods.md.
    """
    base = miniature()
    sound = Stream(signal=Sound(frames=192, size=64), masker=Random(ratio=0.7), tower=Joint(blocks=1, last=1))
    return chz.replace(
        base,
        masker=Random(ratio=0.9),
        streams={"sound": sound},
        objectives={
            "pixels": chz.replace(base.objectives["pixels"], target=Raw(), weight=0.5),
            "spectrogram": Predict(on=("sound",), target=Raw(), decoder=small_decoder(), weight=0.5),
        },
    )


def tvlt() -> Pretrain:
    """TVLT: one encoder for clip and sound, both rebuilt, and whether they belong together (arXiv 2209.14156).

    tubelet synth --kind synth-2 --out corpora/synth-2
    tubelet track corpora/synth-2 sound
    tubelet pretrain tvlt --on corpora/synth-2 --out runs/tvlt

    From code (zinengtang/TVLT): .75 of both hidden at random, all blocks in common, weights .3 of pixels, 3 of the
    spectrogram and 1 of matching, half of the pairs swapped. Ours: a decoder a signal, matching on tokens that have not
    met (theirs needs a second pass), no start from an image MAE, size. Its masks of whole columns:
    streams.sound.masker=Frame. Expected: docs/methods.md.
    """
    base = av_mae()
    sound = chz.replace(base.streams["sound"], masker=Random(ratio=0.75), tower=Joint())
    return chz.replace(
        base,
        masker=Random(ratio=0.75),
        streams={"sound": sound},
        objectives={
            "pixels": chz.replace(base.objectives["pixels"], weight=0.3),
            "spectrogram": chz.replace(base.objectives["spectrogram"], weight=3.0),
            "matching": Match(of=("clip", "sound")),
        },
    )


def mavil() -> Pretrain:
    """MAViL, phase one: clip and sound rebuilt, and views of both found in one another (arXiv 2212.08071).

    tubelet synth --kind synth-2 --out corpora/synth-2
    tubelet track corpora/synth-2 sound
    tubelet pretrain mavil --on corpora/synth-2 --out runs/mavil
    tubelet phases mavil --on corpora/synth-2 --out runs/both

    From the abstract: both are rebuilt; a contrast of clip and sound and one of two masks of each signal, on what is
    visible. Ours, from memory or where we know of nothing: .8 of both hidden, encoders of their own that end in common
    blocks, contrasts before these, weights .1 between and .01 within signals, a decoder a signal, size. Expected:
    docs/methods.md.
    """
    base = av_mae()
    masker = Random(ratio=0.8)
    sound = chz.replace(base.streams["sound"], masker=masker)
    return chz.replace(
        base,
        masker=masker,
        streams={
            "sound": sound,
            "second": Stream(masker=masker),
            "second_sound": chz.replace(sound, tower=Shared(of="sound")),
        },
        objectives={
            **base.objectives,
            "between": InstanceContrast(of=("clip", "sound"), weight=0.1),
            "clips": InstanceContrast(of=("clip", "second"), weight=0.01),
            "sounds": InstanceContrast(of=("sound", "second_sound"), weight=0.01),
        },
    )


def mavil_again() -> Pretrain:
    """MAViL, phase two: a frozen run's joint features of clip and sound are predicted (arXiv 2212.08071).

    tubelet pretrain mavil --on corpora/synth-2 --out runs/mavil
    tubelet pretrain mavil_again --on corpora/synth-2 init=runs/mavil teacher.init=runs/mavil --out runs/mavil-2
    tubelet evaluate runs/mavil-2 linear

    From the abstract: what the encoder of the first phase makes of both signals together takes the place of their
    values; the contrasts stay. Ours: it begins with the weights of the first phase, cosine, weights. Expected:
    docs/methods.md.
    """
    base = mavil()
    features = Features(loss="cosine")
    return chz.replace(
        base,
        teacher=FrozenJoint(),
        objectives={
            **{name: one for name, one in base.objectives.items() if isinstance(one, InstanceContrast)},
            "features": Predict(target=features, decoder=small_decoder(), weight=0.5),
            "sound_features": Predict(on=("sound",), target=features, decoder=small_decoder(), weight=0.5),
        },
    )


def diff_mavil() -> Pretrain:
    """Diffusion MAViL, phase one: clip and sound denoised under masks that hide ever more (arXiv 2310.03937).

    tubelet synth --kind synth-2 --out corpora/synth-2
    tubelet track corpora/synth-2 sound
    tubelet pretrain diff_mavil --on corpora/synth-2 --out runs/diff_mavil
    tubelet evaluate runs/diff_mavil cross_retrieval linear

    From notes of the paper: noised patches in place of mask tokens, cross attention in the decoders, a ratio that
    rises, a contrast of clip and sound before they meet. Ours: from .6 to .9 hidden on a line, one noise level a clip,
    weight .1 of the contrast. Left out: adaptive batches, and the contrast of two views of one signal. Its second phase
    is that of MAViL: `tubelet phases diff_mavil`. Expected: docs/methods.md.
    """
    base = av_mae()
    decoder = Cross(width=96, depth=2, heads=3, positions="grid", self_attention=False)
    masker = Schedule(first=Random(ratio=0.6), last=Random(ratio=0.9))
    return chz.replace(
        base,
        masker=masker,
        streams={"sound": chz.replace(base.streams["sound"], masker=masker)},
        objectives={
            "pixels": Denoise(target=Raw(), decoder=decoder, weight=0.5),
            "spectrogram": Denoise(on=("sound",), target=Raw(), decoder=decoder, weight=0.5),
            "views": InstanceContrast(of=("clip", "sound"), weight=0.1),
        },
    )


def imu_mae() -> Pretrain:
    """Masked video and body-worn sensors: both rebuilt, and views of them found (arXiv 2407.06628).

    tubelet synth --kind synth-2 --out corpora/synth-2
    tubelet track corpora/synth-2 sensors files=corpora/synth-2/sensors
    tubelet pretrain imu_mae --on corpora/synth-2 --out runs/imu_mae
    tubelet evaluate runs/imu_mae linear --stream sensors

    From notes of the paper: tubes at .9 of the clip, .75 of the spectrograms at random, encoders of their own that end
    in common blocks, weights 1 of rebuilding, 10 of the graph of sensors and .01 of the contrast at temperature .05.
    Ours: the share of the graph that is replaced, one sensor of four, a decoder a signal, size. Expected:
    docs/methods.md.
    """
    base = miniature()
    sensors = Stream(signal=Sensors(), masker=Random(ratio=0.75), tower=Joint(blocks=1, last=1))
    return chz.replace(
        base,
        masker=Tube(ratio=0.9),
        streams={"sensors": sensors},
        objectives={
            "pixels": base.objectives["pixels"],
            "spectrogram": Predict(on=("sensors",), target=Raw(), decoder=small_decoder()),
            "graph": Nodes(weight=10.0),
            "views": InstanceContrast(of=("clip", "sensors"), temperature=0.05, weight=0.01),
        },
    )


def lv_mae() -> Pretrain:
    """LV-MAE: a second model over the features of a long video, hidden ones predicted (arXiv 2504.03501).

    tubelet track corpora/synth-long vectors run=runs/miniature every=0.5
    tubelet pretrain lv_mae --on corpora/synth-long --out runs/lv_mae
    tubelet evaluate runs/lv_mae linear attentive segmentation --baselines

    From code (amazon-science/lv-mae): vectors of length 1 of a frozen encoder, sinusoids of time, half of them hidden
    at random (the README; .7 is the script's default) or, with masker=Change, those most like the one before them; 1
    less the cosine. Ours: any run's features in place of LanguageBind's of 5 s; windows of equally many vectors in
    place of padding, a shorter video stretched over them; no class token; size (theirs: depth 32, width 1024, decoder
    512x8). Set clip.width to that of the vectors. Expected: docs/long-video.md.
    """
    base = miniature()
    return chz.replace(
        base,
        clip=Vectors(frames=24, width=128),
        data=Data(sampling=Sampling(stride=1, short="stretch")),
        encoder=Vit(width=128, depth=2, heads=4),
        masker=Random(ratio=0.5),
        objectives={"vectors": Predict(target=Unit(), decoder=Decoder(width=96, depth=1, heads=3))},
        batch=32,
    )


def m3ae() -> Pretrain:
    """M3AE: one encoder for clip and caption; hidden tubelets and hidden words are predicted (arXiv 2205.14204).

    tubelet synth --out corpora/synth
    tubelet pretrain m3ae --on corpora/synth --out runs/m3ae
    tubelet evaluate runs/m3ae linear missing

    From code (young-geng/m3ae_public): .75 of both hidden at random, all blocks in common, values as they are, weights
    1 of pixels and .5 of words. Ours: clips for images, words by their hash for WordPiece, a decoder a signal, no mask
    where a caption has ended (that is a token of its own, which is never scored), size. Text is in the pass: what
    captions say of a label, a probe of all signals is told. Expected: docs/methods.md.
    """
    base = miniature()
    words = Stream(signal=Words(), masker=Random(ratio=0.75), tower=Joint())
    return chz.replace(
        base,
        masker=Random(ratio=0.75),
        streams={"words": words},
        objectives={
            "pixels": chz.replace(base.objectives["pixels"], target=Raw()),
            "words": Predict(on=("words",), target=Ids(), decoder=small_decoder(), weight=0.5),
        },
    )


def smaug() -> Pretrain:
    """A reconstruction of SMAUG: `m3ae` on few tubelets, those that the caption is about (arXiv 2211.11446).

    tubelet synth --out corpora/synth
    tubelet align corpora/synth
    tubelet saliency corpora/synth Text
    tubelet pretrain smaug --on corpora/synth --out runs/smaug
    tubelet evaluate runs/smaug linear cross_retrieval

    From the abstract: clip and text are masked, and important regions and frames are selected by context, at less cost.
    Ours: of every time step the tenth that an aligner finds most like the caption is seen (masker=Attention
    masker.ratio=.9 takes what a CLIP attends to), words at .5, encoders of their own that end in common blocks, a
    contrast and a matching of both before these, weights. Expected: docs/methods.md.
    """
    base = m3ae()
    words = chz.replace(base.streams["words"], masker=Random(ratio=0.5), tower=Joint(blocks=1, last=1))
    return chz.replace(
        base,
        masker=Text(ratio=0.9, pick="bottom"),
        streams={"words": words},
        objectives={
            **base.objectives,
            "views": InstanceContrast(of=("clip", "words"), weight=0.1),
            "matching": Match(of=("clip", "words"), weight=0.1),
        },
    )


def coca() -> Pretrain:
    """A reconstruction of CoCa: a decoder says captions, and clip and caption find each other (arXiv 2205.01917).

    tubelet synth --out corpora/synth
    tubelet pretrain coca --on corpora/synth --out runs/coca data.captions.source=subject
    tubelet evaluate runs/coca captioning cross_retrieval linear

    From the paper, not read in code: captioning and contrast of one encoder, weights 2 and 1, nothing hidden. Ours:
    everything else: a small encoder for the words that are contrasted (theirs is the decoder's first half), words by
    their hash, temperature .1, clips for images, size. Expected: docs/methods.md.
    """
    base = miniature()
    return chz.replace(
        base,
        masker=Nothing(),
        streams={
            "words": Stream(signal=Words(), tower=Bare()),
            "text": Stream(signal=Words(), tower=Own(encoder=chz.replace(base.encoder, depth=1))),
        },
        objectives={
            "caption": Captioning(weight=2.0),
            "views": InstanceContrast(of=("clip", "text")),
        },
    )
