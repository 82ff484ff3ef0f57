"""A recipe by its name, or of a user's own file: `path/to/file.py:function`."""

import difflib
import hashlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from tubelet.errors import RecipeError
from tubelet.recipes.pretrain import Pretrain

Recipe = Callable[[], Pretrain]
R = TypeVar("R", bound=Callable[..., Any])


def find(name: str, known: Sequence[R], kind: str = "recipe") -> tuple[str, R]:
    """The recipe (or study) of this name, and the name under which it is found again from any folder."""
    if is_file(name):
        path, _, function = name.rpartition(":")
        return f"{Path(path).resolve()}:{function}", load_file(name, kind)
    recipes = {recipe.__name__: recipe for recipe in known}
    if name not in recipes:
        close = difflib.get_close_matches(name, recipes, n=1)
        hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(recipes)}, or your own file.py:function"
        raise RecipeError(f"there is no {kind} {name!r}; {hint}")
    return name, recipes[name]


def name_of(recipe: Callable[..., Any]) -> str:
    """Under which `find` finds a function again: that of tubelet's own, else its file and name."""
    if recipe.__module__.partition(".")[0] == "tubelet":
        return recipe.__name__
    return f"{Path(inspect.getfile(recipe)).resolve()}:{recipe.__name__}"


def is_file(name: str) -> bool:
    return ".py:" in name or name.endswith(".py")


def load_file(name: str, kind: str = "recipe") -> Any:
    """The function of a user's file. The file is run once a process, however often it is asked for."""
    text, colon, function = name.rpartition(":")
    if not colon:
        raise RecipeError(f"{name}: name the {kind} in the file too, as in {name}:my_{kind}")
    path = Path(text).resolve()
    if not path.is_file():
        raise RecipeError(f"{name}: there is no file {path}")
    recipe = getattr(module_of(path), function, None)
    if not callable(recipe):
        raise RecipeError(f"{path} has no function {function!r}")
    return recipe


def module_of(path: Path) -> ModuleType:
    name = f"tubelet_recipe_{path.stem}_{hashlib.blake2b(str(path).encode(), digest_size=6).hexdigest()}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise RecipeError(f"{path} cannot be run ({type(error).__name__}: {error})") from error
    return module
