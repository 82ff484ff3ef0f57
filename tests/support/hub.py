"""A stand-in for the Hugging Face hub on loopback: the calls of its client that push and fetch need, and a token."""

import base64
import contextlib
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import PurePosixPath
from urllib.parse import parse_qs, unquote

TOKEN = "hf_stand_in"
API = r"/api/(models|datasets)/([^/]+/[^/]+)"


class Hub:
    """Repositories by name, those of data sets with datasets/ before it: {file name: content}. `requests` are
    (method, path), as they came."""

    def __init__(self) -> None:
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.private: set[str] = set()
        self.requests: list[tuple[str, str]] = []
        self.address = ""

    def commit(self, name: str) -> str:
        files = self.repositories[name]
        return hashlib.sha1(repr(sorted((file, content) for file, content in files.items())).encode()).hexdigest()

    def entries(self, name: str, below: str, recursive: bool) -> list[dict]:
        """The files and folders below a folder, as the hub lists them."""
        start = f"{below}/" if below else ""
        files = {file: content for file, content in self.repositories[name].items() if file.startswith(start)}
        folders = {str(folder) for file in files for folder in PurePosixPath(file).parents} - {"."}
        found = [{"type": "directory", "path": path, "size": 0, "oid": "0" * 40} for path in sorted(folders)]
        found += [
            {"type": "file", "path": file, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
            for file, content in files.items()
        ]
        return [
            one for one in found
            if one["path"].startswith(start) and (recursive or "/" not in one["path"].removeprefix(start))
        ]  # fmt: skip


def name_of(found: re.Match[str]) -> str:
    return found[2] if found[1] == "models" else f"datasets/{found[2]}"


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
                name = f"datasets/{name}" if said.get("type") == "dataset" else name
                hub.repositories.setdefault(name, {".gitattributes": b""})
                if said.get("private") or said.get("visibility") == "private":
                    hub.private.add(name)
                self.answer(200, {"url": f"{hub.address}/{name}", "name": name})
            elif found := re.match(API + "/preupload/", self.path):
                files = [{"path": file["path"], "uploadMode": "regular", "shouldIgnore": False, "oid": None}
                         for file in json.loads(body)["files"]]  # fmt: skip
                self.answer(200, {"files": files})
            elif found := re.match(API + "/paths-info/", self.path):
                entries = hub.entries(name_of(found), "", recursive=True)
                asked = parse_qs(body.decode())["paths"]
                self.answer(200, json.dumps([one for one in entries if one["path"] in asked]).encode())
            elif found := re.match(API + "/commit/", self.path):
                name = name_of(found)
                for line in body.splitlines():
                    said = json.loads(line)
                    if said["key"] == "file":
                        content = base64.b64decode(said["value"]["content"])
                        hub.repositories[name][said["value"]["path"]] = content
                commit = hub.commit(name)
                self.answer(200, {"commitUrl": f"{hub.address}/{name}/commit/{commit}", "commitOid": commit})
            elif self.path.startswith("/api/validate-yaml"):
                self.answer(200, {"errors": [], "warnings": []})
            else:
                self.answer(404, {"error": f"no {self.path}"})

        def do_GET(self) -> None:
            hub.requests.append((self.command, self.path))
            path = self.path.partition("?")[0]
            if found := re.fullmatch(API + r"(/revision/[^/]+|/tree/.+)?", path):
                name, more = name_of(found), found[3] or ""
                if name not in hub.repositories:
                    self.answer(404, {"error": "Repository not found"}, X_Error_Code="RepoNotFound")
                elif more.startswith("/tree"):
                    below = unquote(more.removeprefix("/tree/")).partition("/")[2]
                    recursive = parse_qs(self.path.partition("?")[2]).get("recursive", [""])[0].lower() in ("true", "1")
                    entries = hub.entries(name, below, recursive)
                    self.answer(200, json.dumps(entries).encode(), Content_Type="application/json")
                else:
                    files = [{"rfilename": file} for file in hub.repositories[name]]
                    about = {"id": name, "modelId": name, "sha": hub.commit(name), "siblings": files}
                    self.answer(200, {**about, "private": name in hub.private, "tags": [], "downloads": 0, "likes": 0})
            elif found := re.fullmatch(r"/((?:datasets/)?[^/]+/[^/]+)/resolve/[^/]+/(.+)", path):
                content = hub.repositories.get(found[1], {}).get(unquote(found[2]))
                if content is None:
                    self.answer(404, {"error": "Entry not found"}, X_Error_Code="EntryNotFound")
                else:
                    etag = hashlib.sha1(content).hexdigest()
                    about = {"ETag": f'"{etag}"', "X_Repo_Commit": hub.commit(found[1])}
                    if said := re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", "")):
                        first, last = int(said[1]), min(int(said[2]) + 1, len(content))
                        about["Content_Range"] = f"bytes {first}-{last - 1}/{len(content)}"
                        self.answer(206, content[first:last], **about)
                    else:
                        self.answer(200, content, **about)
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
