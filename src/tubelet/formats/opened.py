"""A run as an export sees it: encoder, heads and plan, whether it was pretrained, fine-tuned or imported."""

from dataclasses import dataclass
from pathlib import Path

import chz

from tubelet.errors import RunError
from tubelet.formats.graphs import VideoModel
from tubelet.models.classifier import Classifier, ScoreHead
from tubelet.models.decoder import Reconstructor
from tubelet.models.encoder import Encoder
from tubelet.models.others import WholeClipEncoder, only_measured
from tubelet.objectives.contrast import ContrastLoss
from tubelet.objectives.predict import PredictLoss
from tubelet.objectives.targets import PerColour
from tubelet.recipes.finetune import Finetune
from tubelet.recipes.pretrain import Pretrain
from tubelet.runs.folder import RunConfig, load_task, read_kind, read_run_config, read_run_config_of
from tubelet.runs.imported import imported_head
from tubelet.runs.tuned import tuned_model
from tubelet.types import CLIP


@dataclass(frozen=True)
class Opened:
    """On the CPU, in evaluation mode."""

    plan: RunConfig[Pretrain] | RunConfig[Finetune]
    encoder: Encoder
    decoder: Reconstructor | None = None
    contrast: ContrastLoss | None = None
    classifier: ScoreHead | None = None
    classes: tuple[str, ...] = ()

    @property
    def graph(self) -> VideoModel:
        return VideoModel(self.encoder, self.contrast, self.classifier).eval()


def open_run(folder: Path) -> Opened:
    if read_kind(folder) == "finetune":
        _, model, classes = tuned_model(folder)
        check_frames(folder, model.encoder)
        return Opened(
            read_run_config_of(folder, Finetune), plain_encoder(model), classifier=score_head(model), classes=classes
        )
    _, task = load_task(folder)
    if isinstance(task.encoder, WholeClipEncoder):
        raise only_measured(task.encoder.config.known)
    check_frames(folder, task.encoder)
    heads = list(task.objectives.values())
    pixels = next((head for head in heads if isinstance(head, PredictLoss) and is_videomae(head)), None)
    classifier, classes = imported_head(folder) or (None, ())
    return Opened(
        read_run_config(folder),
        task.encoder,
        None if pixels is None else pixels.decoder,
        next((head for head in heads if isinstance(head, ContrastLoss)), None),
        classifier,
        classes,
    )


def check_frames(folder: Path, encoder: Encoder) -> None:
    """`RunError` for an encoder of another signal, which no other program reads as a video's."""
    if encoder.clip.track:
        raise RunError(
            f"{folder} reads the track {encoder.clip.track!r}, not frames, and no other program knows such an encoder; "
            "its features are written by --to localiser, and `tubelet.load_encoder` gives it as a module"
        )


def is_videomae(head: PredictLoss) -> bool:
    """Whether other programs can hold this decoder as VideoMAE's: its layers, its target, on the clip itself."""
    config = head.config
    return type(head.decoder) is Reconstructor and type(config.target) is PerColour and config.on == (CLIP,)


def plain_encoder(model: Classifier) -> Encoder:
    """The encoder of a classifier, which has no norm after its last block, as one that says so."""
    encoder = model.encoder
    encoder.config = chz.replace(encoder.config, final_norm=False)
    return encoder.eval()


def score_head(model: Classifier) -> ScoreHead:
    head = ScoreHead(model.head.in_features, model.head.out_features, model.norm.eps)
    head.norm, head.linear = model.norm, model.head
    return head.eval()
