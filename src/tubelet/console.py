"""rich, where a string is a text and nothing else: no markup in a name, no control characters in a caption."""

import sys
from collections.abc import Iterable
from typing import Any

import rich.console
import rich.progress
from rich.console import ConsoleOptions, RenderableType
from rich.file_proxy import FileProxy
from rich.segment import Segment
from rich.text import Text

from tubelet.escape import visible
from tubelet.terminal import beneath, visible_stream


class Console(rich.console.Console):
    """Strings are printed as they are. Colours are given by `style=` or by a `Text` of our own words."""

    def __init__(self, *, file: Any = None, stderr: bool = False, **options: Any) -> None:
        below = beneath(file or (sys.stderr if stderr else sys.stdout))
        super().__init__(file=below, markup=False, highlight=False, emoji=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(visible(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(visible(segment.text), segment.style)


class Display(rich.progress.Progress):
    """A bar above which `print` keeps printing line by line."""

    def start(self) -> None:
        super().start()
        if isinstance(sys.stdout, FileProxy):  # it would take colours from what is printed
            sys.stdout = visible_stream(sys.stdout)
        if isinstance(sys.stderr, FileProxy):
            sys.stderr = visible_stream(sys.stderr)
