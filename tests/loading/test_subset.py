"""Some of a corpus: by what is said of the videos, by a limit, and with the captions of others."""

import numpy as np
import pytest

from tubelet.corpus.captions import CaptionChoice, exchanged
from tubelet.corpus.table import Corpus, normalise_text
from tubelet.errors import CorpusError, RecipeError
from tubelet.evaluations.features import choose_videos
from tubelet.loading.data import Data
from tubelet.saliency_maps import Noise, noise
from tubelet.synthetic import Size, write_synth


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Corpus:
    folder = tmp_path_factory.mktemp("synth") / "corpus"
    write_synth(folder, Size(train=24, test=12, pixels=32, frames=4))
    return Corpus.open(folder)


def test_only_videos_of_which_the_truth_or_the_table_says_so_are_trained_on_and_measured(corpus):
    import pandas

    truth = pandas.read_parquet(corpus.folder / "truth" / "clips.parquet")
    wanted = set(truth[truth.camera == "pan"].video)
    data = Data(where="camera=pan")
    assert {video.id for video in data.select(corpus)} == {name for name in wanted if name.startswith("train")}
    measured = choose_videos(corpus, "test", None, 0, data.where)
    assert {video.id for video in measured} == {name for name in wanted if name.startswith("test")}
    label = corpus.videos[0].label
    assert {video.label for video in Data(where=f"label={label}").select(corpus)} == {label}


def test_clips_are_told_apart_by_whether_their_distractors_move(corpus):
    import pandas

    truth = pandas.read_parquet(corpus.folder / "truth" / "clips.parquet")
    moving = {row.video: sum(not thing.endswith("still") for thing in row.distractors) for row in truth.itertuples()}
    every = {row.video for row in truth.itertuples() if moving[row.video] == len(row.distractors)}
    some = set(moving) - every
    assert every
    assert some
    for kind, wanted in (("all", every), ("some", some)):
        found = {video.id for video in Data(where=f"moving_distractors={kind}", split="all").select(corpus)}
        assert found == wanted


def test_a_subset_that_nothing_says_or_nobody_is_in_is_refused_with_what_there_is(corpus):
    with pytest.raises(CorpusError, match=r"nothing says 'weather' .*camera"):
        Data(where="weather=rain").select(corpus)
    with pytest.raises(CorpusError, match=r"no video .*camera=tilt.*pan, static, zoom"):
        Data(where="camera=tilt").select(corpus)
    with pytest.raises(RecipeError, match="COLUMN=VALUE"):
        Data(where="pan").select(corpus)


def test_more_clips_are_the_same_ones_and_others(corpus):
    few, more, every = (Data(limit=count).select(corpus) for count in (5, 12, 100))
    assert (len(few), len(more), len(every)) == (5, 12, 24)
    assert set(few) < set(more) < set(every)
    assert [video.row for video in more] == sorted(video.row for video in more)


def test_captions_of_another_video_share_no_text_with_its_own_and_do_not_depend_on_who_is_asked(corpus):
    videos = corpus.select("all")
    given = exchanged(corpus, videos, "subject")
    for video, captions in zip(videos, given, strict=True):
        own = {normalise_text(caption.text) for caption in corpus.captions_of(video, "subject")}
        others = {normalise_text(caption.text) for caption in captions}
        assert others
        assert not own & others
        owners = [one for one in videos if corpus.captions_of(one, "subject")[0].text == captions[0].text]
        assert video.split in {one.split for one in owners}
        assert {caption.video for caption in captions} == {video.id}  # whose map is asked for
    choice = CaptionChoice(source="subject", shuffled=True)
    assert choice.candidates(corpus, videos[3:5]) == given[3:5]


def test_where_all_captions_are_alike_there_is_no_other_to_take(tmp_path):
    from tubelet.corpus.write import write_corpus

    rows = [{"id": name, "path": tmp_path / name, "split": "train"} for name in "ab"]
    captions = [{"video": name, "text": "A dog.", "source": "x", "time": None} for name in "ab"]
    corpus = write_corpus(tmp_path, "alike", rows, captions)
    with pytest.raises(CorpusError, match="no other to take"):
        CaptionChoice(shuffled=True).candidates(corpus, corpus.videos)


def test_noise_maps_are_a_function_of_the_video_smooth_and_of_unit_variance(corpus):
    from tubelet.stores.maps import Maps

    assert Noise().fill(corpus).computed == 36
    assert Noise().fill(corpus).computed == 0
    maps = Maps.open(corpus, "noise")
    one, other = (maps.layers(video)[0] for video in corpus.videos[:2])
    assert one.shape[1:] == (14, 14)
    assert not np.allclose(one, other)
    assert one.std() == pytest.approx(1, abs=0.01)
    assert np.allclose(one, noise.smooth_noise(corpus.videos[0].id, corpus.videos[0].end, 14, 14), atol=2e-3)
    neighbours = np.corrcoef(one[:, :, 1:].ravel(), one[:, :, :-1].ravel())[0, 1]
    assert neighbours > 0.8
