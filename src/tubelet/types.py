"""The nouns, and the letters of every shape.

    b batch    c channels    t frames    h w pixels    n = nt*nh*nw tubelets of a clip
    k visible  m hidden (k + m = n)      q decoded (a subset of hidden)
    p values in a tubelet    d encoder width    e joint text-video width

Tubelets are numbered time first, then rows, then columns: index = (time step * nh + row) * nw + column.
A *time step* is one step of the time axis of that grid, a *position* one cell of its spatial axes.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, Literal

import chz
import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

from tubelet.errors import RecipeError

Grid = tuple[int, int, int]
CLIP = "clip"  # names the main stream wherever streams are named


@chz.chz
class Clip:
    """The size of what the model sees: 16 frames of 224x224, cut into 2x16x16 tubelets, unless said otherwise.

    Its subclasses measure other signals, which are cut, hidden and encoded alike.
    """

    counts: ClassVar[tuple[str, str, str]] = ("", "", "")  # fields that say height, width and channels of a track

    frames: int = chz.field(default=16, doc="frames of a clip")
    size: int = chz.field(default=224, doc="height and width of a frame, pixels")
    tubelet_frames: int = chz.field(default=2, doc="frames of a tubelet")
    tubelet_size: int = chz.field(default=16, doc="height and width of a tubelet, pixels")
    subtract_background: bool = chz.field(
        default=False, doc="of each pixel its mean over the clip is taken away, so that tubelets hold what moves"
    )

    @chz.validate
    def _moves(self) -> None:
        if self.subtract_background and (self.frames < 2 or self.track):
            what = f"a clip of {self.track or 'one frame'} has none"
            raise RecipeError(f"clip.subtract_background=True leaves what moves in a video, and {what}; leave it out")

    @chz.validate
    def _divisible(self) -> None:
        for name, whole, part in (
            ("frames", self.frames, self.tubelet_frames),
            ("size", self.size, self.tubelet_size),
        ):
            if part < 1 or whole < part or whole % part:
                raise RecipeError(f"clip.{name}={whole} must be a positive multiple of clip.tubelet_{name}={part}")

    @property
    def track(self) -> str:
        """The signal that it is of, a track of the corpus or its captions; "" for the frames of the video."""
        return ""

    @property
    def channels(self) -> int:
        return 3

    @property
    def whole(self) -> Grid:
        """Frames, height and width."""
        return self.frames, self.size, self.size

    @property
    def tubelet(self) -> Grid:
        """Frames, height and width of a tubelet."""
        return self.tubelet_frames, self.tubelet_size, self.tubelet_size

    @property
    def grid(self) -> Grid:
        """(time steps, rows, columns)"""
        (frames, height, width), (deep, high, wide) = self.whole, self.tubelet
        return frames // deep, height // high, width // wide

    @property
    def num_tubelets(self) -> int:
        time_steps, rows, columns = self.grid
        return time_steps * rows * columns

    @property
    def num_positions(self) -> int:
        return self.num_tubelets // self.grid[0]

    @property
    def tubelet_values(self) -> int:
        return self.channels * math.prod(self.tubelet)


@chz.chz
class Sound(Clip):
    """A log-mel spectrogram: columns of time, one above the other the bands of frequency."""

    counts: ClassVar[tuple[str, str, str]] = ("size", "", "")

    name: str = chz.field(default="sound", doc="the track of the corpus that it is read from")
    frames: int = chz.field(default=192, doc="columns of the spectrogram")
    size: int = chz.field(default=64, doc="bands of the spectrogram")
    tubelet_frames: int = chz.field(default=16, doc="columns of a patch")
    tubelet_size: int = chz.field(default=16, doc="bands of a patch")

    @property
    def track(self) -> str:
        return self.name

    @property
    def channels(self) -> int:
        return 1

    @property
    def whole(self) -> Grid:
        return self.frames, self.size, 1

    @property
    def tubelet(self) -> Grid:
        return self.tubelet_frames, self.tubelet_size, 1


@chz.chz
class Sensors(Clip):
    """Spectrograms of body-worn sensors, side by side: a device is a column of the grid, an axis a channel."""

    counts: ClassVar[tuple[str, str, str]] = ("size", "devices", "axes")

    name: str = chz.field(default="sensors", doc="the track of the corpus that it is read from")
    frames: int = chz.field(default=48, doc="columns of the spectrogram")
    size: int = chz.field(default=16, doc="frequencies of the spectrogram")
    tubelet_frames: int = chz.field(default=8, doc="columns of a patch")
    tubelet_size: int = chz.field(default=8, doc="frequencies of a patch")
    devices: int = chz.field(default=4, doc="number of devices")
    axes: int = chz.field(default=3, doc="axes of a device")

    @chz.validate
    def _some(self) -> None:
        if self.devices < 1 or self.axes < 1:
            raise RecipeError(f"devices={self.devices} and axes={self.axes} must be 1 or more")

    @property
    def track(self) -> str:
        return self.name

    @property
    def channels(self) -> int:
        return self.axes

    @property
    def whole(self) -> Grid:
        return self.frames, self.size, self.devices

    @property
    def tubelet(self) -> Grid:
        return self.tubelet_frames, self.tubelet_size, 1


@chz.chz
class Vectors(Clip):
    """A row of vectors, each of them a token."""

    counts: ClassVar[tuple[str, str, str]] = ("", "", "width")

    name: str = chz.field(default="vectors", doc="the track of the corpus that it is read from")
    frames: int = chz.field(default=32, doc="vectors of a clip")
    size: int = chz.field(default=1, doc="1: a vector has no height")
    tubelet_frames: int = chz.field(default=1, doc="vectors of a token")
    tubelet_size: int = chz.field(default=1, doc="1: a vector has no height")
    width: int = chz.field(default=768, doc="numbers of a vector")

    @chz.validate
    def _flat(self) -> None:
        if self.size != 1 or self.width < 1:
            raise RecipeError(f"a vector has size=1, not {self.size}, and width={self.width} must be 1 or more")

    @property
    def track(self) -> str:
        return self.name

    @property
    def channels(self) -> int:
        return self.width

    @property
    def whole(self) -> Grid:
        return self.frames, 1, 1

    @property
    def tubelet(self) -> Grid:
        return self.tubelet_frames, 1, 1


@chz.chz
class Words(Clip):
    """The words of the caption that was drawn for a clip, each of them a token: its number; 0 behind the last."""

    frames: int = chz.field(default=12, doc="words of a caption that are read")
    size: int = chz.field(default=1, doc="1: a word has no height")
    tubelet_frames: int = chz.field(default=1, doc="1: a token is a word")
    tubelet_size: int = chz.field(default=1, doc="1: a word has no height")
    vocabulary: int = chz.field(default=4096, doc="numbers among which words are spread by their hash")

    @chz.validate
    def _words(self) -> None:
        if self.size != 1 or self.tubelet_frames != 1 or self.vocabulary < 2:
            raise RecipeError(
                f"a word has size=1 and tubelet_frames=1, not {self.size} and {self.tubelet_frames}; "
                f"vocabulary={self.vocabulary} must be 2 or more"
            )

    @property
    def track(self) -> str:
        return "words"

    @property
    def channels(self) -> int:
        return 1

    @property
    def whole(self) -> Grid:
        return self.frames, 1, 1

    @property
    def tubelet(self) -> Grid:
        return 1, 1, 1


@dataclass(frozen=True)
class Batch:
    """Clips and what travels with them. uint8 until the device; maps went through the same crop and flip."""

    video: UInt8[Tensor, "b 3 t h w"] | Float[Tensor, "b c t h w"]  # pixels, or the values of another signal
    key: Int64[Tensor, "b"]  # the randomness of each clip: a function of (seed, epoch, row)
    ids: tuple[str, ...]
    label: Int64[Tensor, "b"] | None = None
    text: Float[Tensor, "b e"] | None = None  # cached embedding of the caption drawn for this clip
    caption: Int64[Tensor, "b"] | None = None  # number of that caption's normalised text: equal text, equal number
    source: Int64[Tensor, "b"] | None = None  # number of the video: its captions are no negatives of each other
    maps: Mapping[str, Float[Tensor, "b ..."]] = field(
        default_factory=dict
    )  # scalar: b n; parts: b n parts; vector: b t nh nw 2
    short: Bool[Tensor, "b"] | None = None  # the source was shorter than the clip's span
    view: Int64[Tensor, "b"] | None = None  # in evaluation: which of the asked views of its video a clip is
    progress: float = 1.0  # share of the training's steps that is done; outside of training it is over
    step: int = 0  # of the training, counted from 0
    streams: Mapping[str, "Batch"] = field(default_factory=dict)  # other views of the same samples, by name
    failed: tuple[str, ...] = ()  # "id: reason" of clips of this batch that could not be read; they are not in it

    def __len__(self) -> int:
        return len(self.ids)

    def to(self, device: torch.device | str) -> "Batch":
        return self._each(lambda value: value.to(device, non_blocking=True))

    def pin_memory(self) -> "Batch":
        """In page-locked memory, from which a copy to a GPU need not wait; the loader's own thread calls it."""
        return self._each(lambda value: value.pin_memory())

    def of(self, stream: str) -> "Batch":
        """The batch of a stream, at this batch's point of the training; of `CLIP` this one."""
        if stream == CLIP:
            return self
        return replace(self.streams[stream], progress=self.progress, step=self.step)

    def _each(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        moved: dict[str, Any] = {
            f.name: change(value) for f in fields(self) if isinstance(value := getattr(self, f.name), Tensor)
        }
        maps = {name: change(value) for name, value in self.maps.items()}
        return replace(self, **moved, maps=maps, streams={name: s._each(change) for name, s in self.streams.items()})


def floor_share(count: int, share: float) -> int:
    """`count * share` rounded down, but for what floating point leaves out: 10 * 0.7 is 7."""
    return int(count * share + 1e-9)


@dataclass(frozen=True)
class Budget:
    """How many tubelets to hide: `hidden` of the whole clip, of every time step, or (a tube) of the positions; nothing
    at all by a masker that says so."""

    hidden: int
    per: Literal["clip", "time_step", "position", "nothing"]
    grid: Grid

    def __post_init__(self) -> None:
        if self.per == "nothing":
            if self.hidden:
                raise ValueError(f"a budget of nothing hides 0 tubelets, not {self.hidden}")
            return
        time_steps, rows, columns = self.grid
        available = time_steps * rows * columns if self.per == "clip" else rows * columns
        if not 0 < self.hidden < available:
            units = {"clip": "tubelets of a clip", "time_step": "tubelets of a time step", "position": "positions"}
            raise RecipeError(
                f"a mask must hide at least one and leave at least one of {available} {units[self.per]}, "
                f"not hide {self.hidden}; change masker.ratio or the clip size"
            )

    @property
    def total(self) -> int:
        """Hidden tubelets of a clip."""
        return self.hidden * self.grid[0] if self.per in ("time_step", "position") else self.hidden


@dataclass(frozen=True)
class Mask:
    """Which tubelets the encoder sees and which it does not: sorted indices, so there is no polarity to mistake."""

    visible: Int64[Tensor, "b k"]
    hidden: Int64[Tensor, "b m"]
    decode: Int64[Tensor, "b q"]  # the hidden tubelets that are reconstructed
    log_prob: Float[Tensor, "b n"] | None = None  # learned maskers only

    @classmethod
    def all_visible(cls, batch: int, tubelets: int, device: torch.device) -> "Mask":
        """Nothing is hidden, and nothing reconstructed."""
        everything = torch.arange(tubelets, device=device).expand(batch, -1)
        nothing = torch.empty(batch, 0, dtype=torch.int64, device=device)
        return cls(visible=everything, hidden=nothing, decode=nothing)

    @classmethod
    def hide_top(cls, scores: Float[Tensor, "b n"], budget: Budget) -> "Mask":
        """Hides the tubelets with the highest scores. The one place where counts and ties are decided.

        Counts are exact and equal for every clip. Ties go to the lower index. NaN has no place in an order:
        `ValueError` (checked where that costs no device synchronisation, on the CPU).
        """
        if scores.device.type == "cpu" and not torch.isfinite(scores).all():
            raise ValueError("mask scores hold NaN or infinite values")
        time_steps, rows, columns = budget.grid
        positions = rows * columns
        if budget.per == "clip":
            hidden, visible = split_top(scores, budget.hidden)
        elif budget.per == "time_step":
            hidden, visible = (
                (part + offsets(time_steps, positions, scores.device)[:, None]).flatten(1)
                for part in split_top(scores.unflatten(1, (time_steps, positions)), budget.hidden)
            )
        else:
            hidden, visible = (
                (part[:, None] + offsets(time_steps, positions, scores.device)[:, None]).flatten(1)
                for part in split_top(scores.unflatten(1, (time_steps, positions)).mean(1), budget.hidden)
            )
        return cls(visible=visible, hidden=hidden, decode=hidden)


def split_top(
    scores: Float[Tensor, "*batch n"], count: int
) -> tuple[Int64[Tensor, "*batch m"], Int64[Tensor, "*batch k"]]:
    """Indices of the `count` highest scores of the last axis, and of the others, each ascending.

    By a threshold and running counts, several times faster than sorting, and nothing waits for the device.
    """
    size = scores.shape[-1]
    scores = scores.nan_to_num(math.inf, math.inf, -math.inf)  # off the CPU nobody looked: the counts hold all the same
    lowest = scores.kthvalue(size - count + 1, dim=-1, keepdim=True).values
    above, level = scores > lowest, scores == lowest
    chosen = above | (level & (level.cumsum(-1) <= count - above.sum(-1, keepdim=True)))
    index = torch.arange(size, device=scores.device)
    before = chosen.cumsum(-1)
    position = torch.where(chosen, before - 1, count + index - before)  # chosen ones first, both in order
    order = torch.empty_like(position).scatter_(-1, position, index.expand_as(position))
    return order[..., :count], order[..., count:]


def offsets(time_steps: int, positions: int, device: torch.device) -> Int64[Tensor, "{time_steps}"]:
    """The index of the first tubelet of every time step."""
    return torch.arange(0, time_steps * positions, positions, device=device)


@dataclass(frozen=True)
class Encoded:
    """What an objective sees: the clip cut into tubelets, the mask, and the encoder's tokens of the visible part; with
    them the other streams of the same samples, and what a teacher makes of each."""

    clip: Clip
    batch: Batch
    mask: Mask
    tubelets: UInt8[Tensor, "b n p"] | Float[Tensor, "b n p"]
    tokens: Float[Tensor, "b k d"]
    streams: Mapping[str, "Encoded"] = field(default_factory=dict)
    teacher: "Encoded | None" = None  # of this stream, with nothing hidden and without gradient
    codes: Int64[Tensor, "b k"] | None = None  # of a tokenizer: the number of each token's code
    before: Float[Tensor, "b k d"] | None = None  # tokens before streams were fused; None: they were not

    def of(self, stream: str) -> "Encoded":
        """The stream of this name; of `CLIP` this one."""
        return self if stream == CLIP else self.streams[stream]

    @property
    def alone(self) -> Float[Tensor, "b k d"]:
        """Tokens that no other stream has reached: of what is compared between streams, one would tell of the other."""
        return self.tokens if self.before is None else self.before


@dataclass(frozen=True)
class Loss:
    """A scalar to descend, numbers to log, and the part of it that each decoded token has (a reward)."""

    value: Float[Tensor, ""]
    terms: Mapping[str, Float[Tensor, ""]] = field(default_factory=dict)
    per_token_loss: Float[Tensor, "b q"] | None = None


@dataclass(frozen=True)
class Step:
    """What a task returns: the loss of the step and its logged terms, each detached."""

    loss: Float[Tensor, ""]
    terms: Mapping[str, Float[Tensor, ""]] = field(default_factory=dict)
