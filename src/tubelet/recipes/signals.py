"""Clips beside other signals of the same moments: sound (Audiovisual MAE).

All in miniature, on `miniature`'s clips and encoder.
"""

import chz

from tubelet.maskers import Random
from tubelet.objectives import Predict
from tubelet.objectives.targets import Raw
from tubelet.recipes.pretrain import Pretrain
from tubelet.recipes.tiny import miniature, small_decoder
from tubelet.streams import Joint, Stream
from tubelet.types import Sound


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
