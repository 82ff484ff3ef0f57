"""How sentences to users count and list."""

from collections.abc import Iterable


def plural(count: int, noun: str) -> str:
    return f"{count} {noun}" + "s" * (count != 1)


def and_more(names: Iterable[str], most: int = 8) -> str:
    """The first names, and how many more there are."""
    names = list(names)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
