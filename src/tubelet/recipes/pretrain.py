"""What a pretraining run is, as one typed value: a recipe is a function that returns a `Pretrain`."""

from collections.abc import Mapping, Sequence

import chz

from tubelet.corpus.captions import flatten
from tubelet.corpus.schema import Video
from tubelet.corpus.table import Corpus
from tubelet.corpus.words import check_vocabulary
from tubelet.errors import CorpusError, RecipeError
from tubelet.evaluations import Evaluation
from tubelet.evaluations.classification import Probe
from tubelet.loading.data import Data
from tubelet.maskers import All, Decode, Masker, Tube
from tubelet.models.encoder import Vit
from tubelet.objectives import Objective, Pixels
from tubelet.saliency_maps.online import TextMaps
from tubelet.stores.embeddings import Embeddings
from tubelet.stores.tracks import Tracks
from tubelet.streams import Stream
from tubelet.tasks import Pretraining
from tubelet.teachers import Aligned, NoTeacher, Teacher
from tubelet.train import Training
from tubelet.types import CLIP, Clip, Words


@chz.chz
class Pretrain(Training):
    """Clip, data, model, mask, losses and loop of a run."""

    clip: Clip = chz.field(default_factory=Clip, doc="the size of a clip")
    data: Data = chz.field(default_factory=Data, doc="how clips are read")
    encoder: Vit = chz.field(default_factory=Vit, doc="the size of the encoder")
    masker: Masker = chz.field(default_factory=Tube, doc="what is hidden: `tubelet pretrain --help` lists the masks")
    decode: Decode = chz.field(default_factory=All, doc="which of the hidden tubelets are reconstructed")
    text: TextMaps = chz.field(default_factory=TextMaps, doc="where the maps of a text-guided masker come from")
    objectives: Mapping[str, Objective] = chz.field(
        default_factory=lambda: {"pixels": Pixels()}, doc="objectives; their losses are summed by weight"
    )
    streams: Mapping[str, Stream] = chz.field(
        default_factory=dict, doc="what is read beside the clip: other views of the same video, by name"
    )
    teacher: Teacher = chz.field(
        default_factory=NoTeacher, doc="teacher network that provides targets, without gradient"
    )
    evaluations: Mapping[str, Evaluation] = chz.field(
        default_factory=dict, doc="what is measured at the end, and every evaluate_every steps"
    )
    evaluate_limit: int | None = chz.field(
        default=None, doc="largest number of videos of a split in evaluations while training; the final ones take all"
    )
    keep_best: str | None = chz.field(
        default=None,
        doc="one of the evaluations, as linear: kept is the step that it finds best on held-out clips of train, every "
        "evaluate_every steps; None: the last step",
    )
    init: str | None = chz.field(
        default=None,
        doc="whose weights to start from, with a new schedule: a run, VideoMAE weights (file or folder), or a hub name",
    )

    @chz.validate
    def _names(self) -> None:
        if CLIP in self.streams:
            raise RecipeError(f"streams.{CLIP}: this name is that of the clip itself; take another")

    @chz.validate
    def _of_one_track(self) -> None:
        if not self.clip.track:
            return
        kind = type(self.clip).__name__
        if self.masker.maps:
            raise RecipeError(
                f"masker={type(self.masker).__name__} needs maps of {' and '.join(self.masker.maps)}, which lie over "
                f"frames, and clip={kind} has none; take another, as Random or Change"
            )
        for name, stream in self.streams.items():
            if not stream.clip(self.clip).track:
                raise RecipeError(f"streams.{name} reads frames, which are not there beside clip={kind}; leave it out")

    @chz.validate
    def _keep_best(self) -> None:
        if self.keep_best is None:
            return
        probe = self.evaluations.get(self.keep_best)
        if not isinstance(probe, Probe) or probe.cv is not None:
            known = ", ".join(name for name, one in self.evaluations.items() if isinstance(one, Probe)) or "none"
            raise RecipeError(
                f"keep_best={self.keep_best} must be an evaluation of the recipe that holds clips of train out "
                f"(linear, knn, attentive; without cv); it has: {known}"
            )
        if not self.evaluate_every:
            raise RecipeError(f"keep_best={self.keep_best} needs evaluate_every, as in evaluate_every=50")

    def total(self, videos: int, world: int) -> int:
        """Optimizer steps; in an epoch every video is seen as often as `data.augment.repeats` says."""
        return super().total(videos * self.data.augment.repeats, world)

    @property
    def tracks(self) -> tuple[str, ...]:
        """The tracks that its clip and streams are read from."""
        clips = [self.clip, *(stream.clip(self.clip) for stream in self.streams.values())]
        return tuple(dict.fromkeys(clip.track for clip in clips if clip.track and not isinstance(clip, Words)))

    @property
    def words(self) -> dict[str, Words]:
        """Its streams of the words of captions."""
        clips = {name: stream.clip(self.clip) for name, stream in self.streams.items()}
        return {name: clip for name, clip in clips.items() if isinstance(clip, Words)}

    def videos(self, corpus: Corpus) -> Sequence[Video]:
        """Those to train on: all that the data name, but for those known to have no such signal as it reads."""
        videos = self.data.select(corpus)
        for name in self.tracks:
            without = {*Tracks.open(corpus, name).without(videos)}
            if videos and len(without) == len(videos):
                raise CorpusError(f"not one of {len(videos)} videos of {corpus.folder} has {name}")
            videos = [video for video in videos if video.id not in without]
        return videos

    @property
    def pools_clips(self) -> bool:
        return any(objective.pools_clips for objective in self.objectives.values() if objective.factor)

    @property
    def needs_text(self) -> bool:
        """Whether an objective in use compares clips with their captions."""
        return any(objective.needs_text for objective in self.objectives.values() if objective.factor)

    @property
    def guided_by_text(self) -> bool:
        """Whether text reaches the encoder: through its masks, an objective that is not detached, a stream of words, or
        an aligner as its teacher."""
        compared = [objective for objective in self.objectives.values() if objective.needs_text and objective.factor]
        taught = any(objective.taught for objective in self.objectives.values() if objective.factor)
        by_aligner = isinstance(self.teacher, Aligned) and taught
        return by_aligner or bool(self.words) or "text" in self.maps or any(not part.detached for part in compared)

    @property
    def told(self) -> str | None:
        """What is told of the clips that it trains on: their captions, where it learns from what these say."""
        return "captions" if self.words or (self.guided_by_text and self.needs_text) else None

    @property
    def maps(self) -> tuple[str, ...]:
        """The saliency maps that its masks need."""
        hides = (self.masker, *(stream.masker for stream in self.streams.values()))
        return tuple(dict.fromkeys(name for masker in hides for name in masker.maps))

    @property
    def online_text(self) -> bool:
        """Whether clips are scored against their captions while training."""
        return self.text.online and "text" in self.masker.maps

    def check(self, corpus: Corpus) -> None:
        """`TubeletError` where words would be taken for one another, or where clips would be scored by another model
        than made the captions' embeddings."""
        if words := self.words:
            captions = flatten(self.data.captions.candidates(corpus, self.videos(corpus)))
            for name, clip in words.items():
                field = f"streams.{name}.signal.vocabulary"
                check_vocabulary((caption.text for caption in captions), clip.vocabulary, field)
        if self.online_text and (online := self.text.build(self.clip)) is not None:
            online.fits(Embeddings.open(corpus))

    def build(self, text_width: int | None) -> Pretraining:
        """The task with fresh weights, for caption embeddings of this width."""
        if self.needs_text and text_width is None:
            raise RecipeError("an objective compares clips with captions, and the width of their embeddings is unknown")
        # Fresh weights depend neither on the order that objectives are named in nor on one that is detached.
        objectives = dict(sorted(self.objectives.items(), key=lambda item: (item[1].detached, item[0])))
        encoder = self.encoder.build(self.clip)
        online = self.text.build(self.clip)
        online_maps = {} if online is None else {"text": online}
        return Pretraining(
            self.clip,
            encoder,
            self.masker,
            objectives,
            text_width,
            self.decode,
            online_maps,
            self.streams,
            self.teacher,
        )
