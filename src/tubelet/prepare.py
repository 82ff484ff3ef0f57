"""What a corpus needs before guided pretraining: an aligner and saliency maps. Start at `align` and `saliency`."""

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import chz

from tubelet.aligners import finetuning
from tubelet.aligners.base import Aligner, open_aligner, read_aligner_about
from tubelet.aligners.clip import ClipAligner
from tubelet.aligners.config import AlignerTraining, ClipFinetuning, LitTraining, SmallAlignerTraining
from tubelet.aligners.examples import Examples, check_enough, read_examples, with_texts
from tubelet.aligners.finetuning import open_for_training, tune
from tubelet.aligners.lit import LitAligner, Towers, train_lit
from tubelet.aligners.matching import Retrieval, retrieval
from tubelet.aligners.small import SmallAligner
from tubelet.aligners.training import Curve, TrainingCheckpoint, seconds_to_steps, train_small_aligner
from tubelet.config import as_word
from tubelet.corpus.table import Corpus
from tubelet.diagnostics.aligner import write_training
from tubelet.errors import CorpusError, RecipeError, WeightsError
from tubelet.evaluations.trained_on import ALIGNER, FILE, TrainedOn, clips_of
from tubelet.files import remove_leftovers
from tubelet.inference.embed import load_encoder
from tubelet.inference.features import embed_sources
from tubelet.jobs.runner import Running, in_parts
from tubelet.jobs.shards import chosen
from tubelet.progress import Progress, named, silent
from tubelet.recipes.named import track_source_of
from tubelet.reports.aligner import write_page
from tubelet.runs.folder import RECIPE, weights_file
from tubelet.runs.record import keep_with_series, of_run
from tubelet.saliency_maps import Filled, Source, Text
from tubelet.saliency_maps.text import aligner_folder
from tubelet.stores.maps import Maps
from tubelet.stores.tracks import Tracks, names_of
from tubelet.tracks import TrackSource, VectorTrack
from tubelet.video.content import digest_of_file


@dataclass(frozen=True)
class Aligned:
    """An aligner in its folder, and how it was trained: `new` is False where the folder held it before."""

    folder: Path
    identity: str
    page: Path  # its report.html
    new: bool
    videos: int  # of the train split
    texts: int  # distinct captions
    words: int | None  # in the vocabulary of a small aligner
    steps: int
    best: int | None  # the step whose weights were kept, with early stopping
    seconds: float
    processor_seconds: float
    retrieval: Retrieval | None  # on the test split, where it has two captioned videos or more
    dropped: int  # captioned train videos beyond max_frames
    failed: Mapping[str, str]  # id: reason

    def open(self) -> Aligner:
        return open_aligner(self.folder)


def align(
    corpus: Corpus | str | Path,
    training: AlignerTraining | None = None,
    *,
    out: str | Path | None = None,
    seconds: float | None = None,
    force: bool = False,
    progress: Progress = silent,
) -> Aligned:
    """Trains an aligner on the train split of a corpus into `out` (default: CORPUS/aligner) and writes its report.

    `training` is a `SmallAlignerTraining` (the default), a `LitTraining` or a `ClipFinetuning`. With `seconds`, the
    small aligner is trained for as many steps as fit into that time. An aligner of the same corpus and settings is not
    trained again; any other in the folder raises `CorpusError`, unless `force`. Interrupted, the same call resumes.
    """
    corpus = Corpus.of(corpus)
    settings = training or SmallAlignerTraining()
    corpus.check_sources(settings.sources)
    if seconds is not None and not isinstance(settings, SmallAlignerTraining):
        raise RecipeError("a time limit in seconds needs the small aligner; give steps= instead")
    begun: ClipAligner | Towers | None = None
    if isinstance(settings, ClipFinetuning):
        begun, settings = open_for_training(settings)
    elif isinstance(settings, LitTraining):
        run = Path(settings.image).expanduser()
        encoder = load_encoder(run) if (run / RECIPE).is_file() else None
        begun = Towers.open(settings, corpus.folder / "aligner-features", encoder)
    folder = Path(out) if out else corpus.folder / "aligner"
    made_from = record(corpus, settings, seconds, begun)
    remove_leftovers(folder)
    if is_there(folder, made_from, force):
        return finished(folder, corpus, settings, progress)
    examples = read_examples(corpus, "train", settings, named(progress, "decoding train videos"))
    held_out = read_examples(corpus, "test", settings, named(progress, "decoding test videos"))
    check_enough(examples, corpus)
    trained_on = clips_of(corpus, examples.videos, ALIGNER, "captions")
    if seconds is not None:
        assert isinstance(settings, SmallAlignerTraining)
        settings = chz.replace(settings, steps=seconds_to_steps(examples, settings, seconds))
    identity = json.dumps(record(corpus, settings, None, begun), sort_keys=True).encode()
    checkpoint = TrainingCheckpoint(folder / "training.pt", hashlib.sha256(identity).hexdigest())
    began, spent = time.monotonic(), time.process_time()
    aligner, curve = train_aligner(examples, settings, begun, checkpoint, named(progress, "training"))
    about: dict[str, Any] = {
        **record(corpus, settings, seconds, begun),
        "videos": len(examples.videos),
        "texts": len(examples.texts),
        "dropped": len(with_texts(corpus, "train", settings)) - len(examples.videos) - len(examples.failed),
        "failed": {**examples.failed, **held_out.failed},
        "seconds": round(time.monotonic() - began, 1),
        "processor_seconds": round(time.process_time() - spent, 1),
        "curve": curve.rows,
        "best": curve.best,
    }
    if len(held_out.videos) > 1:
        about["held_out"] = vars(retrieval(aligner, held_out, settings))
    before = trained_before(settings)
    (TrainedOn(trained_on).with_looks(corpus, examples.videos) + before).write(folder / FILE)
    save_aligner(aligner, folder, about)
    checkpoint.done()
    write_training(folder, corpus, aligner, curve, settings, named(progress, "measuring maps"))
    return result(folder, write_page(folder), new=True)


def train_aligner(
    examples: Examples,
    settings: AlignerTraining,
    begun: ClipAligner | Towers | None,
    checkpoint: TrainingCheckpoint,
    progress: Progress,
) -> tuple[SmallAligner | LitAligner | ClipAligner, Curve]:
    if isinstance(begun, ClipAligner):
        assert isinstance(settings, ClipFinetuning)
        return tune(begun, examples, settings, progress, checkpoint)
    if isinstance(begun, Towers):
        assert isinstance(settings, LitTraining)
        return train_lit(begun, examples, settings, progress, checkpoint)
    assert isinstance(settings, SmallAlignerTraining)
    return train_small_aligner(examples, settings, progress, checkpoint)


def trained_before(settings: AlignerTraining) -> TrainedOn:
    """What the models that it begins with were trained on: known of runs alone."""
    models: tuple[str, ...] = ()
    if isinstance(settings, LitTraining):
        models = (settings.image, settings.text)
    elif isinstance(settings, ClipFinetuning):
        models = (settings.model,)
    found = TrainedOn()
    for model in models:
        there = TrainedOn.read(Path(model).expanduser() / FILE)
        missing = TrainedOn((), (f"{ALIGNER} began with {model}: what that was trained on is not known here",))
        found += missing if there is None else there.inherited(model)
    return found


def save_aligner(aligner: SmallAligner | LitAligner | ClipAligner, folder: Path, about: dict[str, Any]) -> None:
    if isinstance(aligner, SmallAligner | LitAligner):
        aligner.about = about
        aligner.save(folder)
    else:
        finetuning.save_finetuned(aligner, folder, about)


def finished(folder: Path, corpus: Corpus, settings: AlignerTraining, progress: Progress) -> Aligned:
    """The aligner that is there; a report that an interruption left unwritten is written."""
    page = folder / "report.html"
    if not page.exists():
        about = read_aligner_about(folder)
        curve = Curve(about["curve"], about["best"])
        write_training(folder, corpus, open_aligner(folder), curve, settings, named(progress, "measuring maps"))
        write_page(folder)
    (folder / "training.pt").unlink(missing_ok=True)
    return result(folder, page, new=False)


def result(folder: Path, page: Path, new: bool) -> Aligned:
    about = read_aligner_about(folder)
    return Aligned(
        folder=folder,
        identity=about["identity"],
        page=page,
        new=new,
        videos=about["videos"],
        texts=about["texts"],
        words=len(about["words"]) if "words" in about else None,
        steps=len(about["curve"]),
        best=about["best"],
        seconds=about["seconds"],
        processor_seconds=about["processor_seconds"],
        retrieval=Retrieval(**about["held_out"]) if "held_out" in about else None,
        dropped=about.get("dropped", 0),
        failed=about["failed"],
    )


def record(
    corpus: Corpus, settings: AlignerTraining, seconds: float | None, begun: ClipAligner | Towers | None = None
) -> dict[str, Any]:
    """What an aligner is made from: two with the same record are the same."""
    models: dict[str, Any] = {}
    if isinstance(begun, ClipAligner):
        assert isinstance(settings, ClipFinetuning)
        models = {"from": {"name": settings.model, "identity": begun.identity}}
    elif isinstance(begun, Towers):
        models = {"towers": {"vision": begun.vision.identity, "text": begun.text.identity}}
    return {
        **models,
        "corpus": {"name": corpus.name, "fingerprint": corpus.fingerprint(), "splits": ["train"]},
        "settings": {**chz.asdict(settings), "sources": sorted(set(settings.sources))},
        "seconds_asked": seconds,
    }


def is_there(folder: Path, made_from: dict[str, Any], force: bool) -> bool:
    """Whether this very aligner is in the folder. Another one there is an error, unless it may be replaced."""
    if not (folder / "aligner.json").exists():
        return False
    try:
        about = read_aligner_about(folder)
    except WeightsError:
        if not force:
            raise
        return False
    was, now = ({**one, "settings": dict(one.get("settings", {}))} for one in (about, made_from))
    if made_from["seconds_asked"] is not None:  # then the number of steps is the machine's, not the user's
        for one in (was, now):
            one["settings"].pop("steps", None)
    differ = [name for name in {**now, "from": None, "towers": None} if was.get(name) != now.get(name)]
    if not differ:
        return True
    if force:
        return False
    settings = [name for name in now["settings"] if was["settings"].get(name) != now["settings"][name]]
    raise CorpusError(
        f"{folder} holds another aligner (different {', '.join(settings or differ)}): "
        "keep it and give --out NEW, or replace it with --force"
    )


def saliency(
    corpus: Corpus | str | Path,
    source: Source,
    *,
    running: Running | None = None,
    progress: Progress = silent,
) -> Filled:
    """Computes the saliency maps of a source, as `Text(scorer="surgery")`, for the videos of a corpus that lack them.

    What exists is not computed again; a video that fails is in `failed` with its reason. Interrupted, the same call
    resumes. `running` sets the number of processes, their limits, and whether failed videos are tried again.
    """
    corpus = Corpus.of(corpus)
    filled = in_parts(lambda running: source.fill(corpus, running, progress), running)
    if isinstance(source, Text) and filled.model is not None:
        keep_with_series(corpus, aligner_folder(corpus, source.aligner), filled.model)
    return filled


def track(
    corpus: Corpus | str | Path,
    source: TrackSource | str = "sound",
    *,
    running: Running | None = None,
    progress: Progress = silent,
    **fields: Any,
) -> Filled:
    """Computes a track, another signal of every video that lacks it: `track(corpus, "sound", bands=128)`.

    As `saliency` in all else. A video without such a signal has an empty track, which costs no failure. With
    `track(corpus, "vectors", run=RUN, every=1.0)` the encoder of a run makes the track.
    """
    if isinstance(source, str):
        source = track_source_of([source, *(f"{name}={as_word(value)}" for name, value in fields.items())])
    chosen, opened = source, Corpus.of(corpus)
    if isinstance(chosen, VectorTrack) and chosen.run is not None:
        return track_by_run(opened, chosen, chosen.run, running, progress)
    return in_parts(lambda running: chosen.fill(opened, running, progress), running)


def track_by_run(corpus: Corpus, source: VectorTrack, run: str, running: Running | None, progress: Progress) -> Filled:
    """The features of every window, in a table below the corpus, then its track; with it what the run was trained on.
    The table stays, so that the same call later embeds new videos alone."""
    encoder = digest_of_file(weights_file(run)).hex()[:12]
    table = corpus.folder / "features" / f"{Path(run).name}-{encoder}-{source.every:g}s.parquet"
    table.parent.mkdir(exist_ok=True)
    found = embed_sources(
        run, corpus, table, windows=source.every, only_missing=True, running=running, progress=progress
    )
    filled = chz.replace(source, run=None, files=(str(table),)).fill(corpus)
    of_run(run).inherited(run).write(Tracks.open(corpus, "vectors").series.folder / FILE)
    usable = {video.id for video in corpus.select("all")}  # a row that could not be indexed cannot be embedded either
    bad = {row.id: row.reason for row in found.failed if row.id in usable}
    return replace(
        filled, failed=bad, videos=filled.videos - len(bad), done=replace(found.done, there=filled.done.there)
    )


@dataclass(frozen=True)
class Available:
    """Saliency maps or a track that a corpus has."""

    name: str
    kind: str  # scalar or vector; of a track the values of a moment
    videos: int  # usable videos that have all of them
    total: int  # usable videos
    method: Mapping[str, Any]


def maps_of(corpus: Corpus) -> list[Available]:
    """The current maps of every name."""
    videos = corpus.select("all")
    found = []
    for folder in sorted(path for path in (corpus.folder / "maps").glob("*") if chosen(path)):
        maps = Maps.open(corpus, folder.name)
        missing = maps.missing(videos, corpus.captions if maps.about["name"] == "text" else None)
        about = maps.about
        found.append(Available(about["name"], about["kind"], len(videos) - len(missing), len(videos), about["method"]))
    return found


def tracks_of(corpus: Corpus) -> list[Available]:
    """The current track of every name; videos without such a signal count as those that lack it."""
    videos = corpus.select("all")
    found = []
    for name in names_of(corpus):
        tracks = Tracks.open(corpus, name)
        lacking = len(tracks.missing(videos)) + len(tracks.without(videos))
        size = "x".join(map(str, tracks.size))
        found.append(Available(name, size, len(videos) - lacking, len(videos), tracks.about["method"]))
    return found
