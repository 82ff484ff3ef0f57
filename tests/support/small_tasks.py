"""Recipes of any objective, stream and teacher, as small as they get; their tasks, and batches for them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import chz
import torch
from torch import Tensor

from tubelet.aligners.config import Shape
from tubelet.aligners.small import SmallAligner, Towers
from tubelet.aligners.vocabulary import Vocabulary
from tubelet.maskers import Masker, Random
from tubelet.models import Decoder, Vit
from tubelet.objectives import Objective
from tubelet.objectives.targets import Codes
from tubelet.recipes.pretrain import Pretrain
from tubelet.streams import Stream
from tubelet.tasks import Pretraining
from tubelet.teachers import Aligned, Frozen, FrozenJoint, Momentum, NoTeacher, Teacher, Tokenizer
from tubelet.types import CLIP, Batch, Clip, Words

SMALL = Clip(frames=4, size=32, tubelet_size=8)
VIT = Vit(width=32, depth=1, heads=2)
DECODER = Decoder(width=24, depth=1, heads=2)
TOKENIZER = Tokenizer(init="runs/somewhere", encoder=Vit(width=16, depth=1, heads=2), clip=SMALL, codebook=(16, 8))
TEXT = 12  # width of the caption embeddings


def small(objective_class: type[Objective], **fields: object) -> Objective:
    """With a small decoder, where it has one."""
    if "decoder" in chz.chz_fields(objective_class):
        fields = {"decoder": DECODER, **fields}
    return objective_class(**fields)


def recipe_of(
    objectives: Mapping[str, Objective],
    streams: Mapping[str, Stream] | None = None,
    teacher: Teacher | None = None,
    masker: Masker | None = None,
) -> Pretrain:
    """With every stream that the objectives read, half of it hidden, and a teacher where they learn from one."""
    wanted = dict.fromkeys(name for one in objectives.values() for name in one.streams if name != CLIP)
    beside = {name: Stream(masker=Random(ratio=0.5)) for name in wanted}
    taught = any(one.taught for one in objectives.values())
    by_codes = any(isinstance(getattr(one, "target", None), Codes) for one in objectives.values())
    return Pretrain(
        precision="fp32",
        clip=SMALL,
        encoder=VIT,
        masker=masker or Random(ratio=0.5),
        objectives=objectives,
        streams={**beside, **(streams or {})},
        teacher=teacher or (TOKENIZER if by_codes else Momentum() if taught else NoTeacher()),
        steps=1,
    )


def task_of(config: Pretrain) -> Pretraining:
    torch.manual_seed(0)
    return config.build(TEXT)


def video(clip: Clip, count: int, seed: int) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    shape = (count, clip.channels, *clip.whole)
    if isinstance(clip, Words):
        numbers = torch.randint(1, clip.vocabulary, shape, generator=random)
        ended = torch.arange(clip.frames)[:, None, None] >= 1 + torch.arange(count)[:, None, None, None, None] % 4 + 2
        return numbers.masked_fill(ended, 0).float()
    if clip.track:
        return torch.randn(shape, generator=random)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=random)


def batch_of(config: Pretrain, count: int = 4, seed: int = 0) -> Batch:
    """Clips and streams of random pixels."""
    numbers = torch.arange(count)
    main = Batch(
        video=video(config.clip, count, seed),
        key=numbers * 7919 + seed,
        ids=tuple(map(str, range(count))),
        text=torch.randn(count, TEXT, generator=torch.Generator().manual_seed(seed)),
        caption=numbers,
        source=numbers,
    )
    streams = {
        name: replace(main, video=video(stream.clip(config.clip), count, seed + 1 + place))
        for place, (name, stream) in enumerate(config.streams.items())
    }
    return replace(main, streams=streams)


def rows(batch: Batch, chosen: Sequence[int]) -> Batch:
    """Some samples of a batch, in this order."""
    index = torch.tensor(chosen)
    names = ("video", "key", "text", "caption", "source")
    return replace(
        batch,
        ids=tuple(batch.ids[i] for i in chosen),
        streams={name: rows(stream, chosen) for name, stream in batch.streams.items()},
        **{name: getattr(batch, name)[index] for name in names},
    )


def gradients(task: Pretraining, batch: Batch) -> dict[str, Tensor]:
    task.zero_grad()
    task(batch).loss.backward()
    return {name: value.grad.clone() for name, value in task.named_parameters() if value.grad is not None}


def small_aligner(folder: Path, joint: int = 6) -> Path:
    """The folder of an aligner of random weights."""
    torch.manual_seed(0)
    words = Vocabulary.of(["a red square"])
    shape = Shape(side=16, width=8, depth=1, text_width=8, joint=joint)
    SmallAligner(shape, words, Towers(shape, words.size)).save(folder / "aligner")
    return folder / "aligner"


def small_teacher(teacher_class: type[Teacher], folder: Path) -> Teacher:
    """One of this class that can be built."""
    if teacher_class is Tokenizer:
        return TOKENIZER
    if teacher_class in (Frozen, FrozenJoint):
        return teacher_class(init="runs/somewhere", encoder=Vit(width=16, depth=1, heads=2), clip=SMALL)
    if teacher_class is Aligned:
        return Aligned(aligner=str(small_aligner(folder)))
    return teacher_class()
