"""`tubelet study`: a grid of ordinary runs that is never run twice and never lost."""

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from tubelet.checksums import write_json
from tubelet.cli import main
from tubelet.config import override
from tubelet.log import read_log
from tubelet.recipes import miniature, tiny_text_guided
from tubelet.report.statistics import difference, discoveries, paired
from tubelet.results import read_results
from tubelet.studies import STUDIES
from tubelet.studies.price import price
from tubelet.studies.run import flat
from tubelet.studies.trials import Finished, cells_of


def study(corpus, mine, out, *words) -> int:
    return main(["study", f"{mine}:small", "--on", str(corpus.folder), "--out", str(out), *map(str, words)])


@pytest.fixture(scope="module")
def done(corpus, mine, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    assert study(corpus, mine, out) == 0
    return out


def cells(out) -> dict[str, dict]:
    return {path.name: json.loads(path.read_text()) for path in (out / "finished").glob("*.json")}


def test_every_way_is_run_with_every_seed_and_leaves_one_small_file(done):
    found = cells(done)
    assert sorted((cell["way"], cell["seed"]) for cell in found.values()) == [
        ("half random", 0), ("half random", 1), ("tube", 0), ("tube", 1),
    ]  # fmt: skip
    for cell in found.values():
        assert {"skill", "nearest_skill"} <= set(cell["results"]["reconstruction"]["metrics"])
        assert {"random", "mean_image"} <= set(cell["results"]["linear"]["baselines"])
        assert cell["corpus"]["fingerprint"]
        assert cell["hardware"]["processor"]
        assert cell["seconds"]["train"] > 0
        assert cell["values"]["seed"] == cell["seed"]
        assert all(line.startswith("tubelet ") for line in cell["commands"])
        assert len(json.dumps(cell)) < 20_000


def test_a_measure_that_the_corpus_does_not_allow_takes_no_other_with_it(corpus, mine, tmp_path):
    assert main(["study", f"{mine}:partly", "--on", str(corpus.folder), "--out", str(tmp_path)]) == 0
    [cell] = cells(tmp_path).values()
    assert "skill" in cell["results"]["reconstruction"]["metrics"]
    [(asked, reason)] = cell["left_out"].items()
    assert asked == "reconstruction zero_shot --baselines"
    assert "zero_shot is not measured: zero_shot needs a run with a contrast head" in reason


def test_a_cell_says_nothing_of_where_it_was_run(done, corpus):
    for cell in cells(done).values():
        text = json.dumps(cell)
        assert str(corpus.folder.parent) not in text
        assert str(done) not in text


def test_the_page_and_the_tables_say_what_is_shown_and_what_is_not(done):
    text, page = (done / "small.md").read_text(), (done / "small.html").read_text()
    assert re.search(r"^(\| --- )+\|$", text, flags=re.MULTILINE), "a table of Markdown has its rule"
    for line in ("half random − tube", "untrained", "mean image", "no maps | 0 | not run", "verb", "tubelet pretrain"):
        assert line in text
    for part in ("Which of two?", "not shown at 2 seeds", "Left out", "tubelet saliency", "<svg"):
        assert part in page
    assert "| shape |" not in text  # this corpus has no truth to ask for it


def test_the_numbers_of_the_table_are_those_of_the_cells(done):
    by_way: dict[str, list[float]] = {}
    for cell in cells(done).values():
        by_way.setdefault(cell["way"], []).append(100 * cell["results"]["reconstruction"]["metrics"]["skill"])
    text = (done / "small.md").read_text()
    for way, values in by_way.items():
        assert f"| {way} | 2 | {np.mean(values):.1f} ± {np.std(values, ddof=1):.1f} |" in text


def test_a_loss_is_a_measure_too_its_last_tenth_of_the_steps_over_the_trivial_level(done):
    ends = []
    for folder in (done / "cells").glob("tube-*"):
        steps = [record for record in read_log(folder / "run" / "log.jsonl") if record["kind"] == "step"]
        last = [record for record in steps if record["step"] > 0.9 * steps[-1]["step"]]
        ends.append(100 * sum(r["pixels"] for r in last) / sum(r["pixels.trivial"] for r in last))
    assert len(ends) == 2
    [head, row] = [line.split(" | ") for line in (done / "small.md").read_text().splitlines()
                   if line.startswith(("|  | seeds", "| tube | 2"))]  # fmt: skip
    assert head[-1] == "pixels, of trivial |"
    assert row[-1] == f"{np.mean(ends):.1f} ± {np.std(ends, ddof=1):.1f} |"


@pytest.mark.parametrize("suffix", [".html", ".md"])
def test_a_file_of_the_users_where_a_page_would_go_is_refused_before_anything_runs(
    suffix, corpus, mine, tmp_path, capsys
):
    notes = (tmp_path / "small").with_suffix(suffix)
    notes.write_text("my notes")
    assert study(corpus, mine, tmp_path, "--only", "tube", "--seeds", 0) == 2
    assert f"small{suffix} exists and is no page of" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [notes]
    assert notes.read_text() == "my notes"


def test_a_full_disk_leaves_the_old_pages_whole(done, corpus, mine, tmp_path, monkeypatch):
    assert study(corpus, mine, tmp_path, "--cells", done / "finished", "--tables") == 0
    before = {path: path.read_bytes() for path in tmp_path.glob("small.*")}
    assert len(before) == 2

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert study(corpus, mine, tmp_path, "--cells", done / "finished", "--seeds", 0, "--tables") == 2
    assert {path: path.read_bytes() for path in tmp_path.glob("*small.*")} == before


def test_declared_curves_are_drawn_a_loss_over_its_trivial_level_and_anything_else_as_it_is(done):
    page = (done / "small.html").read_text()
    for term, note in {
        "pixels": "Of the trivial level there, the mean over seeds.",
        "lr": "The mean over seeds.",
    }.items():
        figure = page[page.index(f"<b>{term} over the steps</b>") :]
        assert figure.startswith(f"<b>{term} over the steps</b><span>{note}</span>")
        drawn = figure[: figure.index("</figure>")]
        assert ">tube<" in drawn
        assert ">half random<" in drawn
        assert (" %<" in drawn) == (term == "pixels")


def test_what_a_measure_is_marked_with_is_said_of_that_measure(done, corpus, mine, tmp_path):
    (tmp_path / "cells").mkdir()
    for name, cell in cells(done).items():
        cell["results"]["linear"]["marks"] = ["caption names the label"]
        write_json(tmp_path / "cells" / name, cell)
    assert study(corpus, mine, tmp_path / "out", "--cells", tmp_path / "cells", "--tables") == 0
    assert "- linear: caption names the label\n" in (tmp_path / "out" / "small.md").read_text()


def test_a_baseline_that_the_ways_do_not_share_has_no_row_of_its_own(done, corpus, mine, tmp_path):
    (tmp_path / "cells").mkdir()
    for name, cell in cells(done).items():
        if cell["way"] == "tube":
            cell["results"]["linear"]["baselines"]["random"]["slots.accuracy"] += 0.1
        write_json(tmp_path / "cells" / name, cell)
    assert study(corpus, mine, tmp_path / "out", "--cells", tmp_path / "cells", "--tables") == 0
    before, after = (out.joinpath("small.md").read_text() for out in (done, tmp_path / "out"))
    assert "\n| untrained |" in before
    assert "\n| untrained |" not in after
    assert "## Over the untrained encoder" in after  # way by way there is one


def test_the_commands_of_a_cell_make_the_same_numbers_by_hand(done, corpus, tmp_path):
    import shlex

    cell = next(cell for cell in cells(done).values() if cell["way"] == "half random" and cell["seed"] == 1)
    for line in cell["commands"][:2]:
        words = [{"CORPUS": str(corpus.folder), "RUN": str(tmp_path / "run")}.get(w, w) for w in shlex.split(line)]
        assert main(words[1:]) == 0
    results = read_results(tmp_path / "run")
    for entry in ("reconstruction", "linear"):
        assert flat(results[entry]) == cell["results"][entry]["metrics"]


def test_what_is_finished_is_not_run_again_not_even_from_another_folder_or_machine(
    done, corpus, mine, tmp_path, capsys
):
    before = cells(done)
    assert study(corpus, mine, tmp_path / "elsewhere", "--cells", done / "finished", "--only", "tube", "half*") == 0
    assert study(corpus, mine, tmp_path / "elsewhere", "--cells", done / "finished", "--tables") == 0
    assert not (tmp_path / "elsewhere" / "cells").exists()
    assert cells(done) == before
    assert "half random − tube" in capsys.readouterr().out


def test_a_changed_recipe_or_corpus_is_another_cell(corpus, mine):
    from dataclasses import replace

    import chz

    from tubelet.recipes.find import load_file

    [first, *_] = cells_of("small", load_file(f"{mine}:small")(), corpus, [0])
    steps = replace(first, config=chz.replace(first.config, steps=13))
    other = replace(first, corpus={**first.corpus, "fingerprint": "another"})
    asked = replace(first, asked=(*first.asked, ("knn",)))
    workers = replace(first, config=override(first.config, ["data.workers=2", "log_every=7"]))
    assert len({first.hash, steps.hash, other.hash, asked.hash}) == 4
    assert workers.hash == first.hash  # decides no weight


def test_a_default_that_changed_since_makes_a_finished_cell_count_no_more_and_a_new_field_does_not(
    done, corpus, mine, tmp_path
):
    from tubelet.recipes.find import load_file

    [first, *_] = cells_of("small", load_file(f"{mine}:small")(), corpus, [0])
    content = Finished(done / "finished").find(first)
    assert content is not None
    folder = tmp_path / "cells"
    folder.mkdir()
    newer = dict(content["values"])
    newer.pop("encoder.mlp_ratio")  # the cell is older than this field
    write_json(folder / "a.json", {**content, "values": newer})
    assert Finished(folder).find(first) is not None
    write_json(folder / "a.json", {**content, "values": {**content["values"], "encoder.mlp_ratio": 2.0}})
    assert Finished(folder).find(first) is None


def test_files_that_are_no_cells_are_left_alone_and_a_damaged_one_is_named(tmp_path):
    (tmp_path / "note.json").write_text('{"format": 9}')
    (tmp_path / "list.json").write_text("[1]")
    assert Finished(tmp_path).cells == {}
    (tmp_path / "torn.json").write_text('{"format": 1, ')
    from tubelet.errors import RunError

    with pytest.raises(RunError, match="torn"):
        Finished(tmp_path)


def test_a_dry_run_lists_the_cells_and_their_time_and_runs_none(corpus, mine, tmp_path, capsys):
    assert study(corpus, mine, tmp_path, "--dry-run", "--seeds", 4) == 0
    said = capsys.readouterr()
    assert "missing   4  half random: masker=Random masker.ratio=0.5 seed=4" in said.out
    assert "0 of 3 cells are finished; 3 to run, about 0:00:" in said.err
    assert "tried now" in said.err
    assert list(tmp_path.iterdir()) == []


def test_the_same_study_of_another_recipe_is_other_cells_and_pages_of_its_own(done, corpus, mine, tmp_path, capsys):
    kept = shutil.copytree(done / "finished", tmp_path / "kept")
    words = ["--recipe", f"{mine}:wider", "--cells", kept, "--only", "tube", "--seeds", 0]
    assert study(corpus, mine, tmp_path, *words) == 0
    assert "0 of 1 cells are finished" in capsys.readouterr().err
    assert {file.name for file in tmp_path.glob("*.*")} == {"small-wider.html", "small-wider.md"}
    text = (tmp_path / "small-wider.md").read_text()
    assert f"pretrain {mine}:wider" in text
    assert f"tubelet study {mine}:small --recipe {mine}:wider --on CORPUS" in text


def test_an_estimate_goes_by_finished_cells_where_there_are_some(done, corpus, mine, tmp_path, capsys):
    words = ("--dry-run", "--seeds", 7, "--cells", done / "finished")
    assert study(corpus, mine, tmp_path, *words) == 0
    assert "by 4 finished cells on such a machine" in capsys.readouterr().err


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_interrupted_or_killed_it_goes_on_and_comes_to_the_same_numbers(how, done, corpus, mine, tmp_path):
    words = [f"{mine}:small", "--on", corpus.folder, "--out", tmp_path, "--only", "tube", "--seeds", "0"]
    command = [sys.executable, "-m", "tubelet", "study", *map(str, words)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for _ in range(6000):
        logs = list(tmp_path.glob("cells/*/run/log.jsonl"))
        if logs and any(record["step"] >= 6 for record in read_log(logs[0])):
            break
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)
    process.send_signal(how)
    process.communicate()
    assert not list((tmp_path / "finished").glob("*.json"))
    assert study(corpus, mine, tmp_path, "--tables") == 2  # there is nothing yet
    assert study(corpus, mine, tmp_path, "--only", "tube", "--seeds", "0") == 0
    [cell] = cells(tmp_path).values()
    whole = next(one for one in cells(done).values() if one["hash"] == cell["hash"])
    assert cell["results"] == whole["results"]
    assert not os.path.exists(tmp_path / "cells" / "half-random-0")


def test_a_cell_that_another_process_works_on_is_left_to_it(corpus, mine, tmp_path, capsys):
    """The lock belongs to a process, so another one holds it here."""
    from tubelet.recipes.find import load_file

    [first, *_] = cells_of("small", load_file(f"{mine}:small")(), corpus, [0])
    folder = tmp_path / "cells" / first.name
    folder.mkdir(parents=True)
    holder = subprocess.Popen(
        [sys.executable, "-c", "import fcntl,sys,time; f=open(sys.argv[1],'ab'); fcntl.flock(f, fcntl.LOCK_EX);"
         "print('held', flush=True); time.sleep(60)", str(folder / ".lock")],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert holder.stdout is not None
    assert holder.stdout.readline().strip() == "held"
    try:
        assert study(corpus, mine, tmp_path, "--only", "tube", "--seeds", "0") == 2
    finally:
        holder.kill()
        holder.communicate()
    assert "another process works on tube, seed 0" in capsys.readouterr().err


def test_what_another_process_finished_since_this_one_looked_is_not_run_again(done, corpus, mine, tmp_path):
    from tubelet.recipes.find import load_file
    from tubelet.studies.run import run_study

    grid = [cell for cell in cells_of("small", load_file(f"{mine}:small")(), corpus, [0]) if cell.way != "no maps"]
    seen = Finished(tmp_path / "finished")
    assert not any(seen.find(cell) for cell in grid)
    shutil.copytree(done / "finished", tmp_path / "finished")
    outcome = run_study(grid, corpus.folder, tmp_path, seen, lambda words: pytest.fail(f"ran {words}"))
    assert outcome.finished == outcome.taken == []


def test_the_lock_of_a_call_that_was_killed_as_a_cell_was_finished_is_removed(done, corpus, mine, tmp_path):
    from tubelet.recipes.find import load_file

    grid = cells_of("small", load_file(f"{mine}:small")(), corpus, [0])
    left = tmp_path / "cells" / next(cell.name for cell in grid if cell.way == "tube") / ".lock"
    left.parent.mkdir(parents=True)
    left.touch()
    assert study(corpus, mine, tmp_path, "--cells", done / "finished", "--only", "tube") == 0
    assert list(left.parent.iterdir()) == []


@pytest.mark.slow
def test_several_processes_share_the_cells(corpus, mine, done, tmp_path):
    assert study(corpus, mine, tmp_path, "--only", "tube", "half*", "--seeds", "0", "--jobs", 2) == 0
    assert {cell["hash"] for cell in cells(tmp_path).values()} < {cell["hash"] for cell in cells(done).values()}
    assert len(cells(tmp_path)) == 2


def test_what_further_commands_measure_stands_beside_the_rest(corpus, mine, tmp_path, capsys):
    words = ["study", f"{mine}:tuned", "--on", str(corpus.folder), "--out", str(tmp_path)]
    assert main(words) == 0
    found = {cell["way"]: cell for cell in cells(tmp_path).values()}
    assert set(found) == {"tube", "scratch"}
    for way, cell in found.items():
        assert 0 <= cell["results"]["finetune"]["metrics"]["accuracy"] <= 1
        assert ("--scratch" in cell["commands"][-1]) == (way == "scratch")
        assert cell["commands"][-1].startswith("tubelet finetune RUN tiny --on CORPUS --out RUN-tuned")
    assert "| seeds | fine-tuned | skill |" in capsys.readouterr().out


def test_equal_tokens_and_equal_flops_change_the_steps_and_nothing_else(corpus, mine):
    from tubelet.recipes.find import load_file

    found = {cell.way: cell for cell in cells_of("costs", load_file(f"{mine}:costs")(), corpus, [0])}
    prices = {way: price(cell.config) for way, cell in found.items()}
    assert found["steps"].config.steps == found["sparse"].config.steps == 12
    assert prices["steps"].tokens == 3 * prices["sparse"].tokens
    assert found["tokens"].config.steps == 4
    flops = {way: prices[way].flops * found[way].config.steps for way in found}
    assert flops["flops"] == pytest.approx(flops["sparse"], rel=0.1)
    sparse, dense = (override(miniature(), [f"masker.ratio={ratio}"]) for ratio in (0.9, 0.6))
    assert price(sparse).flops < price(dense).flops


def test_the_price_is_that_of_encoder_and_decoder_by_hand():
    config = miniature()
    clip, wide, narrow = config.clip, config.encoder.width, config.objectives["pixels"].decoder.width
    seen, n, p = price(config).tokens, clip.num_tubelets, clip.tubelet_values
    hidden = n - seen

    def block(tokens: int, queries: int, width: int) -> float:
        """Multiply-adds: query and what follows of the queries, key and value of all tokens, attention between."""
        return queries * (2 * width**2 + 8 * width**2) + tokens * 2 * width**2 + 2 * queries * tokens * width

    forward = seen * p * wide + config.encoder.depth * block(seen, seen, wide)
    forward += seen * wide * narrow + block(n, hidden, narrow) + hidden * narrow * p
    assert price(config).flops == pytest.approx(3 * 2 * forward, rel=0.12)  # backward costs twice the forward


@pytest.mark.parametrize("declares", STUDIES, ids=lambda one: one.__name__)
def test_every_study_of_the_house_is_well_formed(declares, corpus):
    declared = declares()
    found = cells_of(declares.__name__, declared, corpus, range(declared.seeds))
    assert len({cell.hash for cell in found}) == len(found) == len(declared.ways) * declared.seeds
    assert {way for pair in declared.differences for way in pair} <= set(declared.ways)
    assert declared.question.endswith("?")


def test_the_recipe_to_begin_with_is_a_way_of_the_study_that_asks_so_its_cells_speak_for_it():
    import chz

    from tubelet.studies.questions.guidance import start

    way = override(miniature(), start().ways["text drawn at 2 + contrast"].words.split())
    assert chz.replace(tiny_text_guided(), evaluations=way.evaluations) == way  # which it also measures itself by


def test_a_difference_is_shown_exactly_when_the_paired_t_test_says_so():
    rng = np.random.default_rng(0)
    for shift in (0.0, 0.5, 1.0, 3.0):
        for seeds in (2, 3, 5):
            one, other = rng.normal(shift, 1, seeds), rng.normal(0, 1, seeds)
            found = paired(dict(enumerate(one)), dict(enumerate(other)))
            assert found is not None
            assert found.shown == (stats.ttest_rel(one, other).pvalue < 0.05)
            assert found.p == pytest.approx(stats.ttest_rel(one, other).pvalue)
            low, high = stats.t.interval(0.95, seeds - 1, loc=np.mean(one - other), scale=stats.sem(one - other))
            assert (found.mean - found.half, found.mean + found.half) == pytest.approx((low, high))
    assert not difference([100.0]).shown
    assert difference([100.0]).verdict == "not shown at 1 seed"
    assert paired({0: 1.0}, {1: 1.0}) is None
    assert [difference([always] * 3).p for always in (0.0, 1.0)] == [1.0, 0.0]


@given(st.lists(st.floats(0, 1), max_size=20), st.floats(0.01, 0.5))
def test_discoveries_are_those_up_to_the_last_p_below_its_share_of_the_rate(ps, rate):
    bound = max((p for rank, p in enumerate(sorted(ps), 1) if p <= rate * rank / len(ps) * (1 - 1e-12)), default=-1)
    assert set(np.flatnonzero(discoveries(ps, rate))) >= {index for index, p in enumerate(ps) if p <= bound}
    bound = max((p for rank, p in enumerate(sorted(ps), 1) if p <= rate * rank / len(ps) * (1 + 1e-12)), default=-1)
    assert set(np.flatnonzero(discoveries(ps, rate))) <= {index for index, p in enumerate(ps) if p <= bound}


def test_of_what_is_shown_the_page_marks_what_stands_among_all_of_its_column(done, corpus, mine, tmp_path):
    (tmp_path / "cells").mkdir()
    for name, cell in cells(done).items():
        tube, sign = cell["way"] == "tube", 1 if cell["seed"] else -1
        verb = cell["results"]["linear"]
        verb["baselines"]["random"]["slots.accuracy"] = 0.5
        verb["metrics"]["slots.accuracy"] = 0.6 + 0.006 * sign if tube else 0.5 + 0.2 * sign  # p of .04 and 1
        cell["results"]["reconstruction"]["metrics"]["skill"] = 0.3 if tube else 0.5 + 0.01 * sign  # p of .03, alone
        write_json(tmp_path / "cells" / name, cell)
    assert study(corpus, mine, tmp_path / "out", "--cells", tmp_path / "cells", "--tables") == 0
    text, page = (tmp_path / "out" / "small.md").read_text(), (tmp_path / "out" / "small.html").read_text()
    assert "| tube | **+10.0 ± 7.6** |" in text
    assert "| half random − tube | **+20.0 ± 12.7 †** | -10.0" in text
    assert "<b>+10.0 ± 7.6</b>" in page
    assert "<b>+20.0 ± 12.7 †</b>" in page


def test_unknown_studies_and_ways_are_named_with_what_is_near(corpus, mine, tmp_path, capsys):
    assert main(["study", "maks", "--on", str(corpus.folder)]) == 2
    assert "did you mean masks?" in capsys.readouterr().err
    assert study(corpus, mine, tmp_path, "--only", "tubes") == 2
    assert "did you mean 'tube'?" in capsys.readouterr().err
    assert main(["study", "masks"]) == 2
    assert "--on CORPUS" in capsys.readouterr().err
    assert main(["study"]) == 0
    assert capsys.readouterr().out.count("?") == len(STUDIES)
