"""What encodes a stream. The list below is the registry."""

from tubelet.streams.towers.base import Tower, TowerModule
from tubelet.streams.towers.own import Own
from tubelet.streams.towers.shared import Shared

TOWERS: tuple[type[Tower], ...] = (Shared, Own)

__all__ = ["TOWERS", "Own", "Shared", "Tower", "TowerModule"]
