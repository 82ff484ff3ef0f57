"""The maskers and the sources of maps and tracks that words name: tubelet's own, or a user's by `file.py:Class`."""

import difflib
from collections.abc import Sequence
from typing import TypeVar

from tubelet.config import find_class, override
from tubelet.errors import RecipeError
from tubelet.maskers import MASKERS, Masker
from tubelet.recipes.find import is_file, load_file
from tubelet.recipes.pretrain import Pretrain
from tubelet.saliency_maps import Source
from tubelet.tracks import TRACKS, TrackSource

T = TypeVar("T")


def maskers_of(words: Sequence[str], ratio: float | None = None) -> dict[str, Masker]:
    """The maskers that words name, as `Text` or `Text:pick=bottom,ratio=0.5`, by what they are called in a table; of no
    words every listed one. With `ratio`, that of all that have one and were given none."""
    if ratio is not None and not 0 < ratio < 1:
        raise RecipeError(f"--ratio must be between 0 and 1, not {ratio:g}")
    found: dict[str, Masker] = {}
    for word in words or [part.__name__ for part in MASKERS]:
        path, dot, rest = word.rpartition(".py:")
        name, _, fields = rest.partition(":")
        if dot:
            name = own(f"{path}.py:{name}", "masker", Masker).__name__
        given = [f"masker.{field}" for field in fields.split(",") if field]
        masker = override(Pretrain(steps=1), [f"masker={name}"]).masker
        if ratio is not None and hasattr(masker, "ratio") and not any(w.startswith("masker.ratio=") for w in given):
            given.append(f"masker.ratio={ratio}")
        label = " ".join(filter(None, (name, *fields.split(","))))
        if label in found:
            raise RecipeError(f"{word} is named twice")
        found[label] = override(Pretrain(steps=1), [f"masker={name}", *given]).masker
    return found


def source_of(words: Sequence[str]) -> Source:
    """The source that words name, as `Text scorer=surgery`."""
    names, fields = ([word for word in words if ("=" in word) == given] for given in (False, True))
    if len(names) != 1:
        said = f"not {len(names)}" if names else "not fields alone"
        raise RecipeError(f"name one source of maps, as in `tubelet saliency CORPUS Text scorer=surgery`, {said}")
    name = names[0]
    return override((own(name, "source", Source) if is_file(name) else find_class("source", name, Source))(), fields)


def track_source_of(words: Sequence[str]) -> TrackSource:
    """The source of a track that words name, as `sound bands=128`."""
    names, fields = ([word for word in words if ("=" in word) == given] for given in (False, True))
    known = {kind.word: kind for kind in TRACKS}
    if len(names) != 1 or (names[0] not in known and not is_file(names[0])):
        close = difflib.get_close_matches(names[0], known, n=1) if names else []
        hint = f"did you mean {close[0]}?" if close else f"one of: {', '.join(known)}"
        raise RecipeError(f"name one source of a track, as in `tubelet track CORPUS sound bands=128`; {hint}")
    kind = own(names[0], "source of tracks", TrackSource) if is_file(names[0]) else known[names[0]]
    return override(kind(), fields)


def own(name: str, kind: str, base: type[T]) -> type[T]:
    """The class of a user's file."""
    found = load_file(name, kind)
    if not (isinstance(found, type) and issubclass(found, base)):
        raise RecipeError(f"{name} is no {kind}; name a class of the file that derives from {base.__name__}")
    return found
