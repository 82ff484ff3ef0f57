"""What the page draws is what Python gives: the same masks bit for bit, the same maps, the same reconstructions."""

import base64
from dataclasses import replace
from io import BytesIO
from urllib.parse import quote

import chz
import numpy as np
import pytest
import torch
from PIL import Image

import tubelet
from support.inspected import WORDS
from tubelet import seeds
from tubelet.corpus.table import Corpus
from tubelet.diagnostics.mask_measures import Drawer
from tubelet.diagnostics.masks import configured
from tubelet.loading.loader import eval_batches
from tubelet.maskers import MASKERS, TOKENS, Blend, Random, Text, Tube
from tubelet.runs.folder import load_task
from tubelet.stores.maps import Maps
from tubelet.types import Mask


def flags(answer) -> np.ndarray:
    count = int(np.prod(answer["grid"]))
    return np.unpackbits(np.frombuffer(base64.b64decode(answer["hidden"]), np.uint8), count=count).astype(bool)


def flags_of(mask: Mask, count: int) -> np.ndarray:
    found = np.zeros(count, bool)
    found[mask.hidden[0].numpy()] = True
    return found


@torch.no_grad()
def by_python(corpus: Corpus, config, row: int, masker, seed: int = 0) -> np.ndarray:
    """The mask as `tubelet masks` draws it."""
    (batch,) = eval_batches(corpus, [corpus.videos[row]], config.clip, config.data, batch=1, needs=masker.maps)
    batch = replace(batch, key=torch.tensor([seeds.key(seed, "masks", row)]))
    return flags_of(Drawer.of(masker, config.clip, config.encoder, seed).draw(batch), config.clip.num_tubelets)


@pytest.mark.parametrize("masker", MASKERS, ids=lambda masker: masker.__name__)
def test_the_mask_of_every_masker_is_that_of_python_or_the_reason_why_there_is_none(of_corpus, corpus, api, masker):
    opened = Corpus.open(corpus)
    config = configured(opened, "all", WORDS, None)
    answer = api(of_corpus, "mask", f"row=3&masker={masker.__name__}&seed=7")
    if set(masker().maps) <= {"text"}:
        expected = by_python(opened, config, 3, masker(), seed=7)
        assert (flags(answer) == expected).all()
        assert answer["hides"] == expected.sum()
    else:
        assert "make them with `tubelet saliency" in answer["error"]


@pytest.mark.parametrize("ratio", [0.25, 0.5, 0.75])
@pytest.mark.parametrize("seed", [0, 3])
@pytest.mark.parametrize("masker", [Tube, Random, Text])
def test_at_any_ratio_and_seed_the_mask_is_that_of_python_bit_for_bit(of_corpus, corpus, api, masker, ratio, seed):
    opened = Corpus.open(corpus)
    config = configured(opened, "all", WORDS, None)
    for row in (0, 6):
        answer = api(of_corpus, "mask", f"row={row}&masker={masker.__name__}&field=ratio={ratio}&seed={seed}")
        assert (flags(answer) == by_python(opened, config, row, masker(ratio=ratio), seed)).all()


def test_fields_of_any_kind_change_the_mask_as_they_do_on_the_command_line(of_corpus, corpus, api):
    opened = Corpus.open(corpus)
    config = configured(opened, "all", WORDS, None)
    answer = api(of_corpus, "mask", "row=1&masker=Text&field=pick=bottom&field=ratio=0.5")
    assert (flags(answer) == by_python(opened, config, 1, Text(pick="bottom", ratio=0.5))).all()
    answer = api(of_corpus, "mask", "row=1&masker=Blend&field=weights.motion=0")
    assert (flags(answer) == by_python(opened, config, 1, Blend(weights={"text": 1.0, "motion": 0.0}))).all()
    assert "ratio=2" in api(of_corpus, "mask", "row=1&masker=Tube&field=ratio=2x")["error"]
    assert "no masker 'my.py:Mine'" in api(of_corpus, "mask", "row=1&masker=my.py:Mine")["error"]
    assert "hide at least one" in api(of_corpus, "mask", "row=1&masker=Tube&field=ratio=0.001")["error"]


def test_another_caption_guides_another_mask(of_corpus, corpus, api):
    opened = Corpus.open(corpus)
    config = configured(opened, "all", WORDS, None)
    for number, caption in enumerate(
        sorted(opened.captions_of(opened.videos[2]), key=lambda one: one.source != "subject")
    ):
        chosen = chz.replace(config.data.captions, source=caption.source)
        data = chz.replace(config.data, captions=chosen)
        answer = api(of_corpus, "mask", f"row=2&masker=Text&caption={number}")
        assert (flags(answer) == by_python(opened, chz.replace(config, data=data), 2, Text())).all()


def test_the_place_of_a_clip_is_where_its_frames_are(of_corpus, corpus, api):
    opened = Corpus.open(corpus)
    config = configured(opened, "all", WORDS, None)
    (batch,) = eval_batches(opened, [opened.videos[4]], config.clip, config.data, batch=1)
    answer = api(of_corpus, "clip", "row=4")
    assert answer["crop"] == [0, 0, 1, 1]
    assert answer["times"] == pytest.approx([0.1, 0.3, 0.5, 0.7])
    assert api(of_corpus, "clip", "row=4&begin=0")["times"][0] == 0
    shown = np.asarray(Image.open(BytesIO(base64.b64decode(answer["frames"]))))
    frames = batch.video[0].permute(1, 2, 3, 0).numpy()
    assert (shown == np.concatenate(list(frames), axis=1)).all()


def test_the_layers_of_a_map_are_those_that_are_stored(of_corpus, corpus, api):
    opened = Corpus.open(corpus)
    video = opened.videos[5]
    caption = next(one for one in opened.captions_of(video) if one.source == "subject")
    values, times = Maps.open(opened, "text").layers(video, caption)
    answer = api(of_corpus, "layers", "row=5&kind=text&moment=0.7")
    assert answer["times"] == times.tolist()
    assert (answer["first"], answer["count"], answer["until"]) == (0, 2, None)
    found = np.frombuffer(base64.b64decode(answer["values"]), "<f4").reshape(-1, answer["rows"], answer["columns"])
    assert (found == values).all()
    assert "there are no motion maps here" in api(of_corpus, "layers", "row=5&kind=motion")["error"]
    assert "has no aligner" in api(of_corpus, "layers", f"row=5&kind=text&text={quote('a red disc')}")["error"]


def test_a_run_shows_the_mask_that_it_is_trained_with_and_reconstructs_any(of_run, run, corpus, api):
    opened = Corpus.open(corpus)
    config, task = load_task(run)
    answer = api(of_run, "reconstruction", "row=6&masker=own&seed=2")
    assert (
        flags(answer)
        == by_python(opened, chz.replace(config, data=chz.replace(config.data, cache=False)), 6, config.masker, 2)
    ).all()
    data = chz.replace(config.data, cache=False)
    for name, masker in (("own", config.masker), ("Random&field=ratio=0.5", Random(ratio=0.5))):
        answer = api(of_run, "reconstruction", f"row=6&masker={name}&seed=2")
        (batch,) = eval_batches(opened, [opened.videos[6]], config.clip, data, batch=1, needs=masker.maps)
        batch = replace(batch, key=torch.tensor([seeds.key(2, "masks", 6)]))
        mask = masker(batch, config.clip, batch.key)
        with torch.no_grad():
            made = task.reconstruct(batch, mask)
        assert (made.seen.mask.hidden[0] == torch.from_numpy(np.flatnonzero(flags(answer)))).all()
        losses = (made.prediction - made.target.values).square().mean(-1)[0]
        assert answer["loss"] == pytest.approx(float(losses.mean()), rel=1e-5)
        found = np.frombuffer(base64.b64decode(answer["losses"]), "<f4")
        assert found[made.seen.mask.decode[0].numpy()] == pytest.approx(losses.numpy(), rel=1e-4)
        assert not found[made.seen.mask.visible[0].numpy()].any()


def test_a_corpus_alone_has_no_reconstruction_and_says_so(of_corpus, api):
    assert "no reconstruction to show" in api(of_corpus, "reconstruction", "row=0&masker=Tube")["error"]


def test_a_masker_of_ones_own_file_is_drawn_where_the_command_names_it(corpus, tmp_path, api):
    (tmp_path / "mine.py").write_text(
        "import chz\nfrom tubelet.maskers import Tube\n\n\n@chz.chz\nclass Mine(Tube):\n    '''Tubes of mine.'''\n"
    )
    with tubelet.inspect(corpus, maskers=[f"{tmp_path / 'mine.py'}:Mine:ratio=0.5"], words=WORDS) as inspector:
        names = [one["name"] for one in api(inspector, "about")["maskers"]]
        assert names[-1] == "Mine ratio=0.5"
        answer = api(inspector, "mask", f"row=0&masker={quote(names[-1])}")
        assert (flags(answer) == flags(api(inspector, "mask", "row=0&masker=Tube&field=ratio=0.5"))).all()


def test_every_masker_tells_its_fields_and_maps(of_corpus, api):
    told = {one["name"]: one for one in api(of_corpus, "about")["maskers"]}
    assert list(told) == [masker.__name__ for masker in MASKERS]
    for masker in MASKERS:
        one = told[masker.__name__]
        assert one["story"].endswith(".")
        assert one["maps"] == [name for name in masker().needs if name != TOKENS]
        names = {field["name"].partition(".")[0] for field in one["fields"]}
        assert names == set(chz.chz_fields(masker))
