"""Nearest clips and search are those of `tubelet search`; a typed text has the map that `saliency Text` would make."""

import time
from urllib.parse import quote

import numpy as np
import pytest

from support.inspected import WORDS, make_inspected
from tubelet.aligners.base import open_aligner
from tubelet.corpus.table import Corpus
from tubelet.corpus.write import write_captions
from tubelet.inference.search import search
from tubelet.inspector import layers
from tubelet.inspector.clips import read_clip
from tubelet.inspector.layers import Saliency
from tubelet.inspector.subject import Subject
from tubelet.saliency_maps.text import fill_text
from tubelet.stores.maps import Maps


def found(api, inspector, query: str):
    """What a search finds, once it has found it."""
    for _ in range(600):
        answer = api(inspector, "near", query)
        if "working" not in answer:
            return answer
        time.sleep(0.1)
    raise TimeoutError(query)


def test_clips_like_a_row_are_those_of_the_search_command_with_their_split_and_training(of_run, run, corpus, api):
    opened = Corpus.open(corpus)
    answer = found(api, of_run, "row=2")
    expected = search(run, like=opened.videos[2].id)
    assert [hit["id"] for hit in answer["hits"]] == [hit.video.id for hit in expected.hits]
    assert [hit["score"] for hit in answer["hits"]] == pytest.approx([hit.score for hit in expected.hits], abs=1e-6)
    assert {hit["id"]: hit["split"] for hit in answer["hits"]} == {
        hit.video.id: hit.video.split for hit in expected.hits
    }
    assert {hit["id"]: hit["trained_on"] for hit in answer["hits"] if hit["trained_on"]} == expected.trained_on
    assert expected.trained_on
    assert {hit["split"] for hit in found(api, of_run, "row=2&split=test")["hits"]} == {"test"}


def test_a_text_that_is_a_caption_is_searched_and_another_needs_the_aligner(of_run, run, api):
    answer = found(api, of_run, f"text={quote('a red star')}")
    expected = search(run, "a red star")
    assert [hit["id"] for hit in answer["hits"]] == [hit.video.id for hit in expected.hits]
    assert "is no caption that has an embedding already" in found(api, of_run, "text=zebra")["error"]


def test_a_corpus_alone_has_no_encoder_to_search_by(of_corpus, api):
    assert "name one, as in `tubelet inspect RUN`" in api(of_corpus, "near", "row=0")["error"]


def test_rows_say_whether_the_run_was_trained_on_them(of_run, api):
    rows = api(of_run, "videos")["rows"]
    assert {row["split"] for row in rows if row["trained_on"]} == {"train"}
    assert all(row["trained_on"] == "encoder" for row in rows if row["split"] == "train")


@pytest.fixture(scope="module")
def spoken(tmp_path_factory) -> Corpus:
    return make_inspected(tmp_path_factory.mktemp("spoken"))


@pytest.mark.parametrize("frames_at_once", [64, 3])
def test_the_map_of_a_text_is_the_one_that_the_saliency_command_would_store(spoken, monkeypatch, frames_at_once):
    """Scored in one stretch or in several, and read at the tubelets of a clip alike."""
    monkeypatch.setattr(layers, "SCORED", frames_at_once)
    text, video = "a blue star", spoken.videos[0]
    own = write_captions(spoken, [{"video": video.id, "text": text, "source": "caption", "time": None}])
    fill_text(own, open_aligner(spoken.folder / "aligner"), 4.0)
    stored, times = Maps.open(own, "text").layers(video, own.captions_of(video)[0])
    subject = Subject.open([spoken], WORDS)
    saliency = Saliency(subject)
    scored, moments = [], []
    moment = 0.0
    while moment is not None:
        some = saliency.scored(video, text, moment)
        assert some.first == len(moments)
        scored += list(some.values)
        moments += some.times.tolist()
        moment = some.until
    assert moments == times.tolist()
    assert np.stack(scored) == pytest.approx(stored, abs=1e-3)
    at = read_clip(spoken, subject.settings[0], video, None)
    ours = saliency.at_tubelets(at, "text", None, text)
    theirs = Maps.open(own, "text").sample(video, own.captions_of(video)[0], at.times, at.crop, at.clip)
    assert ours[0].numpy() == pytest.approx(theirs, abs=1e-3)
