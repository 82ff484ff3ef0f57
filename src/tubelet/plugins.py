"""Parts that installed packages offer by entry points: maskers, objectives, loggers and any other kind of part.

The group is the package of tubelet that holds the base class, as `tubelet.maskers`. A package is imported when one of
its parts is named, and no other.
"""

from importlib.metadata import entry_points
from typing import Any

from tubelet.errors import TubeletError


def plugin(group: str, name: str) -> Any | None:
    """What an installed package offers under this name; None where none does."""
    for entry in entry_points(group=group, name=name):
        try:
            return entry.load()
        except Exception as error:  # code of others may raise anything
            raise TubeletError(
                f"{name} is offered by the installed package {entry.dist.name if entry.dist else entry.value}, and "
                f"importing it failed ({type(error).__name__}: {error}); mend that package, or remove it"
            ) from error
    return None


def plugin_names(group: str) -> list[str]:
    """What installed packages offer, none of them imported."""
    return sorted({entry.name for entry in entry_points(group=group)})
