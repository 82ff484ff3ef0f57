"""What is inspected: a corpus, and runs that say how clips are cut and what a model makes of them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from tubelet.aligners.base import Aligner
from tubelet.checkpoint import CHECKPOINT
from tubelet.corpus.schema import Caption, Video
from tubelet.corpus.table import Corpus
from tubelet.diagnostics.masks import configured
from tubelet.errors import RunError
from tubelet.evaluations.trained_on import in_words
from tubelet.inference.search import Searcher
from tubelet.maskers import MASKERS, Masker
from tubelet.models.encoder import Vit
from tubelet.recipes.named import maskers_of
from tubelet.recipes.pretrain import Pretrain
from tubelet.runs.folder import RECIPE, corpus_of, read_run_config
from tubelet.runs.run import Run
from tubelet.saliency_maps.text import aligner_of
from tubelet.tasks import Pretraining

Named = str | Path | Run | Corpus
RUN = "own"  # the masker of a run, as it was trained


@dataclass(frozen=True)
class Settings:
    """How clips are cut from videos; of a run also its model, opened when it is first asked for."""

    name: str
    recipe: str
    config: Pretrain
    run: Path | None = None
    corpus: Corpus | None = None
    aligner: str | Path | None = None

    @cached_property
    def searcher(self) -> Searcher:
        if self.run is None:
            raise RunError("there is no run here; name one, as in `tubelet inspect RUN`")
        return Searcher.open(self.run, on=self.corpus, aligner=self.aligner)

    @property
    def task(self) -> Pretraining:
        return self.searcher.task

    @property
    def encoder(self) -> Vit:
        return self.config.encoder

    def trained_on(self, videos: Iterable[Video]) -> dict[str, str]:
        """By id, in which roles a video was trained on."""
        return in_words(*self.searcher.record.roles_in(list(videos), [])) if self.run else {}


@dataclass(frozen=True)
class Subject:
    """A corpus, at least one way to cut clips, and the maskers that can be drawn."""

    corpus: Corpus
    settings: tuple[Settings, ...]
    maskers: Mapping[str, Masker]
    aligner_name: str | None = None
    _aligner: list[Aligner] = field(default_factory=list)

    @classmethod
    def open(
        cls,
        named: Sequence[Named],
        words: Sequence[str] = (),
        maskers: Sequence[str] = (),
        on: str | Path | Corpus | None = None,
        aligner: str | Path | None = None,
    ) -> "Subject":
        """Of run folders, which share a corpus, or of one corpus, whose clips `words` change, as in `tubelet masks`."""
        runs = [Path(one) for one in named if is_run(one)]
        corpora = [one if isinstance(one, Corpus) else Path(one) for one in named if not is_run(one)]
        if len(corpora) > 1 or (corpora and on is not None) or not named:
            raise RunError(
                "name one corpus, or runs of one corpus: `tubelet inspect CORPUS`, `tubelet inspect RUN RUN`"
            )
        if corpora:
            check_there(corpora[0])
            corpus = Corpus.of(corpora[0])
        else:
            corpus = Corpus.of(on) if on is not None else corpus_of(runs[0], read_run_config(runs[0]))
        if runs and words:
            raise RunError(f"{words[0]}: a run says itself how its clips are cut; leave this out, or the runs")
        found = [of_run(run, corpus, aligner) for run in runs]
        if not runs:
            found.append(Settings("corpus", "", configured(corpus, "all", words, None)))
        own = maskers_of(list(maskers)) if maskers else {}
        listed = {part.__name__: part() for part in MASKERS}
        return cls(corpus, tuple(found), {**listed, **own}, str(aligner) if aligner else None)

    @property
    def aligner(self) -> Aligner:
        """What scores a typed text: the one that was named, else that of the corpus."""
        if not self._aligner:
            self._aligner.append(aligner_of(self.corpus, self.aligner_name))
        return self._aligner[0]

    @cached_property
    def has_aligner(self) -> bool:
        """Whether one is named or lies beside the corpus; it is not opened to know that."""
        return bool(self.aligner_name) or (self.corpus.folder / "aligner" / "aligner.json").is_file()

    def captions(self, video: Video, settings: Settings) -> list[Caption]:
        """The captions of a video, those of the source that guides masks first."""
        source = settings.config.data.captions.source
        return sorted(self.corpus.captions_of(video), key=lambda caption: caption.source != source)


def is_run(named: Named) -> bool:
    if isinstance(named, Corpus):
        return False
    if isinstance(named, Run):
        return True
    folder = Path(named).expanduser()
    return (folder / RECIPE).is_file() or (folder / CHECKPOINT).is_file()


def check_there(named: Path | Corpus) -> None:
    if not isinstance(named, Corpus) and not named.expanduser().exists():
        raise RunError(
            f"there is neither a run nor a corpus at {named}; name a folder of `tubelet pretrain` or `index`"
        )


def of_run(run: Path, corpus: Corpus, aligner: str | Path | None) -> Settings:
    plan = read_run_config(run)
    return Settings(run.absolute().name, plan.recipe, plan.config, run, corpus, aligner)
