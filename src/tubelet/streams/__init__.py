"""What is read beside the clip: other views and other signals of the same samples, by name."""

from tubelet.streams.encode import encode
from tubelet.streams.stream import Stream
from tubelet.streams.towers import TOWERS, Bare, Joint, JointTower, Own, Shared, Tower, tower_of

STREAMS: tuple[type[Stream], ...] = (Stream,)

__all__ = ["STREAMS", "TOWERS", "Bare", "Joint", "JointTower", "Own", "Shared", "Stream", "Tower", "encode", "tower_of"]
