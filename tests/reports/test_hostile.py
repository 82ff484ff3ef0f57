"""A stranger's texts on a page are texts: no script, no request, no broken chart; said by a parser and by a browser."""

import base64
import hashlib
import json
import re
import shutil
import subprocess
import xml.etree.ElementTree as xml
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from support.hostile import aligner_page, pages, poison_run
from support.strangers import PAYLOADS, content_of, rewrite
from tubelet import contact_sheet
from tubelet.captioning import overview
from tubelet.cli import main
from tubelet.corpus.schema import Caption
from tubelet.diagnostics import aligner, maps, sheet
from tubelet.diagnostics.mask_measures import Measured, Picture
from tubelet.errors import RunError
from tubelet.evaluations.trained_on import video_of
from tubelet.inference import hits
from tubelet.reports.aligner import write_page

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ALONE = """--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
    --disable-component-update --disable-sync --disable-default-apps --disable-extensions --hide-scrollbars
    --enable-logging=stderr --v=0 --virtual-time-budget=5000"""
INERT = """html head meta title style body nav p ol ul li a main header h1 h2 h3 span section div table thead tbody tr
    td th small i b code pre figure figcaption img article details summary dl dt dd svg g defs path use rect text
    clippath"""
STEERS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2028\u2029\u2066-\u2069]")


@pytest.fixture(scope="module")
def hostile(make_run, tmp_path_factory) -> list[Path]:
    return pages(make_run, tmp_path_factory.mktemp("hostile"))


class Page(HTMLParser):
    """The elements of a page, and its text."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text, self.style = "", ""
        self.inside = ""
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        self.inside = tag

    def handle_data(self, data):
        if self.inside == "style":
            self.style += data
        self.text += data

    def handle_endtag(self, tag):
        self.inside = ""


@pytest.mark.parametrize(
    "payload", ['"><script>alert(1)</script>', "\\g<0>' onload='alert(1)", "$x^{", "C:\\data", "\udc80"]
)
def test_the_name_of_a_corpus_and_one_in_a_log_of_a_stranger_become_no_script(make_run, tmp_path, payload):
    runs = [make_run(tmp_path / name, steps=100, seed=seed) for seed, name in enumerate("ab")]
    for run in runs:
        corpus = content_of(run / "recipe.json")["corpus"]
        rewrite(run / "recipe.json", corpus=corpus | {"name": payload})
        name, said = json.dumps("linear"), json.dumps(payload)
        log = (run / "log.jsonl").read_text()
        (run / "log.jsonl").write_text(log.replace(f'"name": {name}', f'"name": {said}'))
    out = tmp_path / "r.html"
    assert main(["report", *map(str, runs), "--out", str(out)]) == 0
    page = Page(out)
    assert "script" not in {tag for tag, _ in page.elements}
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    assert payload.replace("\udc80", r"\udc80") in page.text


def test_no_text_becomes_an_element_an_attribute_or_an_address(hostile):
    for path in hostile:
        page = Page(path)
        assert {tag for tag, _ in page.elements} <= set(INERT.split()), path.name
        for tag, attributes in page.elements:
            assert not [name for name in attributes if name.startswith("on") or name in ("style", "srcdoc", "action")]
            assert attributes.get("src", "data:image/").startswith("data:image/")
            for name in ("href", "xlink:href"):
                assert re.fullmatch("#[A-Za-z][A-Za-z0-9_.-]*", attributes.get(name, "#a")), (path.name, attributes)
            assert re.fullmatch("[A-Za-z][A-Za-z0-9_.-]*", attributes.get("id", "a")), (path.name, tag, attributes)
        ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
        assert len(ids) == len(set(ids))


def test_every_page_allows_its_own_style_by_hash_and_pictures_in_itself_and_nothing_else(hostile):
    for path in hostile:
        page = Page(path)
        metas = [attributes for tag, attributes in page.elements if tag == "meta"]
        (policy,) = [meta["content"] for meta in metas if meta.get("http-equiv") == "Content-Security-Policy"]
        rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
        assert rules.pop("default-src") == "'none'"
        assert rules.pop("img-src") == "data:"
        digest = base64.b64encode(hashlib.sha256(page.style.encode()).digest()).decode()
        assert rules.pop("style-src") == f"'sha256-{digest}'"
        assert set(rules.values()) == {"'none'"}
        assert [tag for tag, _ in page.elements].count("style") == 1


def test_every_text_is_still_there_to_be_read_with_its_control_characters_written_out(hostile):
    for path in hostile:
        page = Page(path)
        assert not STEERS.search(path.read_text(encoding="utf-8")), path.name
        for payload in PAYLOADS:
            seen = STEERS.sub(lambda sign: sign[0].encode("unicode_escape").decode(), payload)
            assert seen.splitlines()[0] in page.text, (path.name, payload)


def test_every_chart_is_whole_whatever_it_is_called(hostile):
    count = 0
    for path in hostile:
        for chart in re.findall("<svg.*?</svg>", path.read_text(encoding="utf-8"), flags=re.DOTALL):
            drawn = xml.fromstring(chart.replace("xlink:", ""))
            paths = [part for part in drawn.iter() if part.tag.endswith("path") and part.get("d")]
            texts = [part for part in drawn.iter() if part.tag.endswith("text")]
            assert len(paths) > 2
            assert len(texts) > 2
            ids = {part.get("id") for part in drawn.iter()}
            for part in drawn.iter():
                for value in part.attrib.values():
                    for name in re.findall(r"^#(.+)$|^url\(#(.+)\)$", value):
                        assert "".join(name) in ids
            count += 1
    assert count > 30


def test_markdown_of_a_study_and_a_comparison_holds_no_html_link_or_cell_of_a_strangers(hostile):
    folder = hostile[0].parent
    runs = sorted(str(run) for run in folder.iterdir() if (run / "recipe.json").exists())
    assert main(["compare", *runs, "--out", str(folder / "compared")]) == 0
    for path in (folder / "study.md", folder / "compared" / "comparison.md"):
        text = path.read_text(encoding="utf-8")
        assert not STEERS.search(text)
        outside = re.sub(r"^(`{3,})\n.*?^\1$", "", text, flags=re.DOTALL | re.MULTILINE)
        assert not re.search("<[a-zA-Z/!]", outside), path.name
        assert not re.search(r"(?<!\\)\]\(", outside), path.name
        tables = re.findall(r"(?:^\|.*\n)+", outside, flags=re.MULTILINE)
        assert tables
        for table in tables:
            widths = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
            assert len(widths) == 1, path.name
        headings = re.findall(r"^#+ .*", outside, flags=re.MULTILINE)
        assert "# heading" not in headings
    tex = (folder / "compared" / "comparison.tex").read_text(encoding="utf-8")
    assert not re.search(r"\\(frac|input|write|g\b)", tex)


@pytest.mark.parametrize(
    "wrong",
    [
        {"linear": {"metrics": {"a.accuracy": {"value": 0.5, "unit": "fraction", "interval": 7}}}},
        {"linear": {"metrics": []}},
        {"linear": {"metrics": {}, "examples": {"text to video": [{"query": 1}]}}},
        {"linear": {"metrics": {}, "counts": 3, "failed": 4}},
        {"linear": {"metrics": {}, "classes": ["a"], "details": {"mean": {"confusion": [["x"]]}}}},
        {"linear": {"metrics": {}, "baselines": ["a"]}},
        {"linear": {"metrics": {"a.accuracy": {"value": 10**400, "unit": "fraction"}}}},
    ],
)
def test_results_that_no_command_writes_are_one_line_and_no_traceback(make_run, tmp_path, wrong, capsys):
    run = make_run(tmp_path / "run", steps=50)
    (run / "results.json").write_text(json.dumps(wrong))
    code = main(["report", str(run), "--out", str(tmp_path / "r.html")])
    error = capsys.readouterr().err
    assert code == 0 or (code == 2 and error.count("\n") == 1)


def test_an_aligner_with_values_that_no_command_writes_is_one_error_that_says_what_to_do(tmp_path):
    folder = aligner_page(tmp_path).parent
    rewrite(folder / "aligner.json", videos="three")
    with pytest.raises(RunError, match=r"holds what no command of tubelet writes .*align --force"):
        write_page(folder)


def test_json_nested_beyond_all_reason_is_one_line(make_run, tmp_path, capsys):
    run = make_run(tmp_path / "run", steps=50)
    for name, content in (("results.json", '{"a":' * 100_000), ("recipe.json", "[" * 200_000)):
        (run / name).write_text(content)
        assert main(["report", str(run), "--out", str(tmp_path / "r.html")]) == 2
        assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("name", ["pictures", "results.json", "log.jsonl"])
def test_a_page_holds_nothing_of_what_a_link_in_the_run_points_to(make_run, tmp_path, name, capsys):
    run, other = make_run(tmp_path / "run", steps=50), make_run(tmp_path / "other", steps=50, seed=1)
    shutil.rmtree(run / name) if (run / name).is_dir() else (run / name).unlink()
    (run / name).symlink_to(other / name)
    assert main(["report", str(run), "--out", str(tmp_path / "r.html")]) == 2
    assert "leads out of" in capsys.readouterr().err
    assert not (tmp_path / "r.html").exists()


def test_pictures_with_a_strangers_texts_are_drawn_and_no_text_runs_into_what_is_beside_it(tmp_path, monkeypatch):
    """Contact sheets of masks, of maps, of a search and of captions: white is left at the right of every text."""
    frames = np.full((16, 32, 48, 3), 90, np.uint8)
    videos = [replace(video_of(text, "a.mp4", 0.0, 1.0), label=text, split=text) for text in PAYLOADS]
    seen = [
        aligner.HeatedVideo(video, video.id, video.id, list(frames[:6]), np.ones((2, 6, 4, 4), np.float32))
        for video in videos
    ]
    contact_sheet.draw([row for one in seen for row in aligner.rows(one)], tmp_path / "aligner.png", gap=3)
    hidden = {"tube": np.ones((4, 2, 2), bool)}
    pictures = [Picture(text, text, text, frames[:4, :, :32], hidden) for text in PAYLOADS]
    measured = Measured([], [], {"tube": {"hidden": 0.9}}, {}, {}, {}, {}, [], pictures, {})
    sheet.write_sheet(measured, tmp_path / "masks.png")
    monkeypatch.setattr(hits, "middle_frame", lambda video: frames[0])
    hits.draw_hits("a", [hits.Hit(video, 0.5) for video in videos], tmp_path / "search.png")
    score = np.linspace(0, 1, 16 * 4 * 4, dtype=np.float32).reshape(16, 4, 4)
    examples = [maps.Example(text, text, frames, score, score, 0.5) for text in PAYLOADS[-3:]]
    maps.write_map_sheet(maps.MapMeasures([], [], {}, examples, {}), tmp_path / "maps.png")
    captions = [Caption(0, text, text, text, None) for text in PAYLOADS]
    samples = list(zip(frames, videos, captions, strict=False))
    contact_sheet.draw(
        [overview.sheet_row(samples[at : at + 4]) for at in range(0, len(samples), 4)], tmp_path / "captions.png"
    )
    for name in ("aligner", "masks", "search", "maps", "captions"):
        with Image.open(tmp_path / f"{name}.png") as image:
            picture = np.asarray(image)
        assert (picture[:, -contact_sheet.MARGIN + 2 :] == 255).all(), name
        assert (picture < 255).any(-1).mean() > 0.05


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(BROWSER is None, reason="needs Chromium: no browser of that kind is installed")
def test_a_browser_runs_no_script_asks_for_nothing_and_draws_every_chart(hostile, tmp_path):
    for page in hostile:
        log, picture = tmp_path / "net.json", tmp_path / "page.png"
        words = [*ALONE.split(), f"--user-data-dir={tmp_path / page.stem}", f"--log-net-log={log}"]
        ask = [str(BROWSER), *words, "--dump-dom", page.as_uri()]
        done = subprocess.run(ask, capture_output=True, text=True, timeout=600, check=True)
        assert "data-owned" not in done.stdout.split(">", 3)[2], page.name
        assert 'data-owned="1"' not in done.stdout.partition("<head>")[0], page.name
        said = [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
        assert not said, (page.name, said)  # not even an attempt that the policy had to stop
        asked = set(re.findall(r'"url":"([a-z]+)://([^"/]*)', log.read_text(errors="replace")))
        assert not [host for scheme, host in asked if "evil" in host or scheme in ("ws", "ftp")], page.name
        ask = [str(BROWSER), *words, f"--screenshot={picture}", "--window-size=1200,30000", page.as_uri()]
        subprocess.run(ask, capture_output=True, timeout=600, check=True)
        pixels = np.asarray(Image.open(picture).convert("RGB")).astype(int)
        blue = (np.abs(pixels - np.array([0x24, 0x58, 0xB8])).sum(-1) < 12).sum()
        assert blue > 200, page.name  # the first colour of the curves, which comes from the page's own style


def test_a_run_called_by_mathematics_that_matplotlib_cannot_set_has_its_page(make_run, tmp_path):
    run = poison_run(make_run(tmp_path / "$x^{", steps=50))
    corpus = content_of(run / "recipe.json")["corpus"]
    for name in ("$x^{", "a\\b", "\\1", "C:\\data", "<script>"):
        rewrite(run / "recipe.json", corpus=corpus | {"name": name})
        assert main(["report", str(run), "--out", str(tmp_path / "r.html")]) == 0
        assert name in Page(tmp_path / "r.html").text
