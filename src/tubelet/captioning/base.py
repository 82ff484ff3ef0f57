"""What every captioner offers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import chz

from tubelet.corpus.table import Corpus
from tubelet.errors import RecipeError
from tubelet.jobs.runner import Running, in_parts
from tubelet.progress import Progress

Row = dict[str, Any]  # a row of the captions table: video, text, time, model, prompt; its source where it has its own


@dataclass(frozen=True)
class Written:
    """What a captioner has for a corpus."""

    rows: list[Row]
    computed: int = 0  # videos that were read by this call
    failed: Mapping[str, str] | None = None  # id: why it has none
    remarks: tuple[str, ...] = ()


@chz.chz
class Captioner:
    """A frozen config that says where captions come from, and fetches them."""

    source: ClassVar[str] = "caption"  # what its captions are called, unless they have a source of their own

    def write(self, corpus: Corpus, progress: Progress, running: Running | None = None) -> Written:
        """The captions for the usable videos of the corpus."""
        raise NotImplementedError


@chz.chz
class Looking(Captioner):
    """What all that look at key frames have in common: a model, what it is asked, and how its words are chosen."""

    together: ClassVar[bool] = False  # all frames of a video make one caption

    model: str = chz.field(default="", doc="hub name or local folder of a transformers checkpoint")
    prompt: str = chz.field(default="", doc="what the model is asked, or how the caption begins")
    frames: int = chz.field(default=3, doc="key frames of a video, in the middle of as many equal parts")
    batch: int = chz.field(default=16, doc="frames (or videos, where frames are read together) of one pass")
    beams: int = chz.field(default=1, doc="beams of the search; 1 is greedy")
    longest: int = chz.field(default=30, doc="tokens of a caption")
    repeat: int = chz.field(
        default=0, doc="size in tokens of n-grams that may occur only once in a caption (0: no limit)"
    )
    temperature: float = chz.field(default=0.0, doc="draw words with this temperature (0: the likeliest)")
    seed: int = chz.field(default=0, doc="of the draw")
    precision: Literal["auto", "float32", "bfloat16"] = chz.field(
        default="auto", doc="auto: bfloat16 on a GPU that has it, else float32"
    )

    @chz.validate
    def _numbers(self) -> None:
        for name in ("frames", "batch", "beams", "longest"):
            if getattr(self, name) < 1:
                raise RecipeError(f"captioner.{name} must be at least 1, not {getattr(self, name)}")
        if self.temperature < 0 or self.repeat < 0:
            raise RecipeError("captioner.temperature and captioner.repeat cannot be negative")

    def write(self, corpus: Corpus, progress: Progress, running: Running | None = None) -> Written:
        from tubelet.captioning.looking import caption_videos
        from tubelet.captioning.pretrained import Describer
        from tubelet.saliency_maps.base import usable

        if not self.model:
            raise RecipeError("name the model that writes captions: captioner.model=HUB_NAME_OR_FOLDER")
        videos = usable(corpus)
        describer = Describer.load(self)
        return in_parts(lambda running: caption_videos(corpus, videos, self, describer, progress, running), running)

    @property
    def decoding(self) -> dict[str, Any]:
        """What decides the words beside the model and the prompt."""
        drawn = {"temperature": self.temperature, "seed": self.seed} if self.temperature else {}
        return {"beams": self.beams, "longest": self.longest, "repeat": self.repeat, **drawn}
