"""Where the numbers of a run go beside its log: wandb, trackio, or a logger that another package offers.

wandb and trackio are called alike, and only where they are asked for. A logger of another package is a callable
`(folder, step, config)` under the entry point `tubelet.loggers`; it returns an object with `log(values, step)` and
`finish()`. Start reading at `open_loggers`.
"""

import difflib
import os
from collections.abc import Mapping, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from tubelet.errors import RecipeError, TubeletError
from tubelet.files import write_atomically
from tubelet.plugins import plugin, plugin_names

GROUP = "tubelet.loggers"
WANDB_ID = "wandb-id.txt"  # in the run folder: by it wandb knows the run again when it is resumed


@runtime_checkable
class Logger(Protocol):
    def log(self, values: Mapping[str, float], step: int) -> object: ...

    def finish(self) -> object: ...


def open_loggers(names: Sequence[str], folder: Path, step: int, config: Mapping[str, Any]) -> list[Logger]:
    """The loggers of these names, for a run that begins after this step."""
    return [find_logger(name)(folder, step, config) for name in names]


def find_logger(name: str) -> Any:
    """What opens a logger, by its name."""
    if name in ("wandb", "trackio"):
        return partial(open_tracker, name)
    if (found := plugin(GROUP, name)) is not None:
        return found
    known = ["wandb", "trackio", *plugin_names(GROUP)]
    near = difflib.get_close_matches(name, known, n=1)
    raise RecipeError(
        f"loggers={name}: there is no logger {name!r}; "
        + (f"did you mean {near[0]}?" if near else f"there are: {', '.join(known)}")
    )


def open_tracker(name: str, folder: Path, step: int, config: Mapping[str, Any]) -> Logger:
    """A run of wandb or trackio with the name of the run folder, or the one that it was before."""
    try:
        module = import_module(name)
    except ImportError as error:
        raise TubeletError(f"loggers={name} needs {name} ({error}); `pip install {name}`, or leave it off") from None
    again = {"id": wandb_id(folder, step)} if name == "wandb" else {}
    run: Logger = module.init(
        project=os.environ.get("WANDB_PROJECT", "tubelet"),
        name=folder.name,
        config=dict(config),
        resume="allow" if step else "never",
        **again,
    )
    return run


def wandb_id(folder: Path, step: int) -> str:
    path = folder / WANDB_ID
    if step and path.exists():
        return path.read_text().strip()
    name = os.urandom(4).hex()
    write_atomically(path, name.encode())
    return name
