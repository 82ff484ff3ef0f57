"""The page in a browser: what is drawn over the playing video is what Python computes."""

import json
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch

import tubelet
from support.browser import CHROMIUM, Browser
from support.inspected import WORDS, make_inspected
from support.strangers import PAYLOADS
from tubelet import seeds
from tubelet.aligners.base import open_aligner, similarity
from tubelet.corpus.table import Corpus
from tubelet.corpus.write import write_corpus
from tubelet.diagnostics.masks import configured
from tubelet.loading.loader import eval_batches
from tubelet.maskers import Random, Text, Tube
from tubelet.saliency_maps.frames import decode_whole
from tubelet.stores.resample import sample_scalar
from tubelet.video.crop import Crop
from tubelet.video.reader import timestamps
from tubelet.video.writer import write_video

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: no browser of that kind is installed"),
]

# The alpha of the overlay at the centre of every cell of the clip's crop: hidden ones are drawn.
DRAWN = """(() => {
    const { over, mask } = state.panes[0], [, rows, columns] = mask.grid, [top, left, height, width] = mask.crop;
    const pen = over.getContext('2d'), found = [];
    for (let row = 0; row < rows; row += 1) for (let column = 0; column < columns; column += 1) {
        const x = over.width * (left + width * (column + 0.5) / columns);
        const y = over.height * (top + height * (row + 0.5) / rows);
        found.push(pen.getImageData(Math.floor(x), Math.floor(y), 1, 1).data[3] > 100);
    }
    return found;
})()"""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Corpus:
    return make_inspected(tmp_path_factory.mktemp("seen"))


@pytest.fixture(scope="module")
def page(corpus, tmp_path_factory):
    folder = tmp_path_factory.mktemp("browser")
    with tubelet.inspect(corpus, words=WORDS) as inspector, Browser(folder) as browser:
        browser.open(inspector.url)
        browser.wait("document.documentElement.dataset.ready")
        browser.run("$('opacity').value = 1; true")
        yield browser
        assert not browser.complaints
        assert {url.split("/")[2] for url in browser.asked if not url.startswith("data:")} == {
            inspector.url.split("/")[2]
        }


def change(page: Browser, selector: str, value: object) -> None:
    """As a user does who moves a slider, chooses or types; until the page has drawn what came of it."""
    page.run(f"""(() => {{
        const part = document.querySelector({json.dumps(selector)});
        state.panes[0].root.dataset.ready = '';
        part.value = {json.dumps(str(value))};
        for (const kind of ['input', 'change']) part.dispatchEvent(new Event(kind, {{ bubbles: true }}));
        return true;
    }})()""")
    page.wait("state.panes[0].root.dataset.ready")


def show(page: Browser, row: int) -> None:
    page.run("state.panes[0].root.dataset.ready = ''; true")
    page.run(f"open({row}).then(() => true)")
    page.wait("player.readyState > 1 && state.panes[0].root.dataset.ready")


def seek(page: Browser, moment: float) -> None:
    page.run(f"seek({moment}); true")
    page.wait(f"!player.seeking && Math.abs(state.time - {moment}) < 0.03")


def drawn(page: Browser) -> np.ndarray:
    """What is drawn over the video at every time step of the clip, as hidden or not."""
    times = page.run("state.panes[0].mask.times")
    steps = page.run("state.panes[0].mask.grid[0]")
    found = []
    for step in range(steps):
        seek(page, times[step * len(times) // steps])
        page.wait(f"state.panes[0].root.dataset.step === '{step}'")
        found += page.run(DRAWN)
    return np.array(found)


def by_python(corpus: Corpus, row: int, masker, seed: int, text: str | None = None) -> np.ndarray:
    """True where the masker hides a tubelet, called as a user would."""
    config = configured(corpus, "all", WORDS, None)
    clip, video = config.clip, corpus.videos[row]
    needs = () if text else masker.maps
    (batch,) = eval_batches(corpus, [video], clip, config.data, batch=1, needs=needs)
    if text:
        aligner = open_aligner(corpus.folder / "aligner")
        frames, stamps = decode_whole(video, 4.0)
        values = similarity(aligner.patches(frames), aligner.texts([text]))[0].detach().numpy()
        times = config.data.sampling.times(timestamps(video.path), clip, "centre").times
        sampled = sample_scalar(values, stamps, times, Crop.centre(video.height, video.width), clip)
        batch = replace(batch, maps={"text": torch.from_numpy(sampled)[None]})
    mask = masker(batch, clip, torch.tensor([seeds.key(seed, "masks", row)]))
    found = np.zeros(clip.num_tubelets, bool)
    found[mask.hidden[0].numpy()] = True
    return found


def test_at_the_moment_that_is_asked_for_the_layer_of_that_moment_is_drawn(page):
    show(page, 0)
    change(page, ".show", "saliency")
    for moment, layer in ((1.2, 4), (0.0, 0), (0.25, 1), (1.95, 7), (1.2, 4)):
        seek(page, moment)
        assert page.run("state.panes[0].root.dataset.layer") == str(layer)
        assert page.run("player.currentTime") == pytest.approx(moment, abs=0.03)
        assert f"layer {layer + 1} of 8" in page.run("document.querySelector('.said').textContent")
    change(page, ".show", "mask")


def test_the_video_plays_and_the_drawing_follows_it(page):
    show(page, 0)
    change(page, ".show", "saliency")
    seek(page, 0.0)
    layers = page.run("""new Promise((done) => {
        const seen = new Set();
        player.play();
        player.addEventListener('ended', () => done([...seen]), { once: true });
        const look = () => {
            seen.add(state.panes[0].root.dataset.layer);
            if (!player.ended) requestAnimationFrame(look);
        };
        look();
    })""")
    assert [int(layer) for layer in layers] == sorted(int(layer) for layer in layers)
    assert {"0", "7"} <= set(layers)
    change(page, ".show", "mask")


@pytest.mark.parametrize("row", [0, 2], ids=["as it is", "encoded anew"])
def test_the_mask_that_is_drawn_is_that_of_python_bit_for_bit(page, corpus, row):
    """Masker, ratio and seed are changed as a user changes them."""
    show(page, row)
    assert page.run("state.encoded") == (row == 2)
    for masker, ratio, seed in product((Tube, Random, Text), (0.5, 0.75), (0, 5)):
        change(page, ".masker", masker.__name__)
        change(page, ".ratio", ratio)
        change(page, ".seed", seed)
        expected = by_python(corpus, row, masker(ratio=ratio), seed)
        assert (drawn(page) == expected).all(), (masker, ratio, seed)


def test_a_typed_text_and_a_field_of_the_masker_change_what_is_drawn(page, corpus):
    show(page, 1)
    change(page, ".masker", "Text")
    change(page, ".ratio", 0.5)
    change(page, ".seed", 0)
    first = drawn(page)
    assert (first == by_python(corpus, 1, Text(ratio=0.5), 0)).all()
    change(page, "#text", "a red star")
    typed = drawn(page)
    assert (typed == by_python(corpus, 1, Text(ratio=0.5), 0, "a red star")).all()
    assert (typed != first).any()
    change(page, '[data-field="pick"]', "bottom")
    assert (drawn(page) == by_python(corpus, 1, Text(ratio=0.5, pick="bottom"), 0, "a red star")).all()
    change(page, ".show", "saliency")
    assert "scored now by learned:" in page.run("document.querySelector('.said').textContent")
    change(page, "#text", "zebra")
    assert "learned no word of 'zebra'" in page.run("document.querySelector('.said').textContent")
    change(page, "#text", "")
    change(page, ".show", "mask")


def test_every_key_does_what_the_page_says_of_it(page):
    show(page, 0)
    page.press("j")
    page.wait("state.row === 1 && player.readyState > 1")
    page.press("k")
    page.wait("state.row === 0 && player.readyState > 1 && state.panes[0].root.dataset.ready")
    seek(page, 1.0)
    page.press("ArrowRight")
    page.wait("Math.abs(state.time - 1.05) < 0.02")
    page.press("ArrowLeft")
    page.wait("Math.abs(state.time - 1.0) < 0.02")
    for key, kind in (("s", "saliency"), ("m", "mask"), ("v", "video"), ("r", "video"), ("m", "mask")):
        page.press(key)
        assert page.run("state.panes[0].show.value") == kind  # a corpus alone has no reconstruction
    page.press("c")
    assert page.wait("!state.panes[1].root.hidden && state.panes[1].root.dataset.ready")
    assert page.run("state.panes[0].masker.value !== state.panes[1].masker.value")
    page.press("c")
    seed = page.run("state.panes[0].seed.value")
    page.press("x")
    assert int(page.run("state.panes[0].seed.value")) == int(seed) + 1
    page.press("/")
    assert page.run("document.activeElement.id") == "words"
    page.press("Escape")
    page.run("document.activeElement.blur(); true")
    before = page.run("getComputedStyle(document.body).backgroundColor")
    page.press("d")
    assert page.run("getComputedStyle(document.body).backgroundColor") != before
    page.press("d")
    listed = page.run("[...document.querySelectorAll('dt')].map((one) => one.textContent).join(' ').split(' ')")
    named = {"space": " ", "→": "ArrowRight", "←": "ArrowLeft"}
    assert {named.get(key, key) for key in listed} == set(page.run("Object.keys(KEYS)"))


@pytest.mark.parametrize("width", [1300, 400])
def test_nothing_is_wider_than_the_window(page, width):
    page.size(width, 900)
    page.press("c")
    assert page.run("document.documentElement.scrollWidth") <= width
    page.press("c")
    page.size(1300, 1000)


def test_of_a_long_video_the_part_is_played_that_one_scrubs_to(tmp_path):
    frames = np.random.default_rng(0).integers(0, 255, (600, 2, 2, 3)).repeat(16, 1).repeat(16, 2).astype(np.uint8)
    write_video(tmp_path / "long.avi", frames, 4.0, codec="mpeg4")
    row = {
        "id": "long",
        "path": tmp_path / "long.avi",
        "end": 150.0,
        "fps": 4.0,
        "frames": 600,
        "width": 32,
        "height": 32,
    }
    corpus = write_corpus(tmp_path / "c", "long", [row])
    with tubelet.inspect(corpus, words=WORDS) as inspector, Browser(tmp_path / "browser") as browser:
        browser.open(inspector.url)
        browser.wait("document.documentElement.dataset.ready && player.readyState > 1 && state.panes[0].mask")
        browser.wait("state.panes[0].root.dataset.step === '0'")  # it begins at the clip, in the middle of the video
        assert browser.run("state.offset") == 60.0
        for moment, offset in ((145.0, 120.0), (2.0, 0.0), (59.5, 0.0), (60.5, 60.0)):
            browser.run(f"$('scrub').value = {moment}; $('scrub').dispatchEvent(new Event('input')); true")
            browser.wait(f"!player.seeking && player.readyState > 1 && Math.abs(state.time - {moment}) < 0.26")
            assert browser.run("state.offset") == offset
            assert f"from {offset:g} s" in browser.run("$('facts').textContent")
        assert not browser.complaints


def test_hostile_names_run_no_script_and_ask_for_nothing(tmp_path):
    rows, captions = [], []
    for number, payload in enumerate(PAYLOADS):
        write_video(tmp_path / f"{number}.mp4", np.zeros((8, 32, 32, 3), np.uint8), 8.0)
        rows.append(
            {"id": f"{number}{payload}", "path": tmp_path / f"{number}.mp4", "end": 1.0, "fps": 8.0, "frames": 8,
             "width": 32, "height": 32, "label": payload, "split": payload, "reason": payload}
        )  # fmt: skip
        captions.append({"video": f"{number}{payload}", "text": payload, "source": payload})
    corpus = write_corpus(tmp_path / "c", PAYLOADS[0], rows, captions)
    with tubelet.inspect(corpus, words=WORDS) as inspector, Browser(tmp_path / "browser") as browser:
        browser.open(inspector.url)
        browser.wait("document.documentElement.dataset.ready")
        for number in range(len(PAYLOADS)):
            browser.run(f"open({number}).then(() => true)")
        assert PAYLOADS[0] in browser.run("document.body.textContent")
        assert browser.run("document.documentElement.dataset.owned") is None
        assert not browser.complaints  # not even an attempt that the policy had to stop
        assert not [url for url in browser.asked if "evil" in url]


def test_the_policy_stops_a_script_that_is_no_part_of_the_page(page):
    assert not page.complaints
    page.run("document.body.append(Object.assign(document.createElement('script'), {textContent: 'window.owned = 1'}))")
    assert page.run("window.owned") is None
    assert page.complaints
    page.events = [one for one in page.events if one.get("method") != "Log.entryAdded"]
