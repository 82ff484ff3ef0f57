"""A stream is read beside the clip: of which size, when and where, what of it is hidden, and what encodes it."""

import chz

from tubelet.errors import RecipeError
from tubelet.loading.pairings import Pairing, Reads, Same
from tubelet.maskers import All, Decode, Masker, Nothing
from tubelet.streams.towers import Shared, Tower
from tubelet.types import Clip, Words


@chz.chz
class Stream:
    """Another view of the same sample, or another signal. Sizes that are not given are the clip's own, or the
    signal's."""

    signal: Clip | None = chz.field(default=None, doc="another signal, of a track of the corpus; None: frames")
    pairing: Pairing = chz.field(default_factory=Same, doc="when and where it is read")
    masker: Masker = chz.field(default_factory=Nothing, doc="what of it is hidden")
    decode: Decode = chz.field(default_factory=All, doc="which of its hidden tubelets are predicted")
    tower: Tower = chz.field(default_factory=Shared, doc="what encodes it")
    frames: int | None = chz.field(default=None, doc="frames of it (the clip's)")
    size: int | None = chz.field(default=None, doc="height and width of a frame, pixels (the clip's)")
    tubelet_frames: int | None = chz.field(default=None, doc="frames of a tubelet (the clip's)")

    @chz.validate
    def _sees_its_maps(self) -> None:
        if self.signal is not None and self.masker.maps:
            raise RecipeError(
                f"masker={type(self.masker).__name__} needs maps of {' and '.join(self.masker.maps)}, which lie over "
                f"frames; a stream of {type(self.signal).__name__} has none: take another, as Random"
            )

    @chz.validate
    def _words_have_no_moment(self) -> None:
        if isinstance(self.signal, Words) and not isinstance(self.pairing, Same):
            raise RecipeError(
                f"pairing={type(self.pairing).__name__} says when a stream is read, and its words are those of the "
                "caption that is drawn for the clip (data.captions); leave it out"
            )

    def clip(self, main: Clip) -> Clip:
        """Its size, beside a clip of this size."""
        base = main if self.signal is None else self.signal
        own = {"frames": self.frames, "size": self.size, "tubelet_frames": self.tubelet_frames}
        return chz.replace(base, **{name: value for name, value in own.items() if value is not None})

    def reads(self, main: Clip) -> Reads:
        return Reads(self.clip(main), self.pairing, self.masker.maps)
