"""A stand-in for the Hugging Face hub on loopback: the calls of its client that push and fetch need, and a token."""

import base64
import contextlib
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOKEN = "hf_stand_in"


class Hub:
    """Repositories by name: {file name: content}. `requests` are (method, path), as they came."""

    def __init__(self) -> None:
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.private: set[str] = set()
        self.requests: list[tuple[str, str]] = []
        self.address = ""

    def commit(self, name: str) -> str:
        files = self.repositories[name]
        return hashlib.sha1(repr(sorted((file, content) for file, content in files.items())).encode()).hexdigest()


@contextlib.contextmanager
def running_hub() -> Iterator[Hub]:
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def answer(self, status: int, content: bytes | dict, **headers: str) -> None:
            body = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def refused(self) -> bool:
            if self.headers.get("Authorization") == f"Bearer {TOKEN}":
                return False
            self.answer(401, {"error": "Invalid username or password."})
            return True

        def body(self) -> bytes:
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))

        def do_POST(self) -> None:
            hub.requests.append(("POST", self.path))
            body = self.body()
            if self.refused():
                return
            if self.path == "/api/repos/create":
                said = json.loads(body)
                name = f"{said['organization']}/{said['name']}" if said.get("organization") else said["name"]
                hub.repositories.setdefault(name, {".gitattributes": b""})
                if said.get("private") or said.get("visibility") == "private":
                    hub.private.add(name)
                self.answer(200, {"url": f"{hub.address}/{name}", "name": name})
            elif found := re.match(r"/api/models/([^/]+/[^/]+)/preupload/", self.path):
                files = [{"path": file["path"], "uploadMode": "regular", "shouldIgnore": False, "oid": None}
                         for file in json.loads(body)["files"]]  # fmt: skip
                self.answer(200, {"files": files})
            elif found := re.match(r"/api/models/([^/]+/[^/]+)/commit/", self.path):
                for line in body.splitlines():
                    said = json.loads(line)
                    if said["key"] == "file":
                        content = base64.b64decode(said["value"]["content"])
                        hub.repositories[found[1]][said["value"]["path"]] = content
                commit = hub.commit(found[1])
                self.answer(200, {"commitUrl": f"{hub.address}/{found[1]}/commit/{commit}", "commitOid": commit})
            elif self.path.startswith("/api/validate-yaml"):
                self.answer(200, {"errors": [], "warnings": []})
            else:
                self.answer(404, {"error": f"no {self.path}"})

        def do_GET(self) -> None:
            hub.requests.append((self.command, self.path))
            path = self.path.partition("?")[0]
            if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)(/revision/[^/]+|/tree/.+)?", path):
                name, more = found[1], found[2] or ""
                if name not in hub.repositories:
                    self.answer(404, {"error": "Repository not found"}, X_Error_Code="RepoNotFound")
                elif more.startswith("/tree"):
                    files = [
                        {"type": "file", "path": file, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                        for file, content in hub.repositories[name].items()
                    ]
                    self.answer(200, json.dumps(files).encode(), Content_Type="application/json")
                else:
                    files = [{"rfilename": file} for file in hub.repositories[name]]
                    about = {"id": name, "modelId": name, "sha": hub.commit(name), "siblings": files}
                    self.answer(200, {**about, "private": name in hub.private, "tags": [], "downloads": 0, "likes": 0})
            elif found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/[^/]+/(.+)", path):
                content = hub.repositories.get(found[1], {}).get(found[2])
                if content is None:
                    self.answer(404, {"error": "Entry not found"}, X_Error_Code="EntryNotFound")
                else:
                    etag = hashlib.sha1(content).hexdigest()
                    self.answer(200, content, ETag=f'"{etag}"', X_Repo_Commit=hub.commit(found[1]))
            elif path == "/":
                self.answer(200, b"")
            else:
                self.answer(404, {"error": f"no {path}"})

        do_HEAD = do_GET

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
