"""The HTTP server of the page: for this machine alone, and for who knows its token. Start reading at `Handler.answer`.

It listens on 127.0.0.1; the first part of every path is a random token, compared in constant time; the Host must be
this machine by name, so that no other site's name can be pointed here; nothing but GET and HEAD is answered. No part of
a path is ever the name of a file: videos go by their row, and everything else by a fixed name.
"""

import contextlib
import hmac
import os
import re
import secrets
import sys
import threading
import traceback
from collections.abc import Iterator
from contextvars import copy_context
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import parse_qs, urlsplit

from tubelet.errors import TubeletError
from tubelet.inspector.api import Api, as_json, fault, flag, middle, number
from tubelet.inspector.page import page, policy
from tubelet.video.limits import regular_file

HERE = ("127.0.0.1", "localhost", "[::1]")
CHUNK = 1 << 18
RANGE = re.compile(r"bytes=(\d*)-(\d*)$")
ALWAYS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Server(ThreadingHTTPServer):
    """Serves one `Api` at `url`."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, api: Api, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.api = api
        self.token = secrets.token_urlsafe(24)
        self.chosen = copy_context()  # what the command chose: limits of reading, trusted code

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/{self.token}/"

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        self.chosen.copy().run(super().process_request_thread, request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that leaves in the middle of an answer is no fault."""
        if not isinstance(sys.exc_info()[1], OSError):
            traceback.print_exc()

    def start(self) -> None:
        threading.Thread(target=self.serve_forever, name="inspector", daemon=True).start()

    def close(self) -> None:
        self.shutdown()
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "tubelet", ""
    timeout = 60

    def do_GET(self) -> None:
        try:
            self.answer()
        except TubeletError as error:
            self.send(HTTPStatus.BAD_REQUEST, as_json(fault(error)), "application/json")
        except (BrokenPipeError, ConnectionError, TimeoutError):
            self.close_connection = True
        except Exception as error:
            traceback.print_exc()
            said = as_json({"error": f"a fault of tubelet ({type(error).__name__}); the terminal says more"})
            self.send(HTTPStatus.INTERNAL_SERVER_ERROR, said, "application/json")

    do_HEAD = do_GET

    def answer(self) -> None:
        host = self.headers.get("Host", "").lower()
        name = host.rpartition(":")[0] if re.search(r":\d+$", host) else host
        if name not in HERE:
            self.refuse(HTTPStatus.MISDIRECTED_REQUEST)
            return
        asked = urlsplit(self.path)
        if asked.path == "/favicon.ico":  # browsers ask for it unasked
            self.send(HTTPStatus.NO_CONTENT, b"", "image/x-icon")
            return
        _, token, *rest = asked.path.split("/")
        if not hmac.compare_digest(token.encode("utf-8", "replace"), self.server.token.encode()):
            self.refuse(HTTPStatus.FORBIDDEN)
            return
        query = parse_qs(asked.query, keep_blank_values=True, max_num_fields=100, errors="replace")
        match rest:
            case [""]:
                self.send(HTTPStatus.OK, page().encode(), "text/html; charset=utf-8")
            case ["api", name] if name in Api.ANSWERS:
                self.send(HTTPStatus.OK, as_json(self.server.api.answer(name, query)), "application/json")
            case ["thumbnail", row] if row.isascii() and row.isdecimal():
                found = self.server.api.thumbnail(self.server.api.of_row(int(row)).row)
                if found is None:
                    self.refuse(HTTPStatus.NOT_FOUND)
                else:
                    self.send(HTTPStatus.OK, found, "image/jpeg", {"Cache-Control": "private, max-age=3600"})
            case ["video", row] if row.isascii() and row.isdecimal():
                self.send_video(int(row), query)
            case _:
                self.refuse(HTTPStatus.NOT_FOUND)

    def send_video(self, row: int, query: dict[str, list[str]]) -> None:
        api = self.server.api
        video = api.of_row(row)
        if video.status != "ok":
            self.refuse(HTTPStatus.NOT_FOUND)
            return
        moment = number(query, "moment", middle(video))
        playing = api.playable.playing(video, moment, flag(query, "encoded"))
        path = api.playable.file(video, moment) if playing.encoded else video.path
        with opened(path) as (file, size):
            self.send_part(file, size, playing.kind)

    def send_part(self, file: BinaryIO, size: int, kind: str) -> None:
        """The file, or the one range of it that is asked for."""
        part = byte_range(self.headers.get("Range"), size)
        if part is None:
            self.send(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, b"", kind, {"Content-Range": f"bytes */{size}"})
            return
        first, last = part
        whole = "Range" not in self.headers or RANGE.match(self.headers["Range"]) is None
        more = {"Accept-Ranges": "bytes", "Content-Length": str(last - first + 1)}
        if not whole:
            more["Content-Range"] = f"bytes {first}-{last}/{size}"
        self.begin(HTTPStatus.OK if whole else HTTPStatus.PARTIAL_CONTENT, kind, more)
        if self.command == "HEAD":
            return
        file.seek(first)
        left = last - first + 1
        while left and (some := file.read(min(CHUNK, left))):
            self.wfile.write(some)
            left -= len(some)
        self.close_connection = self.close_connection or bool(left)

    def send(self, status: HTTPStatus, content: bytes, kind: str, more: dict[str, str] | None = None) -> None:
        self.begin(status, kind, {"Content-Length": str(len(content)), **(more or {})})
        if self.command != "HEAD":
            self.wfile.write(content)

    def refuse(self, status: HTTPStatus) -> None:
        self.close_connection = True
        self.send(status, f"{status.value} {status.phrase}\n".encode(), "text/plain; charset=utf-8")

    def begin(self, status: HTTPStatus, kind: str, more: dict[str, str]) -> None:
        self.send_response(status)
        headers = {**ALWAYS, "Content-Security-Policy": policy(), "Content-Type": kind, **more}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *values: Any) -> None:
        """Nothing is logged: addresses hold the token."""


@contextlib.contextmanager
def opened(path: Path) -> Iterator[tuple[BinaryIO, int]]:
    regular_file(path)
    with path.open("rb") as file:
        yield file, os.fstat(file.fileno()).st_size


def byte_range(asked: str | None, size: int) -> tuple[int, int] | None:
    """First and last byte of what a `Range` asks for: of several ranges, or of what is none, the whole; None where
    nothing of it is there."""
    found = RANGE.match(asked or "")
    if found is None or found.groups() == ("", ""):
        return 0, size - 1
    first, last = found.groups()
    if not first:
        return (max(size - int(last), 0), size - 1) if int(last) and size else None
    end = min(int(last), size - 1) if last else size - 1
    return (int(first), end) if int(first) <= end else None
