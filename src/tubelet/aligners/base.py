"""What every aligned image-text space offers, and how one is found."""

import zlib
from pathlib import Path
from typing import Any, NotRequired, Protocol, TypedDict, runtime_checkable

import numpy as np
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional

from tubelet.checksums import read_json
from tubelet.errors import WeightsError


@runtime_checkable
class Aligner(Protocol):
    """Frames and texts in one space, in which similarity is the cosine."""

    identity: str  # names all that decides the values: the key of what is cached
    width: int

    def patches(self, frames: UInt8[np.ndarray, "b h w 3"]) -> Float[Tensor, "b gh gw e"]:
        """An embedding for every cell of a grid over each frame; the grid follows the aspect ratio."""

    def texts(self, texts: list[str]) -> Float[Tensor, "b e"]: ...


@runtime_checkable
class WordPieces(Protocol):
    """An aligner whose tokenizer reads any word that its pieces make up."""

    def unknown(self, word: str) -> bool:
        """Whether it has nothing for a word."""


def similarity(patches: Float[Tensor, "b gh gw e"], texts: Float[Tensor, "c e"]) -> Float[Tensor, "c b gh gw"]:
    """The cosine of every patch with every text."""
    unit = functional.normalize(patches, dim=-1)
    return (unit @ functional.normalize(texts, dim=-1).T).permute(3, 0, 1, 2)


def open_aligner(name: str | Path, reading: str = "dense", scorer: str = "raw") -> Aligner:
    """The aligner in this folder, or the CLIP or SigLIP of this folder or hub name.

    `reading` and `scorer` concern CLIP and SigLIP alone. `WeightsError` where nothing can be loaded, or not so.
    """
    from tubelet.aligners.small import SmallAligner

    folder = Path(name).expanduser()
    about = read_aligner_about(folder) if (folder / "aligner.json").is_file() else {}
    if about and "family" not in about:
        return SmallAligner.load(folder)
    if about.get("family") == "lit":
        from tubelet.aligners.lit import LitAligner

        return LitAligner.load(folder)
    if folder.exists() and not (folder / "config.json").is_file():
        raise WeightsError(
            f"{folder} holds neither an aligner (aligner.json, from `tubelet align`) nor a CLIP model (config.json)"
        )
    from tubelet.aligners.pretrained import load

    verify_files(folder)
    return load(str(folder if folder.exists() else name), reading, scorer)


class AlignerAbout(TypedDict):
    """What `aligner.json` says."""

    format: NotRequired[int]
    identity: NotRequired[str]
    shape: NotRequired[dict[str, Any]]  # of an aligner of our own
    words: NotRequired[list[str]]
    family: NotRequired[str]  # of a CLIP or SigLIP, with the CRC-32 of each of its files; or lit, with its towers
    files: NotRequired[dict[str, int]]
    towers: NotRequired[dict[str, str]]
    corpus: NotRequired[dict[str, Any]]
    settings: NotRequired[dict[str, Any]]


def read_aligner_about(folder: Path) -> dict[str, Any]:
    """What `aligner.json` says, {} where there is none."""
    path = folder / "aligner.json"
    remedy = "make it again with `tubelet align --force`"
    return dict(read_json(path, AlignerAbout, WeightsError, remedy)) if path.exists() else {}


def discard(folder: Path) -> None:
    """Removes what says that an aligner is there, and what was drawn of it."""
    for name in ("report.html", "training.json", "maps.jpg", "aligner.json"):
        (folder / name).unlink(missing_ok=True)


def verify_files(folder: Path) -> None:
    """Of a CLIP or SigLIP that `tubelet align` trained: every file is the one that was written."""
    for name, digest in read_aligner_about(folder).get("files", {}).items():
        path = folder / Path(name).name
        if not path.exists() or zlib.crc32(path.read_bytes()) != digest:
            raise WeightsError(f"{path} is damaged; make the aligner again with `tubelet align --force`")
