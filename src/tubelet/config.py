"""Typed configs as dotted words and back: `masker=Tube masker.ratio=0.9 objectives.contrast.weight=0`.

A part is named by its class, found among the subclasses of the type that the field declares; nothing is imported or
evaluated to find it. Naming a part replaces it whole: no field of the old part is left.
"""

import contextlib
import difflib
import math
import re
import typing
from collections.abc import Iterator, Mapping, Sequence
from types import UnionType
from typing import Any, TypeVar

import chz
from chz.blueprint import (
    Blueprint,
    Castable,
    ConstructionException,
    ExtraneousBlueprintArg,
    InvalidBlueprintArg,
    MissingBlueprintArg,
)

from tubelet.errors import RecipeError
from tubelet.plugins import plugin, plugin_names


class UnknownPartError(RecipeError):
    """A part is named by a class that is not there."""


class OtherVersionError(RecipeError):
    """What was written has fields or values that this version does not know."""


C = TypeVar("C")
REFUSALS = (
    ConstructionException,
    ExtraneousBlueprintArg,
    InvalidBlueprintArg,
    MissingBlueprintArg,
    TypeError,
    ValueError,
)
# Two ways to say one thing: naming the first on the command line takes back what the recipe says by the second.
ALTERNATIVES = (("steps", "epochs"), ("data.sampling.stride", "data.sampling.step_ms"))


def override(config: C, words: Sequence[str]) -> C:
    """The config with each `key=value` applied, or a `RecipeError` that names the word at fault and what is near it."""
    given = split(words)
    cls, kinds, values = type(config), {}, {}
    for path, kind, value, _ in walk(config):
        kinds[path], values[path] = kind, value
    parts = set()
    for path in sorted(given, key=lambda path: path.count(".")):
        if not names_a_part(cls, values, path):
            continue
        parts.add(path)
        declared = part_type(cls, values, path)
        if declared is None:
            raise unknown(path, values, cls)
        part = find_class(path, given[path], declared)
        values = {key: value for key, value in values.items() if key != path and not key.startswith(f"{path}.")}
        values[path] = part
        for key, kind, value, _ in walk(part(), f"{path}."):
            kinds[key], values[key] = kind, value
    leaves = {path: word for path, word in given.items() if path not in parts}
    for path in leaves:
        if path not in values and (kind := entry_type(values, path)) is not None:
            kinds[path] = kind
        elif path not in values or isinstance(values[path], type):
            raise unknown(path, values, cls)
    for one, other in (*ALTERNATIVES, *(pair[::-1] for pair in ALTERNATIVES)):
        if one in leaves and other not in leaves and other in values:
            values[other] = None
    try:
        return checked(make(cls, values, leaves), leaves)
    except REFUSALS as error:
        for path, word in leaves.items():
            if refuses(cls, values, {path: word}):
                raise wrong_type(path, word, kinds[path]) from error
        raise RecipeError(" ".join(str(error).split())) from error


def checked(config: C, leaves: Mapping[str, str]) -> C:
    """The config, where every number that was given is finite, and every count at least 0."""
    given = dotted(config)
    for path, word in leaves.items():
        value = given.get(path)
        numbers = [one for one in (value if isinstance(value, tuple) else (value,)) if isinstance(one, int | float)]
        if not all(map(math.isfinite, numbers)):
            raise RecipeError(f"{path}={word} is no number that can be computed with; give a finite one")
        if path.rpartition(".")[2] != "seed" and any(isinstance(one, int) and one < 0 for one in numbers):
            raise RecipeError(f"{path}={word} must not be negative")
    return config


def to_plain(config: object) -> dict[str, Any]:
    """Every field under its dotted name, as JSON holds it: parts by the name of their class."""
    return {path: value.__name__ if isinstance(value, type) else value for path, value in dotted(config).items()}


def from_plain(cls: type[C], values: Mapping[str, Any], origin: str) -> C:
    """The config that `to_plain` wrote. `origin` names the file in errors."""
    resolved: dict[str, Any] = {}
    for path in sorted(values, key=lambda path: path.count(".")):
        value = values[path]
        declared = part_type(cls, resolved, path)
        if declared is not None and isinstance(value, str):
            resolved[path] = find_class(path, value, declared)
        else:
            resolved[path] = tuple(value) if isinstance(value, list) else value
    try:
        return make(cls, resolved, {})
    except REFUSALS as error:
        unknown = re.match(r"Extraneous argument '([^']+)'", str(error))
        fault = f"it has no field {unknown[1]}" if unknown else " ".join(str(error).split())
        raise OtherVersionError(f"{origin} does not fit this version of tubelet: {fault}") from error


def describe(config: object) -> str:
    """A page of help: every field with its value here, its type and what it is."""
    rows = [
        (f"{path}={value.__name__ if isinstance(value, type) else as_word(value)}", type_in_words(declared), doc)
        for path, declared, value, doc in walk(config)
    ]
    words, types = (min(44, max(len(row[column]) for row in rows)) for column in (0, 1))
    return "\n".join(f"  {word:<{words}}  {kind:<{types}}  {doc}".rstrip() for word, kind, doc in rows)


def as_word(value: object) -> str:
    """A value as it is written on the command line."""
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def dotted(config: object) -> dict[str, Any]:
    """Every field under its dotted name: parts as their class, then their fields; the rest as values."""
    return {path: value for path, _, value, _ in walk(config)}


def walk(config: object, prefix: str = "") -> Iterator[tuple[str, Any, Any, str]]:
    """(dotted name, declared type, class of a part or value, doc) of every field."""
    for name, field in chz.chz_fields(config).items():
        path, value = f"{prefix}{name}", getattr(config, name)
        if chz.is_chz(value):
            yield path, field.final_type, type(value), field._doc
            yield from walk(value, f"{path}.")
        elif isinstance(value, Mapping):
            base = typing.get_args(field.final_type)[1]
            for item, part in value.items():
                yield f"{path}.{item}", base, type(part) if chz.is_chz(part) else part, field._doc
                yield from walk(part, f"{path}.{item}.") if chz.is_chz(part) else ()
        else:
            yield path, field.final_type, value, field._doc


def changed(config: object, prefix: str = "") -> Iterator[str]:
    """Dotted names of what is not at its class's own default: values, and parts that are another class."""
    for name, field in chz.chz_fields(config).items():
        path, value = f"{prefix}{name}", getattr(config, name)
        default = field._default_factory() if callable(field._default_factory) else field._default
        if chz.is_chz(value):
            yield from [] if type(value) is type(default) else [path]
            yield from changed(value, f"{path}.")
        elif isinstance(value, Mapping):
            for item, part in value.items():
                same = type(part) is type(default.get(item)) if chz.is_chz(part) else part == default.get(item)
                yield from [] if same else [f"{path}.{item}"]
                yield from changed(part, f"{path}.{item}.") if chz.is_chz(part) else ()
        elif value != default:
            yield path


def split(words: Sequence[str]) -> dict[str, str]:
    given = {}
    for word in words:
        path, sign, value = word.partition("=")
        if not sign or not path:
            raise RecipeError(f"{word!r} is no option: write key=value, as in masker.ratio=0.9")
        if path in given:
            raise RecipeError(f"{path} is given twice")
        given[path] = value
    return given


def names_a_part(cls: type, values: Mapping[str, Any], path: str) -> bool:
    """Whether the value of this name is a class: a part that is there or that may be, or a new entry of a mapping of
    parts."""
    if path in values:
        return isinstance(values[path], type) or (values[path] is None and part_type(cls, values, path) is not None)
    return "." in path and mapping_base(cls, path.rpartition(".")[0]) is not None


def part_type(cls: type, values: Mapping[str, Any], path: str) -> type | None:
    """The class that the part of this name must derive from; None where the name is no part."""
    head, dot, rest = path.partition(".")
    declared = without_none(chz.chz_fields(cls)[head].final_type) if head in chz.chz_fields(cls) else None
    prefix = head
    if (base := mapping_base(cls, head)) is not None and dot:
        item, dot, rest = rest.partition(".")
        declared, prefix = base, f"{head}.{item}"
    if type(None) in (either := typing.get_args(declared)):  # a part, or none
        declared = either[0]
    if not (isinstance(declared, type) and chz.is_chz(declared)):
        return None
    if not dot:
        return declared
    current = values.get(prefix)
    inner = {key.removeprefix(f"{prefix}."): value for key, value in values.items() if key.startswith(f"{prefix}.")}
    return part_type(current, inner, rest) if isinstance(current, type) else None


def without_none(declared: Any) -> Any:
    """The type of a field that may be None, where it is not."""
    some = [kind for kind in typing.get_args(declared) if kind is not type(None)]
    return some[0] if typing.get_origin(declared) in (typing.Union, UnionType) and len(some) == 1 else declared


def mapping_base(cls: type, name: str) -> type | None:
    """The class of the parts of a field that maps names to parts."""
    field = chz.chz_fields(cls).get(name)
    arguments = typing.get_args(field.final_type) if field is not None else ()
    return arguments[1] if len(arguments) == 2 and chz.is_chz(arguments[1]) else None


def entry_type(values: Mapping[str, Any], path: str) -> type | None:
    """The type of a new entry of a field that maps names to plain values, as `masker.weights.motion`."""
    owner, _, name = path.rpartition(".")[0].rpartition(".")
    part = values.get(owner)
    field = chz.chz_fields(part).get(name) if isinstance(part, type) and chz.is_chz(part) else None
    arguments = typing.get_args(field.final_type) if field is not None else ()
    return arguments[1] if len(arguments) == 2 and arguments[0] is str and not chz.is_chz(arguments[1]) else None


def find_class(path: str, name: str, base: type) -> type:
    known = {cls.__name__: cls for cls in concrete(base)}
    group = ".".join(base.__module__.split(".")[:2])
    if name not in known and (found := plugin(group, name)) is not None:
        if not (isinstance(found, type) and issubclass(found, base)):
            raise RecipeError(
                f"{path}={name}: the entry point {name} of {group} is no class that derives from {base.__name__}"
            )
        return found
    if name not in known:
        known |= dict.fromkeys(plugin_names(group), base)
        file, colon, _ = name.partition(".py:")
        own = f"; use a class of your own in a recipe of its file, {file}.py:FUNCTION" if colon else ""
        raise UnknownPartError(f"{path}={name}: there is no {base.__name__} called {name!r}; {near(name, known)}{own}")
    return known[name]


def concrete(base: type) -> list[type]:
    """The class and all that derive from it, without those that only serve as a base."""
    children: list[type] = base.__subclasses__()
    below = [cls for child in children for cls in concrete(child)]
    abstract = bool(below) and base.__module__.endswith(".base")
    return below if abstract else [base, *below]


def make(cls: type[C], values: Mapping[str, Any], leaves: Mapping[str, str]) -> C:
    blueprint = Blueprint(cls).apply(values).apply({path: Castable(word) for path, word in leaves.items()})
    return blueprint.make()


def unknown(path: str, values: Mapping[str, Any], cls: type) -> RecipeError:
    name, _, rest = path.partition(".")
    item, base = rest.partition(".")[0], mapping_base(cls, name)
    if item and base is not None and not any(key.startswith(f"{name}.{item}.") for key in values):
        choices = "|".join(part.__name__ for part in concrete(base))
        return RecipeError(f"{path}: this recipe has no {name}.{item}; add it with {name}.{item}={choices}")
    return RecipeError(f"there is no option {path}; {near(path, values)}")


def near(name: str, known: Mapping[str, Any]) -> str:
    """The name most like this one; the last part of a dotted name counts too."""
    tails: dict[str, str] = {}
    for key in known:
        tails.setdefault(key.rpartition(".")[2], key)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.75)
    close = close or [tails[tail] for tail in difflib.get_close_matches(name.rpartition(".")[2], tails, n=1)]
    if close:
        return f"did you mean {close[0]}?"
    return f"known: {', '.join(known)}" if len(known) <= 30 else "`tubelet pretrain RECIPE --help` lists them"


def refuses(cls: type, values: Mapping[str, Any], leaves: Mapping[str, str]) -> bool:
    """Whether a value has the wrong type; what else may be wrong with it is not the question."""
    with contextlib.suppress(RecipeError):
        try:
            make(cls, values, leaves)
        except REFUSALS:
            return True
    return False


def wrong_type(path: str, word: str, declared: Any) -> RecipeError:
    choices = list(map(str, typing.get_args(declared))) if is_literal(declared) else []
    hint = f"; did you mean {close[0]}?" if (close := difflib.get_close_matches(word, choices, n=1)) else ""
    return RecipeError(f"{path}={word} does not fit: it must be {type_in_words(declared)}{hint}")


def is_literal(declared: Any) -> bool:
    return typing.get_origin(declared) is typing.Literal


def type_in_words(declared: Any) -> str:
    """A type in a user's words."""
    arguments = typing.get_args(declared)
    if is_literal(declared):
        return " | ".join(map(str, arguments))
    if typing.get_origin(declared) in (typing.Union, UnionType):
        return " | ".join(map(type_in_words, arguments))
    if typing.get_origin(declared) is tuple:
        return ",".join("..." if argument is ... else type_in_words(argument) for argument in arguments)
    if declared is type(None):
        return "None"
    if isinstance(declared, type) and chz.is_chz(declared) and declared.__subclasses__():
        names = " | ".join(cls.__name__ for cls in concrete(declared))
        return names if len(names) <= 60 else f"a {declared.__name__}"
    return getattr(declared, "__name__", str(declared))
