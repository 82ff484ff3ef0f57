"""Requests to stores: a range of an object, its size and version, and what lies below a name. Start reading at `fetch`.

Web servers are asked with the standard library, stores through fsspec. A request that fails for a reason that may pass
(no answer, too slow, too many requests, half a body, an error of the server) is made again, for a bounded time. An
object that is another one than at the first request is an error: bytes of two versions are never mixed.
"""

import contextlib
import hashlib
import http.client
import random
import re
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.message import Message
from functools import cache
from itertools import count
from typing import Any, Protocol, TypeVar, runtime_checkable

from tubelet.errors import RemoteError
from tubelet.remote.address import Address, cleaned

PATIENCE = 120.0  # seconds that one range may take, all tries together
TIMEOUT = 20.0  # seconds that one request may be silent
LONGEST_WAIT = 5.0  # seconds between two tries
FRESH = 60.0  # seconds for which the version of an object is believed
PIECE = 1 << 18
EXTRAS = {"s3": ("s3fs", "s3"), "gs": ("gcsfs", "gs"), "hf": ("huggingface_hub", "vl")}  # package, extra
PASSING = (408, 425, 429, 500, 502, 503, 504)  # answers of a server that may be another one a moment later
RANGE = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+)")
CREDENTIALS = {
    "s3": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
    "gs": "set GOOGLE_APPLICATION_CREDENTIALS",
    "hf": "set HF_TOKEN",
}
CHANCE = random.Random()

T = TypeVar("T")


@dataclass(frozen=True)
class State:
    """The size of an object, and what its store calls this version of it."""

    size: int
    tag: str

    @property
    def number(self) -> int:
        """The version in the place where a table has the time of a file's last change."""
        return int.from_bytes(hashlib.blake2b(self.tag.encode(), digest_size=8).digest(), "big") >> 1


class Passing(Exception):
    """What may be over at the next try: why, and how long the server asks to wait."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


@runtime_checkable
class Store(Protocol):
    """What is asked of a kind of store. Each call is one try, in one request where that kind can."""

    def state(self, address: Address, timeout: float) -> State: ...

    def get(self, address: Address, first: int, last: int, timeout: float) -> tuple[bytes, State]:
        """Bytes `first` to `last` (excluded) as far as there are so many, and the state of the object they are of."""

    def find(self, address: Address, timeout: float) -> dict[str, State]:
        """Every object below a name, by its own relative to that."""


STATES: dict[Address, tuple[State, float]] = {}  # as last seen, and when


def state(address: Address) -> State:
    """As the store says, at most a minute ago."""
    known, when = STATES.get(address, (None, 0.0))
    if known is None or time.monotonic() - when > FRESH:
        known = patiently(address, lambda timeout: store_of(address).state(address, timeout))
        remember(address, known)
    return known


def exists(address: Address) -> bool:
    try:
        state(address)
    except RemoteError as error:
        if error.status != "missing":
            raise
        return False
    return True


def known_state(address: Address) -> State | None:
    """As last seen by this process, if it was."""
    return STATES[address][0] if address in STATES else None


def remember(address: Address, seen: State) -> None:
    if len(STATES) > 1 << 20:
        STATES.clear()
    STATES[address] = seen, time.monotonic()


def fetch(address: Address, first: int, last: int, of: State | None = None) -> tuple[bytes, State]:
    """These bytes of an object (fewer where it ends before), and what it is. `RemoteError` where it is another one than
    `of`."""

    def ask(timeout: float) -> tuple[bytes, State]:
        content, seen = store_of(address).get(address, first, last, timeout)
        if of is None or seen == of:
            wanted = max(min(last, seen.size) - first, 0)
            if len(content) != wanted:
                raise Passing(f"{len(content)} of {wanted} bytes came")
        return content, seen

    content, seen = patiently(address, ask)
    remember(address, seen)
    if of is not None and seen != of:
        raise RemoteError(
            "changed",
            f"{address.url} changed while it was read; run this again, and `tubelet index --update` first where a "
            "corpus holds it",
        )
    return content, seen


def find(address: Address) -> dict[str, State]:
    """Every object below a name, sorted by its own name relative to that."""
    found = patiently(address, lambda timeout: store_of(address).find(address, timeout), 5 * PATIENCE)
    for name, seen in found.items():
        remember(address / name, seen)
    return dict(sorted(found.items()))


def patiently(address: Address, ask: Callable[[float], T], patience: float | None = None) -> T:
    """What a request gives, made again while that may help."""
    patience = PATIENCE if patience is None else patience
    deadline = time.monotonic() + patience
    for tried in count(1):
        try:
            return ask(min(TIMEOUT, max(deadline - time.monotonic(), 0.1)))
        except Passing as passing:
            wait = max(min(0.2 * 2 ** (tried - 1), LONGEST_WAIT) * CHANCE.uniform(0.5, 1.0), passing.wait)
            if time.monotonic() + wait > deadline:
                raise RemoteError(
                    "unreachable",
                    f"{address.url} cannot be read ({cleaned(str(passing))}; {tried} tries in {patience:g} s); "
                    "run this again when its server answers",
                ) from None
            time.sleep(wait)
    raise AssertionError("tries do not end")


def missing(address: Address) -> RemoteError:
    return RemoteError("missing", f"there is no {address.url}; compare the name with that in its store")


def denied(address: Address, why: str = "") -> RemoteError:
    remedy = CREDENTIALS.get(address.scheme, "name one that is public, or fetch it and name the file")
    return RemoteError("denied", f"{address.url} may not be read{why and f' ({why})'}; {remedy}")


@cache
def store_of_scheme(scheme: str) -> Store:
    return Web() if scheme.startswith("http") else S3() if scheme == "s3" else Fsspec(scheme)


def store_of(address: Address) -> Store:
    return store_of_scheme(address.scheme)


class Web:
    """Servers that know ranges."""

    def state(self, address: Address, timeout: float) -> State:
        with self.asked(address, "HEAD", {}, timeout) as (_, headers):
            if headers.get("Content-Length") is None:
                raise RemoteError("unreadable", f"{address.url} says no length; fetch it and name the file")
            return State(int(headers["Content-Length"]), tag_of(headers))

    def get(self, address: Address, first: int, last: int, timeout: float) -> tuple[bytes, State]:
        asked = {"Range": f"bytes={first}-{max(last, first + 1) - 1}"}
        with self.asked(address, "GET", asked, timeout) as (response, headers):
            said = RANGE.fullmatch(headers.get("Content-Range", ""))
            if response.status == 416 and said:
                return b"", State(int(said[3]), tag_of(headers))
            if response.status == 206 and said and said[1] and int(said[1]) == first:
                size = int(said[3])
                return read_body(response, min(last, size) - first, timeout), State(size, tag_of(headers))
            size = int(headers.get("Content-Length") or -1)
            if response.status == 200 and first == 0 <= size <= last:  # all of it, as was asked for
                return read_body(response, size, timeout), State(size, tag_of(headers))
            raise RemoteError("unreadable", f"{address.url} is not read by ranges there; fetch it and name the file")

    def find(self, address: Address, timeout: float) -> dict[str, State]:
        raise RemoteError("unreadable", f"web servers list no folders ({address.url}); give a list of URLs")

    @contextlib.contextmanager
    def asked(
        self, address: Address, method: str, headers: dict[str, str], timeout: float
    ) -> Iterator[tuple[Any, Message]]:
        request = urllib.request.Request(address.asked, method=method)
        for name, value in {"Accept-Encoding": "identity", "User-Agent": "tubelet", **headers}.items():
            request.add_header(name, value)
        try:
            with opener().open(request, timeout=timeout) as response:
                yield response, response.headers
        except urllib.error.HTTPError as error:
            with error:
                if error.code == 416:
                    yield error, error.headers
                    return
                if error.code in (404, 410):
                    raise missing(address) from None
                if error.code in (401, 403):
                    raise denied(address, f"status {error.code}") from None
                if error.code not in PASSING:
                    raise RemoteError(
                        "unreadable", f"{address.url} cannot be read (status {error.code}); compare it with its server"
                    ) from None
                raise Passing(f"status {error.code}", retry_after(error.headers)) from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Passing(reason_of(error)) from None


@cache
def opener() -> urllib.request.OpenerDirector:
    """Without handlers for files and FTP, to which a server might send elsewhere."""
    made = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(), urllib.request.HTTPHandler(), urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(), urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPErrorProcessor(), urllib.request.UnknownHandler(),
    ):  # fmt: skip
        made.add_handler(handler)
    return made


def read_body(response: Any, size: int, timeout: float) -> bytes:
    """So many bytes and no more; a server that trickles is too slow."""
    deadline, pieces, left = time.monotonic() + 2 * timeout, [], size
    while left and (piece := response.read(min(left, PIECE))):
        pieces.append(piece)
        left -= len(piece)
        if time.monotonic() > deadline:
            raise Passing(f"{size - left} of {size} bytes came in {2 * timeout:g} s")
    return b"".join(pieces)


def tag_of(headers: Message) -> str:
    return headers.get("ETag") or headers.get("Last-Modified") or ""


def retry_after(headers: Message) -> float:
    said = headers.get("Retry-After", "")
    return min(float(said), LONGEST_WAIT) if said.isdigit() else 0.0


def reason_of(error: BaseException) -> str:
    """What is wrong with a connection, in a few words and without any address."""
    reason = getattr(error, "reason", error)
    if isinstance(reason, TimeoutError | socket.timeout):
        return "no answer in time"
    if isinstance(reason, http.client.IncompleteRead):
        return f"{len(reason.partial)} bytes came, and then the connection ended"
    return str(getattr(reason, "strerror", None) or type(reason).__name__)


class Fsspec:
    """Stores that fsspec knows. Their packages are extras."""

    def __init__(self, scheme: str) -> None:
        self.scheme = scheme

    def filesystem(self) -> Any:
        """Of this process: fsspec makes another one after a fork."""
        try:
            import fsspec

            return fsspec.filesystem(self.scheme, **self.options())
        except (ImportError, ValueError):
            package, extra = EXTRAS[self.scheme]
            raise RemoteError(
                "unreachable", f"{self.scheme}:// needs {package}: pip install 'tubelet[{extra}]'"
            ) from None

    def options(self) -> dict[str, Any]:
        return {}

    def state(self, address: Address, timeout: float) -> State:
        with translated(address):
            details = {"expand_info": True} if self.scheme == "hf" else {}  # without them it says no version
            info = self.filesystem().info(address.url, refresh=True, **details)
        if info["type"] != "file":
            raise missing(address)
        return state_of_info(info)

    def get(self, address: Address, first: int, last: int, timeout: float) -> tuple[bytes, State]:
        seen = self.state(address, timeout)
        if first >= min(last, seen.size):
            return b"", seen
        with translated(address):
            return self.filesystem().cat_file(address.url, start=first, end=min(last, seen.size)), seen

    def find(self, address: Address, timeout: float) -> dict[str, State]:
        with translated(address):
            files = self.filesystem()
            files.invalidate_cache()
            base = files._strip_protocol(address.url).rstrip("/") + "/"
            found = files.find(address.url, detail=True)
            return {
                name.removeprefix(base): state_of_info(info)
                for name, info in found.items()
                if name.startswith(base) and info["type"] == "file"
            }


class S3(Fsspec):
    """A range and the version that it is of come in one request."""

    def __init__(self) -> None:
        super().__init__("s3")

    def options(self) -> dict[str, Any]:
        tries = {"retries": {"mode": "standard", "total_max_attempts": 1}}  # one here, as tries are counted above
        return {"config_kwargs": {**tries, "connect_timeout": TIMEOUT, "read_timeout": TIMEOUT}}

    def filesystem(self) -> Any:
        files = super().filesystem()
        files.retries = 1
        return files

    def get(self, address: Address, first: int, last: int, timeout: float) -> tuple[bytes, State]:
        import fsspec.asyn

        files = self.filesystem()
        bucket, _, key = address.rest.partition("/")
        asked = f"bytes={first}-{max(last, first + 1) - 1}"
        with translated(address):
            try:
                answer = files.call_s3("get_object", Bucket=bucket, Key=key, Range=asked, timeout=2 * timeout)
            except OSError as error:
                if "InvalidRange" in repr(error.__cause__):  # it ends before
                    return b"", self.state(address, timeout)
                raise
            try:
                body = fsspec.asyn.sync(files.loop, answer["Body"].read, timeout=2 * timeout)
            finally:
                answer["Body"].close()
        said = RANGE.fullmatch(answer.get("ContentRange", ""))
        size = int(said[3]) if said else int(answer["ContentLength"])
        if not said and not first == 0 <= size <= last:
            raise RemoteError("unreadable", f"{address.url} is not read by ranges there; fetch it and name the file")
        return body, State(size, str(answer["ETag"]).strip('"'))


def state_of_info(info: dict[str, Any]) -> State:
    """By what each store calls a version; what has none is told by when it was made."""
    lfs = info.get("lfs") or {}
    tags = (info.get("ETag"), info.get("generation"), info.get("etag"), lfs.get("sha256"), info.get("blob_id"))
    tag = next((tag for tag in tags if tag), info.get("LastModified") or info.get("mtime") or "")
    return State(int(info["size"]), str(tag).strip('"'))


@contextlib.contextmanager
def translated(address: Address) -> Iterator[None]:
    """The errors of all stores in one language. No text of theirs is passed on: it may hold what was sent."""
    try:
        yield
    except (RemoteError, Passing):
        raise
    except FileNotFoundError:
        raise missing(address) from None
    except PermissionError:
        raise denied(address) from None
    except Exception as error:
        name = type(error).__name__
        if "Credentials" in name or "Unauthorized" in name:
            raise denied(address, "no credentials") from None
        if status := getattr(getattr(error, "response", None), "status_code", None):
            if status in (401, 403):
                raise denied(address, f"status {status}") from None
            name = f"status {status}"
        raise Passing("no answer in time" if isinstance(error, TimeoutError) else name_of(error, name)) from None


def name_of(error: BaseException, otherwise: str) -> str:
    """The code of an answer of S3, which is a word or a number; else the kind of the error."""
    response = getattr(error.__cause__, "response", None)
    code = str((response.get("Error") or {}).get("Code", "")) if isinstance(response, dict) else ""
    return code if re.fullmatch(r"\w{1,40}", code) else otherwise
