import base64
import io
import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tubelet.reports import sheets
from tubelet.reports.pictures import load_samples, save


@pytest.fixture
def shown(make_samples):
    return make_samples(np.random.default_rng(0), text=True)


def exact(shown):
    """A model that is right about every hidden tubelet."""
    truth = np.stack([sheets.cut(f, shown)[h] for f, h in zip(shown.frames, shown.scored, strict=True)]).astype(float)
    centred = truth - shown.mean[:, :, None, None, None]
    return replace(shown, prediction=centred / (shown.std + 255e-6)[:, :, None, None, None])


def test_cut_and_join_are_inverse_and_number_tubelets_time_first(shown):
    tubelets = sheets.cut(shown.frames[0], shown)
    assert np.array_equal(sheets.join(tubelets, shown), shown.frames[0])
    _, rows, columns = shown.grid
    time_step, row, column = 3, 2, 1
    picked = tubelets[(time_step * rows + row) * columns + column]
    assert np.array_equal(picked, shown.frames[0][6:8, 32:48, 16:32])


def test_a_perfect_prediction_with_the_true_statistics_gives_the_frames_back(shown):
    rebuilt = sheets.rebuilt(exact(shown), 0, truth=True)
    assert np.abs(rebuilt.astype(int) - shown.frames[0]).max() <= 1


def test_without_the_true_statistics_mean_and_contrast_are_those_of_the_nearest_visible_tubelet(shown):
    nothing = replace(shown, prediction=np.zeros_like(shown.prediction))
    rebuilt = sheets.cut(sheets.rebuilt(nothing, 0, truth=False), shown)
    original = sheets.cut(shown.frames[0], shown)
    for hidden, near in zip(shown.scored[0], shown.nearest[0], strict=True):
        expected = original[near].reshape(-1, 3).mean(0)
        assert np.abs(rebuilt[hidden].reshape(-1, 3) - expected).max() <= 0.5 + 1e-6


def test_the_two_reconstructions_differ_and_neither_touches_what_was_visible(shown):
    alone, helped = (sheets.cut(sheets.rebuilt(shown, 0, truth=truth), shown) for truth in (False, True))
    assert not np.array_equal(alone, helped)
    visible = np.setdiff1d(np.arange(128), shown.hidden[0])
    original = sheets.cut(shown.frames[0], shown)
    assert np.array_equal(alone[visible], original[visible])
    assert np.array_equal(helped[visible], original[visible])


def test_hidden_tubelets_that_were_not_predicted_stay_grey(shown):
    half = replace(
        shown, **{name: getattr(shown, name)[:, ::2] for name in ("scored", "nearest", "prediction", "mean", "std")}
    )
    rebuilt = sheets.cut(sheets.rebuilt(half, 0, truth=True), half)
    assert (rebuilt[shown.hidden[0][1::2]] == sheets.HIDDEN).all()


def test_what_the_encoder_sees_is_grey_exactly_where_tubelets_are_hidden(shown):
    tubelets = sheets.cut(sheets.masked(shown, 1), shown)
    grey = (tubelets == sheets.HIDDEN).all((1, 2, 3, 4))
    assert np.array_equal(np.flatnonzero(grey), shown.hidden[1])


def test_both_reconstructions_are_labelled_for_what_they_are(shown):
    titles = {strip.title: strip.note for strip in sheets.strips(shown, 0)}
    assert "the model alone" in titles["Reconstruction"]
    assert "come from the ground truth" in titles["Reconstruction, true statistics pasted back"]


def test_a_run_without_a_text_map_shows_no_heat(shown):
    without = replace(shown, text=np.zeros((3, 0), np.float32))
    assert len(sheets.strips(without, 0)) == len(sheets.strips(shown, 0)) - 1


def test_samples_survive_their_file(shown, tmp_path):
    save(shown, tmp_path)
    again = load_samples(tmp_path)
    for name, value in vars(shown).items():
        assert np.array_equal(getattr(again, name), value), name


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 40))
def test_a_strip_takes_at_most_eight_frames_in_order_without_repetition(count):
    chosen = sheets.chosen(count)
    assert len(chosen) == min(8, count)
    assert chosen[0] == 0
    assert all(a < b for a, b in itertools.pairwise(chosen))
    assert chosen[-1] < count


def test_a_picture_in_the_page_is_the_picture(shown):
    kind, _, data = sheets.thumbnail(shown.frames[0][0]).partition(",")
    assert kind == "data:image/webp;base64"
    image = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB").resize((64, 64)), dtype=int)
    assert np.abs(image - shown.frames[0][0]).mean() < 6
