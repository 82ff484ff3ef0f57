"""Encoders from the Hugging Face hub: `hf://owner/name`."""

import re
from pathlib import Path
from typing import Any

from tubelet.errors import RunError, WeightsError
from tubelet.models.encoder import Encoder
from tubelet.video.sampling import Sampling
from tubelet.weights.files import error_line, find_weights, read_config
from tubelet.weights.read import weights_of

SCHEME = "hf://"
SAMPLING = "sampling.json"  # how clips were made in training, which transformers has no word for


def repository_of(name: str) -> str:
    """`owner/name`, with or without hf:// before it."""
    name = name.removeprefix(SCHEME)
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        raise RunError(f"{name!r} is no name of a repository on the hub; give owner/name")
    return name


def encoder_of(address: str) -> Encoder:
    """The encoder of `hf://owner/name`: one that was pushed, or any that `tubelet import` reads.

    `WeightsError` where it is neither in the local cache nor to be fetched, or is none of these.
    """
    found = find_weights(repository_of(address))
    weights = weights_of(found)
    encoder = weights.encoder.build(weights.clip)
    encoder.load_state_dict(weights.part("encoder"))
    origin = Path(found.origin)
    encoder.sampling = read_sampling(origin.parent if origin.is_file() else origin)
    return encoder.eval()


def read_sampling(folder: Path) -> Sampling:
    """As it was pushed; frames as the importer takes them where nobody says."""
    said: dict[str, Any] = read_config(folder / SAMPLING)
    if said.pop("kind", "Sampling") != "Sampling":
        return Sampling()
    try:
        return Sampling(**said)
    except TypeError as error:
        raise WeightsError(f"{folder / SAMPLING} is of another version ({error_line(error)})") from None
