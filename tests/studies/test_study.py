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
from dataclasses import replace

import numpy as np
import pytest

from tubelet.checksums import write_json
from tubelet.cli import main
from tubelet.config import override
from tubelet.log import read_log
from tubelet.recipes import miniature, tiny_text_guided
from tubelet.results import read_results
from tubelet.studies import STUDIES
from tubelet.studies.cost import cost
from tubelet.studies.run import numbers
from tubelet.studies.store import FinishedTrials
from tubelet.studies.trials import trials_of


def study(corpus, mine, out, *words) -> int:
    return main(["study", f"{mine}:small", "--on", str(corpus.folder), "--out", str(out), *map(str, words)])


@pytest.fixture(scope="module")
def done(corpus, mine, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    assert study(corpus, mine, out) == 0
    return out


def finished(out) -> dict[str, dict]:
    return {path.name: json.loads(path.read_text()) for path in (out / "finished").glob("*.json")}


def test_every_variant_is_run_with_every_seed_and_leaves_one_small_file(done):
    found = finished(done)
    assert sorted((trial["variant"], trial["seed"]) for trial in found.values()) == [
        ("half random", 0), ("half random", 1), ("tube", 0), ("tube", 1),
    ]  # fmt: skip
    for trial in found.values():
        assert {"r2", "copy_r2"} <= set(trial["results"]["reconstruction"]["metrics"])
        assert {"random", "mean_image"} <= set(trial["results"]["linear"]["baselines"])
        assert "untrained encoder" in trial["results"]["linear"]["verdict"]
        assert trial["corpus"]["fingerprint"]
        assert trial["hardware"]["processor"]
        assert trial["hardware"]["cpu_capability"]  # AVX2 or AVX512, say: tells processors of one name apart
        assert trial["seconds"]["train"] > 0
        assert trial["values"]["seed"] == trial["seed"]
        assert all(line.startswith("tubelet ") for line in trial["commands"])
        assert len(json.dumps(trial)) < 40_000


def test_a_measure_that_the_corpus_does_not_allow_takes_no_other_with_it(corpus, mine, tmp_path):
    assert main(["study", f"{mine}:partly", "--on", str(corpus.folder), "--out", str(tmp_path)]) == 0
    [trial] = finished(tmp_path).values()
    assert "r2" in trial["results"]["reconstruction"]["metrics"]
    [(asked, reason)] = trial["left_out"].items()
    assert asked == "reconstruction zero_shot --baselines"
    assert "zero_shot is not measured: zero_shot needs a run with a contrast head" in reason


def test_commands_before_a_run_make_what_its_overrides_name_and_belong_to_the_trial(corpus, mine, tmp_path):
    from tubelet.recipes.find import load_file

    assert main(["study", f"{mine}:taught", "--on", str(corpus.folder), "--out", str(tmp_path)]) == 0
    [trial] = finished(tmp_path).values()
    assert [line.split()[1] for line in trial["commands"]] == ["pretrain", "pretrain", "evaluate"]
    assert trial["commands"][0].endswith("--on CORPUS --out RUN-before steps=1 seed=0")
    assert trial["values"]["init"] == "RUN-before"
    assert {"before", "train", "evaluate"} == set(trial["seconds"])
    assert str(tmp_path) not in json.dumps(trial)
    [one] = trials_of("taught", load_file(f"{mine}:taught")(), corpus, [0])
    assert len({one.hash, replace(one, first=()).hash, replace(one, first=("pretrain tiny",)).hash}) == 3


def test_a_trial_says_nothing_of_where_it_was_run(done, corpus):
    for trial in finished(done).values():
        text = json.dumps(trial)
        assert str(corpus.folder.parent) not in text
        assert str(done) not in text


def test_the_page_and_the_tables_say_what_is_significant_and_what_is_not(done):
    text, page = (done / "small.md").read_text(), (done / "small.html").read_text()
    assert re.search(r"^(\| --- )+\|$", text, flags=re.MULTILINE), "a table of Markdown has its rule"
    for line in ("half random − tube", "untrained", "mean image", "no maps | 0 | not run", "verb", "tubelet pretrain"):
        assert line in text
    for part in ("Which of two?", "not significant (2 seeds)", "Left out", "tubelet saliency", "<svg"):
        assert part in page
    assert "| shape |" not in text  # this corpus has no truth to ask for it


def test_the_numbers_of_the_table_are_those_of_the_trials(done):
    by_variant: dict[str, list[float]] = {}
    for trial in finished(done).values():
        by_variant.setdefault(trial["variant"], []).append(
            100 * trial["results"]["reconstruction"]["metrics"]["r2"]["value"]
        )
    text = (done / "small.md").read_text()
    for variant, values in by_variant.items():
        assert f"| {variant} | 2 | {np.mean(values):.1f} ± {np.std(values, ddof=1):.1f} |" in text


def test_a_loss_is_a_measure_too_its_last_tenth_of_the_steps_relative_to_the_mean_prediction_baseline(done):
    ends = []
    for folder in (done / "trials").glob("tube-*"):
        steps = [record for record in read_log(folder / "run" / "log.jsonl") if record["kind"] == "step"]
        last = [record for record in steps if record["step"] > 0.9 * steps[-1]["step"]]
        ends.append(100 * sum(r["pixels"] for r in last) / sum(r["pixels.baseline"] for r in last))
    assert len(ends) == 2
    [head, row] = [line.split(" | ") for line in (done / "small.md").read_text().splitlines()
                   if line.startswith(("|  | seeds", "| tube | 2"))]  # fmt: skip
    assert head[-1] == "pixels / mean prediction |"
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
    assert study(corpus, mine, tmp_path, "--trials", done / "finished", "--tables") == 0
    before = {path: path.read_bytes() for path in tmp_path.glob("small.*")}
    assert len(before) == 2

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert study(corpus, mine, tmp_path, "--trials", done / "finished", "--seeds", 0, "--tables") == 2
    assert {path: path.read_bytes() for path in tmp_path.glob("*small.*")} == before


def test_declared_curves_are_drawn_a_loss_relative_to_its_baseline_and_anything_else_as_it_is(done):
    page = (done / "small.html").read_text()
    for term, note in {
        "pixels": "Relative to the mean-prediction baseline, the mean over seeds.",
        "lr": "The mean over seeds.",
    }.items():
        figure = page[page.index(f"<b>{term} over the steps</b>") :]
        assert figure.startswith(f"<b>{term} over the steps</b><span>{note}</span>")
        drawn = figure[: figure.index("</figure>")]
        assert ">tube<" in drawn
        assert ">half random<" in drawn
        assert (" %<" in drawn) == (term == "pixels")


def test_what_a_measure_is_marked_with_is_said_of_that_measure(done, corpus, mine, tmp_path):
    (tmp_path / "kept").mkdir()
    for name, trial in finished(done).items():
        trial["results"]["linear"]["warnings"] = ["caption names the label"]
        write_json(tmp_path / "kept" / name, trial)
    assert study(corpus, mine, tmp_path / "out", "--trials", tmp_path / "kept", "--tables") == 0
    assert "- linear: caption names the label\n" in (tmp_path / "out" / "small.md").read_text()


def test_a_baseline_that_the_variants_do_not_share_has_no_row_of_its_own(done, corpus, mine, tmp_path):
    (tmp_path / "kept").mkdir()
    for name, trial in finished(done).items():
        if trial["variant"] == "tube":
            trial["results"]["linear"]["baselines"]["random"]["metrics"]["temporal_concat.accuracy"]["value"] += 0.1
        write_json(tmp_path / "kept" / name, trial)
    assert study(corpus, mine, tmp_path / "out", "--trials", tmp_path / "kept", "--tables") == 0
    before, after = (out.joinpath("small.md").read_text() for out in (done, tmp_path / "out"))
    assert "\n| untrained |" in before
    assert "\n| untrained |" not in after
    assert "## Difference to the untrained encoder" in after  # variant by variant there is one


def test_the_commands_of_a_trial_make_the_same_numbers_by_hand(done, corpus, tmp_path):
    import shlex

    trial = next(trial for trial in finished(done).values() if trial["variant"] == "half random" and trial["seed"] == 1)
    for line in trial["commands"][:2]:
        words = [{"CORPUS": str(corpus.folder), "RUN": str(tmp_path / "run")}.get(w, w) for w in shlex.split(line)]
        assert main(words[1:]) == 0
    results = read_results(tmp_path / "run")
    for entry in ("reconstruction", "linear"):
        assert numbers(results[entry]) == trial["results"][entry]["metrics"]


def test_what_is_finished_is_not_run_again_not_even_from_another_folder_or_machine(
    done, corpus, mine, tmp_path, capsys
):
    before = finished(done)
    assert study(corpus, mine, tmp_path / "elsewhere", "--trials", done / "finished", "--only", "tube", "half*") == 0
    assert study(corpus, mine, tmp_path / "elsewhere", "--trials", done / "finished", "--tables") == 0
    assert not (tmp_path / "elsewhere" / "trials").exists()
    assert finished(done) == before
    assert "half random − tube" in capsys.readouterr().out


def test_a_changed_recipe_or_corpus_is_another_trial(corpus, mine):
    import chz

    from tubelet.recipes.find import load_file

    [first, *_] = trials_of("small", load_file(f"{mine}:small")(), corpus, [0])
    steps = replace(first, config=chz.replace(first.config, steps=13))
    other = replace(first, corpus={**first.corpus, "fingerprint": "another"})
    asked = replace(first, evaluations=(*first.evaluations, ("knn",)))
    workers = replace(first, config=override(first.config, ["data.workers=2", "log_every=7"]))
    assert len({first.hash, steps.hash, other.hash, asked.hash}) == 4
    assert workers.hash == first.hash  # decides no weight


def test_a_default_that_changed_since_makes_a_finished_trial_count_no_more_and_a_new_field_does_not(
    done, corpus, mine, tmp_path
):
    from tubelet.recipes.find import load_file

    [first, *_] = trials_of("small", load_file(f"{mine}:small")(), corpus, [0])
    assert FinishedTrials(done / "finished").find(first) is not None
    content = next(trial for trial in finished(done).values() if trial["hash"] == first.hash)
    folder = tmp_path / "kept"
    folder.mkdir()
    newer = dict(content["values"])
    newer.pop("encoder.mlp_ratio")  # the trial is older than this field
    write_json(folder / "a.json", {**content, "values": newer})
    assert FinishedTrials(folder).find(first) is not None
    write_json(folder / "a.json", {**content, "values": {**content["values"], "encoder.mlp_ratio": 2.0}})
    assert FinishedTrials(folder).find(first) is None


def test_files_that_are_no_trials_are_left_alone_and_a_damaged_one_is_named(tmp_path):
    (tmp_path / "note.json").write_text('{"format": 9}')
    (tmp_path / "list.json").write_text("[1]")
    assert FinishedTrials(tmp_path).records == {}
    (tmp_path / "torn.json").write_text('{"format": 1, ')
    from tubelet.errors import RunError

    with pytest.raises(RunError, match="torn"):
        FinishedTrials(tmp_path)


def test_a_dry_run_lists_the_trials_and_their_time_and_runs_none(corpus, mine, tmp_path, capsys):
    assert study(corpus, mine, tmp_path, "--dry-run", "--seeds", 4) == 0
    said = capsys.readouterr()
    assert "missing   4  half random: masker=Random masker.ratio=0.5 seed=4" in said.out
    assert "0 of 3 trials are finished; 3 to run, about 0:00:" in said.err
    assert "timed now" in said.err
    assert list(tmp_path.iterdir()) == []


def test_the_same_study_of_another_recipe_is_other_trials_and_pages_of_its_own(done, corpus, mine, tmp_path, capsys):
    kept = shutil.copytree(done / "finished", tmp_path / "kept")
    words = ["--recipe", f"{mine}:wider", "--trials", kept, "--only", "tube", "--seeds", 0]
    assert study(corpus, mine, tmp_path, *words) == 0
    assert "0 of 1 trials are finished" in capsys.readouterr().err
    assert {file.name for file in tmp_path.glob("*.*")} == {"small-wider.html", "small-wider.md"}
    text = (tmp_path / "small-wider.md").read_text()
    assert f"pretrain {mine}:wider" in text
    assert f"tubelet study {mine}:small --recipe {mine}:wider --on CORPUS" in text


def test_an_estimate_goes_by_finished_trials_where_there_are_some(done, corpus, mine, tmp_path, capsys):
    words = ("--dry-run", "--seeds", 7, "--trials", done / "finished")
    assert study(corpus, mine, tmp_path, *words) == 0
    assert "by 4 finished trials on such a machine" in capsys.readouterr().err


@pytest.mark.parametrize("how", [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGKILL])
def test_interrupted_or_killed_it_goes_on_and_comes_to_the_same_numbers(how, done, corpus, mine, tmp_path):
    words = [f"{mine}:small", "--on", corpus.folder, "--out", tmp_path, "--only", "tube", "--seeds", "0"]
    command = [sys.executable, "-m", "tubelet", "study", *map(str, words)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for _ in range(6000):
        logs = list(tmp_path.glob("trials/*/run/log.jsonl"))
        if logs and any(record["step"] >= 6 for record in read_log(logs[0])):
            break
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)
    process.send_signal(how)
    process.communicate()
    assert not list((tmp_path / "finished").glob("*.json"))
    assert study(corpus, mine, tmp_path, "--tables") == 2  # there is nothing yet
    assert study(corpus, mine, tmp_path, "--only", "tube", "--seeds", "0") == 0
    [trial] = finished(tmp_path).values()
    whole = next(one for one in finished(done).values() if one["hash"] == trial["hash"])
    assert trial["results"] == whole["results"]
    assert not os.path.exists(tmp_path / "trials" / "half-random-0")


def test_a_trial_that_another_process_works_on_is_left_to_it(corpus, mine, tmp_path, capsys):
    """The lock belongs to a process, so another one holds it here."""
    from tubelet.recipes.find import load_file

    [first, *_] = trials_of("small", load_file(f"{mine}:small")(), corpus, [0])
    folder = tmp_path / "trials" / first.name
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
    from tubelet.studies.run import run_trials

    grid = [
        trial for trial in trials_of("small", load_file(f"{mine}:small")(), corpus, [0]) if trial.variant != "no maps"
    ]
    seen = FinishedTrials(tmp_path / "finished")
    assert not any(seen.find(trial) for trial in grid)
    shutil.copytree(done / "finished", tmp_path / "finished")
    outcome = run_trials(grid, corpus.folder, tmp_path, seen, lambda words: pytest.fail(f"ran {words}"))
    assert outcome.finished == outcome.taken == []


def test_the_lock_of_a_call_that_was_killed_as_a_trial_was_finished_is_removed(done, corpus, mine, tmp_path):
    from tubelet.recipes.find import load_file

    grid = trials_of("small", load_file(f"{mine}:small")(), corpus, [0])
    left = tmp_path / "trials" / next(trial.name for trial in grid if trial.variant == "tube") / ".lock"
    left.parent.mkdir(parents=True)
    left.touch()
    assert study(corpus, mine, tmp_path, "--trials", done / "finished", "--only", "tube") == 0
    assert list(left.parent.iterdir()) == []


@pytest.mark.slow
def test_several_processes_share_the_trials(corpus, mine, done, tmp_path):
    assert study(corpus, mine, tmp_path, "--only", "tube", "half*", "--seeds", "0", "--jobs", 2) == 0
    assert {trial["hash"] for trial in finished(tmp_path).values()} < {
        trial["hash"] for trial in finished(done).values()
    }
    assert len(finished(tmp_path)) == 2


def test_what_further_commands_measure_stands_beside_the_rest(corpus, mine, tmp_path, capsys):
    words = ["study", f"{mine}:tuned", "--on", str(corpus.folder), "--out", str(tmp_path)]
    assert main(words) == 0
    found = {trial["variant"]: trial for trial in finished(tmp_path).values()}
    assert set(found) == {"tube", "scratch"}
    for variant, trial in found.items():
        assert 0 <= trial["results"]["finetune"]["metrics"]["accuracy"]["value"] <= 1
        assert ("--scratch" in trial["commands"][-1]) == (variant == "scratch")
        assert trial["commands"][-1].startswith("tubelet finetune RUN tiny --on CORPUS --out RUN-tuned")
    assert "| seeds | fine-tuned | R² |" in capsys.readouterr().out


def test_equal_tokens_and_equal_flops_change_the_steps_and_nothing_else(corpus, mine):
    from tubelet.recipes.find import load_file

    found = {trial.variant: trial for trial in trials_of("costs", load_file(f"{mine}:costs")(), corpus, [0])}
    costs = {variant: cost(trial.config) for variant, trial in found.items()}
    assert found["steps"].config.steps == found["sparse"].config.steps == 12
    assert costs["steps"].tokens == 3 * costs["sparse"].tokens
    assert found["tokens"].config.steps == 4
    flops = {variant: costs[variant].flops * found[variant].config.steps for variant in found}
    assert flops["flops"] == pytest.approx(flops["sparse"], rel=0.1)
    sparse, dense = (override(miniature(), [f"masker.ratio={ratio}"]) for ratio in (0.9, 0.6))
    assert cost(sparse).flops < cost(dense).flops


def test_the_cost_is_that_of_encoder_and_decoder_by_hand():
    config = miniature()
    clip, wide, narrow = config.clip, config.encoder.width, config.objectives["pixels"].decoder.width
    seen, n, p = cost(config).tokens, clip.num_tubelets, clip.tubelet_values
    hidden = n - seen

    def block(tokens: int, queries: int, width: int) -> float:
        """Multiply-adds: query and what follows of the queries, key and value of all tokens, attention between."""
        return queries * (2 * width**2 + 8 * width**2) + tokens * 2 * width**2 + 2 * queries * tokens * width

    forward = seen * p * wide + config.encoder.depth * block(seen, seen, wide)
    forward += seen * wide * narrow + block(n, hidden, narrow) + hidden * narrow * p
    assert cost(config).flops == pytest.approx(3 * 2 * forward, rel=0.12)  # backward costs twice the forward


@pytest.mark.parametrize("declares", STUDIES, ids=lambda one: one.__name__)
def test_every_study_of_the_house_is_well_formed(declares, corpus):
    declared = declares()
    found = trials_of(declares.__name__, declared, corpus, range(declared.seeds))
    assert len({trial.hash for trial in found}) == len(found) == len(declared.variants) * declared.seeds
    assert {variant for pair in declared.differences for variant in pair} <= set(declared.variants)
    assert declared.question.endswith("?")


def test_the_recipe_to_begin_with_is_a_variant_of_the_study_that_asks_so_its_trials_speak_for_it():
    import chz

    from tubelet.studies.questions.guidance import start

    variant = override(miniature(), start().variants["text, sampled (tau = 2) + contrast"].overrides.split())
    assert (
        chz.replace(tiny_text_guided(), evaluations=variant.evaluations) == variant
    )  # which it also measures itself by


def test_the_page_marks_what_is_significant_after_correction_for_all_of_its_column(done, corpus, mine, tmp_path):
    (tmp_path / "kept").mkdir()
    for name, trial in finished(done).items():
        tube, sign = trial["variant"] == "tube", 1 if trial["seed"] else -1
        verb = trial["results"]["linear"]
        verb["baselines"]["random"]["metrics"]["temporal_concat.accuracy"]["value"] = 0.5
        verb["metrics"]["temporal_concat.accuracy"]["value"] = (
            0.6 + 0.006 * sign if tube else 0.5 + 0.2 * sign
        )  # p of .04 and 1
        trial["results"]["reconstruction"]["metrics"]["r2"]["value"] = (
            0.3 if tube else 0.5 + 0.01 * sign
        )  # p of .03, alone
        write_json(tmp_path / "kept" / name, trial)
    assert study(corpus, mine, tmp_path / "out", "--trials", tmp_path / "kept", "--tables") == 0
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
