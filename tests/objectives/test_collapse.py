"""The alarm: figures against NumPy, and what they are of clips that are all one."""

import numpy as np
import pytest
import torch

from support.views import SIZE, WIDTH, views_of
from tubelet.objectives import Cpc, InstanceContrast, Regress, Sizes
from tubelet.objectives.collapse import LEAST_RANK, LEAST_STD, collapsed, spread_of
from tubelet.objectives.gather import Ranks
from tubelet.runs.alarms import CollapseAlarm


def spread(tokens):
    found = spread_of(tokens, Ranks(len(tokens), tokens.device), "x")
    return found["x.rank"].item(), found["x.std"].item()


def test_rank_and_deviation_are_those_of_a_plain_formula():
    tokens = views_of(count=7).tokens.detach()
    rows = tokens.mean(1).numpy().astype(np.float64)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    shares = np.linalg.svd(rows, compute_uv=False)
    shares /= shares.sum()
    rank, std = spread(tokens)
    assert rank == pytest.approx(np.exp(-(shares * np.log(shares)).sum()), rel=1e-5)
    assert std == pytest.approx(rows.std(0).mean() * np.sqrt(rows.shape[1]), rel=1e-5)


def test_of_clips_that_are_all_one_the_rank_is_1_and_the_deviation_0():
    tokens = views_of(count=1).tokens.detach().expand(6, -1, -1)
    rank, std = spread(tokens)
    assert rank == pytest.approx(1, abs=1e-3)
    assert std == pytest.approx(0, abs=1e-5)
    assert rank < LEAST_RANK
    assert std < min(LEAST_STD.values())


def test_of_clips_that_point_everywhere_the_rank_is_near_the_width_and_the_deviation_near_1():
    tokens = torch.randn(256, 1, 16, generator=torch.Generator().manual_seed(0))
    rank, std = spread(tokens)
    assert 15 < rank <= 16
    assert std == pytest.approx(1, abs=0.05)


def test_a_clip_alone_is_no_collapse_of_anything():
    assert spread(views_of(count=1).tokens.detach())[0] == pytest.approx(1)


def test_a_record_names_each_objective_that_collapsed_once_and_no_other():
    record = {"loss": 1.0, "a": 1.0, "a.rank": 1.0, "a.std": 0.5, "b.rank": 9.0, "b.std": 0.001, "c.rank": 9.0}
    record |= {"c.std": 0.5, "d.rank": 1.0}
    told = collapsed(record)
    assert [*told] == ["a", "b"]
    assert "objectives.b: the encoder says nearly the same of every clip (effective rank 9.00" in told["b"]


@pytest.mark.parametrize(("part", "whose"), [("output", "its own output"), ("target", "its target")])
def test_a_head_whose_clips_are_all_one_is_named_though_the_encoder_tells_them_apart(part, whose):
    record = {"views": 0.01, "views.rank": 6.0, "views.std": 0.5}
    assert not collapsed(record)
    record |= {f"views.{part}.rank": 2.2, f"views.{part}.std": 0.1}
    (sentence,) = collapsed(record).values()
    assert sentence.startswith(f"objectives.views: {whose} says nearly the same of every clip")
    assert not collapsed(record | {f"views.{part}.std": 0.2})


def test_the_alarm_tells_once_of_each_objective_and_only_of_what_stays():
    told = []
    alarm = CollapseAlarm(told.append, clips=8)
    good = {
        "step": 1,
        "a": 1.0,
        "b": 1.0,
        "a.rank": 6.0,
        "a.std": 0.5,
        "a.target.rank": 5.0,
        "a.target.std": 0.5,
        "b.rank": 6.0,
        "b.std": 0.5,
    }
    bad = good | {"a.target.std": 0.01}
    for record in (bad, bad, good, bad, bad):
        alarm(record)
    assert not told, "a head that begins may say the mean of all for a while"
    alarm(bad)
    assert len(told) == 1
    assert "objectives.a: its target says" in told[0]
    for record in (bad, bad | {"a.std": 0.001}, bad | {"a.std": 0.001}, bad | {"a.std": 0.001}, good, bad, bad, bad):
        alarm(record)
    assert len(told) == 1
    for _ in range(5):
        alarm(good | {"b.rank": 1.0})
    assert len(told) == 2
    assert "objectives.b: the encoder says" in told[1]
    few = CollapseAlarm(told.append, clips=7)
    for _ in range(5):
        few(bad)
    assert len(told) == 2, "of so few clips nothing is concluded"


def test_a_step_in_which_an_objective_does_not_count_says_nothing_of_it():
    told = []
    alarm = CollapseAlarm(told.append, clips=8)
    for step in range(1, 6):  # every other one
        alarm({"step": step, **({"a": 1.0, "a.rank": 1.0, "a.std": 0.5} if step % 2 else {"b": 1.0})})
    assert len(told) == 1


def test_a_run_that_resumes_counts_on_and_does_not_say_twice_what_it_said():
    told, bad = [], {"a": 1.0, "a.rank": 1.0, "a.std": 0.5}
    log = [{"step": step, **bad} for step in range(1, 9)]
    for before, expected in ((2, [3]), (3, [])):
        alarm, said = CollapseAlarm(told.append, 8, log[:before]), []
        for record in log[before:]:
            alarm(record)
            said += [record["step"]] if told else []
            told.clear()
        assert said == expected


def test_a_codebook_whose_tokens_have_one_code_is_named_when_that_outlasts_the_restart_of_idle_codes():
    told = []
    alarm = CollapseAlarm(told.append, clips=8)
    for step in range(1, 121):
        few = step <= 20 or step > 60  # it begins with few codes, and ends so
        alarm({"step": step, "pixels": 1.0, "pixels.perplexity": 1.7 if few else 40.0})
        assert bool(told) == (step >= 111), step
    assert told == [
        "objectives.pixels: nearly all tokens have one code (perplexity 1.70, below 2): its codebook has collapsed; "
        "lower optim.base_lr, or let idle codes start anew sooner by objectives.pixels.patience"
    ]


@pytest.mark.parametrize("objective", [Regress(by="student"), InstanceContrast(), Cpc(future="second")], ids=str)
def test_a_head_whose_last_layer_says_one_thing_of_all_logs_that_it_does(objective):
    torch.manual_seed(0)
    head = objective.build(Sizes(SIZE, WIDTH, streams={"second": Sizes(SIZE, WIDTH)}, name="views"))
    seen = views_of(count=8)
    assert "views" not in {name.partition(".")[0] for name in collapsed(plain(head(seen).terms))}
    last = [module for module in head.modules() if isinstance(module, torch.nn.Linear)]
    for module in last:
        torch.nn.init.zeros_(module.weight)
        module.bias = torch.nn.Parameter(torch.ones(module.out_features))
    assert "views.output" in collapsed(plain(head(seen).terms))


def plain(terms):
    return {name: float(value) for name, value in terms.items()}
