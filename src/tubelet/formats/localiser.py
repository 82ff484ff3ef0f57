"""Features of every moment of a corpus, and its moments, in the layout that temporal localisers read: ActionFormer
(arXiv 2202.07925) and those that share its loaders. Start reading at `export_moments`.

  features/ID.npy   float32 (moments, numbers), evenly spaced from the beginning of the video
  moments.json      as ActivityNet's: `database`, of each video its subset, duration, fps, and annotations with
                    segment and label_id
  config.json       what their config files ask for: input_dim, num_classes, feat_stride, num_frames, default_fps;
                    strides are in frames at that rate, which is the first video's
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32

from tubelet.corpus.table import Corpus
from tubelet.errors import RunError
from tubelet.evaluations.features import Extraction
from tubelet.evaluations.segmentation import truth
from tubelet.evaluations.timelines import Timeline, timelines
from tubelet.files import file_name, writing
from tubelet.progress import Progress, silent
from tubelet.runs.folder import corpus_of, load_task, read_run_config
from tubelet.runs.run import Run

SUBSETS = {"train": "training", "val": "validation", "test": "validation"}  # what their loaders call them


@dataclass(frozen=True)
class ForLocalisers:
    """What was written."""

    folder: Path
    videos: int
    failed: Sequence[str]  # "id: reason"
    width: int
    step: float  # seconds from one feature to the next


def export_moments(
    run: str | Path | Run,
    out: str | Path,
    *,
    on: str | Path | Corpus | None = None,
    batch: int = 16,
    progress: Progress = silent,
) -> ForLocalisers:
    """Writes the features of every time step of all videos of a corpus, by the encoder of a run, and the corpus's
    moments, into the new folder `out`, as ActionFormer reads them."""
    out, folder = Path(out), Path(run)
    if out.exists() and (out.is_file() or any(out.iterdir())):
        raise RunError(f"{out} exists; name a new folder with --out")
    config, task = load_task(folder)
    corpus = corpus_of(folder, read_run_config(folder), on)
    task.to("cuda" if torch.cuda.is_available() else "cpu")
    how = Extraction(task.encoder, corpus, config.clip, config.data, batch, progress=progress)
    lines, failed = timelines(how, "all")
    step = one_step(lines)
    classes = sorted({moment.label for moment in corpus.moments})
    fps, width = lines[0].video.fps, lines[0].features.shape[1]
    database = {file_name(line.video.id): entry(line, corpus, classes) for line in lines}
    config_file = {
        "input_dim": width, "num_classes": len(classes), "feat_stride": step * fps, "num_frames": step * fps,
        "default_fps": fps, "train_split": ["training"], "val_split": ["validation"], "classes": classes,
    }  # fmt: skip
    with writing(out, folder=True) as part:
        (part / "features").mkdir()
        for line in lines:
            np.save(part / "features" / f"{file_name(line.video.id)}.npy", even(line))
        (part / "moments.json").write_text(json.dumps({"version": corpus.name, "database": database}, indent=1))
        (part / "config.json").write_text(json.dumps(config_file, indent=1))
    return ForLocalisers(out, len(lines), failed, width, step)


def one_step(lines: Sequence[Timeline]) -> float:
    """Seconds of a feature, which localisers have one number for."""
    first = lines[0]
    if other := next((line for line in lines if abs(line.step / first.step - 1) > 0.01), None):
        raise RunError(
            f"a feature of {first.video.id} is of {first.step:.3g} s and one of {other.video.id} of {other.step:.3g} "
            "s, and localisers need one length; take a run whose data.sampling has a step_ms"
        )
    return first.step


def even(line: Timeline) -> Float32[np.ndarray, "s d"]:
    """A row for every step from the beginning of the video; one that no clip saw is as the one before it."""
    index = np.floor((line.times - line.video.start) / line.step + 1e-6).astype(int)
    rows = np.searchsorted(index, np.arange(index[-1] + 1), side="right") - 1
    return line.features.numpy()[np.maximum(rows, 0)].astype(np.float32)


def entry(line: Timeline, corpus: Corpus, classes: Sequence[str]) -> dict[str, Any]:
    """Of one video; seconds count from its beginning, as features do."""
    video = line.video
    return {
        "subset": SUBSETS.get(video.split, video.split),
        "duration": video.end - video.start,
        "fps": video.fps,
        "annotations": [
            {"segment": [span.start - video.start, span.end - video.start], "label": classes[span.label],
             "label_id": span.label}
            for span in truth(line, corpus, classes)
        ],
    }  # fmt: skip
