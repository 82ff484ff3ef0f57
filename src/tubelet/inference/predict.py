"""Labels of whole sources as a table: a row a video (or segment), whatever its state."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import UInt8

from tubelet.checksums import write_parquet
from tubelet.corpus.schema import Video
from tubelet.corpus.table import Corpus
from tubelet.errors import CorpusError, RecipeError, VideoError
from tubelet.evaluations.familiarity import caution
from tubelet.evaluations.timelines import Windows
from tubelet.evaluations.trained_on import CLASSIFIER, in_words, video_of
from tubelet.inference.reading import clips_of, measure_tasks, piece_of
from tubelet.inference.rows import Source, Sources, VideoRow, paths_of
from tubelet.jobs.runner import Done, Running, Work, run_job
from tubelet.jobs.tasks import Task
from tubelet.progress import Progress, silent
from tubelet.runs.classifier import SavedClassifier, load_classifier
from tubelet.runs.run import Run
from tubelet.stores.tracks import Tracks
from tubelet.video.views import View, parse

if TYPE_CHECKING:
    import pandas as pd

Judged = dict[str, dict[str, Any]]
"""Of a row by its key: `probabilities` "classes" and, of some classifiers, the `distance` from what they know."""

HELD = 256 << 20  # bytes of decoded clips that wait for the classifier


@dataclass(frozen=True, repr=False)
class Predictions:
    """Labels of videos, a row each, and what the user should know of them."""

    table: pa.Table
    classifier: SavedClassifier
    failed: list[VideoRow]  # those without a label, each with its reason
    done: Done
    left_out: int = 0  # by `unseen`, that only look like what the classifier learned from

    @property
    def cautions(self) -> int:
        """How many of the videos are unlike those that the classifier learned from."""
        return sum(bool(text) for text in self.table["caution"].to_pylist())

    def to_pandas(self) -> "pd.DataFrame":
        frame: pd.DataFrame = self.table.to_pandas()
        frame.attrs["classes"] = list(self.classifier.classes)
        return frame

    def __repr__(self) -> str:
        return str(self.to_pandas())

    def _repr_html_(self) -> str:
        return str(self.to_pandas().to_html(index=False))

    def write(self, out: Path) -> None:
        """As Parquet, whole or not at all."""
        write_parquet(out, self.table)


def predict(
    run: str | Path | Run | SavedClassifier,
    sources: Source | Sequence[Source],
    *,
    split: str | None = None,
    unseen: bool = False,
    views: str | Sequence[View] | None = None,
    all_classes: bool = False,
    classifier: str | None = None,
    batch: int = 16,
    running: Running | None = None,
    progress: Progress = silent,
) -> Predictions:
    """The labels of videos, folders, lists of videos or corpora, by the classifier of a run: a row a video.

    `to_pandas()` has the columns id, path, start, end, label, probability, caution (unlike what the classifier learned
    from), status, reason, trained_on. A video that cannot be read keeps its row. `split` takes only those videos of
    corpora, or of lists that say it, and `unseen` only those that the classifier has not learned from, nor from a copy
    of them. `trained_on` says by whom a video was trained on, "classifier, encoder"; "classifier (look-alike)" where
    that holds of a clip whose frames look like those of the video, as after encoding anew or cutting. A classifier
    that reads a track gives a row a window of every video, with its start and end. `views` is pieces x squares of a
    video ("5x3"; otherwise as it was tested). `all_classes` adds the probability of every class, in the order of
    `frame.attrs["classes"]`. `classifier` names one where a run has several.
    """
    chosen = parse(views) if isinstance(views, str) else views
    if isinstance(run, SavedClassifier):
        judge = run
    else:
        judge = load_classifier(Path(run), classifier, "cuda" if torch.cuda.is_available() else "cpu")
    if judge.clip.track:
        return predict_windows(judge, sources, split, unseen, all_classes, batch, progress)
    clip, sampling, chosen = judge.clip, judge.data.sampling, chosen or judge.views
    videos = Sources.of(paths_of(sources), split, *([judge.learned_from] if unseen else [])).videos()
    pieces = [piece_of(row, video, clip, sampling, chosen) for row, video in videos]
    found: Judged = {}

    def keep(results: Sequence[tuple[Task, Sequence[UInt8[np.ndarray, "c 3 t h w"]]]]) -> None:
        for task, values in measure_tasks(results, batch, judge.judged):
            found[task.key] = {name: value.mean(0).float().numpy() for name, value in values.items()}

    tasks = {piece.task.key: piece.task for piece in pieces if piece.rows[0].status == "ok"}
    done = run_job(
        Work(partial(clips_of, clip=clip, sampling=sampling)),
        list(tasks.values()),
        keep,
        running=running,
        progress=progress,
        most=max(1, HELD // (3 * clip.frames * clip.size**2 * len(chosen))),
    )
    rows = [
        replace(row, status=failure.status, reason=failure.reason) if (failure := done.failed.get(row.key)) else row
        for row, _ in videos
    ]
    named = [
        video_of(row.id, row.path, row.start, row.end) if video is None else replace(video, id=row.id)
        for row, video in videos
    ]
    return predictions_of(judge, rows, named, found, unseen, all_classes, done, progress)


def predict_windows(
    judge: SavedClassifier,
    sources: Source | Sequence[Source],
    split: str | None,
    unseen: bool,
    every_class: bool,
    batch: int,
    progress: Progress,
) -> Predictions:
    """The same of a classifier that reads a track: a row a window of as many moments as it was trained with."""
    began, clip = time.monotonic(), judge.clip
    rows: list[VideoRow] = []
    named: dict[str, Video] = {}
    found: Judged = {}
    for path in paths_of(sources):
        if not (Path(path) / "corpus.json").exists():
            raise RecipeError(
                f"{path} is no corpus, and this classifier reads the track {clip.track!r}; index the videos, then "
                f"`{Tracks.remedy(clip.track)}`"
            )
        corpus = Corpus.open(path)
        tracks = Tracks.open(corpus, clip.track)
        videos = [video for video in corpus.videos if split in (None, "all", video.split)]
        left_out = judge.learned_from(videos) if unseen else set()
        for number, video in enumerate(videos, 1):
            if video.id in left_out:
                continue
            row = VideoRow(video.id, str(video.path), video.start, video.end, video.status, video.reason)
            named[video.id] = video
            try:
                reader = tracks.reader(video) if video.status == "ok" else None
            except (CorpusError, VideoError) as error:
                row, reader = replace(row, status="missing", reason=str(error)), None
            if reader is None:
                rows.append(row)
                continue
            cut = Windows.over(reader.times, clip, judge.data.sampling)
            for first in range(0, len(cut.begins), batch):
                times = [
                    judge.data.sampling.times(reader.times, clip, begin).times for begin in cut.begins[first:][:batch]
                ]
                clips = np.moveaxis(np.stack([reader.frames(some) for some in times]), -1, 1)
                values = judge.judged(torch.from_numpy(np.ascontiguousarray(clips)))
                for window, some in enumerate(times):
                    end = float(some[-1]) + cut.step / clip.tubelet_frames
                    one = replace(row, start=float(some[0]), end=min(end, video.end) if video.end else end)
                    found[one.key] = {name: value[window].float().numpy() for name, value in values.items()}
                    rows.append(one)
            progress(number, len(videos), "")
    done = Done(len(named), 0, len({row.id for row in rows if row.status == "ok"}), {}, {}, 0, time.monotonic() - began)
    return predictions_of(judge, rows, list(named.values()), found, unseen, every_class, done, progress)


def predictions_of(
    judge: SavedClassifier,
    rows: Sequence[VideoRow],
    videos: Sequence[Video],
    found: Judged,
    unseen: bool,
    every_class: bool,
    done: Done,
    progress: Progress,
) -> Predictions:
    """The table, with who was trained on each video or on one that looks like it; without the latter if `unseen`."""
    progress(done.total, done.total, "comparing with what was trained on")
    readable = {row.id for row in rows if row.status == "ok"}
    same, alike = judge.trained_on.roles_in(videos, [video for video in videos if video.id in readable])
    copies = {name for name, some in alike.items() if CLASSIFIER in some} if unseen else set()
    kept = [row for row in rows if row.id not in copies]
    trained_on = in_words(same, alike)
    failed = [row for row in kept if row.status != "ok"]
    return Predictions(table_of(kept, found, trained_on, judge, every_class), judge, failed, done, len(copies))


def table_of(
    rows: Sequence[VideoRow],
    found: Judged,
    trained_on: Mapping[str, str | None],
    classifier: SavedClassifier,
    every_class: bool,
) -> pa.Table:
    fields = [
        ("id", pa.string()),
        ("path", pa.string()),
        ("start", pa.float64()),
        ("end", pa.float64()),
        ("label", pa.string()),
        ("probability", pa.float32()),
        ("caution", pa.string()),
        ("status", pa.string()),
        ("reason", pa.string()),
        ("trained_on", pa.string()),  # by whom: classifier, encoder, aligner; null where by none
    ]
    if every_class:
        fields.append(("probabilities", pa.list_(pa.float32(), len(classifier.classes))))
    schema = pa.schema(fields, metadata={"classes": "\n".join(classifier.classes)})
    made = []
    for row in rows:
        values: dict[str, Any] = {**vars(row), "trained_on": trained_on.get(row.id)}
        if row.status == "ok" and row.key in found:
            probabilities = found[row.key]["probabilities"]
            first = int(probabilities.argmax())
            values |= {"caution": caution(float(found[row.key].get("distance", 0.0)))}
            values |= {"label": classifier.classes[first], "probability": float(probabilities[first])}
            values |= {"probabilities": probabilities} if every_class else {}
        made.append({name: values.get(name) for name in schema.names})
    return pa.Table.from_pylist(made, schema=schema)
