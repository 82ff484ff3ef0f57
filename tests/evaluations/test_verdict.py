"""One sentence says whether a run helps: against every baseline, paired by group."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from tubelet.evaluations.intervals import of_difference
from tubelet.evaluations.verdicts import judged, verdict, verdicts
from tubelet.results import BALANCED, Metric, Result

Cells = dict[str, dict[str, list[int]]]
NAMES = {"random": 0.3, "mean_image": 0.5, "raw_pixels": 0.4, "difference_image": 0.45}


def cells(share: float, groups: int = 30, seed: int = 0, sizes=(9, 3)) -> Cells:
    """Of each group two classes, of which this share is right."""
    rng = np.random.default_rng(seed)
    return {
        f"camera {g}": {f"class {c}": [int(rng.binomial(size, share)), size] for c, size in enumerate(sizes)}
        for g in range(groups)
    }


def result(found: dict[str, Cells], measure: str = BALANCED) -> Result:
    """`found` by pool; what selected is the accuracy itself."""
    values = {pool: value_of(one, measure) for pool, one in found.items()}
    return Result(
        metrics={f"{pool}.{measure}": Metric(value, (value - 0.1, 1.0), 0.1) for pool, value in values.items()},
        protocol={"measure": measure, "held_out_accuracy": {pool: {"0.1": value} for pool, value in values.items()}},
        details={pool: {"by_group": one} for pool, one in found.items()},
        evaluation="linear",
    )


def value_of(found: Cells, measure: str = BALANCED) -> float:
    names = sorted({name for group in found.values() for name in group})
    sums = np.array([[group[name] for name in names] for group in found.values()]).sum(0)
    return float((sums[:, 0] / sums[:, 1]).mean() if measure == BALANCED else sums[:, 0].sum() / sums[:, 1].sum())


def against(own: float, groups: int = 30, **baselines: float) -> Result:
    others = {
        name: result({"mean": cells(share, groups, seed)})
        for seed, (name, share) in enumerate({**NAMES, **baselines}.items(), 1)
    }
    return replace(result({"mean": cells(own, groups)}), baselines=others)


def test_a_run_above_every_baseline_helps_and_each_difference_has_its_interval():
    said = verdict(against(0.8))
    assert said.startswith("this run helps linear: balanced accuracy 8")
    for name in ("the untrained encoder", "the mean image", "raw pixels", "the difference image"):
        assert f"{name} " in said
    assert said.count("[+") == 4


@pytest.mark.parametrize(
    ("best", "advice"),
    [
        ("random", "fewer steps"),
        ("mean_image", "appearance tells"),
        ("raw_pixels", "positions of pixels"),
        ("difference_image", "motion tells these classes apart: take the background away"),
    ],
)
def test_a_run_below_one_baseline_does_not_help_and_what_to_try_follows_from_the_best_one(best, advice):
    said = verdict(against(0.6, **{best: 0.9}))
    assert said.startswith("this run does not help linear: ")
    assert advice in said


def test_a_run_that_is_above_by_less_than_chance_may_do_is_not_shown_to_help():
    said = verdict(against(0.55, groups=5, mean_image=0.5))
    assert said.startswith("it is not shown that this run helps linear")
    assert "more groups" in said


def test_what_is_not_above_chance_is_not_shown_to_help_whatever_the_baselines_are():
    lucky = against(0.6, random=0.1, mean_image=0.1, raw_pixels=0.1, difference_image=0.1)
    assert verdict(lucky).startswith("this run helps linear")
    metrics = {name: replace(metric, chance=0.55) for name, metric in lucky.metrics.items()}
    assert verdict(replace(lucky, metrics=metrics)).startswith("it is not shown that this run helps linear")


def test_above_some_baselines_is_not_yet_above_all():
    whole = against(0.9)
    some = {name: whole.baselines[name] for name in ("random", "mean_image")}
    said = verdict(replace(whole, baselines=some))
    assert said.startswith("this run is above what was measured, balanced accuracy")
    assert said.endswith("--baselines measures the others too")


def test_each_takes_the_features_that_held_out_clips_prefer():
    own = {"mean": cells(0.9), "temporal_concat": cells(0.6)}
    theirs = {"mean": cells(0.2, seed=1), "temporal_concat": cells(0.7, seed=1)}
    said = verdict(replace(result(own), baselines={"mean_image": result(theirs)}))
    assert f"{100 * value_of(own['mean']):.1f} (mean)" in said
    assert f"the mean image {100 * value_of(theirs['temporal_concat']):.1f}" in said


def test_without_a_baseline_or_of_other_clips_there_is_no_verdict():
    own = result({"mean": cells(0.9)})
    assert verdict(own) == ""
    other = cells(0.2)
    del other["camera 3"]
    assert verdict(replace(own, baselines={"mean_image": result({"mean": other})})) == ""
    assert judged(own).verdict == ""
    assert Result.from_json(judged(against(0.8)).to_json()).verdict == verdict(against(0.8))


def test_the_difference_is_that_of_the_two_figures_and_the_same_answers_differ_by_nothing():
    own, other = cells(0.7), cells(0.5, seed=1)
    for balanced, measure in ((True, BALANCED), (False, "accuracy")):
        mean, (low, high) = of_difference(own, other, balanced=balanced, seed=0)
        assert mean == pytest.approx(value_of(own, measure) - value_of(other, measure))
        assert low < mean < high
    mean, (low, high) = of_difference(own, own, balanced=True, seed=0)
    assert mean == 0
    assert low < 0 < high, "of equal answers nothing follows about other clips"
    assert of_difference({"a": own["camera 0"]}, {"a": other["camera 0"]}, balanced=True, seed=0)[1] is None


def test_of_few_groups_of_one_size_it_is_the_paired_t_interval_of_scipy():
    own, other = (cells(share, 6, seed, sizes=(8,)) for share, seed in ((0.8, 0), (0.5, 1)))
    mean, bounds = of_difference(own, other, balanced=False, seed=0)
    pairs = [[one[group]["class 0"][0] / 8 for group in own] for one in (own, other)]
    test = stats.ttest_rel(*pairs).confidence_interval(0.95)
    assert bounds == pytest.approx((test.low, test.high))
    assert mean == pytest.approx(np.subtract(*pairs).mean())


@pytest.mark.parametrize("groups", [6, 25])
def test_an_interval_holds_the_true_difference_about_as_often_as_it_says(groups):
    inside = 0
    for seed in range(200):
        _, (low, high) = of_difference(
            cells(0.7, groups, 2 * seed), cells(0.5, groups, 2 * seed + 1), balanced=True, seed=0, samples=300
        )
        inside += low <= 0.2 <= high
    assert inside >= 180


def test_the_same_answer_for_every_clip_is_reported_with_the_share_of_its_class():
    predicted = {f"clip {i}": "down" for i in range(4)}
    part = {"predicted": predicted, "per_class": {"down": 1.0, "up": 0.0}}
    constant = Result({"mean.accuracy": Metric(0.735)}, details={"mean": part}, evaluation="linear")
    [said] = [note for note in verdicts(constant) if "every clip" in note]
    assert said == "mean: every clip is answered with down, so the accuracy (73.5) is the share of that class"
    part = {**part, "predicted": {**predicted, "clip 0": "up"}}
    assert not any("every clip" in note for note in verdicts(replace(constant, details={"mean": part})))


def test_one_group_of_test_is_reported_with_the_protocol_that_tests_all():
    alone = Result({"mean.accuracy": Metric(0.7)}, counts={"test": {"used": 9, "groups": 1}}, evaluation="linear")
    [said] = verdicts(alone)
    assert said.endswith("nor of other groups; linear.cv=leave_one_group_out tests every group")
    every = Result({"mean.accuracy": Metric(0.7, (0.4, 0.9))}, counts={"all": {"used": 9, "groups": 3}})
    assert verdicts(every) == ["3 groups: the intervals are wide, for so few recordings say little"]
