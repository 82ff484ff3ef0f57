"""The page, one file: its style and script stand in it, known to the browser by their hashes; it asks nobody else."""

import base64
import hashlib
from functools import cache
from pathlib import Path

from markupsafe import Markup, escape

HERE = Path(__file__).parent
MARK = '<meta name="generator" content="tubelet inspect">'


@cache
def part(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")


@cache
def policy(media: str = "'self'", connect: str = "'self'") -> str:
    """What the page may do: run its own script, draw its own style, play and ask what comes from the same place."""
    script, style = (digest(part(name)) for name in ("page.js", "page.css"))
    return (
        f"default-src 'none'; script-src '{script}'; style-src '{style}'; img-src {media}; media-src {media}; "
        f"connect-src {connect}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")


def page(title: str = "tubelet inspect", head: str = "", data: str = "") -> str:
    """The page; `data` is what a page without a server finds in itself."""
    return (
        part("page.html")
        .replace("<!--title-->", str(escape(title)))
        .replace("<!--head-->", Markup(MARK + head))
        .replace("<!--data-->", data)
        .replace("/*style*/", part("page.css"))
        .replace("/*script*/", part("page.js"))
    )
