"""A warm start: weights of a run, of VideoMAE files or of the hub, and what of them a new task takes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import chz
from torch import Tensor, nn

from tubelet.checkpoint import CHECKPOINT, checkpoint_step, load_strictly, part
from tubelet.errors import RecipeError, WeightsError
from tubelet.models.decoder import Decoder
from tubelet.models.encoder import Vit, size_of
from tubelet.objectives import Pixels
from tubelet.objectives.predict import PredictLoss
from tubelet.recipes.pretrain import Pretrain
from tubelet.runs.folder import RECIPE, read_kind, read_run_config, read_run_config_of, read_weights_of, weights_file
from tubelet.streams import Stream
from tubelet.tasks import Pretraining
from tubelet.teachers.frozen import Frozen, FrozenTeacher
from tubelet.teachers.frozen_joint import FrozenJoint, FrozenJointTeacher
from tubelet.teachers.tokenizer import Tokenizer, TokenizerTeacher
from tubelet.types import Clip, Grid
from tubelet.weights import read_weights

PIXELS = "pixels"


@dataclass(frozen=True)
class InitSource:
    """Weights under the names of a task, and the model they are of."""

    name: str
    tensors: Mapping[str, Tensor]
    clip: Clip
    encoder: Vit
    decoder: Decoder | None
    remarks: tuple[str, ...] = ()
    streams: Mapping[str, Stream] = field(default_factory=dict)
    fine_tuned: bool = False  # by us: it left the norm after its last block, which a recipe may begin anew

    @property
    def codebook(self) -> str:
        """The name of its codebook among the tensors; "" where it has none."""
        names = (name.removesuffix(".codes") for name in self.tensors if name.startswith("objectives."))
        return next((name for name in names if name.endswith(".codebook")), "")


def init_source(init: str) -> InitSource:
    """A run folder, a file or folder of VideoMAE weights, or a hub name."""
    folder = Path(init).expanduser()
    if (folder / RECIPE).exists():
        config = read_run_config(folder).config
        return InitSource(
            str(weights_file(folder)), read_weights_of(folder), config.clip, config.encoder, decoder_of(config),
            streams=config.streams, fine_tuned=read_kind(folder) == "finetune",
        )  # fmt: skip
    found = read_weights(init)
    about = f"{found.origin} ({found.layout} layout)"
    return InitSource(about, found.tensors, found.clip, found.encoder, found.decoder, found.remarks)


def decoder_of(config: Pretrain) -> Decoder | None:
    head = config.objectives.get(PIXELS)
    return head.decoder if isinstance(head, Pixels) and head.factor else None


def resolve_init(config: Pretrain, folder: Path) -> tuple[Pretrain, InitSource | None]:
    """The config with what a warm start decides, and the weights to start from, where there is a start.

    Decided are the position tables: those of the clips that the weights were trained on, stretched over these. A run
    that resumes keeps what it found at its beginning.
    """
    init = config.init
    if init is None:
        return config, None
    if (folder / RECIPE).exists() and (old := read_run_config_of(folder, Pretrain).config).init == init:
        decoder = decoder_of(old)
        config = with_positions(config, old.encoder.positions_of, decoder.positions_of if decoder else None)
        return config, None if checkpoint_step(folder / CHECKPOINT) else init_source(init)
    found = init_source(init)
    of_encoder, of_decoder = (
        None if part is None else grid(part, found.clip, config.clip) for part in (found.encoder, found.decoder)
    )
    return with_positions(config, of_encoder, of_decoder), found


def resolve_teacher(config: Pretrain, folder: Path) -> tuple[Pretrain, InitSource | None]:
    """The config with the size and the clips of a frozen teacher, so that it alone rebuilds the run, and the teacher's
    weights, where the run begins."""
    teacher = config.teacher
    if not isinstance(teacher, Frozen) or not teacher.init:
        return config, None
    if (folder / RECIPE).exists():
        old = read_run_config_of(folder, Pretrain).config.teacher
        if type(old) is type(teacher) and old.init == teacher.init:
            known = with_sizes(teacher, {name: getattr(old, name) for name in teacher.read})
            begun = checkpoint_step(folder / CHECKPOINT) > 0
            return chz.replace(config, teacher=known), None if begun else init_source(teacher.init)
    found = init_source(teacher.init)
    normed = any(name.startswith("encoder.norm.") for name in found.tensors)
    sizes: dict[str, Any] = {"encoder": chz.replace(found.encoder, final_norm=normed), "clip": found.clip}
    if isinstance(teacher, Tokenizer):
        if not found.codebook:
            raise RecipeError(f"teacher.init={teacher.init} has no codebook; name a run of the recipe vq")
        sizes["codebook"] = tuple(found.tensors[f"{found.codebook}.codes"].shape)
    if isinstance(teacher, FrozenJoint):
        sizes["streams"] = found.streams
    return chz.replace(config, teacher=with_sizes(teacher, sizes)), found


def with_sizes(teacher: Frozen, sizes: Mapping[str, Any]) -> Frozen:
    """Fields that the config sets keep their values."""
    return chz.replace(teacher, **{name: getattr(teacher, name) or size for name, size in sizes.items()})


def load_teacher(task: Pretraining, found: InitSource) -> list[str]:
    """Fills a frozen teacher with the encoder of its source. Returns a line that says so; none where nobody learns."""
    if not isinstance(task.teacher, FrozenTeacher):
        return []
    load_strictly(task.teacher.encoder, part(found.tensors, "encoder"), found.name)
    if isinstance(task.teacher, FrozenJointTeacher):
        for name, tower in task.teacher.towers.items():
            load_strictly(tower, part(found.tensors, f"towers.{name}"), found.name)
        return [f"teacher: the encoder of {found.name} and of {', '.join(task.teacher.towers)}, as they are"]
    if not isinstance(task.teacher, TokenizerTeacher):
        return [f"teacher: the encoder of {found.name}, as it is"]
    load_strictly(task.teacher.codebook, part(found.tensors, found.codebook), found.name)
    return [f"teacher: the encoder and the {task.teacher.codebook.codes.shape[0]} codes of {found.name}, as they are"]


def grid(trained: Vit | Decoder, on: Clip, clip: Clip) -> Grid | None:
    """The grid whose table is interpolated; None where it is this clip's own."""
    used = trained.positions_of or on.grid
    return None if used == clip.grid else used


def with_positions(config: Pretrain, encoder: Grid | None, decoder: Grid | None) -> Pretrain:
    """Position fields that the config sets keep their values."""
    made: dict[str, Any] = {}
    if config.encoder.positions_of is None:
        made["encoder"] = chz.replace(config.encoder, positions_of=encoder)
    head = config.objectives.get(PIXELS)
    if isinstance(head, Pixels) and head.decoder.positions_of is None:
        moved = chz.replace(head, decoder=chz.replace(head.decoder, positions_of=decoder))
        made["objectives"] = {**config.objectives, PIXELS: moved}
    return chz.replace(config, **made)


def load_init_weights(task: Pretraining, found: InitSource) -> list[str]:
    """Fills the task with what fits; the encoder must, whole. Returns lines that say what is taken, new, changed."""
    check_encoder(task.encoder.config, found)
    parts: dict[str, nn.Module] = {"encoder": task.encoder}
    parts |= {f"objectives.{name}": objective for name, objective in task.objectives.items()}
    parts |= {f"towers.{name}": tower for name, tower in task.towers.items() if tower.state_dict()}
    if task.policy is not None:
        parts["policy"] = task.policy
    taken, new = [], []
    for name, module in parts.items():
        if reason := "not in the source" if name != "encoder" and not part(found.tensors, name) else "":
            new.append(f"{name} ({reason})")
            continue
        if name == f"objectives.{PIXELS}" and (reason := other_decoder(module, found)):
            new.append(f"{name} ({reason})")
            continue
        own = part(found.tensors, name)
        if name == "encoder" and found.fine_tuned and task.encoder.config.final_norm:
            own |= {key: value for key, value in module.state_dict().items() if key.startswith("norm.")}
            new.append("encoder.norm (fine-tuning leaves it out)")
        try:
            load_strictly(module, own, found.name)
        except WeightsError as error:
            if name == "encoder" and other_size(task.encoder.config, found.encoder):
                raise WeightsError(
                    f"{error}; that encoder is {found.encoder.width} wide and {found.encoder.depth} deep, the recipe's "
                    f"{task.encoder.config.width} and {task.encoder.config.depth}: set {size_of(found.encoder)}"
                ) from error
            if name == "encoder":
                raise
            new.append(f"{name} ({str(error).rpartition(' do not fit this model: ')[2]})")
        else:
            taken.append(f"{name} ({len(own)} tensors)")
    left = {
        ".".join(name.split(".")[: 2 if name.startswith(("objectives.", "towers.")) else 1]) for name in found.tensors
    } - {*parts}
    lines = [f"init: {found.name}: taken: {', '.join(taken)}" + (f"; new: {', '.join(new)}" if new else "")]
    lines += [f"init: left in the source: {', '.join(sorted(left))}"] if left else []
    lines += positions_lines(task)
    if (eps := found.encoder.layer_norm_eps) != task.encoder.config.layer_norm_eps:
        lines.append(
            f"init: its layer_norm_eps is {eps:g}, this recipe's {task.encoder.config.layer_norm_eps:g}; for exactly "
            f"its features set encoder.layer_norm_eps={eps:g}"
        )
    return lines + [f"init: {remark}" for remark in found.remarks]


def check_encoder(config: Vit, found: InitSource) -> None:
    """What the shapes of the tensors do not tell, or tell badly."""
    for name, meaning in (("heads", "attention heads"), ("final_norm", "a norm after the last block")):
        theirs, ours = getattr(found.encoder, name), getattr(config, name)
        if name == "heads" and other_size(config, found.encoder):
            continue  # a number of heads of its own would not fit this width; the tensors say what differs
        if theirs != ours and not (found.fine_tuned and name == "final_norm"):
            raise WeightsError(
                f"the encoder of {found.name} and that of the recipe differ in {meaning} ({theirs} and {ours}); "
                f"set encoder.{name}={theirs}"
            )


def other_size(one: Vit, other: Vit) -> bool:
    return (one.width, one.depth) != (other.width, other.depth)


def other_decoder(module: nn.Module, found: InitSource) -> str:
    """Why a decoder whose tensors may fit is another one; empty where it is not."""
    if not isinstance(module, PredictLoss) or found.decoder is None:
        return ""
    ours, theirs = module.config.decoder, found.decoder
    if theirs.heads != ours.heads:
        return f"its decoder has heads {theirs.heads}, this one {ours.heads}"
    if theirs.positions != ours.positions:
        return f"its decoder has positions {theirs.positions}, this one {ours.positions}"
    return ""


def positions_lines(task: Pretraining) -> list[str]:
    """Which position tables are stretched over the clips of this run, and how to have their own."""
    own, lines = task.clip.grid, []
    head = dict(task.objectives.items()).get(PIXELS)
    tables: dict[str, Vit | Decoder] = {"encoder": task.encoder.config}
    if isinstance(head, PredictLoss):
        tables[f"objectives.{PIXELS}.decoder"] = head.config.decoder
    for name, config in tables.items():
        if config.positions_of not in (None, own):
            spelled = "x".join(map(str, config.positions_of)), "x".join(map(str, own))
            lines.append(
                f"init: {name}: the position table of {spelled[0]} is interpolated to {spelled[1]}, linearly in time "
                f"and space ({name}.positions_of={','.join(map(str, own))} takes the table of these clips)"
            )
    return lines
