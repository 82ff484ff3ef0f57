"""What is read beside the clip: other views of the same samples, by name."""

from tubelet.streams.stream import Stream
from tubelet.streams.towers import TOWERS, Own, Shared, Tower

STREAMS: tuple[type[Stream], ...] = (Stream,)

__all__ = ["STREAMS", "TOWERS", "Own", "Shared", "Stream", "Tower"]
