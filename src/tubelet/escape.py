"""Text of users and strangers on its way out: names, labels, captions, whatever a file says.

What would steer the place where a text is shown is written out instead: control characters on a terminal,
HTML and links in Markdown, commands in LaTeX. A text that holds nothing of the kind stays as it is. HTML pages escape
by themselves (`report.document`), and make visible what `visible` does.
"""

import json
import re
from collections.abc import Iterable

# C0 without tab and newline, DEL, C1, overrides and isolates of direction, line separators, halves of surrogate pairs.
STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2028\u2029\u2066-\u2069\ufeff\ud800-\udfff]")
BREAKS = re.compile(r"[\n\t]")
MARKDOWN = re.compile(r"[\\`*\[\]|]")
# Where a line begins: an item of a list, a heading, a rule, a block of code.
BEGINS = re.compile(r"^(\s*(?:\d+(?=[.)](?:\s|$))|(?=#{1,6}(?:\s|$)|[+-]\s|---|___|_ _|~~~|=+\s*$)))")
WORDS_OF_YAML = ("true", "false", "null", "yes", "no", "on", "off")
HTML = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
LATEX = {
    "\\": r"\textbackslash{}",
    "±": r"$\pm$",
    "−": "$-$",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
} | {sign: f"\\{sign}" for sign in "&%$#_{}"}  # fmt: skip


def visible(text: str) -> str:
    """The text with control characters, and those that turn its direction, written out: `\\x1b`, `\\u202e`."""
    return STEERING.sub(written_out, text)


def one_line(text: str) -> str:
    """The same, with line breaks and tabs written out too."""
    return BREAKS.sub(written_out, visible(text))


def written_out(sign: re.Match[str]) -> str:
    return sign[0].encode("unicode_escape").decode("ascii")


def markdown(text: str) -> str:
    """The text as Markdown shows it: no HTML, link, picture, code or table cell begins in it."""
    marked = BEGINS.sub(r"\1\\", MARKDOWN.sub(lambda sign: f"\\{sign[0]}", one_line(text)))
    return re.sub("[&<>]", lambda sign: HTML[sign[0]], marked)


def code_span(text: str) -> str:
    """The text as code inside a line of Markdown."""
    inside = one_line(text)
    fence = "`" * (longest_run(inside) + 1)
    room = " " * (inside.startswith("`") or inside.endswith("`"))
    return f"{fence}{room}{inside}{room}{fence}"


def code_block(lines: Iterable[str], language: str = "") -> list[str]:
    """The lines as a block of code in Markdown, which none of them can end."""
    inside = [visible(line) for line in lines]
    fence = "`" * max(3, longest_run("\n".join(inside)) + 1)
    return [f"{fence}{language}", *inside, fence]


def longest_run(text: str) -> int:
    """Of backticks."""
    return max(map(len, re.findall("`+", text)), default=0)


def yaml(text: str) -> str:
    """The text as a value of YAML: as it is where it is a plain word, else in quotes."""
    plain = re.fullmatch(r"[A-Za-z][A-Za-z0-9.+-]*", text) and text.lower() not in WORDS_OF_YAML
    return text if plain else json.dumps(one_line(text), ensure_ascii=False)


def latex(text: str) -> str:
    """The text as LaTeX sets it."""
    return "".join(LATEX.get(sign, sign) for sign in one_line(text))
