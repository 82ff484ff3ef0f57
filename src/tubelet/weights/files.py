"""Tensors out of a file, a folder of transformers or the hub, without running anything in it.

Pickles are read with `weights_only`; of classes, `argparse.Namespace` alone is let in, which official VideoMAE files
hold beside their weights, and it is thrown away.
"""

import argparse
import json
import pickle
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from tubelet.aligners.pretrained import reachable
from tubelet.errors import WeightsError

FILES = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
ENDINGS = (".safetensors", ".pth", ".pt", ".bin", ".ckpt")
KEYS = ("module", "model", "state_dict", "model_state_dict")  # under which checkpoints keep their weights


@dataclass(frozen=True)
class FoundWeights:
    """Tensors under the names they have in the file, and the configs next to it."""

    tensors: Mapping[str, Tensor]
    origin: str  # the file, for errors
    key: str = ""  # under which they were
    config: Mapping[str, Any] = field(default_factory=dict)  # config.json
    processor: Mapping[str, Any] = field(default_factory=dict)  # preprocessor_config.json


def find_weights(source: str | Path) -> FoundWeights:
    """The content of this file, of this folder, or of the hub under this name (`owner/name`)."""
    path = Path(source).expanduser()
    if not path.exists():
        path = from_hub(str(source))
    folder = path.parent if path.is_file() else path
    names = (path.name,) if path.is_file() else weight_files(path)
    tensors: dict[str, Tensor] = {}
    key = ""
    for name in names:
        more, key = tensors_of(folder / name)
        if twice := sorted(tensors.keys() & more.keys()):
            raise WeightsError(f"{folder / name} holds {twice[0]} once more")
        tensors |= more
    beside = path.is_dir() or path.name in FILES
    return FoundWeights(
        tensors,
        str(folder / names[0] if len(names) == 1 else folder),
        key,
        read_config(folder / "config.json") if beside else {},
        processor_config(folder) if beside else {},
    )


def processor_config(folder: Path) -> dict[str, Any]:
    """How a folder of transformers says that pixels are normalised; {} where it does not."""
    for name in ("preprocessor_config.json", "video_preprocessor_config.json"):
        if found := read_config(folder / name):
            return found
    both = read_config(folder / "processor_config.json")
    return dict(both.get("image_processor") or both.get("video_processor") or {})


def weight_files(folder: Path) -> tuple[str, ...]:
    """The file of a folder's weights, or its pieces."""
    known = [name for name in FILES if (folder / name).is_file()]
    if not known:
        others = sorted(path.name for path in folder.iterdir() if path.suffix in ENDINGS)
        if len(others) != 1:
            what = f"several files of weights ({', '.join(others[:4])}); name one of them" if others else "no weights"
            raise WeightsError(f"{folder} holds {what}")
        return (others[0],)
    if not known[0].endswith(".index.json"):
        return (known[0],)
    pieces = read_config(folder / known[0]).get("weight_map")
    if not isinstance(pieces, dict) or not pieces:
        raise WeightsError(f"{folder / known[0]} is damaged: it has no weight_map")
    names = tuple(sorted(set(map(str, pieces.values()))))
    if outside := [name for name in names if Path(name).name != name]:
        raise WeightsError(f"{folder / known[0]} names {outside[0]}, which is not in the folder")
    return names


def tensors_of(path: Path) -> tuple[dict[str, Tensor], str]:
    """The tensors of one file, and the key under which they were."""
    if not path.is_file():
        raise WeightsError(f"there is no file {path}")
    if path.suffix == ".safetensors":
        try:
            with safe_open(path, framework="pt") as file:
                return {name: file.get_tensor(name) for name in file.keys()}, ""  # noqa: SIM118 (no mapping)
        except (SafetensorError, OSError) as error:
            raise WeightsError(f"{path} cannot be read as safetensors ({error_line(error)}); fetch it again") from error
    return unwrapped(unpickled(path), path)


def unpickled(path: Path) -> Any:
    try:
        with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of other pickle protocols: what cannot be read is said below
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if found := re.search(r"GLOBAL ([\w.]+) was not", str(error)):
            raise WeightsError(
                f"{path} is a pickle that would run {found[1]}; it is not loaded. Where you trust it, load it yourself "
                "and save its weights alone, with safetensors.torch.save_file"
            ) from None
        reason = str(error).partition("WeightsUnpickler error:")[2].partition("Check the documentation")[0]
        raise WeightsError(
            f"{path} cannot be read as weights alone ({' '.join(reason.split())[:160] or 'no PyTorch file'})"
        ) from None
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, AttributeError, TypeError, IndexError) as error:
        raise WeightsError(f"{path} cannot be read ({error_line(error)}); fetch it again") from None


def unwrapped(content: Any, path: Path) -> tuple[dict[str, Tensor], str]:
    """The one mapping from names to tensors in a checkpoint, whatever else is in it."""
    if not isinstance(content, Mapping):
        raise WeightsError(f"{path} holds a {type(content).__name__} and no weights by name")
    for key, inner in ((key, content.get(key)) for key in KEYS):
        if isinstance(inner, Mapping) and any(isinstance(value, Tensor) for value in inner.values()):
            return tensors_alone(inner, path), key
    return tensors_alone(content, path), ""


def tensors_alone(content: Mapping[Any, Any], path: Path) -> dict[str, Tensor]:
    strangers = [name for name, value in content.items() if not (isinstance(name, str) and isinstance(value, Tensor))]
    if strangers or not content:
        what = f"{strangers[0]!r} is no tensor" if strangers else "it is empty"
        raise WeightsError(f"{path} holds no weights by name ({what}; known keys: {', '.join(KEYS)})")
    return dict(content)


def from_hub(name: str) -> Path:
    """A local copy of a hub repository: from the cache where it is there, else fetched."""
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        raise WeightsError(f"there is no file or folder {name}, and it is no name of the hub (owner/name)")
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise WeightsError(
            f"there is no file or folder {name}; to fetch it from the hub: `pip install 'tubelet[vl]'`"
        ) from error
    patterns = ["*.json", *(f"*{ending}" for ending in ENDINGS)]
    refusals: list[Exception] = []
    for local in (True, False):
        if not local and not reachable():
            break
        try:
            folder = Path(snapshot_download(name, allow_patterns=patterns, local_files_only=local))
            if any(path.suffix in ENDINGS for path in folder.iterdir()):
                return folder
        except Exception as error:  # the hub's client and the network raise of many kinds
            refusals.append(error)
    reason = f" ({error_line(refusals[-1])})" if refusals else ""
    raise WeightsError(
        f"{name} is no file or folder, and its weights are neither in the local cache of the hub nor to be "
        f"fetched{reason}; offline, name a local file or folder"
    )


def read_config(path: Path) -> dict[str, Any]:
    """A JSON object; {} where there is no file."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path} is damaged ({error_line(error)}); fetch it again") from error
    if not isinstance(content, dict):
        raise WeightsError(f"{path} is damaged (no object); fetch it again")
    return content


def error_line(error: BaseException) -> str:
    """What an error says, without line breaks and its advice."""
    return " ".join(str(error).split())[:160] or type(error).__name__
