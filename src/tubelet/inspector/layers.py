"""Saliency maps as the page draws them: the cached ones of the corpus, and those of any text, scored when asked for.

A text is scored as `tubelet saliency CORPUS Text` would: the same frames, the same aligner. A stretch of a video is
embedded once; each further text costs one small product.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, Float64
from torch import Tensor

from tubelet.aligners.base import similarity
from tubelet.aligners.unknown_words import check_text
from tubelet.corpus.schema import Caption, Video
from tubelet.corpus.table import normalise_text
from tubelet.errors import CorpusError, RecipeError
from tubelet.files import file_name
from tubelet.inspector.clips import ClipRead
from tubelet.inspector.subject import Subject
from tubelet.jobs.shards import chosen
from tubelet.saliency_maps.frames import decode_piece, pieces
from tubelet.saliency_maps.text import NAME as TEXT
from tubelet.saliency_maps.text import maps_per_second
from tubelet.stores.maps import Maps
from tubelet.stores.resample import sample_scalar
from tubelet.video.limits import limits, within

AT_ONCE = 512  # layers of an answer
SCORED = 64  # frames that are embedded at once
KEPT = 6  # stretches whose embeddings are kept

Scalar = tuple[Float32[np.ndarray, "l gh gw"], Float64[np.ndarray, "l"]]


@dataclass(frozen=True)
class Layers:
    """Some layers of a map as one number a cell, from number `first` on; `until` is when those that follow begin."""

    values: Float32[np.ndarray, "l gh gw"]
    times: Float64[np.ndarray, "l"]
    first: int
    count: int | None  # of the whole map; None: not known before all are scored
    low: float
    high: float
    until: float | None
    made: str  # how, in words
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Saliency:
    """The maps of a corpus, opened when they are first asked for."""

    subject: Subject
    opened: dict[str, Maps] = field(default_factory=dict)
    embedded: OrderedDict[tuple[int, int], tuple[Tensor, Float64[np.ndarray, "t"]]] = field(default_factory=OrderedDict)

    def names(self) -> list[str]:
        """Of the maps that are cached."""
        root = self.subject.corpus.folder / "maps"
        folders = sorted(path.name for path in root.iterdir()) if root.is_dir() else []
        return [name for name in folders if chosen(root / file_name(name)) is not None]

    def maps(self, name: str) -> Maps:
        if name not in self.opened:
            self.opened[name] = Maps.open(self.subject.corpus, name)
        return self.opened[name]

    def kinds(self) -> list[str]:
        """What can be drawn: maps of parts as each of their parts, text also where only an aligner is there."""
        found = []
        for name in self.names():
            maps = self.maps(name)
            found += [f"{name}:{part}" for part in range(maps.channels)] if maps.kind == "parts" else [name]
        return found + ([TEXT] if self.subject.has_aligner and TEXT not in found else [])

    def caption_is_cached(self, video: Video, caption: Caption) -> bool:
        return TEXT in self.names() and self.maps(TEXT).find(video, caption) is not None

    def layers(self, video: Video, kind: str, caption: Caption | None, text: str | None, at: float) -> Layers:
        """Those about this moment, of a caption of the table or of a text."""
        name, _, part = kind.partition(":")
        if kind not in self.kinds():
            raise RecipeError(f"there are no {kind} maps here; there are: {', '.join(self.kinds()) or 'none'}")
        if name == TEXT:
            if text is None and caption is None:
                raise CorpusError(f"{video.id} has no caption; type a text, or write captions with `tubelet caption`")
            if text is not None or (caption is not None and not self.caption_is_cached(video, caption)):
                return self.scored(video, text if text is not None else caption.text if caption else "", at)
        maps = self.maps(name)
        values, times = maps.layers(video, caption if name == TEXT else None)
        if maps.kind == "vector":
            seconds = np.diff(times)
            values, times = np.hypot(values[..., 0], values[..., 1]) / seconds[:, None, None], times[:-1]
        elif maps.kind == "parts":
            values = values[..., int(part)]
        low, high = (float(edge) for edge in np.percentile(values, (1, 99)))
        first = AT_ONCE * (layer_at(times, at) // AT_ONCE)
        last = min(first + AT_ONCE, len(times))
        return Layers(
            np.ascontiguousarray(values[first:last], np.float32), times[first:last], first, len(times), low, high,
            float(times[last]) if last < len(times) else None, described(name, maps),
        )  # fmt: skip

    def scored(self, video: Video, text: str, at: float) -> Layers:
        """The similarity to this text in the stretch about a moment."""
        aligner, vector, notes = self.subject.aligner, *self.embedding(text)
        stretches = self.stretches(video)
        number = next((n for n, one in enumerate(stretches) if at < one.end), len(stretches) - 1)
        patches, times = self.stretch(video, number)
        values = similarity(patches, vector)[0].numpy()
        if not times.size:
            raise CorpusError(f"no frame of {video.id} can be decoded about {at:.3g} s")
        first = sum(len(self.stretch(video, n)[1]) for n in range(number)) if number < KEPT else number * SCORED
        return Layers(
            values, times, first, len(times) if len(stretches) == 1 else None, float(values.min()), float(values.max()),
            stretches[number].end if number + 1 < len(stretches) else None, f"scored now by {aligner.identity}", notes,
        )  # fmt: skip

    def embedding(self, text: str) -> tuple[Float32[Tensor, "1 e"], tuple[str, ...]]:
        said = normalise_text(text)
        if not said:
            raise CorpusError("a text needs words")
        aligner = self.subject.aligner
        return aligner.texts([said]).float(), tuple(check_text(aligner, said))

    def stretches(self, video: Video) -> Sequence[Any]:
        rate = maps_per_second(None, self.subject.corpus)
        return pieces(video, rate, SCORED / (rate or video.fps or 30.0))

    def stretch(self, video: Video, number: int) -> tuple[Float32[Tensor, "l gh gw e"], Float64[np.ndarray, "l"]]:
        """The embedded patches of a stretch of a video."""
        where = video.row, number
        if where not in self.embedded:
            piece = self.stretches(video)[number]
            frames, times = within(limits(), lambda: decode_piece(piece))
            batches = [self.subject.aligner.patches(frames[n : n + 16]).float() for n in range(0, len(frames), 16)]
            self.embedded[where] = torch.cat(batches) if batches else torch.empty(0, 1, 1, 1), times
            while len(self.embedded) > KEPT:
                self.embedded.popitem(last=False)
        self.embedded.move_to_end(where)
        return self.embedded[where]

    def at_tubelets(self, read: ClipRead, name: str, caption: Caption | None, text: str | None) -> Tensor:
        """A map at the tubelets of a clip, as a masker reads it: "1 n" or what the map is."""
        video = read.video
        if name == TEXT and caption is None and text is None:
            raise CorpusError(f"{video.id} has no caption; type a text, or write captions with `tubelet caption`")
        if name == TEXT and (text is not None or (caption is not None and not self.caption_is_cached(video, caption))):
            values, times = self.span(video, text if text is not None else caption.text if caption else "", read)
            sampled = sample_scalar(values, times, read.times, read.crop, read.clip)
        else:
            sampled = self.maps(name).sample(video, caption if name == TEXT else None, read.times, read.crop, read.clip)
        return torch.from_numpy(np.ascontiguousarray(sampled))[None]

    def span(self, video: Video, text: str, read: ClipRead) -> Scalar:
        """The similarity to a text from the layer before a clip to the one after it."""
        vector, _ = self.embedding(text)
        stretches = self.stretches(video)
        begin, end = float(read.times[0]), float(read.times[-1])
        inside = [n for n, one in enumerate(stretches) if one.end > begin and one.start <= end]
        wanted = range(max(min(inside) - 1, 0), min(max(inside) + 2, len(stretches)))
        parts = [self.stretch(video, number) for number in wanted]
        parts = [(patches, times) for patches, times in parts if times.size]
        if not parts:
            raise CorpusError(f"no frame of {video.id} can be decoded about {begin:.3g} s")
        values = torch.cat([similarity(patches, vector)[0] for patches, _ in parts])
        return values.numpy(), np.concatenate([times for _, times in parts])


def layer_at(times: Float64[np.ndarray, "l"], moment: float) -> int:
    """The layer that is drawn at a moment: the last that begins at or before it."""
    return max(int(np.searchsorted(times, moment + 1e-6, side="right")) - 1, 0)


def described(name: str, maps: Maps) -> str:
    method = maps.about.get("method", {})
    made = ", ".join(f"{key} {value}" for key, value in method.items() if isinstance(value, str | int | float))
    return f"{name} maps of the corpus" + (f" ({made})" if made else "")
