"""`python -m benchmarks` at its smallest: equality, FLOPs and saved bytes are held; no time is."""

import dataclasses
import os
import subprocess
import sys

import pandas as pd
import pytest
import torch
from benchmarks import (
    against,
    assembled,
    features,
    measure,
    memory,
    methods,
    operators,
    parts,
    pipeline,
    scaling,
    soak,
    step,
    timing,
)
from benchmarks.__main__ import main
from benchmarks.cases import SIZES, Case, step_flops
from benchmarks.equality import ERROR, Equality, compare, voided
from benchmarks.implementations import Tubelet, batch_of, clips_for, recipe_of
from benchmarks.peers import Transformers
from benchmarks.saved import saved_bytes

from tubelet.checkpoint import CHECKPOINT, save_weights
from tubelet.flops import decoder_flops, encoder_flops
from tubelet.recipes import RECIPES

CPU = torch.device("cpu")
OPTIONS = measure.Options({"transformers": None, "videomae": None}, rounds=2, least=0.0, sides=(64,))


@pytest.fixture(scope="module", autouse=True)
def threads():
    kept = torch.get_num_threads()
    yield
    torch.set_num_threads(kept)


@pytest.fixture(scope="module")
def found():
    return {dtype: measure.measure(Case("tiny", 0.6, dtype, 2), OPTIONS) for dtype in ("fp32", "bf16")}


def test_the_loss_and_the_gradients_are_those_of_transformers(found):
    for one in found.values():
        assert one.equal["transformers"].holds
        assert not one.void
    gradients = {name: equal.bf16 for name, equal in found["bf16"].equal.items()}
    assert 0 < gradients["tubelet"] <= ERROR * gradients["transformers"]


def test_another_function_voids_its_row(found):
    case = Case("tiny", 0.6, "fp32", 2)
    tubelet = Tubelet(recipe_of(case), "fp32", CPU)
    other = Transformers(case, tubelet.task.state_dict(), CPU)
    other.model.decoder.norm.eps = 1e-3
    apart = compare(tubelet, [other], clips_for(tubelet, batch_of(case.of.clip, 2)))
    assert not apart["transformers"].holds
    broken = dataclasses.replace(found["fp32"], void={"transformers": voided(apart, "transformers")})
    (row,) = (row for row in measure.rows(broken) if row["mode"] == "step" and row["implementation"] != "tubelet")
    assert row["verdict"].startswith("void: not equal")


def test_rounder_gradients_than_those_of_transformers_void_the_row_of_tubelet():
    def fine(bf16):
        return Equality(0.0, 0.0, bf16)

    assert voided({"tubelet": fine(0.012), "transformers": fine(0.01)}, "tubelet") != ""
    assert voided({"tubelet": fine(0.010), "transformers": fine(0.01)}, "tubelet") == ""


def test_flops_by_the_formula_are_those_that_pytorch_counts():
    size, visible = SIZES["tiny"], SIZES["tiny"].visible(0.6)
    clip, hidden = size.clip, size.clip.num_tubelets - visible
    counted = encoder_flops(size.encoder, clip, visible)
    counted += decoder_flops(size.decoder, size.encoder.width, clip, visible, hidden)
    e = size.decoder.width
    # Our decoder's last block computes no query, output and MLP of the visible tokens.
    spared = 3 * visible * (2 * e**2 + 2 * e**2 + 16 * e**2 + 4 * clip.num_tubelets * e)
    assert step_flops(size, visible) == counted + spared


@pytest.mark.parametrize(
    ("name", "ratio", "expected"), [("B224", 0.9, 202.3), ("B224", 0.6, 485.6), ("S112", 0.9, 11.5)]
)
def test_flops_of_published_sizes(name, ratio, expected):
    assert step_flops(SIZES[name], SIZES[name].visible(ratio)) / 1e9 == pytest.approx(expected, rel=5e-3)


def test_a_step_keeps_no_more_than_that_of_transformers(found):
    for one in found.values():
        assert 0 < one.saved["tubelet"] < one.saved["transformers"]


def test_saved_bytes_are_counted_once_and_without_parameters():
    layer = torch.nn.Linear(8, 8, bias=False)
    x = torch.zeros(16, 8, requires_grad=True)
    assert saved_bytes(lambda: layer(x).sum(), layer) == 16 * 8 * 4
    assert saved_bytes(lambda: (layer(x) + layer(x)).sum(), layer) == 16 * 8 * 4


def test_a_peer_without_a_checkout_is_listed_as_absent(found):
    assert "videomae=PATH" in found["fp32"].absent["videomae"]


def test_turns_are_reversed_every_other_round():
    order = []
    works = {name: lambda name=name: order.append(name) for name in "ab"}
    timing.in_turns(works, CPU, rounds=3, least=0.0)
    assert "".join(order[2 * timing.WARM_UP :]) == "abbaab"


def test_quartiles_that_include_1_are_no_verdict():
    def taken(*seconds):
        return [timing.Taken(value, value) for value in seconds]

    assert not timing.ratio(taken(1.0, 1.1, 0.9), taken(1.0, 1.0, 1.0)).distinct
    assert timing.ratio(taken(1.2, 1.1, 1.3), taken(1.0, 1.0, 1.0)).distinct
    assert timing.wall_over_processor([timing.Taken(1.0, 2.0)]) == 2.0


def test_the_command_writes_a_table_a_plot_and_every_figure(tmp_path, monkeypatch):
    def here(function, case, options):
        return function(case, dataclasses.replace(options, least=0.0, sides=(64,)))

    monkeypatch.setattr(step, "in_a_process", here)
    monkeypatch.setattr(os, "environ", {**os.environ})
    few = "--size tiny --ratio .6 --dtype fp32 --rounds 2 --mode forward --peers transformers"
    main(["step", *few.split(), "--out", str(tmp_path / "out")])
    page = (tmp_path / "out.md").read_text()
    assert "| tiny .6 fp32 | forward | transformers |" in page
    assert "python -m benchmarks" in page
    figures = pd.read_csv(tmp_path / "out.csv")
    assert set(figures["round"]) == {0, 1}
    assert set(figures["implementation"]) == {"tubelet", "transformers"}
    assert (tmp_path / "out.svg").stat().st_size > 0


def test_every_recipe_at_the_size_of_miniature_has_a_step(tmp_path):
    assert set(methods.METHODS) | {*methods.LARGE} == {recipe.__name__ for recipe in RECIPES}
    configs = methods.configs_of(["siam_mae", "umt", "beit", "coca", "mavil_again"], tmp_path)
    works = {name: methods.step_of(config, "fp32", 2, CPU)[0] for name, config in configs.items()}
    taken = timing.in_turns(works, CPU, rounds=1, least=0.0)
    rows = methods.rows_of(configs, taken, dict.fromkeys(configs, 0), 2)
    assert {row["recipe"] for row in rows} == {
        f"`{name}`" for name in ("miniature", "siam_mae", "umt", "beit", "coca", "mavil_again")
    }


def test_masks_by_text_of_tubelet_and_out_of_parts_leave_equally_many_visible():
    works = assembled.works(Case("tiny", 0.6, "fp32", 2), CPU, tower_depth=1)
    assert assembled.visible_counts(works) == {SIZES["tiny"].visible(0.6)}
    for work in works.values():
        work()


def test_without_a_gpu_the_gpu_command_says_that_nothing_was_measured(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(os, "environ", {**os.environ})
    with pytest.raises(SystemExit, match="no CUDA device is here: nothing was measured"):
        main(["gpu"])


def test_a_straight_line_through_logarithms_has_the_exponent_as_its_slope():
    assert scaling.exponent([1, 10, 100], [3, 300, 30000]) == pytest.approx(2)
    points = scaling.steps(scaling.CLIPS[:2], "fp32", 1, 1, "cpu", SIZES["tiny"].encoder)
    assert [point.size for point in points] == [64, 128]
    (row,) = scaling.rows_of(points)
    assert row["over"] == "64 to 128 tokens"


def test_the_time_of_processes_that_were_started_counts():
    before = scaling.tree_seconds()
    subprocess.run([sys.executable, "-c", "sum(range(10**7))"], check=True)
    assert scaling.tree_seconds() - before > 0.02


def test_memory_of_what_can_be_asked_of_a_recipe_is_less():
    asked = ("gradient_checkpointing=True", "decode=RunningCell")
    rows = memory.kept(Case("tiny", 0.6, "fp32"), asked, {"transformers": None}, "cpu")
    kept = {row["implementation"]: float(row["MiB a clip"]) for row in rows}
    assert all(kept[f"tubelet, {words}"] < kept["tubelet"] < kept["transformers"] for words in asked)


@pytest.mark.parametrize("part", [*parts.PARTS])
def test_every_part_can_be_taken_in_every_way(part, monkeypatch):
    monkeypatch.setattr(parts, "LENGTHS", ((16, 32, 2),))
    monkeypatch.setattr(parts, "OPTIMIZED", "tiny")
    for ways in parts.PARTS[part]("tiny", "bf16", CPU).values():
        for way in ways.values():
            way()


def test_the_loader_and_the_probe_are_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline, "SECONDS", 3)
    taken = timing.in_turns(pipeline.works_in(tmp_path, 1, 1), CPU, rounds=1, least=0.0)
    assert "frame cache" in taken
    for work in (*features.extraction("tiny", 1).values(), *features.heads(60).values()):
        work()


def test_two_checkouts_take_turns_in_processes_of_their_own():
    wanted = {"dtype": "fp32", "threads": 1, **against.sized("tiny", 0.6, 1)}
    with pytest.raises(SystemExit, match="no src/tubelet"):
        against.Worker(against.HERE / "tests", wanted)
    with against.Worker(against.HERE, wanted) as worker:
        assert worker.take(2).seconds > 0


def test_the_shares_of_operators_add_up():
    (row,) = operators.shares(Case("tiny", 0.6, "bf16"), measure.Options({}))
    parts = [row.get(group, 0.0) for group in (*operators.GROUPS, "other")]
    assert sum(parts) == pytest.approx(1)
    assert row["matrix products"] > 0
    assert operators.group_of("aten::_scaled_dot_product_flash_attention_for_cpu_backward") == "attention, sdpa"


def test_no_module_hides_one_of_python_from_the_scripts_beside_it():
    names = {path.stem for path in (against.HERE / "benchmarks").glob("*.py")}
    assert not names & set(sys.stdlib_module_names)


def test_a_soak_ends_where_weights_differ_or_a_file_is_left(tmp_path):
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    for run in (killed, whole):
        save_weights(run / CHECKPOINT, torch.nn.Linear(2, 1))
    with pytest.raises(SystemExit, match="other weights"):
        soak.compare(killed, whole)
    (killed / CHECKPOINT).write_bytes((whole / CHECKPOINT).read_bytes())
    soak.compare(killed, whole)
    (killed / ".left.part").touch()
    with pytest.raises(SystemExit, match=r"\.left\.part"):
        soak.compare(killed, whole)
