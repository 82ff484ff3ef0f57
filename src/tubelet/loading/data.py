"""What a recipe says of clips: which videos, which frames, which captions, how they are read."""

from collections.abc import Sequence

import chz

from tubelet.corpus.captions import CaptionChoice
from tubelet.corpus.schema import Video
from tubelet.corpus.table import Corpus
from tubelet.errors import RecipeError
from tubelet.loading.augment import Augment
from tubelet.loading.subset import filter_videos
from tubelet.seeds import key
from tubelet.types import Clip
from tubelet.video.sampling import Sampling


@chz.chz
class Data:
    """How clips are drawn from a corpus."""

    sampling: Sampling = chz.field(default_factory=Sampling, doc="which frames make a clip")
    augment: Augment = chz.field(default_factory=Augment, doc="crop and flip while training")
    split: str = chz.field(default="train", doc='the videos to train on: a split of the table, or "all"')
    where: str | None = chz.field(
        default=None,
        doc="train and measure only on videos with this value in the table or the ground truth, as camera=pan",
    )
    limit: int | None = chz.field(default=None, doc="train on at most this number of videos, by a keyed choice")
    captions: CaptionChoice = chz.field(default_factory=CaptionChoice, doc="which caption goes with a clip")
    workers: int = chz.field(default=0, doc="loader processes (0: in the training process); the clips are the same")
    cache: bool = chz.field(default=False, doc="keep decoded frames on disk: for corpora of a few thousand short clips")
    cache_size: int | None = chz.field(default=None, doc="short side of the kept frames (1.5 times the clip's)")
    cache_limit: float = chz.field(
        default=50.0, doc="GB of decoded frames that may be added to the disk; more is refused"
    )

    @chz.validate
    def _sensible(self) -> None:
        if self.workers < 0:
            raise RecipeError(f"data.workers={self.workers} must be 0 or more")
        if self.cache_size is not None and self.cache_size < 1:
            raise RecipeError(f"data.cache_size={self.cache_size} must be positive")
        if self.limit is not None and self.limit < 1:
            raise RecipeError(f"data.limit={self.limit} must be positive")
        if not self.cache_limit > 0:
            raise RecipeError(
                f"data.cache_limit={self.cache_limit} must be positive; to keep no frames, data.cache=False"
            )

    def kept_side(self, clip: Clip) -> int:
        """Short side of the frames that are kept."""
        return self.cache_size or round(1.5 * clip.size)

    def select(self, corpus: Corpus) -> Sequence[Video]:
        """The videos to train on, in the order of the table. More of them are the same ones and others."""
        videos = filter_videos(corpus, corpus.select(self.split), self.where)
        if self.limit is None or self.limit >= len(videos):
            return videos
        first = sorted(videos, key=lambda video: key(0, "training limit " + video.id))[: self.limit]
        return sorted(first, key=lambda video: video.row)
