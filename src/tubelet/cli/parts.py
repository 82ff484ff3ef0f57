"""The parts that a command can name, as its help lists them: read from their source, because importing them would
import torch."""

import ast
from pathlib import Path

import tubelet
from tubelet.plugins import plugin_names


def parts_of(module: str, registry: str) -> list[tuple[str, str]]:
    """Name and first line of every part in the list `registry` of a module, in its order; then what packages offer."""
    tree = parsed(module)
    homes = {alias.name: node.module for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    lists = {ast.unparse(node.target): node.value for node in tree.body if isinstance(node, ast.AnnAssign)}
    found = lists[registry]
    assert isinstance(found, ast.Tuple)
    own = [(name, story(homes.get(name) or module, name)) for name in map(ast.unparse, found.elts)]
    return own + [(name, "Of an installed package") for name in plugin_names(module)]


def story(module: str, name: str) -> str:
    """The first line of a file's docstring that begins with the part's name, else of the part's own; and which maps it
    needs."""
    tree = parsed(module)
    (part,) = (node for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name)
    of_file, own = ((ast.get_docstring(one) or "").partition("\n")[0] for one in (tree, part))
    text = of_file.removeprefix(f"{name}: ") if of_file.startswith(f"{name}: ") else own
    return text[:1].upper() + text[1:] + maps_of(part)


def maps_of(part: ast.ClassDef | ast.FunctionDef) -> str:
    """Of a masker: what stands in `needs`, or that its fields decide it."""
    for node in part.body:
        if isinstance(node, ast.FunctionDef) and node.name == "needs":
            return " [maps: by its fields]"
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "needs":
            assert isinstance(node.value, ast.Tuple)
            names = [one.value for one in node.value.elts if isinstance(one, ast.Constant)]
            return f" [maps: {', '.join(map(str, names))}]" if names else ""
    return ""


def parsed(module: str) -> ast.Module:
    path = Path(tubelet.__file__).parent.joinpath(*module.split(".")[1:])
    return ast.parse((path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text(encoding="utf-8"))


def columns(parts: list[tuple[str, str]], width: int = 0) -> str:
    """A line a part."""
    width = max(width, *(len(name) for name, _ in parts))
    return "\n".join(f"  {name:<{width}}  {line}" for name, line in parts)
