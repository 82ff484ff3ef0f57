"""An encoder as one graph for other runtimes: ONNX and torch.export. Verified with what will run it, before it counts.

In: `video`, uint8, batch x 3 x frames x height x width. Out: `embedding`, the mean of the tokens, as `tubelet embed`
gives it; `tokens`; `joint`, of length 1, in the space of texts, where the run has a contrast head; and `scores` of the
classes, where it has a classifier.
"""

import contextlib
import copy
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.export import Dim
from torch.nn.functional import normalize

from tubelet.errors import WeightsError
from tubelet.models.classifier import ScoreHead
from tubelet.models.encoder import Encoder
from tubelet.models.patches import cut
from tubelet.objectives.contrast import ContrastLoss

CLOSE = 1e-4  # relative to the largest value: further apart it is another model
CLOSE_FLOAT16 = 1e-2  # the same of a float16 model against the float32 model; its numbers have eleven bits
BATCHES = (1, 3)


class VideoModel(nn.Module):
    """What is exported of a run."""

    def __init__(self, encoder: Encoder, contrast: ContrastLoss | None = None, classifier: ScoreHead | None = None):
        super().__init__()
        self.encoder = encoder
        self.project = None if contrast is None else contrast.video
        self.classifier = classifier
        self.dtype = torch.float32  # of the blocks

    def forward(self, video: UInt8[Tensor, "b 3 t h w"]) -> tuple[Float[Tensor, "b ..."], ...]:
        x = self.encoder.patches(cut(video, self.encoder.clip)) + self.encoder.positions
        x = x.to(self.dtype)
        for block in self.encoder.blocks:
            x = block(x)
        tokens = self.encoder.norm(x).float()
        found = [tokens.mean(1), tokens]
        if self.project is not None:
            found.append(normalize(self.project(found[0]), dim=-1))
        if self.classifier is not None:
            found.append(self.classifier(tokens))
        return tuple(found)

    @property
    def outputs(self) -> list[str]:
        more = {"joint": self.project, "scores": self.classifier}
        return ["embedding", "tokens", *(name for name, part in more.items() if part is not None)]


def write_video_onnx(model: VideoModel, path: Path) -> float:
    """Writes the file; returns how far ONNX Runtime is from PyTorch, relative to the largest value."""
    clips = [(random_clips(model.encoder, batch),) for batch in BATCHES]
    return write_onnx(model, clips, ["video"], model.outputs, {"video": {0: Dim("batch")}}, path)


def write_float16_onnx(model: VideoModel, path: Path) -> float:
    """Blocks in float16, everything around them in float32; returns how far it is from the float32 model."""
    clips = [(random_clips(model.encoder, batch),) for batch in BATCHES]
    dynamic = {"video": {0: Dim("batch")}}
    return write_onnx(in_float16(model), clips, ["video"], model.outputs, dynamic, path, model, CLOSE_FLOAT16)


def in_float16(model: VideoModel) -> VideoModel:
    """A copy. Pixels and heads stay in float32: they are a small part of the weights and of the time."""
    small = copy.deepcopy(model)
    small.dtype = torch.float16
    small.encoder.blocks.half()
    small.encoder.norm.half()
    return small


def write_onnx(
    model: nn.Module,
    examples: Sequence[tuple[Tensor, ...]],
    inputs: list[str],
    outputs: list[str],
    dynamic: Mapping[str, Mapping[int, Dim]],
    path: Path,
    original: nn.Module | None = None,
    close: float = CLOSE,
) -> float:
    """One graph, traced on the last example and compared on all of them with the `original`, by default the model."""
    onnxruntime = needed("onnxruntime")
    needed("onnxscript")
    shapes = tuple(dict(dynamic[name]) for name in inputs)
    with still():
        program = torch.onnx.export(
            model, examples[-1], input_names=inputs, output_names=outputs, dynamic_shapes=shapes, dynamo=True,
            verbose=False,
        )  # fmt: skip
        assert program is not None
        program.save(path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def run(*given: Tensor) -> list[np.ndarray]:
        return session.run(None, {name: value.numpy() for name, value in zip(inputs, given, strict=True)})

    return largest_difference(original or model, run, examples, path, close)


def write_program(model: VideoModel, path: Path) -> float:
    """Writes what `torch.export.load` reads; returns how far it is from the model."""
    example = (random_clips(model.encoder, BATCHES[-1]),)
    with still():
        program = torch.export.export(model, example, dynamic_shapes=({0: Dim("batch")},))
        torch.export.save(program, path)
        loaded = torch.export.load(path).module()
    clips = [(random_clips(model.encoder, batch),) for batch in BATCHES]
    return largest_difference(model, lambda *given: [value.numpy() for value in loaded(*given)], clips, path)


@torch.no_grad()
def largest_difference(
    model: nn.Module,
    run: Callable[..., list[np.ndarray]],
    examples: Sequence[tuple[Tensor, ...]],
    path: Path,
    close: float = CLOSE,
) -> float:
    """The largest difference over all outputs and examples; a file that is another model is removed."""
    worst = 0.0
    for given in examples:
        expected = model(*given)
        expected = expected if isinstance(expected, tuple) else (expected,)
        for wanted, got in zip(expected, run(*given), strict=True):
            if got.shape != tuple(wanted.shape) or not np.isfinite(got).all():
                worst = float("inf")
            else:
                worst = max(worst, float(np.abs(got - wanted.numpy()).max() / wanted.abs().max()))
    if not worst <= close:
        path.unlink()
        raise WeightsError(
            f"{path.name} gives other values than the model (relative difference {worst:.1e}, at most {close:.0e}); "
            "removed"
        )
    return worst


def random_clips(encoder: Encoder, batch: int) -> UInt8[Tensor, "b 3 t h w"]:
    clip = encoder.clip
    random = torch.Generator().manual_seed(batch)
    return torch.randint(0, 256, (batch, 3, clip.frames, clip.size, clip.size), dtype=torch.uint8, generator=random)


def needed(module: str) -> Any:
    """A package that only exports need."""
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise WeightsError(f"this export needs {module} ({error}); `pip install 'tubelet[export]'`") from None


@contextlib.contextmanager
def still() -> Iterator[None]:
    """Without what the exporters say of their progress and of their own code."""
    loggers = [logging.getLogger(name) for name in ("torch", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    fast = torch.backends.mha.get_fastpath_enabled()
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        torch.backends.mha.set_fastpath_enabled(False)  # the fused kernel is no operator of other runtimes
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
