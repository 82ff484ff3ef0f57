"""What a run reads beside a clip, kept as pictures for its report: every stream with its mask, what is made of it, what
a teacher makes of it, and a hole that is filled. Start reading at `keep_looks`."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from einops import rearrange, repeat
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn.functional import interpolate

from tubelet.errors import RecipeError, TubeletError
from tubelet.evaluations.base import Context
from tubelet.evaluations.completion import complete, pixels_of
from tubelet.evaluations.features import choose_videos
from tubelet.evaluations.reconstruction import first_by_key
from tubelet.loading.loader import eval_batches
from tubelet.models.patches import gather, join
from tubelet.objectives.denoise import DenoiseLoss
from tubelet.objectives.predict import PredictLoss
from tubelet.objectives.targets import PixelTarget, Raw
from tubelet.reports.pictures import Looks, save
from tubelet.seeds import key
from tubelet.tasks import Pretraining
from tubelet.types import CLIP, Clip, Encoded, Words

CLIPS = 6
COLUMNS = 8  # frames of a row, at most
GREY = 128
SPLIT = "test"


@dataclass(frozen=True)
class Row:
    title: str
    note: str
    video: UInt8[Tensor, "b 3 t h w"]


def tells_more(task: Pretraining) -> bool:
    """Whether the pictures of held-out reconstruction leave out something that the run sees or makes."""
    return bool(task.streams) or task.teacher is not None or isinstance(task.pixel_head, DenoiseLoss)


def looks_or_reason(context: Context) -> list[str]:
    """Keeps them; where they cannot be made, a line that says why."""
    try:
        keep_looks(context)
    except TubeletError as error:
        return [f"no pictures of streams: {error}"]
    return []


@torch.inference_mode()
def keep_looks(context: Context) -> None:
    """Of the same few clips that reconstruction shows, in the run's folder; nothing where none can be read."""
    task, folder = context.task, context.pictures
    if task is None or folder is None or not tells_more(task):
        return
    videos = [
        video for video in choose_videos(context.corpus, SPLIT, None, 0, context.data.where) if video.status == "ok"
    ]
    batch = next(
        eval_batches(
            context.corpus, first_by_key(videos, CLIPS), context.clip, context.data, batch=CLIPS, needs=task.needs,
            text=bool(task.online_maps), streams=task.reads,
        )
    )  # fmt: skip
    if not len(batch):
        return
    keyed = replace(batch, key=torch.tensor([key(0, "reconstruction of " + name) for name in batch.ids]))
    rows = list(rows_of(task, task.look(keyed.to(next(task.parameters()).device))))
    pictures = np.stack([frames_of(row.video, context.clip.size) for row in rows], 1)
    looks = Looks(
        corpus=np.array(context.corpus.name),
        ids=np.array(batch.ids),
        titles=np.array([row.title for row in rows]),
        notes=np.array([row.note for row in rows]),
        columns=np.array([min(COLUMNS, row.video.shape[2]) for row in rows]),
        pictures=pictures,
    )
    save(looks, folder)


def rows_of(task: Pretraining, whole: Encoded) -> Iterator[Row]:
    """The clip, then every stream: as it is encoded, as it is predicted, as the teacher has it."""
    heads = {name: head for name, head in task.objectives.items() if isinstance(head, PredictLoss)}
    for stream in (CLIP, *whole.streams):
        seen = whole.of(stream)
        if seen.clip.track:
            yield from signal_rows(heads, whole, stream)
            continue
        hidden, total = seen.mask.hidden.shape[1], seen.clip.num_tubelets
        note = f"{hidden} of {total} tubelets hidden, in grey" if hidden else "nothing is hidden"
        if hidden:
            yield Row(f"{stream}: frames", "as read", join(seen.tubelets, seen.clip))
        yield Row(f"{stream}: visible", note, masked(seen))
        for name, head in heads.items():
            if stream in head.config.on and isinstance(head.config.target, PixelTarget):
                sampled = f", sampled in {head.config.samples} steps" if isinstance(head, DenoiseLoss) else ""
                note = f"by objectives.{name}{sampled}; mean and contrast of every tubelet come from the ground truth"
                yield Row(f"{stream}: reconstruction", note, rebuilt(head, whole, stream))
        if seen.teacher is not None and seen.teacher.tokens.shape[-1] > 2:
            note = "the first three principal components of its tokens, over these clips, as red, green and blue"
            yield Row(f"{stream}: teacher tokens", note, components(seen.teacher.tokens, seen.clip))
    yield from completed(task, whole)


def signal_rows(heads: Mapping[str, PredictLoss], whole: Encoded, stream: str) -> Iterator[Row]:
    """Of another signal than frames: each band over time, where it has colours or can be grey."""
    seen = whole.of(stream)
    if seen.clip.channels not in (1, 3) or isinstance(seen.clip, Words):
        return
    low, high = seen.tubelets.float().min(), seen.tubelets.float().max()

    def picture(tubelets: Float[Tensor, "b n p"]) -> UInt8[Tensor, "b 3 1 y x"]:
        values = (join(tubelets, seen.clip).flip(3) - low) / (high - low).clamp(min=1e-9)
        values = rearrange(values, "b c t h w -> b c 1 h (w t)").expand(-1, 3, -1, -1, -1)
        return (255 * values).round().clamp(0, 255).byte()

    index = seen.mask.hidden[..., None].expand(-1, -1, seen.tubelets.shape[-1])
    masked = seen.tubelets.float().scatter(1, index, float(low + high) / 2)
    count, total = index.shape[1], seen.clip.num_tubelets
    yield Row(f"{stream}: values", "as read: time to the right, low bands below", picture(seen.tubelets.float()))
    if count:
        yield Row(f"{stream}: visible", f"{count} of {total} patches hidden, in grey", picture(masked))
    for name, head in heads.items():
        if stream in head.config.on and isinstance(head.config.target, Raw):
            asked = head.asks(whole)
            decode = asked.of(stream).mask.decode[..., None].expand(-1, -1, seen.tubelets.shape[-1])
            made = masked.scatter(1, decode, head.predict(asked, stream).float())
            yield Row(f"{stream}: reconstruction", f"by objectives.{name}", picture(made))


def completed(task: Pretraining, whole: Encoded) -> Iterator[Row]:
    """The clip with a time step of its middle filled; no row where its decoder cannot do that."""
    clip = task.clip
    hole = torch.zeros(clip.grid, dtype=torch.bool, device=whole.tubelets.device)
    hole[clip.grid[0] // 2] = True
    if clip.grid[0] < 2:
        return
    try:
        video = complete(task, whole.batch.video, hole)
    except RecipeError:
        return
    grey = whole.batch.video.masked_fill(pixels_of(hole[None], clip)[:, None], GREY)
    yield Row("clip: a hole", "one time step is hidden, in grey", grey)
    yield Row("clip: completion", "predicted without any pixel of the hole, nor its mean and contrast", video)


def masked(seen: Encoded) -> UInt8[Tensor, "b 3 t h w"]:
    index = seen.mask.hidden[..., None].expand(-1, -1, seen.tubelets.shape[-1])
    return join(seen.tubelets.scatter(1, index, GREY), seen.clip)


def rebuilt(head: PredictLoss, whole: Encoded, stream: str) -> UInt8[Tensor, "b 3 t h w"]:
    """The stream with the prediction where something is predicted, and what else is hidden in grey."""
    whole = head.asks(whole)
    seen, kind = whole.of(stream), head.config.target
    assert isinstance(kind, PixelTarget)
    target = kind.standardise(gather(seen.tubelets, seen.mask.decode), seen.mask.decode, seen.clip)
    pixels = kind.fill(target.pixels(head.predict(whole, stream).float()), seen.clip).round().clamp(0, 255).byte()
    hidden, decoded = (
        index[..., None].expand(-1, -1, seen.tubelets.shape[-1]) for index in (seen.mask.hidden, seen.mask.decode)
    )
    return join(seen.tubelets.scatter(1, hidden, GREY).scatter(1, decoded, pixels), seen.clip)


def components(tokens: Float[Tensor, "b n d"], clip: Clip) -> UInt8[Tensor, "b 3 t h w"]:
    """Tokens as colours, each component from its lowest to its highest hundredth."""
    rows = tokens.float().flatten(0, 1)
    _, _, axes = torch.linalg.svd(rows - rows.mean(0), full_matrices=False)
    values = (rows - rows.mean(0)) @ axes[:3].T  # bn 3
    low, high = values.quantile(0.01, 0), values.quantile(0.99, 0)
    colours = (255 * (values - low) / (high - low).clamp(min=1e-9)).round().clamp(0, 255).byte()
    time_steps, height, width = clip.grid
    grid = rearrange(colours, "(b t h w) c -> b c t h w", t=time_steps, h=height, w=width)
    side, depth = clip.tubelet_size, clip.tubelet_frames
    return repeat(grid, "b c nt nh nw -> b c (nt t) (nh y) (nw x)", t=depth, y=side, x=side)


def frames_of(video: UInt8[Tensor, "b 3 t h w"], side: int) -> UInt8[np.ndarray, "b columns s s 3"]:
    """Some frames of every clip at this size, evenly spaced, the first among them; black where there are no more."""
    columns = min(COLUMNS, video.shape[2])
    chosen = video[:, :, [index * video.shape[2] // columns for index in range(columns)]]
    frames = rearrange(chosen, "b c t h w -> (b t) c h w")
    if frames.shape[-1] != side:
        small = interpolate(frames.float(), size=(side, side), mode="bilinear", antialias=True, align_corners=False)
        frames = small.round().clamp(0, 255).byte()
    found = np.zeros((len(video), COLUMNS, side, side, 3), np.uint8)
    found[:, :columns] = rearrange(frames, "(b t) c h w -> b t h w c", t=columns).cpu().numpy()
    return found
