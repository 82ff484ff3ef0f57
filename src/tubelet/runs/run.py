"""A run folder as Python holds it: `Run("runs/a")`. Whatever it shows is read from the folder when it is asked for."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from tubelet.checkpoint import checkpoint_step
from tubelet.corpus.table import Corpus
from tubelet.errors import RunError
from tubelet.evaluations.completion import complete
from tubelet.loading.loader import eval_batches
from tubelet.log import read_log, relative_losses
from tubelet.models.encoder import Encoder
from tubelet.recipes.finetune import Finetune
from tubelet.recipes.pretrain import Pretrain
from tubelet.results import Result, read_results
from tubelet.runs.evaluate import evaluate
from tubelet.runs.folder import (
    CLASSIFIER,
    IMPORTED,
    LOG,
    RunConfig,
    load_task,
    own_parts,
    read_kind,
    read_run_config_of,
    run_folder,
    weights_file,
)
from tubelet.runs.lock import inspect_run
from tubelet.runs.selection import best_candidate
from tubelet.tasks import Reconstruction
from tubelet.types import Batch, Mask

if TYPE_CHECKING:
    import pandas as pd


class Run:
    """What `tubelet pretrain`, `finetune` or `import` wrote, or is about to write, into a folder."""

    def __init__(self, folder: Path | str) -> None:
        self.folder = run_folder(folder)

    def __fspath__(self) -> str:
        """A run is accepted wherever a path of its folder is."""
        return str(self.folder)

    @property
    def kind(self) -> str:
        """ "pretrain", "finetune" or "imported"; "" where nothing has been written yet."""
        kind = read_kind(self.folder)
        return IMPORTED if kind == "pretrain" and self.recipe == IMPORTED else kind

    @property
    def recorded(self) -> RunConfig[Pretrain] | RunConfig[Finetune]:
        """All that `recipe.json` says."""
        if read_kind(self.folder) == "finetune":
            return read_run_config_of(self.folder, Finetune)
        return read_run_config_of(self.folder, Pretrain)

    @property
    def recipe(self) -> str:
        """The name of its recipe."""
        return self.recorded.recipe

    @property
    def config(self) -> Pretrain | Finetune:
        """The recipe with every field as it was trained."""
        return self.recorded.config

    @property
    def steps(self) -> int:
        return self.recorded.steps

    @property
    def step(self) -> int:
        """How far it is trained."""
        return checkpoint_step(weights_file(self.folder) if self.finished else self.folder / "checkpoint.safetensors")

    @property
    def finished(self) -> bool:
        """Whether it is trained and measured to its end."""
        kind = read_kind(self.folder)
        if kind == "finetune":
            return (self.folder / CLASSIFIER).exists()
        if not kind:
            return False
        recorded = read_run_config_of(self.folder, Pretrain)
        return recorded.recipe == IMPORTED or inspect_run(self.folder, recorded).finished

    @property
    def corpus(self) -> Corpus:
        """The corpus that it was trained on."""
        if not (path := self.recorded.corpus["path"]):
            raise RunError(f"{self.folder} was imported and trained on no corpus here; name one with `on`")
        return Corpus.open(Path(path))

    @property
    def results(self) -> dict[str, Result]:
        """What was measured, by entry."""
        return read_results(self.folder)

    @property
    def log(self) -> pd.DataFrame:
        """A row a logged step: losses, learning rate, clips a second."""
        import pandas as pd

        records = [record for record in read_log(self.folder / LOG) if record["kind"] == "step"]
        return pd.DataFrame([{name: value for name, value in one.items() if name != "kind"} for one in records])

    @property
    def encoder(self) -> Encoder:
        """On the CPU, in evaluation mode."""
        _, task = load_task(self.folder)
        return task.encoder

    @property
    def summary(self) -> str:
        """Its last losses relative to their baselines; of fine-tuning, what was selected."""
        if isinstance(config := self.config, Finetune):
            return best_candidate(config.grid, self.folder, 0).summary
        steps = [record for record in read_log(self.folder / LOG) if record["kind"] == "step"]
        if not steps:
            return "its log of steps is lost"
        return f"{steps[-1]['step']} steps, {relative_losses(steps[-1])}"

    def evaluate(self, *protocols: str, on: Path | str | None = None, **options: Any) -> Result | dict[str, Result]:
        """`tubelet.evaluate` of this run: one result of one protocol, else by entry."""
        return evaluate(self.folder, *protocols, on=on, **options)

    @torch.inference_mode()
    def reconstruct(self, on: Path | str | None = None, split: str = "test", clips: int = 6) -> Reconstruction:
        """What it makes of the hidden tubelets of the first clips of a split."""
        task, batch = self.first_clips(on, split, clips)
        return task.reconstruct(batch)

    def complete(self, video: Tensor, hole: Tensor) -> Tensor:
        """Clips, uint8 "b 3 t h w", with what its decoder says of the tubelets where `hole` "nt nh nw" is true."""
        _, task = load_task(self.folder)
        return complete(task, video, hole)

    @torch.inference_mode()
    def masks(self, on: Path | str | None = None, split: str = "test", clips: int = 6) -> tuple[Batch, Mask]:
        """The first clips of a split, and which of their tubelets its masker hides."""
        task, batch = self.first_clips(on, split, clips)
        return batch, task.draw(batch)

    def first_clips(self, on: Path | str | None, split: str, clips: int) -> tuple[Any, Batch]:
        config, task = load_task(self.folder)
        corpus = self.corpus if on is None else Corpus.open(Path(on))
        videos = corpus.select(split)[:clips]
        batches = eval_batches(
            corpus,
            videos,
            config.clip,
            config.data,
            batch=clips,
            needs=task.needs,
            text=bool(task.online_maps),
            streams=task.reads,
        )
        batch = next(iter(batches))
        if not len(batch):
            raise RunError(f"not one of the first {clips} clips of split {split!r} could be read: {batch.failed[0]}")
        return task, batch

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r})"

    def _repr_html_(self) -> str:
        if not self.kind:
            return f"<p><b>{escape(str(self.folder))}</b>: nothing is trained there yet</p>"
        state = "finished" if self.finished else f"step {self.step} of {self.steps}"
        rows = [
            f"<tr><td>{escape(entry)}</td><td>{escape(name)}</td><td>{escape(str(metric))}</td></tr>"
            for entry, result in self.results.items()
            for name, metric in result.metrics.items()
        ]
        table = "<table><tr><th>evaluation</th><th>metric</th><th>value</th></tr>" + "".join(rows) + "</table>"
        return (
            f"<p><b>{escape(str(self.folder))}</b>: {escape(self.kind)}, recipe {escape(self.recipe)}, {state}</p>"
            + (table if rows else "")
        )


def next_commands(run: Run, on: Path | str = "") -> str:
    """What to type next: a measure that such a table and such a run allow."""
    folder, config = run.folder, run.config
    trust = " --trust-code" if own_parts(config) else ""
    if isinstance(config, Finetune):
        return f"next: `tubelet predict {folder} VIDEOS --out labels.parquet{trust}` and `tubelet report {folder}`"
    labelled = any(video.label for video in Corpus.open(Path(on)).select("train"))
    measure = "linear" if labelled else "retrieval" if config.needs_text else "reconstruction"
    return f"next: `tubelet evaluate {folder} --on {on} {measure}{trust}` and `tubelet report {folder}`"
