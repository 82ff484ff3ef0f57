"""LiT: an aligned space from frozen pretrained towers and the user's own pairs (Zhai et al., CVPR 2022, 2111.07991).

Both towers stay as they are, and each gets a small projection, an MLP on normalised features, which is trained by the
contrast of frames and captions that the small aligner is trained by; LiT itself trains a whole text tower (that both
are frozen is ours). Features are computed once and kept, so training takes seconds. Start reading at `train_lit`.
"""

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float16, Int64, UInt8
from torch import Tensor, nn

from tubelet import seeds
from tubelet.aligners.base import discard, read_aligner_about
from tubelet.aligners.config import LitTraining
from tubelet.aligners.examples import Examples, split_validation
from tubelet.aligners.small import FORMAT
from tubelet.aligners.towers import ENCODER, EncoderVision, TextTower, VisionTower, open_text, open_vision
from tubelet.aligners.training import Curve, TrainingCheckpoint, optimize
from tubelet.checksums import Damaged, read_safetensors, write_json, write_safetensors
from tubelet.corpus.content import content_of
from tubelet.errors import WeightsError
from tubelet.models.encoder import Encoder
from tubelet.progress import Progress, silent

FAMILY = "lit"
CHUNK = 128  # frames of a file of features
FILE = "projections.safetensors"


class Projections(nn.Module):
    """What is trained and saved: a projection of each tower, and the sharpness of the contrast."""

    def __init__(self, image: int, text: int, hidden: int, joint: int) -> None:
        super().__init__()
        self.sizes = (image, text, hidden, joint)
        self.image, self.text = mlp(image, hidden, joint), mlp(text, hidden, joint)
        self.log_scale = nn.Parameter(torch.tensor(math.log(10.0)))


def mlp(width: int, hidden: int, out: int) -> nn.Module:
    norm = nn.LayerNorm(width, elementwise_affine=False)
    return nn.Sequential(norm, nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, out))


class LitAligner:
    """An `Aligner` of two frozen towers and their projections."""

    def __init__(
        self, vision: VisionTower, text: TextTower, projections: Projections, about: dict[str, Any] | None = None
    ) -> None:
        self.vision, self.text, self.projections = vision, text, projections.eval()
        self.about = dict(about or {})
        self.width = projections.sizes[-1]
        made = hashlib.blake2b(repr((vision.identity, text.identity)).encode(), digest_size=8)
        for _, tensor in sorted(projections.state_dict().items()):
            made.update(tensor.detach().contiguous().numpy().tobytes())
        self.identity = f"{FAMILY}:{made.hexdigest()}"

    @torch.inference_mode()
    def patches(self, frames: UInt8[np.ndarray, "b h w 3"]) -> Float[Tensor, "b gh gw e"]:
        return self.projections.image(self.vision.features(frames))

    @torch.inference_mode()
    def texts(self, texts: list[str]) -> Float[Tensor, "b e"]:
        return self.projections.text(self.text.features(texts))

    def unknown(self, word: str) -> bool:
        """Whether a word cannot be known: the tokenizer of the text tower has nothing for it."""
        return self.text.unknown(word)

    def save(self, folder: Path) -> None:
        """The projections, then `aligner.json`, which names the towers and makes the folder complete."""
        folder.mkdir(parents=True, exist_ok=True)
        towers = {"vision": self.vision.identity, "text": self.text.identity}
        about = {"format": FORMAT, "family": FAMILY, "identity": self.identity, "towers": towers, **self.about}
        discard(folder)
        state = {name: tensor.contiguous() for name, tensor in self.projections.state_dict().items()}
        write_safetensors(folder / FILE, state, {"identity": self.identity})
        (folder / ENCODER).unlink(missing_ok=True)
        if isinstance(self.vision, EncoderVision):
            self.vision.save(folder)
        write_json(folder / "aligner.json", about)

    @classmethod
    def load(cls, folder: Path) -> "LitAligner":
        """`WeightsError` where a tower is absent, or is not the one that the projections were trained on."""
        about = read_aligner_about(folder)
        settings = about["settings"]
        text = open_text(settings["text"])
        vision: VisionTower
        if (folder / ENCODER).exists():
            vision = EncoderVision.load(folder)
        else:
            vision = open_vision(settings["image"], settings["size"])
        for name, tower in (("vision", vision), ("text", text)):
            if tower.identity != about["towers"][name]:
                kind = "image" if name == "vision" else "text"
                raise WeightsError(
                    f"{settings[kind]} is not the {name} model that {folder} was trained with (other weights or size): "
                    "restore it, or make the aligner again with `tubelet align --force`"
                )
        projections = Projections(vision.width, text.width, settings["hidden"], settings["joint"])
        try:
            state, _ = read_safetensors(folder / FILE)
            projections.load_state_dict(state)
        except (OSError, Damaged, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise WeightsError(f"{folder / FILE} is damaged ({reason}); make it again with `tubelet align`") from None
        kept = ("format", "family", "identity", "towers")
        return cls(vision, text, projections, {name: value for name, value in about.items() if name not in kept})


@dataclass(frozen=True)
class Towers:
    """Both towers, opened, and where the features of frames are kept."""

    vision: VisionTower
    text: TextTower
    cache: Path

    @classmethod
    def open(cls, settings: LitTraining, cache: Path, encoder: Encoder | None = None) -> "Towers":
        """The models of the settings; with an `encoder` of tubelet, that in place of the vision model."""
        vision = EncoderVision(encoder) if encoder is not None else open_vision(settings.image, settings.size)
        return cls(vision, open_text(settings.text), cache)

    @property
    def identity(self) -> str:
        return f"{self.vision.identity} {self.text.identity}"


def train_lit(
    towers: Towers,
    examples: Examples,
    settings: LitTraining,
    progress: Progress = silent,
    checkpoint: TrainingCheckpoint | None = None,
) -> tuple[LitAligner, Curve]:
    """The aligner of these towers and examples, and how its training went."""
    seen = with_features(examples, towers, settings, progress)
    own, held = split_validation(seen, settings)
    heard = dict(zip(seen.texts, towers.text.features(list(seen.texts)), strict=True))
    model = TrainableProjections(towers, own, heard, settings)
    curve = optimize(model, own, settings, held, progress, checkpoint)
    return LitAligner(towers.vision, towers.text, model.module), curve


def with_features(examples: Examples, towers: Towers, settings: LitTraining, progress: Progress = silent) -> Examples:
    """The same examples with features in place of pixels, from the cache where they are in it."""
    frames: list[Float16[np.ndarray, "gh gw c"]] = []
    numbers = [number for numbers in examples.of_video for number in numbers]
    keys = [
        f"{(content_of(video) or b'').hex()} {video.id} {video.start} {video.end} {video.reading} {at}"
        for video, some in zip(examples.videos, examples.of_video, strict=True)
        for at in range(len(some))
    ]
    for done, chunk in enumerate(chunks(len(numbers))):
        about = repr((towers.vision.identity, settings.side, settings.frames, [keys[at] for at in chunk]))
        path = towers.cache / f"{hashlib.blake2b(about.encode(), digest_size=16).hexdigest()}.safetensors"
        frames += features_of([examples.frames[numbers[at]] for at in chunk], towers.vision, path)
        progress(min((done + 1) * CHUNK, len(numbers)), len(numbers), "features")
    order = {number: at for at, number in enumerate(numbers)}
    return replace(examples, frames=frames, of_video=[[order[number] for number in some] for some in examples.of_video])


def chunks(count: int) -> Iterator[range]:
    for start in range(0, count, CHUNK):
        yield range(start, min(start + CHUNK, count))


def features_of(
    frames: Sequence[UInt8[np.ndarray, "h w 3"]], vision: VisionTower, path: Path
) -> list[Float16[np.ndarray, "gh gw c"]]:
    """Of frames that may differ in size; the file is read where it is whole, and written where it is not."""
    try:
        stored, _ = read_safetensors(path)
        return [stored[f"{number:04d}"].numpy() for number in range(len(frames))]
    except (OSError, Damaged, KeyError):
        made = [vision.features(frame[None])[0].half() for frame in frames]
        path.parent.mkdir(parents=True, exist_ok=True)
        write_safetensors(path, {f"{number:04d}": one.contiguous() for number, one in enumerate(made)}, {})
        return [one.numpy() for one in made]


class TrainableProjections:
    """The projections in training, on the features of the examples."""

    def __init__(
        self, towers: Towers, examples: Examples, heard: dict[str, Float[Tensor, "c"]], settings: LitTraining
    ) -> None:
        self.heard = heard
        self.features = torch.stack([heard[text] for text in examples.texts])
        self.side = min(min(frame.shape[:2]) for frame in examples.frames)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seeds.key(settings.seed, "align projections"))
            self.module = Projections(towers.vision.width, towers.text.width, settings.hidden, settings.joint)

    def patches(self, frames: Float16[Tensor, "b h w c"]) -> Float[Tensor, "b p e"]:
        return self.module.image(frames.float()).flatten(1, 2)

    def texts(self, numbers: Int64[Tensor, "c"], rng: np.random.Generator) -> Float[Tensor, "c e"]:
        return self.module.text(self.features[numbers])

    def log_scale(self) -> Float[Tensor, ""]:
        return self.module.log_scale

    def aligner(self) -> "OnFeatures":
        self.module.eval()
        return OnFeatures(self.module, lambda texts: torch.stack([self.heard[text] for text in texts]))


class OnFeatures:
    """An `Aligner` whose frames are features already, for the validation while training."""

    identity = "features"

    def __init__(self, projections: Projections, features: Callable[[list[str]], Tensor]) -> None:
        self.projections, self.features, self.width = projections, features, projections.sizes[-1]

    @torch.inference_mode()
    def patches(self, frames: Float16[np.ndarray, "b gh gw c"]) -> Float[Tensor, "b gh gw e"]:
        return self.projections.image(torch.from_numpy(frames).float())

    @torch.inference_mode()
    def texts(self, texts: list[str]) -> Float[Tensor, "b e"]:
        return self.projections.text(self.features(texts))
