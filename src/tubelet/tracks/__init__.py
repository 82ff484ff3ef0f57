"""Where tracks come from. The list below is the registry: `tubelet track CORPUS sound bands=128`."""

from tubelet.tracks.base import TrackSource
from tubelet.tracks.imported import ImportedTrack, VectorTrack
from tubelet.tracks.sensors import SensorTrack
from tubelet.tracks.sound import SoundTrack

TRACKS: tuple[type[TrackSource], ...] = (SoundTrack, SensorTrack, VectorTrack, ImportedTrack)

__all__ = ["TRACKS", "ImportedTrack", "SensorTrack", "SoundTrack", "TrackSource", "VectorTrack"]
