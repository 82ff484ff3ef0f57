"""A clip as tubelets: cut, put back together, chosen by index, and numbered by fixed sinusoids."""

import torch
from einops import rearrange
from jaxtyping import Float, Int64, Shaped
from torch import Tensor
from torch.nn.functional import interpolate

from tubelet.types import Clip, Grid

MEAN = (0.485, 0.456, 0.406)  # of ImageNet, per colour, of values in [0, 1]
STD = (0.229, 0.224, 0.225)
MIDDLE, GAIN = 128, 4  # of a clip without its background: what stands still, and by what changes are multiplied


def cut(video: Shaped[Tensor, "b c t h w"], clip: Clip) -> Shaped[Tensor, "b n p"]:
    """The tubelets of each clip; values ordered colour, frame, row, column. One copy, of the same type."""
    if tuple(video.shape[1:]) != (clip.channels, *clip.whole):
        wanted = "x".join(map(str, (clip.channels, *clip.whole)))
        raise ValueError(f"a clip of {clip} is {wanted}, not {tuple(video.shape[1:])}")
    if clip.subtract_background:
        video = without_background(video)
    time_steps, rows, columns = clip.grid
    return rearrange(
        video, "b c (nt t) (nh h) (nw w) -> b (nt nh nw) (c t h w)", nt=time_steps, nh=rows, nw=columns
    ).contiguous()


def without_background(video: Shaped[Tensor, "b c t h w"]) -> Shaped[Tensor, "b c t h w"]:
    """By how much each pixel differs from its mean over the clip, times `GAIN`, about the middle of 0 to 255."""
    values = video.float()
    moved = (MIDDLE + GAIN * (values - values.mean(2, keepdim=True))).clamp(0, 255)
    return moved if video.is_floating_point() else moved.round().to(video.dtype)


def join(tubelets: Shaped[Tensor, "b n p"], clip: Clip) -> Shaped[Tensor, "b c t h w"]:
    """The clips of tubelets: undoes `cut`."""
    (time_steps, rows, columns), (deep, high, wide) = clip.grid, clip.tubelet
    return rearrange(
        tubelets,
        "b (nt nh nw) (c t h w) -> b c (nt t) (nh h) (nw w)",
        nt=time_steps,
        nh=rows,
        nw=columns,
        c=clip.channels,
        t=deep,
        h=high,
        w=wide,
    )


def gather(rows: Shaped[Tensor, "b n p"], where: Int64[Tensor, "b k"]) -> Shaped[Tensor, "b k p"]:
    """Of each sample, the rows that `where` names."""
    batch, count, _ = rows.shape
    flat = where + torch.arange(0, batch * count, count, device=where.device)[:, None]
    return rows.flatten(0, 1).index_select(0, flat.flatten()).unflatten(0, where.shape)


def position_table(count: int, width: int) -> Float[Tensor, "{count} {width}"]:
    """Sine on even and cosine on odd columns of the flat tubelet index. Computed in float64: float32 is off by 1e-4."""
    device = torch.get_default_device()
    column = torch.arange(width, dtype=torch.float64, device=device)
    rate = torch.pow(10000.0, -2 * (column // 2) / width)
    angle = torch.arange(count, dtype=torch.float64, device=device)[:, None] * rate
    return torch.where(column % 2 == 0, angle.sin(), angle.cos()).float()


def grid_table(grid: Grid, width: int) -> Float[Tensor, "n {width}"]:
    """Sines and cosines of time step, row and column apart, a third of the columns each; what is left over is 0.

    The separable table of V-JEPA (arXiv 2404.08471) with rates spread evenly up to half a turn a step, so that no
    column is nearly constant on a small grid. Two tubelets of one position are near here at any distance in time;
    in the flat table nothing says so.
    """
    pairs = width // 6
    # Given to every call: transformers keeps linspace from following `with torch.device(...)` once it loaded a model.
    device = torch.get_default_device()
    codes = []
    for size in grid:
        rate = torch.pi * torch.linspace(0.5 / size, 1 - 0.5 / size, pairs, dtype=torch.float64, device=device)
        angle = torch.arange(size, dtype=torch.float64, device=device)[:, None] * rate
        codes.append(torch.cat((angle.sin(), angle.cos()), dim=1))
    time_steps, rows, columns = grid
    table = torch.zeros(time_steps, rows, columns, width, dtype=torch.float64, device=device)
    for axis, code in enumerate(codes):
        shape = [1, 1, 1, 2 * pairs]
        shape[axis] = grid[axis]
        table[..., axis * 2 * pairs : (axis + 1) * 2 * pairs] = code.view(shape)
    return table.flatten(0, 2).float()


def stretch(table: Float[Tensor, "n d"], of: Grid, to: Grid) -> Float[Tensor, "m d"]:
    """The position table of one grid over another: linear in time and in space, so that every tubelet has the code of
    the same share of its clip."""
    if of == to:
        return table
    planes = rearrange(table.double(), "(t h w) d -> 1 d t h w", t=of[0], h=of[1], w=of[2])
    planes = interpolate(planes, size=to, mode="trilinear", align_corners=False)
    return rearrange(planes, "1 d t h w -> (t h w) d").float().contiguous()


def value_scale(clip: Clip) -> tuple[Float[Tensor, "p"], Float[Tensor, "p"]]:
    """`scale` and `shift` that take pixel values 0-255 of a tubelet to zero mean and unit variance per colour. Other
    signals come as the encoder gets them."""
    if clip.track:
        return torch.ones(clip.tubelet_values), torch.zeros(clip.tubelet_values)
    repeats = clip.tubelet_values // 3
    mean = torch.tensor(MEAN, dtype=torch.float64).repeat_interleave(repeats)
    std = torch.tensor(STD, dtype=torch.float64).repeat_interleave(repeats)
    return (1 / (255 * std)).float(), (-mean / std).float()
