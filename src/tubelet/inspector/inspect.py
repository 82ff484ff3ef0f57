"""The Python face: `tubelet.inspect("runs/a")` is a page at an address of this machine, until it is closed."""

from collections.abc import Sequence
from dataclasses import replace
from html import escape
from pathlib import Path
from types import TracebackType

from tubelet.corpus.table import Corpus
from tubelet.errors import RunError
from tubelet.inspector.api import Api
from tubelet.inspector.server import Server
from tubelet.inspector.static import write
from tubelet.inspector.subject import Named, Subject
from tubelet.progress import Progress, silent


class Inspector:
    """A page that is served in the background: open `url` in a browser. `with` closes it, as does `close()`."""

    def __init__(self, subject: Subject, port: int = 0) -> None:
        self.api = Api(subject)
        try:
            self.server = Server(self.api, port)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            raise RunError(
                f"port {port} cannot be listened on ({reason}); leave --port out, and a free one is taken"
            ) from None
        self.server.start()

    @property
    def url(self) -> str:
        """With its token: who has this address sees the corpus."""
        return self.server.url

    def write(self, folder: str | Path, videos: int = 12, progress: Progress = silent) -> Path:
        """The same as files, to be kept or shown by any web server: `index.html`, which it returns, and the videos that
        it plays. Of so many videos, with masks at some ratios and seeds, and without typed texts."""
        return write(replace(self.api, exact=False), Path(folder), videos, progress)

    def close(self) -> None:
        self.server.close()
        self.api.playable.close()

    def __enter__(self) -> "Inspector":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Inspector({self.url!r})"

    def _repr_html_(self) -> str:
        return f'<a href="{escape(self.url)}" target="_blank" rel="noreferrer">{escape(self.url)}</a>'


def inspect(
    *named: Named,
    words: Sequence[str] = (),
    maskers: Sequence[str] = (),
    on: str | Path | Corpus | None = None,
    aligner: str | Path | None = None,
    port: int = 0,
) -> Inspector:
    """A page over a corpus, or over runs on one corpus: the playing video with saliency maps, any masker's mask and
    reconstructions drawn over it, nearest neighbours and search.

    `words` are fields of the clips of a corpus, as in `tubelet masks` ("clip.size=64"); `maskers` are further ones,
    with fields or of your own file ("Text:pick=bottom", "my.py:Mine"). `on` is another corpus than that of the runs,
    `aligner` what scores typed texts, in place of the corpus's own. Only this machine can open it (127.0.0.1).
    """
    return Inspector(Subject.open(named, words, maskers, on, aligner), port)
