"""The mask that a masker draws for one clip, and what a run makes of the clip under it: by the maskers' own code.

A seed gives the key that `tubelet masks --seed` gives, so both draw the same masks.
"""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8

from tubelet import seeds
from tubelet.config import override, type_in_words, walk
from tubelet.corpus.schema import Caption
from tubelet.diagnostics.mask_measures import Drawer
from tubelet.diagnostics.masks import LEARNED
from tubelet.errors import RecipeError
from tubelet.evaluations.reconstruction import nearest_visible, r2
from tubelet.inspector.clips import ClipRead
from tubelet.inspector.layers import Saliency
from tubelet.inspector.subject import RUN, Settings, Subject
from tubelet.maskers import TOKENS, Masker
from tubelet.models.patches import cut, gather, join
from tubelet.recipes.pretrain import Pretrain
from tubelet.types import Batch, Clip, Mask


@dataclass(frozen=True)
class Asked:
    """Which mask is asked for: a masker by its name here, `name=value` of its fields, the seed, and what guides it."""

    masker: str
    fields: tuple[str, ...] = ()
    seed: int = 0
    caption: Caption | None = None
    text: str | None = None


@dataclass(frozen=True)
class Drawn:
    """A mask of one clip, and the batch of it, with its maps and key, that it was drawn of."""

    masker: Masker
    mask: Mask
    batch: Batch
    remark: str = ""

    def flags(self, clip: Clip) -> Bool[np.ndarray, "n"]:
        """True where a tubelet is hidden."""
        return flags_of(self.mask, clip)


def flags_of(mask: Mask, clip: Clip) -> Bool[np.ndarray, "n"]:
    flags = torch.zeros(clip.num_tubelets, dtype=torch.bool)
    flags[mask.hidden[0].cpu()] = True
    return flags.numpy()


def key_of(seed: int, row: int) -> torch.Tensor:
    return torch.tensor([seeds.key(seed, "masks", row)])


@dataclass(frozen=True)
class Drawing:
    """Draws masks of the clips of a subject."""

    subject: Subject
    saliency: Saliency
    drawers: dict[str, Drawer] = field(default_factory=dict)  # those with weights, which take time to make

    @torch.inference_mode()
    def draw(self, settings: Settings, read: ClipRead, asked: Asked) -> Drawn:
        """The mask of a clip."""
        masker = masker_of(self.subject, settings, asked)
        masker.budget(read.clip)  # refused before a map is looked for
        maps = {name: self.saliency.at_tubelets(read, name, asked.caption, asked.text) for name in masker.maps}
        batch = replace(read.batch, key=key_of(asked.seed, read.video.row), maps=maps)
        if asked.masker != RUN or TOKENS not in masker.needs:
            drawer = self.drawer(masker, read.clip, settings, asked.seed)
            return Drawn(masker, drawer.draw(batch), batch, LEARNED if drawer.policy is not None else "")
        task = settings.task
        moved = batch.to(next(task.parameters()).device)
        tokens = task.encoder.patches(cut(moved.video, read.clip))
        draws = task.masker if task.policy is None else task.policy
        return Drawn(masker, draws(moved, read.clip, moved.key, tokens), batch)

    def drawer(self, masker: Masker, clip: Clip, settings: Settings, seed: int) -> Drawer:
        if TOKENS not in masker.needs:
            return Drawer(masker, clip, None, None)
        named = repr((masker, clip, settings.encoder, seed))
        if named not in self.drawers:
            self.drawers.clear()
            self.drawers[named] = Drawer.of(masker, clip, settings.encoder, seed)
        return self.drawers[named]


def masker_of(subject: Subject, settings: Settings, asked: Asked) -> Masker:
    """A masker of the list, or a run's, with these fields."""
    if asked.masker == RUN and settings.run is not None:
        base = settings.config.masker
    elif asked.masker in subject.maskers:
        base = subject.maskers[asked.masker]
    else:
        raise RecipeError(f"there is no masker {asked.masker!r} here; there are: {', '.join(subject.maskers)}")
    if not asked.fields:
        return base
    if asked.masker == RUN and TOKENS in base.needs:
        raise RecipeError("a mask that a run learned is drawn as it was learned; name its masker to change its fields")
    changed = override(Pretrain(masker=base, steps=1), [f"masker.{field}" for field in asked.fields])
    return changed.masker


def fields_of(masker: Masker) -> list[dict[str, Any]]:
    """The fields of a masker for the page: name, value, type and choices in words, what it is."""
    return [
        {
            "name": path, "value": value.__name__ if isinstance(value, type) else value,
            "type": type_in_words(declared), "about": doc,
        }
        for path, declared, value, doc in walk(masker)
    ]  # fmt: skip


@dataclass(frozen=True)
class Rebuilt:
    """The clip with the prediction in the hidden tubelets, the loss of each of them, and what knowing nothing costs."""

    frames: UInt8[np.ndarray, "t h w 3"]
    where: tuple[int, ...]  # the tubelets that are predicted
    error: Float[np.ndarray, "q"]
    loss: float
    baseline: float

    @property
    def r2(self) -> float:
        return r2(np.array([self.loss]), np.array([self.baseline]))


@torch.inference_mode()
def reconstruct(settings: Settings, drawn: Drawn, truth: bool = False) -> Rebuilt:
    """What the run's decoder makes of the hidden tubelets: each takes mean and contrast of the nearest visible one, or
    with `truth` its own, which the model never saw."""
    task = settings.task
    batch = drawn.batch.to(next(task.parameters()).device)
    own = Mask(
        drawn.mask.visible.to(batch.video.device),
        drawn.mask.hidden.to(batch.video.device),
        drawn.mask.decode.to(batch.video.device),
    )
    if task.pixel_head is not None and task.pixel_head.config.on[0] != "clip":
        raise RecipeError(f"{settings.name} reconstructs another stream than the clip; `tubelet report` shows it")
    rebuilt = task.reconstruct(batch, own)
    seen, kind, target = rebuilt.seen, rebuilt.kind, rebuilt.target
    statistics = target
    if not truth:
        around = gather(seen.tubelets, nearest_visible(seen.mask, seen.clip))
        statistics = kind.standardise(around, seen.mask.decode, seen.clip)
    pixels = kind.fill(statistics.pixels(rebuilt.prediction), seen.clip).round().clamp(0, 255).byte()
    filled = seen.tubelets.clone()
    index = seen.mask.decode[..., None].expand(-1, -1, filled.shape[-1])
    frames = join(filled.scatter_(1, index, pixels), seen.clip)[0].permute(1, 2, 3, 0)
    error = (rebuilt.prediction - target.values).square().mean(-1)[0].double()
    return Rebuilt(
        frames.contiguous().cpu().numpy(), tuple(seen.mask.decode[0].tolist()), error.cpu().numpy(),
        float(error.mean()), float(target.values.square().double().mean()),
    )  # fmt: skip
