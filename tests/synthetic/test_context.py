"""The synthetic dataset with context: what surroundings tell, and what they never tell."""

import hashlib
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tubelet import cli, synth
from tubelet.errors import CorpusError
from tubelet.synthetic import COLOURS, SHAPES, VERBS, Size, context, render_scene, truth_in_words
from tubelet.synthetic.surroundings import measure_surroundings

GOLDEN = "843caf8b908a2c805965f86e59ae36a841cfde7f195a2a2b62d3ffae73ceb4ad"
MANY = 1200
strengths = st.floats(0, 1)


def digest_of(strength: float) -> str:
    digest = hashlib.sha256()
    for index, seed, split in [(0, 0, "train"), (9, 0, "train"), (18, 1, "test"), (27, 0, "test"), (4, 2, "train")]:
        scene = context.draw_scene(index, strength, seed, split, 16)
        digest.update(render_scene(scene, 64).frames.tobytes())
        digest.update(repr(context.draw_captions(index, scene, seed, split)).encode())
    return digest.hexdigest()


def test_what_synth_context_1_shows_never_changes() -> None:
    assert digest_of(0.5) == GOLDEN, "pixels or captions changed: that is another version of the dataset"


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 5000), strengths, strengths)
def test_clips_of_two_strengths_show_the_same_subject_motion_camera_and_light(index, one, other) -> None:
    first, second = (context.draw_scene(index, strength, frames=8) for strength in (one, other))
    for name in ("shape", "colour", "motion", "rgb"):
        assert getattr(first.subject, name) == getattr(second.subject, name)
    assert (first.subject.angle == second.subject.angle).all()
    assert (first.camera, first.light, len(first.things)) == (second.camera, second.light, len(second.things))
    assert [(thing.motion, thing.rgb) for thing in first.things[2:]] == [
        (thing.motion, thing.rgb) for thing in second.things[2:]
    ]


@pytest.mark.parametrize("strength", [0.0, 0.5, 0.9])
def test_a_cue_fits_the_subject_as_often_as_the_strength_says(strength) -> None:
    """With probability strength by the rule, otherwise by chance one time in six; 4 standard errors allowed."""
    scenes = [context.draw_scene(index, strength, frames=2) for index in range(MANY)]
    expected = strength + (1 - strength) / 6
    for cue in ("texture", "companion"):
        fits = np.mean([context.cues_of(scene)[cue] for scene in scenes])
        assert abs(fits - expected) < 4 * (expected * (1 - expected) / MANY) ** 0.5


def test_at_full_strength_the_subject_lies_in_the_region_of_its_colour() -> None:
    """The centre's place between what the frame leaves free on both sides, by columns of a third and rows of a half."""
    spins = [context.draw_scene(index, 1.0, frames=8) for index in range(0, 1600, 8)]
    static = [scene for scene in spins if scene.camera == "static"]
    columns = {colour: [] for colour in COLOURS}
    for scene in static:
        columns[scene.subject.colour].append(scene.subject.centre[0])
    for colour, places in columns.items():
        column, row = context.REGION[colour]
        x, y = np.transpose(places)
        assert (np.sign(y) == (-1 if row == 0 else 1)).all(), "above or below the middle"
        if column != 1:
            assert (np.sign(x) == column - 1).all(), "left or right of the middle"


def test_nothing_of_the_surroundings_goes_with_the_motion() -> None:
    """Chi-squared of each cue and motion, at a strength at which shapes would carry it, below the .999 quantile."""
    from scipy.stats import chi2_contingency

    scenes = [context.draw_scene(index, 0.9, frames=2) for index in range(MANY)]
    for cue in (lambda s: s.ground.kind, lambda s: s.things[1].shape, lambda s: s.subject.shape, lambda s: s.camera):
        table = Counter((scene.subject.motion, cue(scene)) for scene in scenes)
        kinds = sorted({kind for _, kind in table})
        assert chi2_contingency([[table[verb, kind] for kind in kinds] for verb in VERBS]).pvalue > 0.001


def test_no_distractor_is_like_the_subject_in_shape_and_colour() -> None:
    for index in range(300):
        subject, *others = context.draw_scene(index, 0.9, frames=2).things
        assert all((thing.shape, thing.colour) != (subject.shape, subject.colour) for thing in others)


def test_without_its_subject_a_clip_shows_the_same_surroundings() -> None:
    scene = context.draw_scene(3, 0.9, frames=4)
    whole, alone = render_scene(scene, 64), render_scene(context.without_subject(scene), 64)
    assert not alone.mask.any()
    near = whole.mask | np.roll(whole.mask, 1, 1) | np.roll(whole.mask, -1, 1)
    near |= np.roll(near, 1, 2) | np.roll(near, -1, 2)
    assert (whole.frames == alone.frames)[~near].all()


def test_captions_vary_name_the_subject_most_of_the_time_and_no_side() -> None:
    texts = {source: set() for source in context.PHRASES}
    named = 0
    for index in range(200):
        scene = context.draw_scene(index, 0.5, frames=2)
        found = context.draw_captions(index, scene)
        assert Counter(source for source, _ in found) == dict.fromkeys(context.PHRASES, context.PER_CLIP)
        for source, text in found:
            texts[source].add(text)
            assert not {"left", "right"} & set(text.split()), "words that forbid a flip"
        named += any(word in found[0][1] for word in context.SYNONYMS[scene.subject.shape])
    assert named > 150
    assert min(map(len, texts.values())) > 150


def test_what_the_surroundings_tell_grows_from_chance_with_the_strength_and_never_tells_the_motion() -> None:
    none, much = (measure_surroundings(strength, train=240, test=120)["metrics"] for strength in (0.0, 1.0))
    assert none["surroundings.shape"] < 0.3 < 0.8 < much["surroundings.shape"]
    assert none["region.colour"] < 0.33 < 0.6 < much["region.colour"]
    assert max(none["surroundings.motion"], much["surroundings.motion"]) < 0.25


@pytest.mark.parametrize(("strength", "shape"), [(0.0, 1 / 6), (1.0, 1.0)])
def test_the_best_guess_is_chance_without_context_and_certain_with_all_of_it(strength, shape) -> None:
    assert context.best_guess(strength) == pytest.approx({"shape": shape, "colour": shape})


def test_a_corpus_says_its_context_and_is_not_mixed_with_another(tmp_path, capsys) -> None:
    corpus = synth(tmp_path / "c", 3, 1, size=32, frames=4, context=0.9)
    assert corpus.name == "synth-context-1"
    words = truth_in_words(corpus.folder)
    scene = Size(context=0.9, frames=4).scene("train", 1)
    row = words["video"].index("train-00001")
    assert {cue: words[cue][row] for cue in ("texture", "companion")} == context.cues_of(scene)
    assert sum(words["shape"].count(shape) for shape in SHAPES) == 4
    same = ["--train", "3", "--test", "1", "--size", "32", "--frames", "4"]
    assert cli.main(["synth", "--out", str(tmp_path / "c"), "--context", "0.9", *same]) == 0
    for other in (["--context", "0.5"], []):
        assert cli.main(["synth", "--out", str(tmp_path / "c"), *other, *same]) != 0
        assert "name another folder with --out" in capsys.readouterr().err


@pytest.mark.parametrize("strength", [-0.1, 1.1, float("nan")])
def test_a_strength_that_is_no_probability_is_refused(strength) -> None:
    with pytest.raises(CorpusError, match="must be from 0 to 1"):
        replace(Size(), context=strength)
