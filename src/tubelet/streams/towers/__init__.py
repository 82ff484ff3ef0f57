"""What encodes a stream. The list below is the registry."""

from tubelet.streams.towers.bare import Bare
from tubelet.streams.towers.base import Tower, TowerModule
from tubelet.streams.towers.joint import Joint, JointTower
from tubelet.streams.towers.own import Own
from tubelet.streams.towers.shared import Shared, SharedTower, tower_of

TOWERS: tuple[type[Tower], ...] = (Shared, Own, Joint, Bare)

__all__ = ["TOWERS", "Bare", "Joint", "JointTower", "Own", "Shared", "SharedTower", "Tower", "TowerModule", "tower_of"]
