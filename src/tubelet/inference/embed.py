"""The Python face: `encoder = tubelet.load_encoder("RUN")`, `features = tubelet.embed(encoder, "clip.mp4")`."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
import torch
from jaxtyping import Float, Float64, UInt8
from torch import Tensor

from tubelet.checkpoint import CHECKPOINT
from tubelet.corpus.probe import moments
from tubelet.errors import VideoError, WeightsError
from tubelet.inference.arrays import clip_of_frames
from tubelet.inference.hub import SCHEME, encoder_of
from tubelet.inference.kinds import FeatureKind
from tubelet.inference.reading import Moment, Opening, Piece, piece_of, read_here, with_path
from tubelet.inference.rows import VideoRow, absolute
from tubelet.inference.windows import Measuring, Windows, length_of, pieces_of
from tubelet.loading.reader import LONG
from tubelet.models.encoder import Encoder
from tubelet.progress import Progress, silent
from tubelet.runs.folder import CLASSIFIER, RECIPE, load_task, run_folder
from tubelet.runs.run import Run
from tubelet.trust import trusting_code
from tubelet.video.limits import Limits, limited, within
from tubelet.video.limits import limits as chosen_limits
from tubelet.video.sampling import Sampling

Source = str | Path | np.ndarray | Tensor


@dataclass(frozen=True)
class Embedding:
    """What is known of the windows of one video (one that is not cut into windows is one window)."""

    features: Float[Tensor, "w *shape"]
    start: Float64[Tensor, "w"]  # seconds of the video
    end: Float64[Tensor, "w"]  # not a number: the end of the video
    attention: Float[Tensor, "w nt nh nw"] | None = None


def load_encoder(path: str | Path | Run, *, trust_code: bool = False) -> Encoder:
    """The encoder of a run folder, also a fine-tuned one, or of its weights file, on the CPU, in evaluation mode.

    A run whose own classes stand in a file of code is opened only with `trust_code`, which runs that file. The encoder
    carries the clip size (`encoder.clip`) and the frame sampling (`encoder.sampling`) that it was trained with.
    `hf://owner/name` is fetched from the Hugging Face hub: what `tubelet push` uploaded, or any VideoMAE.
    """
    if isinstance(path, str) and path.startswith(SCHEME):
        return encoder_of(path)
    path = run_folder(path).expanduser()
    run = path.parent if path.is_file() else path
    if not path.exists():
        raise WeightsError(f"there is no run folder and no checkpoint at {path}; train one with `tubelet pretrain`")
    if not (run / RECIPE).exists():
        raise WeightsError(
            f"{path} has no {RECIPE} beside it, which says what its weights are; name a folder of `tubelet pretrain`"
        )
    if path.is_file() and path.name not in (CHECKPOINT, CLASSIFIER):
        raise WeightsError(f"{path} is no checkpoint; name the folder {run} or {run / CHECKPOINT}")
    with trusting_code(trust_code):
        config, task = load_task(run)
    task.encoder.sampling = config.data.sampling
    return task.encoder


@overload
def embed(
    encoder: Encoder | Run | str | Path, source: Source | Sequence[Source], *, sampling: Sampling | None = None,
    batch: int = 8, features: str = "mean", layer: int | Literal["all"] | None = None, limits: Limits | None = None,
    progress: Progress = silent,
) -> Float[Tensor, "v *shape"]: ...  # fmt: skip


@overload
def embed(
    encoder: Encoder | Run | str | Path, source: Source | Sequence[Source], *, sampling: Sampling | None = None,
    batch: int = 8, features: str = "mean", layer: int | Literal["all"] | None = None, limits: Limits | None = None,
    windows: float | int | None = None, overlap: float | int | str = 0.0, attention: bool = False,
    progress: Progress = silent,
) -> list[Embedding]: ...  # fmt: skip


def embed(
    encoder: Encoder | Run | str | Path,
    source: Source | Sequence[Source],
    *,
    sampling: Sampling | None = None,
    batch: int = 8,
    features: str = "mean",
    layer: int | Literal["all"] | None = None,
    limits: Limits | None = None,
    windows: float | int | None = None,
    overlap: float | int | str = 0.0,
    attention: bool = False,
    progress: Progress = silent,
) -> Any:
    """One feature a video: the mean of the encoder's tokens of its centre clip, as in evaluation.

    The encoder is one of `load_encoder`, or a run, whose encoder is loaded. A video is a path, or frames: uint8
    "t h w 3" of which a clip is chosen as of a file, or whole clips, "3 t h w" or "b 3 t h w", as an encoder reads
    them. Frames are chosen as in training (`encoder.sampling`) unless said otherwise. A video that cannot be read is a
    `VideoError`; `tubelet embed` makes a row of it instead.

    `features` "time_step" and "token" give a feature for each of them, `layer` those of a block ("all": of every one).
    With `windows` (seconds) or `attention` it is a list of `Embedding`, one a video, with when each window begins and
    ends, and how much each token is attended to in the last block.
    """
    encoder = encoder if isinstance(encoder, Encoder) else load_encoder(encoder)
    kind = FeatureKind(features, layer, attention)
    kind.check(encoder)
    cut = None if windows is None else Windows.of(windows, overlap)
    sources: list[Source] = [source] if isinstance(source, str | Path | np.ndarray | Tensor) else list(source)
    reading = EmbeddingReader(encoder, sampling or encoder.sampling, kind, max(1, batch), progress)
    with limited(limits or Limits()):
        if cut is not None:
            return [reading.in_windows(one, cut) for one in reading.shown(sources)]
        found = reading.clips(sources)
    if not attention:
        return found["feature"]
    nothing = torch.full((1,), float("nan"), dtype=torch.float64)
    return [
        Embedding(feature[None], torch.zeros(1, dtype=torch.float64), nothing, seen[None])
        for feature, seen in zip(found["feature"], found["attention"], strict=True)
    ]


def embed_at(encoder: Encoder, path: Path, start: float | None, sampling: Sampling) -> Float[Tensor, "d"]:
    """The feature of the clip in the middle of a file, or of the one that begins at this moment."""
    row = row_of(path)
    piece = piece_of(row, None, encoder.clip, sampling)
    if start is not None:
        piece = Piece((row,), (Opening(Path(row.path), start, start + LONG, (Moment(start, start + LONG, 0.0),)),))
    try:
        clips = read_here(piece, encoder.clip, sampling)
    except VideoError:
        times = moments(path, -np.inf, np.inf)[0] if start is not None else np.empty(0)
        if start is not None and times.size and start > times[-1]:
            raise VideoError(f"{path}: no frame from {start:g} s on; the last one is at {times[-1]:.2f} s") from None
        raise
    return FeatureKind().of(encoder, clips)["feature"][0]


@dataclass(frozen=True)
class EmbeddingReader:
    """How `embed` reads and what it keeps."""

    encoder: Encoder
    sampling: Sampling
    kind: FeatureKind
    batch: int
    progress: Progress = silent

    def shown(self, sources: Sequence[Source]) -> Iterator[Source]:
        """The sources one by one, each counted as done when the next one is asked for."""
        for index, one in enumerate(sources):
            yield one
            self.progress(index + 1, len(sources), "")

    def clips(self, sources: Sequence[Source]) -> dict[str, Tensor]:
        """What is kept of the clip of each video; of arrays that hold several clips, of each."""
        parts: list[dict[str, Tensor]] = []
        waiting: list[UInt8[Tensor, "c 3 t h w"]] = []
        for index, one in enumerate(self.shown(sources)):
            waiting.append(self.read(one))
            if len(waiting) == self.batch or index == len(sources) - 1:
                parts.append(self.measured(torch.cat(waiting)))
                waiting = []
        if not parts:
            return {"feature": torch.empty(0, *self.kind.shape(self.encoder)), "attention": torch.empty(0)}
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    def read(self, source: Source) -> UInt8[Tensor, "c 3 t h w"]:
        if isinstance(source, np.ndarray | Tensor):
            return clip_of_frames(source, self.encoder.clip, self.sampling)
        return self.read_piece(piece_of(row_of(source), None, self.encoder.clip, self.sampling))

    def read_piece(self, piece: Piece) -> UInt8[Tensor, "c 3 t h w"]:
        return read_here(piece, self.encoder.clip, self.sampling)

    def in_windows(self, source: Source, windows: Windows) -> Embedding:
        if isinstance(source, np.ndarray | Tensor):
            raise VideoError("frames in an array have no times, and windows need them; give a file")
        row = row_of(source)
        try:
            length = within(chosen_limits(), lambda: length_of(Measuring(row)))
        except VideoError as error:
            raise with_path(error, Path(row.path)) from error
        clip = self.encoder.clip
        rows: list[VideoRow] = []
        parts = []
        for piece in pieces_of(row, length, windows, 3 * clip.frames * clip.size**2):
            parts.append(self.measured(self.read_piece(piece)))
            rows += piece.rows
        found = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        start, end = (
            torch.tensor([getattr(one, name) for one in rows], dtype=torch.float64) for name in ("start", "end")
        )
        return Embedding(found["feature"], start, end, found.get("attention"))

    def measured(self, video: UInt8[Tensor, "c 3 t h w"]) -> dict[str, Tensor]:
        parts = [self.kind.of(self.encoder, video[at : at + self.batch]) for at in range(0, len(video), self.batch)]
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def row_of(source: str | Path) -> VideoRow:
    return VideoRow(str(source), absolute(Path(source).expanduser()), 0.0, None)
