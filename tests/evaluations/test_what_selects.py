"""What needs a selection says so before anything is trained or read; what can be measured is measured."""

import re

import numpy as np
import pytest

from tubelet import cli
from tubelet.cli.options import tell
from tubelet.corpus.write import write_corpus
from tubelet.evaluations import Attentive, FewShot, Knn, Linear
from tubelet.loading.data import Data
from tubelet.maskers import Tube
from tubelet.models.decoder import Decoder
from tubelet.models.encoder import Vit
from tubelet.objectives import Pixels
from tubelet.recipes import Pretrain
from tubelet.results import read_results
from tubelet.runs.pretrain import pretrain
from tubelet.video.sampling import Sampling
from tubelet.video.writer import write_video


def make(folder, groups, labels=("dark", "light"), count=12):
    """Two thirds of the clips to train on; the group of clip i is groups[i % len(groups)] in train."""
    (folder / "videos").mkdir(parents=True)
    rng = np.random.default_rng(0)
    rows = []
    for number in range(count):
        light = number % 2
        frames = rng.integers(0, 90, (8, 32, 32, 3)).astype(np.uint8) + np.uint8(150 * light)
        path = folder / "videos" / f"{number:02d}.mp4"
        write_video(path, frames, 8.0)
        train = number < count * 2 // 3
        rows.append(
            {"id": path.name, "path": path, "end": 1.0, "fps": 8.0, "frames": 8, "width": 32, "height": 32,
             "label": labels[light] if labels else None, "split": "train" if train else "test",
             "group": groups[number % len(groups)] if train else f"test {number}"}
        )  # fmt: skip
    return write_corpus(folder, "people", rows)


def config(clip, **evaluations):
    return Pretrain(
        precision="fp32",
        clip=clip,
        data=Data(sampling=Sampling(stride=1)),
        encoder=Vit(width=32, depth=1, heads=2),
        masker=Tube(ratio=0.5),
        objectives={"pixels": Pixels(decoder=Decoder(width=16, depth=1, heads=2))},
        evaluations=evaluations,
        steps=1,
        batch=2,
    )


@pytest.fixture(scope="module")
def one_person(tmp_path_factory):
    return make(tmp_path_factory.mktemp("one") / "corpus", ["anna"]).folder


@pytest.fixture(scope="module")
def run(one_person, clip, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    pretrain(config(clip), on=one_person, out=folder)
    return folder


@pytest.fixture(autouse=True)
def no_results_before(run):
    (run / "results.json").unlink(missing_ok=True)


def tubelet(capsys, *words) -> tuple[int, str, str]:
    try:
        status = cli.main([str(word) for word in words])
    except SystemExit as error:
        status = int(error.code or 0)
    said = capsys.readouterr()
    return status, said.out, said.err


def test_the_others_are_measured_where_the_corpus_does_not_allow_one(run, capsys):
    status, out, err = tubelet(
        capsys, "evaluate", run, "linear", "knn", "few_shot", "reconstruction", "few_shot.episodes=5"
    )
    assert status == 1
    assert list(read_results(run)) == ["few_shot", "reconstruction"]
    assert "5way" in out or "2way" in out
    [line] = [line for line in err.splitlines() if line.startswith("tubelet:")]
    assert "linear is not measured: selection on a held-out part of train needs two groups" in line
    assert "knn is not measured" in line
    assert "measured and written: few_shot, reconstruction" in line


def test_where_nothing_can_be_measured_the_code_is_another_and_all_are_named(run, capsys):
    status, _, err = tubelet(capsys, "evaluate", run, "linear", "zero_shot")
    assert status == 2
    assert "linear is not measured" in err
    assert "zero_shot is not measured" in err
    assert not (run / "results.json").exists()


@pytest.mark.parametrize(
    ("words", "fixed"),
    [
        (["linear"], "linear.grid=1.0"),
        (["linear", "linear.solver=sgd"], "linear.grid=0.1"),
        (["knn"], "knn.grid=3"),
        (["attentive", "attentive.epochs=1"], "attentive.rates=0.001"),
        (["multiview", "multiview.views=1x1"], "multiview.linear.grid=1.0"),
    ],
)
def test_a_setting_that_is_given_needs_no_selection(run, capsys, words, fixed):
    status, _, err = tubelet(capsys, "evaluate", run, *words, fixed)
    assert status == 0, err
    [result] = read_results(run).values()
    assert result.protocol["selection"].startswith("none: the setting was given")
    assert set(result.protocol["selected"].values()) == {float(fixed.split("=")[1])}
    assert any(one.value == 1.0 for name, one in result.metrics.items() if name.endswith("accuracy")), "light and dark"
    status, _, err = tubelet(capsys, "evaluate", run, *words)
    assert status == 2
    assert "there is one (anna, 8 clips)" in err
    assert f"{fixed.split('=')[0].removeprefix('multi').replace('view.', '')}=" in err


def test_a_share_of_the_labels_of_one_group_is_measured(run, capsys):
    assert tubelet(capsys, "evaluate", run, "low_label", "low_label.shares=1.0")[0] == 0
    assert tubelet(capsys, "evaluate", run, "low_label", "low_label.shares=1.0", "low_label.grid=1.0")[0] == 0


def test_pretraining_says_before_its_first_step_what_it_will_not_be_able_to_measure(one_person, clip, tmp_path, capsys):
    evaluations = {"linear": Linear(), "fixed": Linear(grid=(1.0,)), "attentive": Attentive(), "shots": FewShot()}
    pretrain(config(clip, **evaluations), on=one_person, out=tmp_path / "run", tell=tell)
    before = capsys.readouterr().err
    assert "is not measured" not in before
    assert "linear will not be measured: selection on a held-out part of train needs two groups" in before
    assert "attentive will not be measured" in before
    assert "fixed will not" not in before
    assert "shots will not" not in before
    assert set(read_results(tmp_path / "run")) == {"fixed", "shots"}
    unlabelled = make(tmp_path / "unlabelled", ["a", "b"], labels=None)
    pretrain(config(clip, knn=Knn()), on=unlabelled.folder, out=tmp_path / "other", tell=tell)
    assert "knn will not be measured: knn needs labels" in capsys.readouterr().err


def test_index_says_that_one_group_leaves_nothing_to_select_on(one_person, tmp_path, capsys):
    lines = ["path,label,group,split"]
    for number in range(12):
        split = "train" if number < 8 else "test"
        lines.append(f"{number:02d}.mp4,{('dark', 'light')[number % 2]},{'anna' if number < 8 else 'ben'},{split}")
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    words = ["index", one_person / "videos", "--labels", tmp_path / "labels.csv", "--workers", 1]
    status, out, err = tubelet(capsys, *words, "--out", tmp_path / "corpus")
    assert status == 0, err
    assert "train is one group (anna, 8 labelled videos)" in out
    assert "test is one group (ben, 4 labelled videos): figures on it say nothing of other groups" in out
    (tmp_path / "labels.csv").write_text("\n".join(lines).replace("06.mp4,dark,anna", "06.mp4,dark,carl"))
    status, out, err = tubelet(capsys, *words, "--out", tmp_path / "two")
    assert status == 0, err
    assert "train is one group" not in out


def test_fine_tuning_says_so_before_it_trains_and_one_rate_needs_no_selection(run, one_person, tmp_path, capsys):
    words = ["finetune", run, "tiny", "steps=3", "batch=4", "samples=20", "data.cache=False", "--on", one_person]
    status, _, err = tubelet(capsys, *words, "rates=0.1,0.01", "--out", tmp_path / "two")
    assert status == 2
    assert "there is one (anna, 8 clips)" in err
    assert "optim.base_lr" in err
    assert not (tmp_path / "two").exists()
    status, _, err = tubelet(capsys, *words, "optim.base_lr=0.1", "--out", tmp_path / "one")
    assert status == 0, err
    found = read_results(tmp_path / "one")["finetune"]
    assert found.protocol["selection"] == "none: one learning rate, and its last step"
    assert found.protocol["selected"] == {"rate": 0.1, "step": 3}
    assert found.counts["train"]["used"] == 8
    assert found.counts["selecting"] == 0
    assert "held_out.accuracy" not in found.metrics
    status, _, err = tubelet(capsys, *words, "rates=0.1,0.01", "held_out=0", "--out", tmp_path / "none")
    assert status == 2
    assert "held_out=0 leaves no clips to select" in err


def test_all_of_train_may_fit_where_there_is_one_rate(clip, tmp_path, capsys):
    corpus = make(tmp_path / "corpus", list("abcd")).folder
    pretrain(config(clip), on=corpus, out=tmp_path / "run")
    words = ["finetune", tmp_path / "run", "tiny", "steps=3", "batch=4", "samples=20", "data.cache=False", "held_out=0"]
    status, _, err = tubelet(capsys, *words, "optim.base_lr=0.1", "--on", corpus, "--out", tmp_path / "tuned")
    assert status == 0, err
    found = read_results(tmp_path / "tuned")["finetune"]
    assert found.counts["train"]["used"] == 8
    assert found.step == 3


def test_a_tie_in_a_selection_is_said_and_the_simpler_setting_is_taken(clip, tmp_path, capsys):
    corpus = make(tmp_path / "corpus", [f"group {number}" for number in range(8)]).folder
    pretrain(config(clip), on=corpus, out=tmp_path / "run")
    status, out, _ = tubelet(capsys, "evaluate", tmp_path / "run", "linear", "knn", "knn.grid=1,2", "linear.grid=1,10")
    assert status == 0
    found = read_results(tmp_path / "run")
    for name, rule, taken in (("linear", "the stronger regularisation, 1.0", 1.0), ("knn", "the larger k, 2", 2)):
        scores = found[name].protocol["held_out_accuracy"]["mean"]
        assert set(scores.values()) == {1.0}, "dark and light are easily told apart"
        assert found[name].protocol["selected"]["mean"] == taken
        [said] = [line for line in found[name].notes if line.startswith("mean:")]
        assert said.startswith("mean: all 2 settings tie at 100.0% on the 2 held-out clips")
        assert said.endswith(f"taken is {rule}")
        assert f"NOTE: {said}" in out
    words = ["finetune", tmp_path / "run", "tiny", "steps=4", "evaluate_every=2", "batch=4", "samples=20"]
    words += ["data.cache=False", "rates=1e-9,1e-8", "optim.floor_lr=0.0"]
    status, out, err = tubelet(capsys, *words, "--on", corpus, "--out", tmp_path / "tuned")
    assert status == 0, err
    warnings = read_results(tmp_path / "tuned")["finetune"].notes
    assert any(
        re.match(r"learning rates 1e-09, 1e-08 tie at \d+.0% on the 2 held-out clips", line) for line in warnings
    )
    assert any(line.startswith("steps at learning rate ") for line in warnings)
    assert f"NOTE: {warnings[0]}" in out


def test_a_setting_that_is_clearly_better_is_no_tie(clip, tmp_path, capsys):
    corpus = make(tmp_path / "corpus", [f"group {number}" for number in range(24)], count=36).folder
    pretrain(config(clip), on=corpus, out=tmp_path / "run")
    status, _, err = tubelet(capsys, "evaluate", tmp_path / "run", "knn", "knn.grid=1,18", "knn.vote=majority")
    assert status == 0, err
    found = read_results(tmp_path / "run")["knn"]
    assert found.protocol["held_out_accuracy"]["mean"]["1"] > found.protocol["held_out_accuracy"]["mean"]["18"]
    assert not found.notes
