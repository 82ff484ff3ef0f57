"""What a run is trained on, written when it begins and read by all that measures it. Start reading at `begin`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tubelet.aligners.base import read_aligner_about
from tubelet.corpus.schema import Video
from tubelet.corpus.table import Corpus
from tubelet.distributed import is_rank0
from tubelet.errors import RunError, TubeletError
from tubelet.evaluations.base import Context
from tubelet.evaluations.thumbnails import FEW, Tell
from tubelet.evaluations.trained_on import (
    ALIGNER,
    CLASSIFIER,
    ENCODER,
    FILE,
    Trained,
    TrainedOn,
    clips_of,
    other_content,
)
from tubelet.jobs.shards import chosen
from tubelet.recipes.pretrain import Pretrain
from tubelet.runs.folder import IMPORTED, RECIPE, RunConfig, read_kind, read_run_config
from tubelet.stores.embeddings import Embeddings, same_texts
from tubelet.stores.maps import Maps
from tubelet.stores.tracks import Tracks
from tubelet.teachers import Aligned, Frozen, Teacher
from tubelet.wording import plural

NAMED = 3  # videos that a refusal names


def begin(folder: Path, config: Pretrain, corpus: Corpus, begun: bool, allow_changed: bool, tell: Tell) -> TrainedOn:
    """The record of a run that begins, or (it has `begun`) resumes: then what it is trained on must be what it was.

    Another content of a video is refused by name unless `allow_changed`, and counts as trained on beside the first.
    A video that is gone is named, and fails when it is read.
    """
    own = clips_of(corpus, config.videos(corpus), ENCODER, config.told)
    before = TrainedOn.read(folder / FILE) if begun else None
    if before is not None:
        check_unchanged(folder, before, own, allow_changed, tell)
        return before + TrainedOn(own)
    without = (f"{ENCODER} of {folder} began without a record: what it was trained on before is unknown",)
    inherited = of_aligner(config, corpus) + of_start(config.init) + of_teacher(config.teacher, corpus)
    inherited += of_vectors(config, corpus)
    return TrainedOn(own, without if begun else ()) + inherited


def begin_tuning(
    folder: Path,
    corpus: Corpus,
    parts: Mapping[str, Sequence[Video]],
    init: str | None,
    begun: bool,
    allow_changed: bool,
    tell: Tell,
) -> TrainedOn:
    """The same of fine-tuning, which is given labels; `init` is the run that it begins with, None: fresh weights."""
    own = tuple(clip for part, videos in parts.items() for clip in clips_of(corpus, videos, CLASSIFIER, "labels", part))
    before = TrainedOn.read(folder / FILE) if begun else None
    if before is not None:
        check_unchanged(folder, before, own, allow_changed, tell)
    return (before or of_start(init)) + TrainedOn(own)


def of_probe(context: Context) -> TrainedOn:
    """The labelled clips of train on which a linear probe is fitted and selected."""
    ids = set(context.features("train").with_label().ids)
    videos = [video for video in context.corpus.select("train") if video.id in ids]
    return TrainedOn(clips_of(context.corpus, videos, CLASSIFIER, "labels")).with_looks(context.corpus, videos)


def check_unchanged(folder: Path, before: TrainedOn, now: Sequence[Trained], allowed: bool, tell: Tell) -> None:
    changed, gone = other_content([clip for clip in before.clips if clip.origin is None], now)
    if gone:
        tell(f"{plural(len(gone), 'video')} of {folder} can be read no more and will fail ({', '.join(gone[:NAMED])})")
    if changed and not allowed:
        raise RunError(
            f"{folder} began with other content of {plural(len(changed), 'video')} ({', '.join(changed[:NAMED])}); put "
            "the files back, give a new --out, or go on with what they hold now with --allow-changed"
        )


def say_unread(videos: Sequence[Video], tell: Tell) -> None:
    """What a table of an earlier version costs: every file is read to know what it holds."""
    if (unread := sum(video.content is None for video in videos)) > FEW:
        tell(
            f"reading {plural(unread, 'file')} to know what they hold; `tubelet index --update` keeps that in the table"
        )


def finish(folder: Path, record: TrainedOn, corpus: Corpus, tell: Tell) -> TrainedOn:
    """With how the clips look, so that those encoded anew are known without this corpus."""
    record = record.with_looks(corpus, corpus.select("all"), tell)
    if is_rank0():
        record.write(folder / FILE)
    return record


def of_run(run: Path | str) -> TrainedOn:
    """What a run and those that it began with were trained on. A run without a record says what is unknown."""
    run = Path(run)
    if (record := TrainedOn.read(run / FILE)) is not None:
        return record
    run_config = read_run_config(run)
    if run_config.recipe == IMPORTED:
        return TrainedOn(unknown=(f"{ENCODER} of {run} was imported: what it was trained on is not known here",))
    found = TrainedOn(unknown=(f"{ENCODER} of {run} keeps no record: what it was trained on is unknown",))
    role = CLASSIFIER if read_kind(run) == "finetune" else ENCODER
    return found + by_table(run_config, role) + of_start(run_config.config.init)


def of_start(init: str | None) -> TrainedOn:
    """What the weights that a run begins with were trained on."""
    if init is None:
        return TrainedOn()
    folder = Path(init).expanduser()
    if (folder / RECIPE).exists():
        return of_run(folder).inherited(str(init))
    return TrainedOn(unknown=(f"{ENCODER} began with {init}: what that was trained on is not known here",))


def of_teacher(teacher: Teacher, corpus: Corpus) -> TrainedOn:
    """What a teacher was trained on, from which the encoder learns."""
    if isinstance(teacher, Frozen):
        return of_start(teacher.init)
    if isinstance(teacher, Aligned):
        return of_aligner_in(Path(teacher.aligner).expanduser(), "", corpus)
    return TrainedOn()


def of_vectors(config: Pretrain, corpus: Corpus) -> TrainedOn:
    """What the models were trained on whose features the run reads."""
    record = TrainedOn()
    for name in config.tracks:
        tracks = Tracks.open(corpus, name)
        if (kept := TrainedOn.read(tracks.series.folder / FILE)) is not None:
            record += kept
        elif name == "vectors":
            record += TrainedOn(unknown=(f"the vectors of {corpus.name}: what made them was trained on is not known",))
    return record


def by_table(run_config: RunConfig[Any], role: str) -> TrainedOn:
    """What a run without a record was trained on, if its corpus is still the one that it names."""
    try:
        corpus = Corpus.open(run_config.corpus["path"])
        if corpus.fingerprint() != run_config.corpus["fingerprint"]:
            return TrainedOn()
        config = run_config.config
        return TrainedOn(clips_of(corpus, config.data.select(corpus), role, config.told)) + of_aligner(config, corpus)
    except TubeletError:
        return TrainedOn()


def of_aligner(config: Pretrain, corpus: Corpus) -> TrainedOn:
    """What the aligner was trained on from which the run has its text maps and caption embeddings."""
    record = TrainedOn()
    if "text" in config.maps or config.needs_text or config.online_text:
        for root, identity in sorted(text_series(config, corpus).items()):
            record += of_series(root, identity, corpus)
    return record


def text_series(config: Pretrain, corpus: Corpus) -> dict[Path, str]:
    """The series that the run reads, each with the identity of the model that made it."""
    found: dict[Path, str] = {}
    if "text" in config.maps and not config.online_text:
        maps = Maps.open(corpus, "text")
        found[maps.series.folder] = str(maps.about.get("method", {}).get("model", ""))
    if config.needs_text or config.online_text:
        embeddings = Embeddings.open(corpus)
        found[embeddings.series.folder] = str(embeddings.about["model"])
    return found


def of_series(series: Path, identity: str, corpus: Corpus) -> TrainedOn:
    """The record kept with the series, else with the corpus's own aligner, if that is the model."""
    if (record := TrainedOn.read(series / FILE)) is not None:
        return record
    return of_aligner_in(corpus.folder / "aligner", identity, corpus)


def of_aligner_in(folder: Path, identity: str, corpus: Corpus) -> TrainedOn:
    unknown = TrainedOn(unknown=(f"{ALIGNER} {identity or 'of this run'}: what it was trained on is not known here",))
    try:
        about = read_aligner_about(folder)
        own, name = str(about["identity"]), about["corpus"]["fingerprint"]
    except (KeyError, TypeError):
        return unknown
    if identity and not same_texts(own, identity):
        return unknown
    if (record := TrainedOn.read(folder / FILE)) is not None:
        return record
    if name != corpus.fingerprint():
        return unknown
    captioned = {caption.video for caption in corpus.captions}
    videos = [v for split in about["corpus"].get("splits", []) for v in corpus.select(split) if v.id in captioned]
    return TrainedOn(clips_of(corpus, videos, ALIGNER, "captions"))


def keep_with_series(corpus: Corpus, aligner: Path | None, identity: str) -> None:
    """Beside the text maps and caption embeddings of a corpus: what their aligner was trained on, so that it is known
    wherever the aligner goes. `aligner` is its folder."""
    record = of_aligner_in(aligner or corpus.folder / "aligner", identity, corpus)
    for root in (corpus.folder / "maps" / "text", corpus.folder / "embeddings"):
        if (series := chosen(root)) is not None:
            record.write(series / FILE)
