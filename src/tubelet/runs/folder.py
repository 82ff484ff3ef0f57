"""The run folder as training sees it: whose it is, how far it is, and the way back from it to a task."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, Literal, NotRequired, TypedDict, TypeVar

import chz
from torch import Tensor

from tubelet.checkpoint import BEST, CHECKPOINT, load_strictly, part, read_checkpoint
from tubelet.checksums import read_json, write_json
from tubelet.config import OtherVersionError, UnknownPartError, changed, dotted, from_plain, to_plain
from tubelet.corpus.table import Corpus
from tubelet.distributed import DistributedContext
from tubelet.errors import RunError
from tubelet.files import file_name, refuse_links_out
from tubelet.jobs.shards import chosen
from tubelet.log import versions
from tubelet.objectives import Pixels
from tubelet.recipes.find import is_file, load_file
from tubelet.recipes.finetune import Finetune
from tubelet.recipes.pretrain import Pretrain
from tubelet.remote.address import Address
from tubelet.remote.mirror import mirrored
from tubelet.runs.hardware import hardware
from tubelet.stores.embeddings import TextModel
from tubelet.stores.tracks import Tracks
from tubelet.tasks import Pretraining
from tubelet.train import Training
from tubelet.trust import trusts_code

RECIPE, LOG, LOCK = "recipe.json", "log.jsonl", ".lock"
CLASSIFIER = "classifier.safetensors"  # the weights that fine-tuning keeps; it comes last, so a run with it is finished
FILES = (
    RECIPE,
    LOG,
    CHECKPOINT,
    BEST,
    CLASSIFIER,
    "results.json",
    "trained_on.parquet",
)  # what a web server is asked for
IMPORTED = "imported"  # in place of a recipe's name: weights from elsewhere
# Fields that may change when a run resumes: they decide no weight.
FREE = ("data.workers", "log_every", "save_every", "keep_every", "fsdp", "prometheus", "tensorboard", "loggers")
MADE_BY = {"pretrain": "tubelet pretrain", "finetune": "tubelet finetune"}  # kind of run -> the command that makes it

OLDER = (
    "train anew, or take its weights along: `tubelet export RUN --to transformers --out FOLDER` with the version that "
    "wrote it, and `tubelet import FOLDER --out RUN` with this one"
)
EMBEDDINGS = "caption embeddings"  # what a plan calls their series

C = TypeVar("C", bound=Training)


@dataclass(frozen=True)
class RunConfig(Generic[C]):
    """A run, whole: what recipe.json holds."""

    recipe: str  # name of the recipe, or file.py:function
    config: C
    corpus: Mapping[str, str]  # path, name, fingerprint
    steps: int
    world: int
    precision: Literal["bf16", "fp32"]  # what the config's precision came to
    text_width: int | None  # width of the caption embeddings, where an objective needs them
    derived: Mapping[str, str]  # what else decides the weights: maps and embeddings in use, weights to start from
    command: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        return type(self.config).__name__.lower()

    @property
    def texts(self) -> TextModel:
        """The model of the caption embeddings that the run was trained with, whatever its corpus was given since."""
        return TextModel(self.derived.get(EMBEDDINGS), Path(self.corpus["path"]) if self.corpus["path"] else None)

    @staticmethod
    def make(
        recipe: str,
        config: Pretrain,
        corpus: Corpus,
        context: DistributedContext,
        text_width: int | None,
        command: list[str],
    ) -> "RunConfig[Pretrain]":
        videos = len(config.videos(corpus))
        return RunConfig(
            recipe,
            config,
            where(corpus),
            config.total(videos, context.world_size),
            context.world_size,
            context.precision,
            text_width,
            series_in_use(corpus, config),
            tuple(command),
        )

    def differences(self, other: "RunConfig[C]") -> list[str]:
        """What decides the weights and is not the same: `field: old -> new`. On another number of processes steps are
        shared otherwise (`Training.divided`), so that they are as many as before where nothing else differs."""
        old, new = to_plain(self.config), to_plain(other.config)
        for values, run_config in ((old, self), (new, other)):
            values |= {"corpus": run_config.corpus["fingerprint"], **run_config.derived}
            if self.world == other.world:
                values["total steps"] = run_config.steps
        if self.corpus["name"] != other.corpus["name"] and old["corpus"] != new["corpus"]:
            old["corpus"], new["corpus"] = self.corpus["name"], other.corpus["name"]
        absent = "absent"
        return [
            f"{field}: {shorten(old.get(field, absent))} -> {shorten(new.get(field, absent))}"
            for field in dict.fromkeys([*old, *new])
            if field not in FREE and old.get(field, absent) != new.get(field, absent)
        ]


def run_folder(run: str | os.PathLike[str]) -> Path:
    """The folder of a run; of one in a store, a copy of it on this machine, which is not written back."""
    address = Address.of(run)
    if address is None or address.scheme == "hf":  # that names a model of the hub
        return Path(run)
    folder, there = mirrored(address, lambda name: True, FILES)
    if RECIPE not in there:
        raise RunError(f"{address.url} holds no {RECIPE}; name the folder of a run")
    return folder


def where(corpus: Corpus) -> dict[str, str]:
    """How a run names its corpus."""
    return {"path": corpus.place, "name": corpus.name, "fingerprint": corpus.fingerprint()}


def corpus_of(run: Path, recorded: RunConfig[Any], on: str | os.PathLike[str] | None = None) -> Corpus:
    """The corpus that is named, else that of the run."""
    if not (path := on or recorded.corpus["path"]):
        raise RunError(f"{run} was imported and trained on no corpus here; name one with --on CORPUS")
    return Corpus.open(Path(path))


def series_in_use(corpus: Corpus, config: Pretrain) -> dict[str, str]:
    """The series of maps, tracks and embeddings that training reads; the loader names those that are missing."""
    kept = [name for name in config.maps if not (config.online_text and name == "text")]
    roots = {f"{name} maps": corpus.folder / "maps" / file_name(name) for name in kept}
    roots |= {f"track {name}": corpus.folder / Tracks.folder / file_name(name) for name in config.tracks}
    if config.needs_text or config.online_text:
        roots[EMBEDDINGS] = corpus.folder / "embeddings"
    found = {name: chosen(root) for name, root in roots.items()}
    return {name: folder.name for name, folder in found.items() if folder is not None}


def shorten(value: object) -> str:
    text = str(value)
    return text if len(text) <= 40 else f"{text[:12]}..."


def write_run_config(folder: Path, run_config: RunConfig[Any]) -> None:
    content = {
        "format": 1,
        "kind": run_config.kind,
        "recipe": run_config.recipe,
        "corpus": dict(run_config.corpus),
        "values": to_plain(run_config.config),
        "changed": list(changed(run_config.config)),  # for readers: which of them are not the defaults
        "own": own_parts(run_config.config),  # which of them name classes that are not tubelet's
        "steps": run_config.steps,
        "processes": run_config.world,
        "precision": run_config.precision,
        "text_width": run_config.text_width,
        "derived": dict(run_config.derived),
        "versions": versions(),
        "hardware": hardware(),
        "command": list(run_config.command),
    }
    write_json(folder / RECIPE, content, indent=2)


class Recipe(TypedDict):
    """What `recipe.json` says of a run."""

    format: int
    kind: NotRequired[Literal["pretrain", "finetune"]]
    recipe: str
    corpus: dict[str, str]
    values: dict[str, Any]
    steps: int
    processes: int
    precision: Literal["bf16", "fp32"]
    text_width: int | None
    derived: dict[str, str]
    command: list[str]


def read_recipe(folder: Path) -> Recipe:
    return read_json(folder / RECIPE, Recipe, RunError, "restore it, or train anew")


def read_kind(folder: Path | str) -> str:
    """ "pretrain" or "finetune"; "" where there is no run."""
    try:
        return read_recipe(Path(folder)).get("kind", "pretrain")
    except RunError:
        return ""


def read_run_config(folder: Path | str) -> RunConfig[Pretrain]:
    """What `write_run_config` wrote, typed again; of fine-tuning as that of an encoder without heads, which any command
    takes."""
    if read_kind(folder) != "finetune":
        return read_run_config_of(folder, Pretrain)
    run_config = read_run_config_of(folder, Finetune)
    return replace(run_config, config=as_encoder_alone(run_config.config))  # type: ignore[arg-type,return-value]


def as_encoder_alone(tuned: Finetune) -> Pretrain:
    """The config of the encoder that fine-tuning keeps: nothing to train, and no norm after its last block."""
    return Pretrain(
        clip=tuned.clip,
        data=tuned.data,
        encoder=chz.replace(tuned.encoder, final_norm=False),
        objectives={"pixels": Pixels(weight=0.0)},
        init=None if tuned.scratch else tuned.init,
        seed=tuned.seed,
        steps=1,
    )


def read_run_config_of(folder: Path | str, config: type[C]) -> RunConfig[C]:
    """What `write_run_config` wrote of a run with this config, typed again."""
    kind = config.__name__.lower()
    path = Path(folder) / RECIPE
    refuse_links_out(Path(folder))
    try:
        if not path.exists():
            raise RunError(f"{folder} holds no recipe.json, so it is no run; name a folder of `{MADE_BY[kind]}`")
        content = read_recipe(Path(folder))
        if content["format"] != 1:
            raise RunError(f"{path} has format {content['format']}; this version of tubelet reads format 1")
        if (found := content.get("kind", "pretrain")) != kind:
            raise RunError(
                f"{folder} is a run of `{MADE_BY.get(found, found)}`, and this wants one of `{MADE_BY[kind]}`; "
                "name another folder"
            )
        recipe = str(content["recipe"])
        return RunConfig(
            recipe,
            rebuilt(config, content, path),
            content["corpus"],
            content["steps"],
            content["processes"],
            content["precision"],
            content["text_width"],
            content["derived"],
            tuple(content["command"]),
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise RunError(f"{path} is damaged ({type(error).__name__}: {error}); restore it, or train anew") from error


def rebuilt(config: type[C], content: Mapping[str, Any], path: Path) -> C:
    """The config of the recorded values. A file is run only where its classes are among them, and it is trusted."""
    recipe = str(content["recipe"])
    if is_file(recipe) and trusts_code():
        load_file(recipe)  # its own parts must be known before they can be named
    needs_code = RunError(
        f"{path.parent} has parts that are code of {recipe}; code that a run folder names is run only where you trust "
        "it: add --trust-code (in Python trust_code=True)"
    )
    if is_file(recipe) and "own" not in content and not trusts_code():  # any name in it may be that of a class of code
        raise needs_code
    try:
        made = from_plain(config, content["values"], str(path))
    except OtherVersionError as error:
        raise RunError(f"{error}; {OLDER}") from None
    except UnknownPartError as error:
        if is_file(recipe):
            raise error if trusts_code() else needs_code from None
        raise RunError(f"{path} does not fit this version of tubelet: {error}; {OLDER}") from None
    if not {*content.get("own", ())} <= {*own_parts(made)}:  # a class of ours has the name of one of the file's
        raise needs_code
    return made


def own_parts(config: object) -> list[str]:
    """Dotted names of the parts whose class is a user's own."""
    parts = {name: value for name, value in dotted(config).items() if isinstance(value, type)}
    return sorted(name for name, part in parts.items() if part.__module__.partition(".")[0] != "tubelet")


def load_task(run: Path | str) -> tuple[Pretrain, Pretraining]:
    """The config of a run and its task with the weights of the checkpoint, on the CPU and in evaluation mode."""
    run_config = read_run_config(run)
    try:
        task = run_config.config.build(run_config.text_width)
    except (ArithmeticError, MemoryError, RuntimeError, TypeError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise RunError(f"{run} asks for a model that cannot be made here ({reason}); restore its {RECIPE}") from error
    load_strictly(task, read_weights_of(run), weights_file(run))
    return run_config.config, task.eval()


def weights_file(run: Path | str) -> Path:
    """The file that holds the weights of a run, pretrained, imported or fine-tuned, and their step."""
    run = Path(run)
    if read_kind(run) != "finetune":
        return run / BEST if (run / BEST).exists() else run / CHECKPOINT
    if not (run / CLASSIFIER).exists():
        raise RunError(f"{run} is not finished, so it has no classifier; give its `tubelet finetune` command again")
    return run / CLASSIFIER


def read_weights_of(run: Path | str) -> dict[str, Tensor]:
    """The weights of a run under the names of a pretraining task; of a fine-tuned one those of its encoder alone."""
    file = weights_file(run)
    tensors, step = read_checkpoint(file)
    refuse_step(step, read_recipe(Path(run))["steps"], file)
    if file.name != CLASSIFIER:
        return part(tensors, "task")
    return {name: value for name, value in tensors.items() if name.startswith("encoder.")}


def refuse_step(step: int, steps: int, path: Path) -> None:
    """A step that the run does not come to is none that it saved."""
    if step > steps:
        raise RunError(f"{path} is of step {step} and its run has {steps}; restore the file, or train anew")
