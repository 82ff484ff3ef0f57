"""What all pages have in common: one self-contained file, from a template that fills the blocks of `frame.html`.

Every value that a template shows is escaped, and control characters are made visible. A page says to the browser what
it may do: draw its own style, known by its hash, and pictures that stand in it. No script runs, and nothing is fetched.
"""

import base64
import hashlib
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from tubelet.escape import visible

HERE = Path(__file__).parent


def document(template: str, generator: str, **values: Any) -> str:
    """The page as text: the same values give the same bytes. `generator` is the command that writes it."""
    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        finalize=as_text,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style = (HERE / "page.css").read_text(encoding="utf-8")
    return environment.get_template(template).render(
        mark=Markup(mark(generator)), policy=policy(style), style=Markup(style), **values
    )


def as_text(value: Any) -> Any:
    """What a template puts in: markup of our own as it is, everything else as text that is then escaped."""
    return value if isinstance(value, Markup) else visible(str(value))


def policy(style: str) -> str:
    """The Content-Security-Policy of a page with this content of its one style element."""
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode("ascii")
    return f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


def is_another(path: Path, generator: str) -> bool:
    """Whether a file that this command did not write is there, so that it must not be replaced."""
    return path.exists() and mark(generator) not in path.read_text(encoding="utf-8", errors="replace")[:1000]


def mark(generator: str) -> str:
    return f'<meta name="generator" content="{generator}">'
