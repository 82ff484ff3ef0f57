"""What every aligned image-text space offers, and how one is found."""

import json
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional

from tubelet.errors import WeightsError


@runtime_checkable
class Aligner(Protocol):
    """Frames and texts in one space, in which likeness is the cosine."""

    identity: str  # names all that decides the values: the key of what is cached
    width: int

    def patches(self, frames: UInt8[np.ndarray, "b h w 3"]) -> Float[Tensor, "b gh gw e"]:
        """An embedding for every cell of a grid over each frame; the grid follows the aspect ratio."""

    def texts(self, texts: list[str]) -> Float[Tensor, "b e"]: ...


def similarity(patches: Float[Tensor, "b gh gw e"], texts: Float[Tensor, "c e"]) -> Float[Tensor, "c b gh gw"]:
    """The cosine of every patch with every text."""
    unit = functional.normalize(patches, dim=-1)
    return (unit @ functional.normalize(texts, dim=-1).T).permute(3, 0, 1, 2)


def open_aligner(name: str | Path, reading: str = "dense", scorer: str = "raw") -> Aligner:
    """The aligner in this folder, or the CLIP or SigLIP of this folder or hub name.

    `reading` and `scorer` concern CLIP and SigLIP alone. `WeightsError` where nothing can be loaded, or not so.
    """
    from tubelet.align.learned import Learned

    folder = Path(name).expanduser()
    if (folder / "aligner.json").is_file() and not tuned(folder):
        return Learned.load(folder)
    if folder.exists() and not (folder / "config.json").is_file():
        raise WeightsError(
            f"{folder} holds neither an aligner (aligner.json, from `tubelet align`) nor a CLIP model (config.json)"
        )
    from tubelet.align.pretrained import load

    return load(str(folder if folder.exists() else name), reading, scorer)


def tuned(folder: Path) -> bool:
    """Whether the aligner in this folder is a CLIP or SigLIP that `tubelet align --from` trained."""
    try:
        return "family" in json.loads((folder / "aligner.json").read_text())
    except (OSError, ValueError):
        return False
