"""The page as files holds what the server answers, and needs none."""

import json
import re
from pathlib import Path

import pytest

import tubelet
from support.browser import CHROMIUM, Browser
from support.inspected import WORDS, make_inspected
from support.strangers import PAYLOADS
from tubelet.cli import main
from tubelet.corpus.table import Corpus
from tubelet.corpus.write import write_corpus
from tubelet.errors import RunError


@pytest.fixture(scope="module")
def written(run, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("static") / "pages"
    assert main(["inspect", str(run), "--static", str(folder), "--videos", "3"]) == 0
    return folder / "index.html"


def recorded(index: Path) -> dict:
    (text,) = re.findall('<script type="application/json" id="recorded">(.*?)</script>', index.read_text())
    return json.loads(text)


def test_every_answer_that_is_written_is_the_one_of_the_server(written, of_run, api):
    answers = recorded(written)["answers"]
    assert len(answers) > 300
    for asked, answer in list(answers.items())[::7]:
        name, _, query = asked.partition("?")
        live = api(of_run, name, query)
        for pictures in (answer, live):  # smaller, and so not to the bit
            pictures.pop("frames", None)
        assert answer == live, asked


def test_the_videos_are_copies_evenly_spread_over_the_table(written, corpus):
    videos = Corpus.open(corpus).videos
    data = recorded(written)
    assert data["videos"] == {str(row): f"videos/{row}.mp4" for row in (0, 4, 7)}
    for row, name in data["videos"].items():
        assert (written.parent / name).read_bytes() == videos[int(row)].path.read_bytes()
    assert {str(row["row"]) for row in data["rows"]} == set(data["videos"])


def test_the_page_forbids_itself_to_ask_anybody(written):
    (policy,) = re.findall('http-equiv="Content-Security-Policy" content="([^"]*)"', written.read_text())
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == rules["connect-src"] == "'none'"
    assert rules["media-src"] == rules["img-src"] == "'self' data:"
    assert rules["script-src"].startswith("'sha256-")


def test_a_folder_that_holds_something_else_stays_as_it_is_and_a_page_of_ours_is_replaced(corpus, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    with tubelet.inspect(corpus, words=WORDS) as inspector:
        with pytest.raises(RunError, match="holds something else"):
            inspector.write(tmp_path / "mine")
        with pytest.raises(RunError, match="at least 1"):
            inspector.write(tmp_path / "new", videos=0)
        assert list((tmp_path / "mine").iterdir()) == [tmp_path / "mine" / "thesis.tex"]
        for videos in (2, 1):
            index = inspector.write(tmp_path / "new", videos)
            assert len(list((index.parent / "videos").iterdir())) == videos == len(recorded(index)["rows"])


def test_hostile_names_cannot_end_the_block_that_holds_them(tmp_path):
    corpus = make_inspected(tmp_path)
    rows = [
        {"id": payload, "path": corpus.videos[0].path, "end": 2.0, "fps": 20.0, "frames": 40, "width": 96, "height": 64,
         "label": payload, "split": payload} for payload in PAYLOADS
    ]  # fmt: skip
    with tubelet.inspect(write_corpus(tmp_path / "c", PAYLOADS[0], rows), words=WORDS) as inspector:
        text = inspector.write(tmp_path / "page", videos=2).read_text()
    assert len(re.findall("<script", text)) == len(re.findall("</script", text)) == 2
    assert "<img src=x" not in text


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: no browser of that kind is installed")
def test_a_browser_shows_it_from_the_disk_and_asks_for_nothing_else(written, tmp_path):
    with Browser(tmp_path) as browser:
        browser.open(written.as_uri())
        browser.wait("document.documentElement.dataset.ready && player.readyState > 1")
        assert "tubelets hidden" in browser.wait("document.querySelector('.said').textContent")
        for key, words in (("s", "layer 1 of 2"), ("r", "loss"), ("x", "loss"), ("m", "tubelets hidden")):
            browser.press(key)
            browser.wait(f"document.querySelector('.said').textContent.includes('{words}')", 10)
        browser.press("]")
        assert browser.run("state.panes[0].ratio.value") == "0.75"
        browser.press("n")
        assert browser.wait("$('hits').children.length")
        browser.wait("document.querySelector('#rows img').naturalWidth > 0", 10)
        assert not browser.complaints
        assert all(url.startswith(("file:", "data:", "blob:")) for url in browser.asked)
