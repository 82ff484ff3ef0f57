"""When and where a stream is read, with the clip. A frozen config that does the work itself and decodes nothing."""

from dataclasses import dataclass

import chz
import numpy as np
from jaxtyping import Float64

from tubelet.loading.augment import Augment
from tubelet.types import Clip
from tubelet.video.crop import Crop
from tubelet.video.sampling import Sampling


@dataclass(frozen=True)
class Drawn:
    """What was drawn for the clip with which a stream is read."""

    timestamps: Float64[np.ndarray, "all"]  # of what can be read, seconds: of the video, or of a track
    times: Float64[np.ndarray, "t"]  # of the clip's own frames
    crop: Crop
    height: int  # of a whole frame, pixels
    width: int
    clip: Clip
    sampling: Sampling

    def shot(self, times: Float64[np.ndarray, "t"], augment: Augment | None, rng: np.random.Generator | None) -> "Shot":
        """These frames in a crop of their own, by `augment`; in the clip's crop where there is none, or no `rng`."""
        if rng is None or augment is None:
            return Shot(times, self.crop)
        return Shot(times, augment.draw(rng, self.height, self.width), augment)


@dataclass(frozen=True)
class Shot:
    """What is read for a stream. `augment` says what else happens to the frames; None: nothing."""

    times: Float64[np.ndarray, "t"]
    crop: Crop
    augment: Augment | None = None


@chz.chz
class Pairing:
    def reach(self) -> float:
        """Seconds before and after the clip's span that may be read."""
        return 0.0

    def shot(self, drawn: Drawn, clip: Clip, rng: np.random.Generator | None) -> Shot:
        """For a stream of clips of this size. `rng` None: the middle of what is possible, and no augmentation."""
        raise NotImplementedError


@dataclass(frozen=True)
class Reads:
    """All that the loader knows of a stream."""

    clip: Clip
    pairing: Pairing
    maps: tuple[str, ...] = ()  # saliency maps that its mask needs


def frames_about(drawn: Drawn, clip: Clip, middle: float, step: float) -> Float64[np.ndarray, "t"]:
    """The times of as many frames as the clip wants, so many seconds apart around this moment, among those that are
    there; where it lies near an end, as near as is possible."""
    span = step * (clip.frames - 1)
    first, last = drawn.timestamps[0], drawn.timestamps[-1]
    start = min(max(middle - span / 2, first), max(last - span, first))
    wanted = start + step * np.arange(clip.frames)
    return drawn.timestamps[nearest(drawn.timestamps, wanted)]


def nearest(timestamps: Float64[np.ndarray, "all"], wanted: Float64[np.ndarray, "t"]) -> np.ndarray:
    """The index of the timestamp nearest to each moment; of two equally near the earlier."""
    after = np.searchsorted(timestamps, wanted).clip(1, max(len(timestamps) - 1, 1))
    if len(timestamps) == 1:
        return np.zeros(len(wanted), np.int64)
    return after - (wanted - timestamps[after - 1] <= timestamps[after] - wanted)


def step_of(drawn: Drawn, clip: Clip) -> float:
    """Seconds between two frames of the clip; of a clip of one frame, and of a track, between two of the source."""
    times = drawn.times if len(drawn.times) > 1 and clip.track == drawn.clip.track else drawn.timestamps
    return float(times[-1] - times[0]) / max(len(times) - 1, 1)
