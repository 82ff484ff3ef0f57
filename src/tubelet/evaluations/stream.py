"""What a run's stream is encoded by, measured as the encoder of its clips is: alone, as where the clip is missing."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from tubelet.errors import RecipeError
from tubelet.loading.pairings import Reads
from tubelet.models.patches import cut
from tubelet.seeds import key
from tubelet.streams import Bare, Shared, tower_of
from tubelet.tasks import Pretraining
from tubelet.types import CLIP, Batch, Clip, Mask


@dataclass(frozen=True)
class MeasuredStream:
    """Which stream is measured in place of the clip, and how it is read beside it."""

    name: str
    reads: Reads

    @classmethod
    def of(cls, task: Pretraining, name: str) -> "MeasuredStream":
        if name not in task.reads:
            there = f"it has {', '.join(task.reads)}" if task.reads else "it has none"
            raise RecipeError(f"this run has no stream {name!r}; {there}")
        if isinstance(task.streams[name].tower, Bare):
            raise RecipeError(f"the stream {name} of this run is not encoded (tower=Bare)")
        reads = task.reads[name]
        return cls(name, Reads(reads.clip, reads.pairing))

    def video(self, batch: Batch) -> Shaped[Tensor, "b c t h w"]:
        return batch.of(self.name).video


class StreamEncoder(nn.Module):
    """A tower with the encoder that is handed to it, with the face of an encoder."""

    def __init__(self, encoder: nn.Module, tower: nn.Module, clip: Clip, config: object):
        super().__init__()
        self.encoder, self.tower, self.clip, self.config = encoder, tower, clip, config

    @classmethod
    def of(cls, task: Pretraining, name: str) -> "StreamEncoder":
        config = (task.encoder.config, task.streams[name].tower)
        return cls(task.encoder, tower_of(dict(task.towers.items()), name), task.reads[name].clip, config)

    @classmethod
    def untrained(cls, task: Pretraining, name: str, seed: int) -> "StreamEncoder":
        """The same at random initialisation."""
        config = task.streams[name].tower
        if isinstance(config, Shared) and config.of != CLIP:  # its weights are those of another stream
            config = task.streams[config.of].tower
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(key(seed, "weights"))
            encoder = task.encoder.config.build(task.clip)
            tower = config.build(encoder, task.reads[name].clip)
        return cls(encoder, tower, task.reads[name].clip, (task.encoder.config, task.streams[name].tower))

    def encode(self, video: Shaped[Tensor, "b c t h w"]) -> Float[Tensor, "b n d"]:
        everywhere = Mask.all_visible(len(video), self.clip.num_tubelets, video.device).visible
        return self.tower(self.encoder, cut(video, self.clip), everywhere)
