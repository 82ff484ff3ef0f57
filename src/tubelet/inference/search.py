"""Search: the clips that lie nearest to a sentence in the joint space of a run's contrast head, or to another clip by
the encoder's own features."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from tubelet.aligners.base import open_aligner
from tubelet.aligners.unknown_words import check_text
from tubelet.checkpoint import checkpoint_step
from tubelet.corpus.rows import seconds
from tubelet.corpus.schema import Video
from tubelet.corpus.table import Corpus, normalise_text
from tubelet.errors import CorpusError, RecipeError, RunError, WeightsError
from tubelet.evaluations import Context
from tubelet.evaluations.cache import FOLDER
from tubelet.evaluations.features import Features
from tubelet.evaluations.knn import neighbours
from tubelet.evaluations.pictures import keep_thumbnails
from tubelet.evaluations.trained_on import TrainedOn, in_words
from tubelet.inference.embed import embed_at
from tubelet.inference.hits import Hit, draw_hits
from tubelet.inference.moments import Moments, apart, middle
from tubelet.objectives.base import TextHead
from tubelet.progress import Progress, silent
from tubelet.results import Answer, QueryExample, Result, write_result
from tubelet.runs.folder import corpus_of, load_task, read_run_config, weights_file
from tubelet.runs.record import of_run
from tubelet.runs.run import Run
from tubelet.stores.embeddings import Embeddings, same_texts
from tubelet.stores.tracks import Tracks
from tubelet.tasks import Pretraining

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, repr=False)
class SearchResult:
    """What a search found in a corpus, and what the user should know of it."""

    asked: str
    hits: list[Hit]
    corpus: Corpus
    searched: Features
    trained_on: dict[str, str]  # id: by whom, of the hits that were trained on
    warnings: list[str]
    unknown: tuple[str, ...]  # what is not known of the training of the run
    context: Context

    def to_pandas(self) -> "pd.DataFrame":
        import pandas as pd

        columns = ["id", "score", "split", "label", "captions", "trained_on", "path", "start", "end"]
        rows = [
            (hit.video.id, hit.score, hit.video.split, hit.video.label, self.captions(hit.video),
             self.trained_on.get(hit.video.id), str(hit.video.path), hit.video.start, hit.video.end)
            for hit in self.hits
        ]  # fmt: skip
        return pd.DataFrame(rows, columns=columns)

    def captions(self, video: Video) -> list[str]:
        return list(dict.fromkeys(caption.text for caption in self.corpus.captions_of(video)))

    def __repr__(self) -> str:
        return "\n".join(self.lines())

    def _repr_html_(self) -> str:
        return str(self.to_pandas().to_html(index=False))

    def lines(self) -> list[str]:
        """In words, for the command line."""
        lines = []
        for index, hit in enumerate(self.hits, start=1):
            captions = "; ".join(dict.fromkeys(caption.text for caption in self.corpus.captions_of(hit.video)[:2]))
            by = self.trained_on.get(hit.video.id)
            about = "   ".join(filter(None, [hit.video.id, hit.video.label, by and f"trained on: {by}", captions]))
            lines.append(f"{index:>3}   {hit.score:+.3f}   {hit.video.split:<5}   {about}")
        lines += [*self.unknown, *(f"NOTE: {line}" for line in self.warnings)]
        if failed := self.searched.failed:
            lines.append(f"{len(failed)} videos could not be read, first {failed[0]}")
        return lines


def search(
    run: str | Path | Run,
    text: str | None = None,
    *,
    like: str | Path | None = None,
    on: str | Path | Corpus | None = None,
    split: str = "all",
    top: int = 12,
    aligner: str | Path | None = None,
    moments: bool = False,
    batch: int = 16,
    progress: Progress = silent,
) -> SearchResult:
    """The clips of a corpus that lie nearest to a text, or that look `like` a clip, the nearest first.

    `to_pandas()` of what is found has a row a clip: id, score (cosine), split, label, captions, trained_on, path,
    start, end. For a text the run was trained with captions. `like` is a video file or an id of the corpus, with
    "@12.5" from this second on. `on` is the corpus, that of the run where it is not given. `aligner` is what embeds
    a text that is no caption of the corpus. With `moments` what is found are moments inside of videos, as long as a
    time step of the encoder, with their start and end; ids are those that `like` takes.
    """
    if top < 1:
        raise RecipeError(f"--top must be at least 1, not {top}")
    if (text is None) == (like is None):
        raise RecipeError('a search is for a text or for a clip: `tubelet search RUN "a red star"`, or --like CLIP')
    searcher = Searcher.open(run, on=on, aligner=aligner, batch=batch, progress=progress)
    if text is not None:
        return searcher.by_text(text, split, top, moments)
    return searcher.like(str(like), split, top, moments)


@dataclass(frozen=True)
class Searcher:
    """A run that is opened once, for any number of searches in one corpus."""

    folder: Path
    context: Context
    home: str  # the corpus that it was trained on; "": none here
    aligner: str | Path | None  # what embeds a text, where one is named
    record: TrainedOn

    @classmethod
    def open(
        cls,
        run: str | Path | Run,
        *,
        on: str | Path | Corpus | None = None,
        aligner: str | Path | None = None,
        batch: int = 16,
        progress: Progress = silent,
    ) -> "Searcher":
        folder = Path(run)
        plan = read_run_config(folder)
        config, task = load_task(folder)
        task.to("cuda" if torch.cuda.is_available() else "cpu")
        context = Context(
            encoder=task.encoder, corpus=corpus_of(folder, plan, on), clip=config.clip, data=config.data, task=task,
            texts=plan.texts, keep=folder / FOLDER, seed=config.seed, batch=batch, progress=progress,
        )  # fmt: skip
        return cls(folder, context, plan.corpus["path"], aligner, of_run(folder))

    @property
    def task(self) -> Pretraining:
        assert self.context.task is not None
        return self.context.task

    def by_text(self, text: str, split: str = "all", top: int = 12, moments: bool = False) -> SearchResult:
        corpus, texts = self.context.corpus, self.context.texts
        corpora = [corpus, *([Corpus.open(self.home)] if self.home else [])]
        head = head_of(self.task, self.folder)
        trained_with = texts.identity(corpora[-1])
        named = open_aligner(self.aligner) if self.aligner else None
        embedder = named or next(filter(None, map(corpus_aligner, corpora)), None)
        warnings = words_unlearned(text, embedder, trained_with)
        vector = text_vector(text, embedder, trained_with, *corpora, series=texts.series)
        if moments:
            some = Moments.of(self.context.extraction, split)
            hits = nearest_to_text(head, some.features, vector, some.videos, len(some.videos))
            return self.found(text, apart(hits, self.span, top), split, warnings, some.features)
        hits = nearest_to_text(head, self.context.features(split), vector, corpus.by_id, top)
        return self.found(text, hits, split, warnings)

    @property
    def span(self) -> float:
        """Seconds of a clip: moments that are nearer to each other look at the same."""
        context = self.context
        if not (track := context.clip.track):
            return context.data.sampling.seconds(context.clip, 30.0)
        videos = context.corpus.select("all")
        times = Tracks.open(context.corpus, track).reader(videos[0]).times
        return 2 * float(times[-1] - times[0]) / max(len(times) - 1, 1)  # two of its vectors

    def like(self, name: str, split: str = "all", top: int = 12, moments: bool = False) -> SearchResult:
        context = self.context
        clip = clip_named(name, context.corpus)
        if clip.video is None and context.clip.track:
            raise RecipeError(
                f"--like {name}: {self.folder} reads the track {context.clip.track!r} of a corpus, not files; name an "
                "id of the corpus, with @SECONDS of a moment"
            )
        if moments and clip.video is not None:
            some = Moments.of(context.extraction, split)
            asked = some.at(clip.video, middle(clip.video, context.corpus) if clip.start is None else clip.start)
            vector = some.features.mean_of(asked)
            hits = nearest_to_clip(some.features, vector, some.videos, len(some.videos), asked)
            begins = some.videos[asked].start
            others = [hit for hit in hits if hit.video.path != clip.path or abs(hit.video.start - begins) >= self.span]
            return self.found(f"like {name}", apart(others, self.span, top), split, [], some.features)
        if clip.video is not None and clip.start is None:
            vector = context.features("all").mean_of(clip.video)
        else:
            if context.clip.track:
                raise RecipeError(f"--like {name}: of a moment of a track only moments are found; add --moments")
            vector = embed_at(self.task.encoder, clip.path, clip.start, context.data.sampling)
        if moments:
            some = Moments.of(context.extraction, split)
            hits = nearest_to_clip(some.features, vector, some.videos, len(some.videos))
            return self.found(f"like {name}", apart(hits, self.span, top), split, [], some.features)
        hits = nearest_to_clip(context.features(split), vector, context.corpus.by_id, top, clip.video)
        return self.found(f"like {name}", hits, split, [])

    def found(
        self, asked: str, hits: list[Hit], split: str, warnings: list[str], searched: Features | None = None
    ) -> SearchResult:
        context, videos = self.context, [hit.video for hit in hits]
        trained_on = in_words(*self.record.roles_in(videos, videos))
        searched = context.features(split) if searched is None else searched
        return SearchResult(
            asked, hits, context.corpus, searched, trained_on, warnings, tuple(self.record.unknown), context
        )


def corpus_aligner(corpus: Corpus) -> Any | None:
    """The aligner in the folder of a corpus."""
    there = (corpus.folder / "aligner" / "aligner.json").is_file()
    return open_aligner(corpus.folder / "aligner") if there else None


def keep_search(found: SearchResult, folder: Path, out: Path, command: Sequence[str], split: str) -> None:
    """Draws the contact sheet, and puts the search among the results of the run, whose report shows it."""
    draw_hits(found.asked, found.hits, out)
    result = Result(
        corpus=found.context.identity,
        step=checkpoint_step(weights_file(folder)),
        asked={"command": list(command)},
        counts={split: {**found.searched.counts(), "used": len(found.searched), "unlabelled": 0}},
        failed={split: list(found.searched.failed)},
        examples={"search": [example_of(found.asked, found.hits, found.corpus)]},
        notes=found.warnings,
    )
    write_result(folder, f"search {found.asked}", result)
    keep_thumbnails(
        found.corpus, [hit.video.id for hit in found.hits], folder, {h.video.id: h.video for h in found.hits}
    )


def head_of(task: Pretraining, run: Path) -> TextHead:
    """The head that compares clips with texts."""
    head = task.text_head
    if head is None:
        raise RunError(
            f"{run} cannot be searched by text: it was trained without captions; train one with the objective "
            "Contrast, as the recipes text_guided and tiny_text_guided do"
        )
    return head


def text_vector(
    text: str, aligner: Any | None, trained_with: str, *known: Corpus, series: str | None = None
) -> Float[Tensor, "e"]:
    """The embedding of a text by the model that the run was trained with: kept ones of these corpora, else made now.

    `trained_with` is that model's identity, `series` where it left the embeddings that the run was trained with.
    """
    if not (said := normalise_text(text)):
        raise CorpusError('a search needs words, as in `tubelet search RUN "a red star" --on CORPUS`')
    for corpus in known:
        try:
            embeddings = Embeddings.open(corpus, series)
            if same_texts(str(embeddings.about["model"]), trained_with):
                return torch.from_numpy(np.array(embeddings.of_text(said)))
        except CorpusError:
            continue  # this text, or any, is not there
    if aligner is None:
        raise WeightsError(
            f"{text!r} is no caption that has an embedding already, and the model that makes one ({trained_with}) is "
            "not beside the corpus; name it with --aligner FOLDER-OR-NAME"
        )
    if not same_texts(aligner.identity, trained_with):
        raise WeightsError(
            f"the run was trained with texts of {trained_with}, and this aligner is {aligner.identity}; name the one "
            "that the run was trained with, with --aligner"
        )
    return aligner.texts([said])[0].float()


def words_unlearned(text: str, aligner: Any | None, trained_with: str) -> list[str]:
    """A sentence about words of the text that the run's aligner never learned; refused where it learned none."""
    if aligner is None or not same_texts(aligner.identity, trained_with):
        return []
    return check_text(aligner, text)


def nearest_to_text(
    head: Any, features: Features, vector: Float[Tensor, "e"], videos: Mapping[str, Video], most: int
) -> list[Hit]:
    """The clips by falling cosine; equal ones in the order of the table."""
    device = next(head.parameters()).device
    with torch.inference_mode():
        clips = head.embed_video(features.mean[:, None].to(device)).cpu()
        score = clips @ head.embed_text(vector[None].to(device)).cpu()[0]
    order = score.argsort(descending=True, stable=True)[:most].tolist()
    return [Hit(videos[features.ids[index]], float(score[index])) for index in order]


@dataclass(frozen=True)
class Asked:
    """The clip that others are to be like."""

    path: Path
    start: float | None  # seconds of the video; None: its middle
    video: str | None  # its id, where it is one of the corpus


def clip_named(name: str, corpus: Corpus) -> Asked:
    """`FILE` or `ID`, or either with `@SECONDS`; a file or an id that has an @ in its own name is taken first."""
    videos = corpus.by_id
    whole, _, after = name.rpartition("@")
    for text, start in ((name, None), (whole, after)):
        if text in videos or (text and Path(text).expanduser().exists()):
            moment = None if start is None else seconds(start, "--like", "start")
            if text not in videos:
                return Asked(Path(text).expanduser(), moment, None)
            video = videos[text]
            if video.status != "ok":
                raise CorpusError(f"{text} cannot be read ({video.reason or video.status}); name another clip")
            return Asked(video.path, moment, text)
    raise CorpusError(
        f"--like {name}: there is no such file, and corpus {corpus.name} has no video of this id; "
        "its ids stand in videos.parquet"
    )


def nearest_to_clip(
    features: Features, vector: Float[Tensor, "d"], videos: Mapping[str, Video], most: int, asked: str | None = None
) -> list[Hit]:
    """The clips whose features lie nearest to this one, by cosine after subtracting the mean of all that are searched,
    as kNN does; the clip that was asked for is not its own answer."""
    bank = features.mean.double()
    shift = bank.mean(0) if len(bank) > 1 else torch.zeros_like(bank[0])
    score, order = (found[0] for found in neighbours(bank - shift, vector[None].double() - shift, len(bank)))
    hits = [
        Hit(videos[features.ids[index]], value) for value, index in zip(score.tolist(), order.tolist(), strict=True)
    ]
    return [hit for hit in hits if hit.video.id != asked][:most]


def example_of(text: str, hits: Sequence[Hit], corpus: Corpus) -> QueryExample:
    """The search as an example of a result: right is a clip that has the text as a caption, of others nobody knows."""
    said = normalise_text(text)
    right = {caption.video for caption in corpus.captions if normalise_text(caption.text) == said}
    answers = [Answer(answer=hit.video.id, score=hit.score, right=hit.video.id in right or None) for hit in hits]
    return {"query": text, "answers": answers}
