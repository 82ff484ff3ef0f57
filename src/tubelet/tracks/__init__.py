"""Where tracks come from. The list below is the registry: `tubelet track CORPUS sound bands=128`."""

from tubelet.tracks.base import TrackSource
from tubelet.tracks.sound import SoundTrack

TRACKS: tuple[type[TrackSource], ...] = (SoundTrack,)

__all__ = ["TRACKS", "SoundTrack", "TrackSource"]
