"""What all pages have in common: one self-contained file, from a template that fills the blocks of `frame.html`."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

HERE = Path(__file__).parent


def document(template: str, generator: str, **values: Any) -> str:
    """The page as text: the same values give the same bytes. `generator` is the command that writes it."""
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    style = Markup((HERE / "page.css").read_text(encoding="utf-8"))
    return environment.get_template(template).render(mark=Markup(mark(generator)), style=style, **values)


def is_another(path: Path, generator: str) -> bool:
    """Whether a file stands there that this command did not write, so that it must not be replaced."""
    return path.exists() and mark(generator) not in path.read_text(encoding="utf-8", errors="replace")[:1000]


def mark(generator: str) -> str:
    return f'<meta name="generator" content="{generator}">'
