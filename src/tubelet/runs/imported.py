"""Weights from elsewhere as a run folder, which every command takes: a recipe, a checkpoint at step 0, their origin."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypedDict

import chz

from tubelet.checkpoint import CHECKPOINT, load_strictly, save_weights
from tubelet.checksums import read_json, read_safetensors, write_json, write_safetensors
from tubelet.config import override
from tubelet.errors import RecipeError, RunError, WeightsError
from tubelet.files import writing
from tubelet.loading.data import Data
from tubelet.models.classifier import ScoreHead
from tubelet.models.others import OtherEncoder
from tubelet.objectives import Pixels
from tubelet.recipes.pretrain import Pretrain
from tubelet.runs.folder import IMPORTED, RunConfig, write_run_config
from tubelet.runs.run import Run
from tubelet.video.sampling import Sampling
from tubelet.weights import Weights, read_weights
from tubelet.weights.layouts import DECODER

ABOUT, HEAD = "import.json", "head.safetensors"
FIELDS = ("clip", "data", "encoder")


def import_weights(
    source: str | Path, *words: str, out: str | Path, trained_on: tuple[int, int] | None = None, **fields: Any
) -> Run:
    """Writes the run folder `out` of the weights in this file or folder, or on the hub under this name.

    Fields of clip, data and encoder are set as on the command line, `"clip.size=112"`. Where `clip.frames` and
    `clip.size` are others than the weights were trained on, the position table is interpolated. `trained_on` (frames,
    size) says what that was, where no config does.
    """
    given = [*words, *(f"{name}={value}" for name, value in fields.items())]
    write_imported(str(source), Path(out), given, trained_on)
    return Run(out)


def write_imported(
    source: str, out: Path, words: Sequence[str] = (), trained_on: tuple[int, int] | None = None
) -> tuple[Pretrain, Weights]:
    """Writes the run folder `out` of the weights in this file or folder, or on the hub under this name.

    `words` are fields of clip, data and encoder. `clip.frames` and `clip.size` say which clips the encoder will see;
    where those are others than it was trained on, its position table is stretched over them. `trained_on` (frames,
    size) says that where no config does.
    """
    if out.exists() and (out.is_file() or any(out.iterdir())):
        raise RunError(f"{out} exists; name a new folder with --out")
    for word in words:
        if word.partition("=")[0].partition(".")[0] not in FIELDS:
            raise RecipeError(f"{word}: only fields of {', '.join(FIELDS)} can be set at an import")
    frames, size = trained_on or (None, None)
    found = read_weights(source, frames=frames, size=size)
    config = override(
        Pretrain(
            clip=found.clip,
            data=Data(sampling=Sampling(stride=4)),
            encoder=found.encoder,
            objectives={"pixels": Pixels(weight=0.0) if found.decoder is None else Pixels(decoder=found.decoder)},
            steps=1,
        ),
        words,
    )
    own = not isinstance(config.encoder, OtherEncoder)
    if own and config.clip.grid != found.clip.grid and config.encoder.positions_of is None:
        config = stretched(config, found)
    task = config.build(None)
    load_strictly(task.encoder, found.part("encoder"), found.origin)
    if found.decoder is not None:
        load_strictly(task.get_submodule(DECODER), found.part(DECODER), found.origin)
    about = {
        "source": source,
        "file": found.origin,
        "layout": found.layout,
        "trained on": {"frames": found.clip.frames, "size": found.clip.size},
        "classes": list(found.classes),
        "head_eps": found.head_eps,
        "remarks": list(found.remarks),
    }
    command = ("tubelet", "import", source, *words, "--out", str(out))
    nowhere = {"path": "", "name": "data of its own, not known here", "fingerprint": ""}
    with writing(out, folder=True) as part:
        save_weights(part / CHECKPOINT, task)
        if head := found.part("head"):
            write_safetensors(part / HEAD, head, {})
        write_json(part / ABOUT, about)
        write_run_config(part, RunConfig(IMPORTED, config, nowhere, 0, 1, "fp32", None, {}, command))
    return config, found


class ImportAbout(TypedDict):
    """What `import.json` says of where the weights are from."""

    source: str
    layout: str
    classes: list[str]
    head_eps: float | None


def read_import_about(run: Path) -> dict[str, Any]:
    return dict(read_json(run / ABOUT, ImportAbout, WeightsError, "import the weights again"))


def imported_head(run: Path) -> tuple[ScoreHead, tuple[str, ...]] | None:
    """The classifier that came with imported weights, and its classes; None where there is none."""
    if not (run / HEAD).exists():
        return None
    try:
        about, (tensors, _) = read_import_about(run), read_safetensors(run / HEAD)
        classes, width = tensors["linear.weight"].shape
        head = ScoreHead(width, classes, about["head_eps"], "norm.weight" in tensors)
        load_strictly(head, tensors, run / HEAD)
        return head.eval(), tuple(about["classes"])
    except (OSError, ValueError, KeyError) as error:
        raise WeightsError(f"{run / HEAD} cannot be read ({error}); import the weights again") from error


def stretched(config: Pretrain, found: Weights) -> Pretrain:
    """With the position tables of the clips that the weights were trained on."""
    encoder = chz.replace(config.encoder, positions_of=found.clip.grid)
    objectives = {
        name: chz.replace(head, decoder=chz.replace(head.decoder, positions_of=found.clip.grid))
        for name, head in config.objectives.items()
        if isinstance(head, Pixels)
    }
    return chz.replace(config, encoder=encoder, objectives=objectives)
