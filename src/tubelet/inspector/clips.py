"""One clip of a video as the model sees it, with when and where that is. Start reading at `read_clip`."""

from dataclasses import dataclass
from functools import partial

import chz
import numpy as np
from einops import rearrange
from jaxtyping import Float64, UInt8

from tubelet.corpus.schema import Video
from tubelet.corpus.table import Corpus
from tubelet.errors import VideoError
from tubelet.inspector.subject import Settings
from tubelet.loading.collate import collate
from tubelet.loading.pairings import Reads
from tubelet.loading.reader import ClipReader
from tubelet.loading.requests import evaluation_requests
from tubelet.types import Batch, Clip
from tubelet.video.crop import Crop
from tubelet.video.limits import within
from tubelet.video.views import View


@dataclass(frozen=True)
class ClipRead:
    """A clip, without maps: `batch` holds it alone."""

    video: Video
    clip: Clip
    times: Float64[np.ndarray, "t"]
    crop: Crop
    batch: Batch

    @property
    def frames(self) -> UInt8[np.ndarray, "t h w 3"]:
        return rearrange(self.batch.video[0], "c t h w -> t h w c").numpy()


def read_clip(
    corpus: Corpus, settings: Settings, video: Video, begin: float | None, streams: dict[str, Reads] | None = None
) -> ClipRead:
    """The clip that begins at this share of what is possible (None: in the middle), its centre square, as evaluations
    read it. `streams` are read with it, for a model that reconstructs from them.
    """
    if video.status != "ok":
        raise VideoError(f"{video.id} cannot be read: {video.reason or video.status}")
    config = settings.config
    data = chz.replace(config.data, cache=False)
    reader = ClipReader.make(corpus, [video], config.clip, data, (), False, streams=streams)
    (piece,) = evaluation_requests(video, (View(begin),))
    sampled, ((cut, _),) = within(reader.limits, partial(reader.read, piece))
    if streams:
        batch = reader.batch([[piece]])
        if batch.failed:
            raise VideoError(batch.failed[0])
    else:
        sample = reader.sample(video, piece.clips[0], cut, None, None, config.clip, {}, sampled.short)
        batch = collate([sample], (), config.clip, {}, None, False, {})
    return ClipRead(video, config.clip, sampled.times, cut.crop, batch)
