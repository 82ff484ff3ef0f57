"""A web server on loopback that knows ranges, counts what it is asked, and misbehaves on demand.

It stands before a folder, or before another server (`upstream`), whose answers it passes on.
"""

import contextlib
import email.utils
import hashlib
import http.client
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

FAULTS = ("status 500", "status 503", "status 429", "half", "silence", "reset", "changed")
SILENCE = 0.6  # seconds


@dataclass
class Served:
    """What a server was asked, and what befalls the next answers."""

    folder: Path | None = None
    upstream: str | None = None  # host:port
    requests: list[tuple[str, str, str]] = field(default_factory=list)  # method, path, range
    sent: int = 0  # bytes of bodies
    fault: Callable[[int], str] = lambda number: ""  # of the request with this number
    ranges: bool = True
    version: str = ""  # enters every ETag
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def clear(self) -> None:
        self.requests.clear()
        self.sent = 0

    def asked(self, method: str = "GET") -> list[str]:
        return [path for verb, path, _ in self.requests if verb == method]


@contextlib.contextmanager
def serving(folder: Path | None = None, upstream: str | None = None) -> Iterator[Served]:
    served = Served(folder, upstream)

    class Answering(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_one_request(self) -> None:
            with contextlib.suppress(ConnectionError):
                super().handle_one_request()

        def answer(self) -> None:
            number = len(served.requests)
            served.requests.append((self.command, self.path, self.headers.get("Range", "")))
            length = int(self.headers.get("Content-Length") or 0)
            given = self.rfile.read(length) if length else b""
            fault = served.fault(number)
            if fault.startswith("status"):
                self.send_response(int(fault.split()[1]))
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            if fault.startswith("to "):
                self.send_response(302)
                self.send_header("Location", fault.removeprefix("to "))
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            if fault == "silence":
                time.sleep(SILENCE)
            if fault in ("silence", "reset"):
                self.close_connection = True
                return
            if served.upstream:
                status, headers, body = passed_on(self, served.upstream, given)
            else:
                status, headers, body = from_folder(self, served)
            if fault == "changed" and "ETag" in headers:
                headers["ETag"] = '"another"'
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                if fault == "half":
                    body, self.close_connection = body[: len(body) // 2], True
                served.sent += len(body)
                self.wfile.write(body)

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = answer

        def log_message(self, *values: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    server.daemon_threads = True
    served.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def from_folder(request: BaseHTTPRequestHandler, served: Served) -> tuple[int, dict[str, str], bytes]:
    assert served.folder is not None
    path = served.folder / unquote(urlsplit(request.path).path).lstrip("/")
    if not path.is_file():
        return 404, {"Content-Length": "0"}, b""
    content = path.read_bytes()
    about = path.stat()
    tag = hashlib.md5(f"{about.st_mtime_ns} {about.st_size} {served.version}".encode()).hexdigest()
    headers = {"ETag": f'"{tag}"', "Last-Modified": email.utils.formatdate(about.st_mtime, usegmt=True)}
    asked = request.headers.get("Range", "")
    if served.ranges and asked:
        first, _, last = asked.removeprefix("bytes=").partition("-")
        begin, end = int(first), min(int(last), len(content) - 1)
        if begin >= len(content):
            return 416, {"Content-Range": f"bytes */{len(content)}", "Content-Length": "0"}, b""
        headers |= {"Content-Range": f"bytes {begin}-{end}/{len(content)}"}
        content = content[begin : end + 1]
        return 206, {**headers, "Content-Length": str(len(content))}, content
    return 200, {**headers, "Content-Length": str(len(content))}, content


def passed_on(request: BaseHTTPRequestHandler, upstream: str, given: bytes) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection(upstream, timeout=20)
    connection.request(request.command, request.path, body=given, headers=dict(request.headers))
    answer = connection.getresponse()
    body = answer.read()
    drop = ("transfer-encoding", "connection", "content-length")
    headers = {name: value for name, value in answer.getheaders() if name.lower() not in drop}
    length = answer.getheader("Content-Length") or "0" if request.command == "HEAD" else str(len(body))
    connection.close()
    headers = {"ETag" if name.lower() == "etag" else name: value for name, value in headers.items()}
    return answer.status, {**headers, "Content-Length": length}, body
