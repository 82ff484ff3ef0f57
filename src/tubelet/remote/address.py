"""Names of files in object stores: `s3://bucket/key`, `gs://bucket/key`, `hf://datasets/owner/name/file`, `https://`.

Such a name stands wherever a path does. A `Path` writes it with one slash after the scheme (`s3:/bucket/key`), tables
and messages with two. A name never carries a secret: those with a password or a signature are refused.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import quote, urlsplit

from tubelet.errors import RemoteError

NAMED = re.compile(r"(s3|gs|hf|https?):/+([^/].*)", re.DOTALL)
SECRET = re.compile(
    r"([?&;](?:[\w.-]*(?:signature|token|secret|passw|credential|api_?key|access_?key|auth(?!or)|policy)[\w.-]*|sig|key)=)"
    r"[^&;#\s'\"]*",
    re.IGNORECASE,
)
USER = re.compile(r"(\w+:/+)[^/\s?#]*@")


@dataclass(frozen=True)
class Address:
    """Where an object, or all that begin with a name, is found."""

    scheme: str
    rest: str  # bucket and key, or host, path and query

    @classmethod
    def of(cls, path: str | os.PathLike[str]) -> "Address | None":
        """None of what lies on this machine. `RemoteError` where the name carries a secret, or is none for a table."""
        found = NAMED.fullmatch(os.fspath(path))
        if found is None:
            return None
        address = cls(found[1], found[2].rstrip("/"))
        if cleaned(address.url) != address.url:
            raise RemoteError(
                "denied",
                f"{cleaned(address.url)} carried a password or a signature, which tables would keep; "
                "name the object itself and give credentials in the environment",
            )
        if str(PurePosixPath(address.rest)) != address.rest:
            raise RemoteError("unreadable", f"{address.url} has empty or dotted parts; give the object a plain name")
        return address

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.rest}"

    @property
    def path(self) -> Path:
        return Path(f"{self.scheme}:/{self.rest}")

    @property
    def is_web(self) -> bool:
        return self.scheme.startswith("http")

    @property
    def asked(self) -> str:
        """As a web server is asked for it: what is no part of a URL is written out."""
        parts = urlsplit(self.url)
        query = f"?{quote(parts.query, safe='=&;%+,/:')}" if parts.query else ""
        return f"{parts.scheme}://{parts.netloc}{quote(parts.path, safe='/%:=+,;@!$()*~')}{query}"

    def __truediv__(self, name: str) -> "Address":
        return Address(self.scheme, f"{self.rest}/{name}")


def is_remote(path: str | os.PathLike[str]) -> bool:
    return NAMED.fullmatch(os.fspath(path)) is not None


def as_text(path: Path) -> str:
    """A path as tables and messages write it."""
    found = NAMED.fullmatch(str(path))
    return str(path) if found is None else f"{found[1]}://{found[2]}"


def absolute(path: Path) -> Path:
    return path if is_remote(path) else path.absolute()


def cleaned(text: str) -> str:
    """A text in which URLs stand, without their passwords and signatures."""
    return SECRET.sub(r"\1...", USER.sub(r"\1", text))
