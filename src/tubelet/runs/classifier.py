"""A classifier that was kept, ready for new videos: of `tubelet finetune`, of imported weights, or a probe of
`tubelet evaluate`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import chz
import torch
from torch import Tensor

from tubelet.checkpoint import checkpoint_step
from tubelet.corpus.schema import Video
from tubelet.errors import RunError
from tubelet.evaluations.familiarity import Familiarity, read_familiarity
from tubelet.evaluations.heads import FOLDER, read_head
from tubelet.evaluations.trained_on import CLASSIFIER, FILE, PROBES, TrainedOn
from tubelet.files import file_name
from tubelet.loading.data import Data
from tubelet.models.classifier import ScoreHead
from tubelet.runs.folder import IMPORTED, load_task, read_kind, weights_file
from tubelet.runs.imported import imported_head
from tubelet.runs.record import of_run
from tubelet.runs.tuned import tuned_model
from tubelet.types import Clip
from tubelet.video.views import View, parse

LISTED = "trained_on.csv"  # what runs of earlier versions have in place of a record by content
TUNED = "finetune"  # the name of the classifier of a fine-tuned run, which may have probes beside it


@dataclass(frozen=True)
class SavedClassifier:
    """Scores of clips, and how clips are taken of a video."""

    name: str
    classes: tuple[str, ...]
    clip: Clip
    data: Data
    views: tuple[View, ...]
    scores: Callable[[Tensor], Tensor]  # uint8 "b 3 t h w" -> "b classes"
    trained_on: TrainedOn = field(default_factory=TrainedOn)
    listed: frozenset[str] = frozenset()  # ids of the videos that a run without a record lists
    familiarity: Familiarity | None = None
    with_features: Callable[[Tensor], tuple[Tensor, Tensor]] | None = None  # scores, and the features that they are of

    def learned_from(self, videos: Sequence[Video]) -> set[str]:
        """The ids of those that it was fitted or selected on, whatever they are called."""
        return set(self.trained_on.of(CLASSIFIER).find(videos)) | {v.id for v in videos if v.id in self.listed}

    def probabilities(self, video: Tensor) -> Tensor:
        with torch.inference_mode():
            return self.scores(video).double().softmax(1).cpu()

    def judged(self, video: Tensor) -> dict[str, Tensor]:
        """The probabilities of clips and, where that is known, their `distance` from those that were learned from."""
        if self.familiarity is None or self.with_features is None:
            return {"probabilities": self.probabilities(video)}
        with torch.inference_mode():
            scores, features = self.with_features(video)
            return {
                "probabilities": scores.double().softmax(1).cpu(),
                "distance": self.familiarity.distances(features),
            }


def load_classifier(run: Path | str, name: str | None = None, device: torch.device | str = "cpu") -> SavedClassifier:
    """The classifier of a run folder; `name` tells the probes of a pretrained run apart."""
    run = Path(run)
    if name in (None, TUNED) and read_kind(run) == TUNED:
        return tuned_classifier(run, device)
    if name in (None, IMPORTED) and (found := imported_head(run)) is not None:
        return imported_classifier(run, *found, device)
    return probe_classifier(run, name, device)


def imported_classifier(
    run: Path, head: ScoreHead, classes: tuple[str, ...], device: torch.device | str
) -> SavedClassifier:
    """The classifier that came with imported weights."""
    config, task = load_task(run)
    encoder, head = task.encoder.to(device), head.to(device)
    return SavedClassifier(
        IMPORTED, classes, config.clip, plain_reading(config.data), parse("1x1"),
        lambda video: head(encoder.encode(video.to(device)).float()), of_run(run),
    )  # fmt: skip


def tuned_classifier(run: Path, device: torch.device | str) -> SavedClassifier:
    config, model, classes = tuned_model(run)
    model.to(device)

    def with_features(video: Tensor) -> tuple[Tensor, Tensor]:
        features = model.features(video.to(device))
        return model.scores(features).float(), features

    return SavedClassifier(
        TUNED, classes, config.clip, plain_reading(config.data), parse(config.views),
        lambda video: model(video.to(device)).float(), of_run(run), listed_ids(run),
        read_familiarity(run, TUNED), with_features,
    )  # fmt: skip


def plain_reading(data: Data) -> Data:
    """The same frames of a video, without a cache of the frames of a whole corpus."""
    return chz.replace(data, cache=False, cache_size=None)


def listed_ids(run: Path) -> frozenset[str]:
    import csv

    path = run / LISTED
    if (run / FILE).exists() or not path.exists():
        return frozenset()
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return frozenset(row["video"] for row in csv.DictReader(file))
    except (OSError, ValueError, KeyError, csv.Error) as error:
        raise RunError(
            f"{path} is damaged ({error}); restore it, or delete it: then what was trained on counts as unknown"
        ) from None


def probe_classifier(run: Path, name: str | None, device: torch.device | str) -> SavedClassifier:
    config, task = load_task(run)
    there = sorted(path.stem for path in (run / FOLDER).glob("*.safetensors"))
    if not there:
        raise RunError(f"{run} has no classifier yet; make one with `tubelet evaluate {run} linear`, or fine-tune it")
    if name is None and len(there) > 1 and "linear" not in there:
        raise RunError(f"{run} has several classifiers ({'; '.join(there)}); name one with --classifier")
    name = name or ("linear" if "linear" in there else there[0])
    name = name if name in there else file_name(name)
    if name not in there:
        raise RunError(f"{run} has no classifier {name!r}; it has: {'; '.join(there)}")
    head = read_head(run / FOLDER / f"{name}.safetensors")
    step = checkpoint_step(weights_file(run))
    if head.step != step:
        raise RunError(
            f"the classifier {name!r} of {run} is of step {head.step} and the encoder of step {step}; "
            f"measure again with `tubelet evaluate {run} linear`"
        )
    record = TrainedOn.read(run / PROBES / f"{name}.parquet")
    scores = head.of_clips(task.encoder.to(device), config.clip.grid[0], device)
    return SavedClassifier(
        name, head.classes, config.clip, plain_reading(config.data), parse("1x1"), scores, record or of_run(run),
        familiarity=read_familiarity(run, name), with_features=scores.with_features,
    )  # fmt: skip
