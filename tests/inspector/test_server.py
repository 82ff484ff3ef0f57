"""The server answers this machine and who knows the token, with the files that it means and no other."""

import os
import socket
from pathlib import Path
from urllib.parse import urlsplit

import pytest

import tubelet
from tubelet.cli import main
from tubelet.corpus.table import Corpus
from tubelet.corpus.write import write_corpus
from tubelet.inspector.page import policy
from tubelet.inspector.server import byte_range


def raw(inspector, path: str, host: str | None, method: str = "GET") -> tuple[int, bytes]:
    """A request as no client of good manners sends it."""
    lines = [f"{method} {path} HTTP/1.1", *([] if host is None else [f"Host: {host}"]), "Connection: close", "", ""]
    with socket.create_connection(("127.0.0.1", urlsplit(inspector.url).port), timeout=60) as connection:
        connection.sendall("\r\n".join(lines).encode())
        answer = b"".join(iter(lambda: connection.recv(1 << 16), b""))
    head, _, content = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), content


def test_it_listens_on_this_machine_alone(of_corpus):
    assert of_corpus.server.server_address[0] == "127.0.0.1"


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "", None, "localhost.", "::1"]
)
def test_another_host_than_this_machine_is_refused(of_corpus, host):
    status, content = raw(of_corpus, urlsplit(of_corpus.url).path, host)
    assert status == 421
    assert b"<html" not in content


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:8765", "LOCALHOST", "[::1]:9"])
def test_this_machine_by_any_of_its_names_and_ports_is_answered_as_a_tunnel_needs(of_corpus, host):
    assert raw(of_corpus, urlsplit(of_corpus.url).path, host)[0] == 200


@pytest.mark.parametrize(
    "path",
    ["/", "/api/about", "//", "/x/api/about", "/%s/../", "/%s", "/%s/api/", "/%s/api/answer", "/%s/api/row?row=0"],
)
def test_without_the_token_or_beside_the_known_paths_there_is_nothing(of_corpus, path):
    token = of_corpus.server.token
    wrong = path.replace("%s", token)
    assert raw(of_corpus, wrong, "localhost")[0] in (403, 404)
    assert raw(of_corpus, wrong.replace(token, token[:-1] + "é"), "localhost")[0] in (403, 404)


OUTSIDE = """video/../../../../etc/passwd video/%2e%2e%2fvideos.parquet video/-1 video/8 video/99999999999999999999
    video/0/ video/٣ thumbnail/../0 thumbnail/8 corpus.json video//etc/passwd video/0x1 page.js"""


@pytest.mark.parametrize("path", OUTSIDE.split())
def test_no_path_leads_to_a_file_that_is_no_video_of_the_table(of_corpus, path):
    status, content = raw(of_corpus, urlsplit(of_corpus.url).path + path, "localhost")
    assert status in (400, 404)
    assert b"root:" not in content


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE"])
def test_nothing_but_reading_is_answered(of_corpus, method):
    assert raw(of_corpus, urlsplit(of_corpus.url).path, "localhost", method)[0] in (405, 501)


def test_a_video_is_its_file_and_a_range_is_that_part_of_it(of_corpus, corpus, get):
    content = Corpus.open(corpus).videos[2].path.read_bytes()
    status, headers, body = get(f"{of_corpus.url}video/2")
    assert (status, headers["Accept-Ranges"], headers["Content-Type"]) == (200, "bytes", "video/mp4")
    assert body == content
    for asked, part in (("bytes=10-29", content[10:30]), ("bytes=100-", content[100:]), ("bytes=-7", content[-7:])):
        status, headers, body = get(f"{of_corpus.url}video/2", Range=asked)
        assert (status, body) == (206, part)
        first = content.index(part)
        assert headers["Content-Range"] == f"bytes {first}-{first + len(part) - 1}/{len(content)}"
    assert get(f"{of_corpus.url}video/2", Range=f"bytes={len(content)}-")[0] == 416
    assert get(f"{of_corpus.url}video/2", Range="bytes=0-1,5-6")[0] == 200
    status, headers, body = get(f"{of_corpus.url}video/2", "HEAD")
    assert (status, int(headers["Content-Length"]), body) == (200, len(content), b"")


@pytest.mark.parametrize(
    ("asked", "part"),
    [
        (None, (0, 9)), ("bytes=0-0", (0, 0)), ("bytes=3-", (3, 9)), ("bytes=-4", (6, 9)), ("bytes=-40", (0, 9)),
        ("bytes=5-400", (5, 9)), ("bytes=10-", None), ("bytes=-0", None), ("bytes=6-5", None), ("bytes=-", (0, 9)),
        ("items=1-2", (0, 9)),
    ],
)  # fmt: skip
def test_a_range_is_read_as_http_means_it(asked, part):
    assert byte_range(asked, 10) == part


def test_a_table_of_a_strangers_shows_no_file_that_is_no_video(tmp_path, get):
    (tmp_path / "secret.key").write_text("secret\n" * 100)
    os.mkfifo(tmp_path / "pipe")
    paths = (tmp_path / "secret.key", Path("/etc/passwd"), tmp_path / "pipe", Path("/dev/zero"))
    rows = [
        {"id": str(path), "path": path, "end": 1.0, "fps": 8.0, "frames": 8, "width": 8, "height": 8} for path in paths
    ]
    with tubelet.inspect(write_corpus(tmp_path / "c", "strange", rows)) as inspector:
        for row in range(len(rows)):
            for path in (f"video/{row}", f"video/{row}?encoded=1", f"thumbnail/{row}", f"api/clip?row={row}"):
                status, _, content = get(inspector.url + path)
                assert status in (400, 404), path
                assert b"root:" not in content
                assert b"secret\n" not in content


def test_a_browser_that_leaves_in_the_middle_of_a_video_ends_one_request_and_not_the_server(of_corpus, get, capfd):
    url = urlsplit(of_corpus.url)
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", url.port)) as some:
            some.sendall(f"GET {url.path}video/1 HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            some.recv(10)
    assert get(of_corpus.url)[0] == 200
    assert "Traceback" not in capfd.readouterr().err


def test_every_answer_forbids_the_browser_what_the_page_does_not_need(of_corpus, get):
    for path in ("", "api/about", "video/0", "thumbnail/0"):
        _, headers, _ = get(of_corpus.url + path)
        rules = dict(rule.strip().split(" ", 1) for rule in headers["Content-Security-Policy"].split(";"))
        assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == rules["frame-ancestors"] == "'none'"
        assert {rules[name] for name in ("img-src", "media-src", "connect-src")} == {"'self'"}
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["X-Content-Type-Options"] == "nosniff"
    assert policy().count("sha256-") == 2


def test_the_page_names_no_other_place(of_corpus, get):
    text = get(of_corpus.url)[2].decode()
    assert "http://" not in text
    assert "https://" not in text
    assert "innerHTML" not in text
    assert " style=" not in text


def test_two_pages_have_two_tokens_and_one_token_opens_one(of_corpus, of_run, get):
    assert of_corpus.server.token != of_run.server.token
    assert get(of_corpus.url.replace(of_corpus.server.token, of_run.server.token))[0] == 403


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["nowhere"], "there is neither a run nor a corpus at nowhere"),
        (["CORPUS", "CORPUS"], "name one corpus, or runs of one corpus"),
        (["CORPUS", "clip.frames=3"], "must be a positive multiple"),
        (["CORPUS", "masker=Tube"], "only fields of clip, data, encoder"),
        (["RUN", "clip.size=64"], "a run says itself how its clips are cut"),
        (["CORPUS", "--masker", "Tub"], "did you mean Tube?"),
        (["CORPUS", "--port", "99999"], "cannot be listened on"),
        (["--on", "CORPUS", "CORPUS"], "name one corpus, or runs of one corpus"),
    ],
)
def test_what_cannot_be_inspected_is_one_line(corpus, run, words, says, capsys):
    names = {"CORPUS": str(corpus), "RUN": str(run)}
    assert main(["inspect", "--no-open", *(names.get(word, word) for word in words)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert says in error


def test_an_encoded_video_goes_with_the_page(corpus, get):
    with tubelet.inspect(corpus) as inspector:
        assert get(f"{inspector.url}video/0?encoded=1")[0] == 200
        folder = inspector.api.playable.folder
        assert [path.suffix for path in folder.iterdir()] == [".mp4"]
    assert not folder.exists()
