"""The list: pages of fifty rows, filters, failed files with their reasons, hostile names as text."""

import json
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest

import tubelet
from support.strangers import PAYLOADS
from tubelet.corpus.table import Corpus
from tubelet.corpus.write import write_corpus, write_keep
from tubelet.escape import visible
from tubelet.video.writer import write_video

ROWS = 10_000


@pytest.fixture(scope="module")
def large(tmp_path_factory) -> Corpus:
    """Ten thousand rows of one file; one in a hundred cannot be used."""
    folder = tmp_path_factory.mktemp("large")
    write_video(folder / "a.mp4", np.zeros((8, 32, 32, 3), np.uint8), 8.0)
    rows = [
        {
            "id": f"clip {number:05d}", "path": folder / "a.mp4", "end": 1.0, "fps": 8.0, "frames": 8, "width": 32,
            "height": 32, "label": f"class {number % 7}", "split": "test" if number % 5 == 0 else "train",
            "status": "unreadable" if number % 100 == 99 else "ok", "reason": "cut short" if number % 100 == 99 else "",
        }
        for number in range(ROWS)
    ]  # fmt: skip
    captions = [{"video": row["id"], "text": f"thing number {number}"} for number, row in enumerate(rows)]
    return write_corpus(folder, "large", rows, captions)


@pytest.fixture(scope="module")
def inspector(large):
    with tubelet.inspect(large) as inspector:
        yield inspector


def test_the_first_page_of_ten_thousand_rows_writes_out_fifty_and_reads_no_file(inspector, large, api, monkeypatch):
    for name in ("open", "read_bytes", "stat"):
        monkeypatch.setattr(Path, name, forbidden(Path, name, "a.mp4"))
    before = len(inspector.api.listing.shown)
    answer = api(inspector, "videos")
    assert (answer["total"], answer["page"], answer["pages"], len(answer["rows"])) == (ROWS, 0, 200, 50)
    assert inspector.api.listing.shown[before:] == list(range(50))


def forbidden(kind, name, file):
    real = getattr(kind, name)

    def call(self, *values, **named):
        assert self.name != file, f"{name} of {self}"
        return real(self, *values, **named)

    return call


def test_pages_and_filters_give_the_rows_of_the_table_that_pass_each_once(inspector, large, api):
    wanted = [
        video for video in large.videos if video.split == "test" and video.label == "class 3" and video.status == "ok"
    ]
    found = []
    for page in range(100):
        answer = api(inspector, "videos", f"split=test&label=class+3&status=ok&page={page}")
        if page == answer["page"]:
            found += [row["id"] for row in answer["rows"]]
    assert found == [video.id for video in wanted]
    assert answer["total"] == len(wanted)
    assert answer["page"] == answer["pages"] - 1  # one too far is the last
    assert api(inspector, "videos", "words=NUMBER+4711")["rows"][0]["id"] == "clip 04711"
    assert api(inspector, "videos", "words=nothing+of+it")["rows"] == []


def test_failed_files_are_listed_with_their_reason(inspector, api, get):
    answer = api(inspector, "videos", "status=unreadable")
    assert answer["total"] == 100
    assert {row["reason"] for row in answer["rows"]} == {"cut short"}
    assert api(inspector, "about")["choices"]["status"] == {"ok": 9900, "unreadable": 100}
    assert api(inspector, "video", "row=99")["playing"] is None
    assert get(f"{inspector.url}video/99")[0] == 404
    assert get(f"{inspector.url}thumbnail/99")[0] == 404
    assert "cannot be read: cut short" in api(inspector, "mask", "row=99&masker=Tube")["error"]


def test_a_file_that_is_gone_since_is_one_sentence(large, tmp_path, api, get):
    rows = [
        {"id": "gone", "path": tmp_path / "gone.mp4", "end": 1.0, "fps": 8.0, "frames": 8, "width": 32, "height": 32}
    ]
    with tubelet.inspect(write_corpus(tmp_path / "c", "gone", rows)) as inspector:
        for name in ("video", "clip", "mask"):
            assert "no such file" in api(inspector, name, "row=0&masker=Tube")["error"]
        assert get(f"{inspector.url}video/0")[0] == 400
        assert get(f"{inspector.url}thumbnail/0")[0] == 404


@pytest.mark.parametrize(
    "query", ["row=x", "row=1e9", "row=-1", "row=0&run=5", "row=0&begin=nan", "row=0&begin=inf", "row=0&caption=x"]
)
def test_a_query_that_means_nothing_is_one_sentence(inspector, api, query):
    assert "error" in api(inspector, "clip", query) or "error" in api(inspector, "mask", f"{query}&masker=Text")


def test_hostile_names_are_text_with_their_control_characters_written_out(tmp_path, api, get):
    rows, captions = [], []
    for number, payload in enumerate(PAYLOADS):
        write_video(tmp_path / f"{number}.mp4", np.zeros((8, 32, 32, 3), np.uint8), 8.0)
        rows.append(
            {"id": f"{number}{payload}", "path": tmp_path / f"{number}.mp4", "end": 1.0, "fps": 8.0, "frames": 8,
             "width": 32, "height": 32, "label": payload, "split": payload, "status": "ok" if number % 2 else payload,
             "reason": payload}
        )  # fmt: skip
        captions.append({"video": f"{number}{payload}", "text": payload, "source": payload})
    corpus = write_corpus(tmp_path / "c", PAYLOADS[0], rows, captions)
    with tubelet.inspect(corpus) as inspector:
        page = get(inspector.url)[2].decode()
        for name, query in [
            ("about", ""),
            ("videos", ""),
            *(("video", f"row={number}") for number in range(len(rows))),
        ]:
            status, headers, content = get(f"{inspector.url}api/{name}?{query}")
            assert status == 200
            assert headers["Content-Type"] == "application/json"
            assert visible(content.decode()) == content.decode()
        for number, payload in enumerate(PAYLOADS):
            assert payload not in page
            found = api(inspector, "videos", f"label={quote(payload, safe='')}")
            assert found["total"] in (0, 1)
            one = api(inspector, "video", f"row={number}")
            assert one["label"] == visible(payload)
            assert json.dumps(one)


def test_rows_that_curation_left_out_are_marked_and_can_be_listed_alone(tmp_path, api):
    write_video(tmp_path / "a.mp4", np.zeros((8, 32, 32, 3), np.uint8), 8.0)
    rows = [{"id": name, "path": tmp_path / "a.mp4", "end": 1.0, "frames": 8, "split": "train"} for name in "abc"]
    corpus = write_keep(write_corpus(tmp_path, "small", rows), {"b"})
    with tubelet.inspect(corpus) as inspector:
        assert [(row["id"], row["left_out"]) for row in api(inspector, "videos")["rows"]] == [
            ("a", False), ("b", True), ("c", False),
        ]  # fmt: skip
        assert api(inspector, "about")["choices"]["status"] == {"ok": 3, "left out": 1}
        assert [row["id"] for row in api(inspector, "videos", "status=left%20out")["rows"]] == ["b"]
