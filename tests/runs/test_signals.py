"""Runs on clips and other signals, through the public face: trained, resumed, measured, refused in a line."""

import math
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import tubelet
from support.small_runs import (
    assert_identical,
    kill_ranks,
    pretrain,
    start,
    start_ranks,
    steps,
    tensors,
    torchrun,
    wait_for_step,
)  # fmt: skip
from support.small_tasks import batch_of
from support.sounds import sound_corpus
from tubelet.checkpoint import CHECKPOINT, checkpoint_step
from tubelet.corpus.table import Corpus
from tubelet.errors import CorpusError, RecipeError
from tubelet.reports.pictures import load_looks
from tubelet.runs.folder import load_task
from tubelet.runs.pretrain import fresh_task
from tubelet.synthetic import Size, write_synth

SMALL = (
    "clip.frames=4", "clip.size=32", "encoder.width=32", "encoder.depth=2", "encoder.heads=2", "data.cache=False",
    "data.sampling.stride=1", "masker.ratio=0.5", "batch=4", "log_every=1", "save_every=5", "steps=16",
    "streams.sound.signal.frames=64", "objectives.pixels.decoder.width=24", "objectives.pixels.decoder.heads=2",
    "objectives.spectrogram.decoder.width=24", "objectives.spectrogram.decoder.heads=2", "optim.base_lr=0.1",
)  # fmt: skip
FORMS = {
    "fused": (),
    "joint": ("streams.sound.tower=Joint",),
    "separate": (
        "streams.sound.tower=Own", "streams.sound.tower.encoder.width=32", "streams.sound.tower.encoder.depth=1",
        "streams.sound.tower.encoder.heads=2",
    ),
    "inpainting": (
        "objectives.spectrogram.decoder=Cross", "objectives.spectrogram.decoder.width=24",
        "objectives.spectrogram.decoder.heads=2", "objectives.spectrogram.decoder.attend_to=clip",
        "objectives.spectrogram.decoder.inpaint=True",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """16 videos of noise and a tone, two of them without sound."""
    made = sound_corpus(tmp_path_factory.mktemp("heard"), 16, silent=(2, 7))
    tubelet.track(made, "sound")
    return made


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_av_mae_trains_both_and_shows_both(tmp_path, corpus, form):
    said: list[str] = []
    words = [word for word in SMALL if not (form == "inpainting" and "spectrogram.decoder" in word)]
    run = tubelet.pretrain("av_mae", *words, *FORMS[form], on=corpus, out=tmp_path / "run", tell=said.append)
    assert run.finished
    assert any(line == "1 of 12 videos have no sound and are left out (first: 2)" for line in said)
    records = steps(tmp_path / "run")
    for record in records:
        assert all(math.isfinite(record[name]) for name in ("pixels", "spectrogram", "spectrogram.baseline"))
        assert record["loss"] == pytest.approx((record["pixels"] + record["spectrogram"]) / 2)
    assert records[-1]["spectrogram"] < 0.8 * records[0]["spectrogram"]
    before = fresh_task(run.config, None).state_dict()
    after = {name.removeprefix("task."): value for name, value in tensors(tmp_path / "run").items()}
    assert all(not torch.equal(before[name], after[name]) for name in before if name.endswith("qkv.weight"))
    titles = load_looks(tmp_path / "run").titles.tolist()
    assert {"clip: visible", "sound: values", "sound: visible", "sound: reconstruction"} <= {*titles}


SENSORS = (
    "streams.sensors.signal.frames=16", "streams.sensors.signal.size=8", "objectives.views.hidden=16",
    "objectives.views.width=8",
)  # fmt: skip


@pytest.fixture(scope="module")
def worn(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Eight clips of synth-2 with their sensors and sound."""
    folder = tmp_path_factory.mktemp("worn") / "two"
    write_synth(folder, Size(train=8, test=4, pixels=48, frames=16, faces=True))
    made = Corpus.open(folder)
    tubelet.track(made, "sensors", files=(str(folder / "sensors"),), window_ms=320)
    tubelet.track(made, "sound")
    return made


def test_imu_mae_trains_all_of_its_parts_and_a_clip_is_looked_for_by_its_sensors(tmp_path, worn):
    words = [word for word in SMALL if "sound" not in word]
    run = tubelet.pretrain("imu_mae", *words, *SENSORS, on=worn, out=tmp_path / "run")
    record = steps(tmp_path / "run")[-1]
    assert all(math.isfinite(record[f"{name}.baseline"]) for name in ("pixels", "spectrogram", "graph", "views"))
    assert record["loss"] == pytest.approx(
        record["pixels"] + record["spectrogram"] + 10 * record["graph"] + 0.01 * record["views"], rel=1e-4
    )
    found = run.evaluate("cross_retrieval")
    assert {"views.sensors_to_clip.r@1", "views.clip_to_sensors.r@1"} <= found.metrics.keys()
    assert not found.references, "another signal has no small image"
    felt = run.evaluate("knn", stream="sensors")
    assert felt.metrics
    left = run.evaluate("missing", samples=50)
    conditions = ("all", "without_clip", "without_sensors", "half_of_sensors")
    assert {*left.metrics} == {f"{name}.accuracy" for name in conditions}


def test_tvlt_rebuilds_both_and_tells_pairs(tmp_path, worn):
    words = [*SMALL, "objectives.matching.width=24", "objectives.matching.heads=2"]
    tubelet.pretrain("tvlt", *words, on=worn, out=tmp_path / "run")
    record = steps(tmp_path / "run")[-1]
    assert record["matching.baseline"] == pytest.approx(math.log(2))
    assert record["loss"] == pytest.approx(
        0.3 * record["pixels"] + 3 * record["spectrogram"] + record["matching"], rel=1e-4
    )


def test_diff_mavil_denoises_both_under_masks_that_hide_ever_more(tmp_path, worn):
    words = [word for word in SMALL if not word.startswith(("masker", "save_every"))]
    words += ["objectives.views.hidden=16", "objectives.views.width=8"]
    words += ["masker.last.ratio=0.8", "streams.sound.masker.last.ratio=0.8"]
    run = tubelet.pretrain("diff_mavil", *words, on=worn, out=tmp_path / "run")
    record = steps(tmp_path / "run")[-1]
    assert record["loss"] == pytest.approx(
        0.5 * (record["pixels"] + record["spectrogram"]) + 0.1 * record["views"], rel=1e-4
    )
    masker, clip = run.config.streams["sound"].masker, run.config.streams["sound"].clip(run.config.clip)
    shares = [masker.at(step / 16).ratio for step in range(17)]
    np.testing.assert_allclose(shares, np.linspace(0.6, 0.8, 17))
    _, task = load_task(tmp_path / "run")
    batch = batch_of(run.config)
    for step in (0, 8, 15):
        seen = task.look(replace(batch, step=step, progress=step / 16))
        for stream, size in (("clip", run.config.clip), ("sound", clip)):
            hidden = masker.at(step / 16).budget(size).total
            assert seen.of(stream).mask.hidden.shape[1] == hidden, "the ratio of the step, exactly"


VIEWS = tuple(
    f"objectives.{name}.{field}" for name in ("between", "clips", "sounds") for field in ("hidden=16", "width=8")
)


def test_mavil_finds_views_in_one_another_and_then_predicts_what_it_made_of_both(tmp_path, worn):
    words = [word for word in SMALL if "spectrogram" not in word and "objectives.pixels" not in word]
    pixels = [word for word in SMALL if word.startswith("objectives.")]
    words += [*VIEWS, "streams.second_sound.signal.frames=64", *(f"rebuilt.{word}" for word in pixels)]
    for name in ("features", "sound_features"):
        words += [f"predicted.objectives.{name}.decoder.{field}" for field in ("width=24", "heads=2")]
    runs = tubelet.phases("mavil", *words, on=worn, out=tmp_path / "both")
    first, second = (steps(tmp_path / "both" / name)[-1] for name in ("rebuilt", "predicted"))
    views = 0.1 * first["between"] + 0.01 * (first["clips"] + first["sounds"])
    assert first["loss"] == pytest.approx(0.5 * (first["pixels"] + first["spectrogram"]) + views, rel=1e-4)
    views = 0.1 * second["between"] + 0.01 * (second["clips"] + second["sounds"])
    assert second["loss"] == pytest.approx(0.5 * (second["features"] + second["sound_features"]) + views, rel=1e-4)
    before = load_task(runs["rebuilt"].folder)[1]
    after = load_task(runs["predicted"].folder)[1].teacher
    taught = {name.removeprefix("encoder."): value for name, value in after.state_dict().items() if "encoder" in name}
    assert all(torch.equal(value, before.encoder.state_dict()[name]) for name, value in taught.items())
    for name, value in after.towers["sound"].state_dict().items():
        assert torch.equal(value, before.towers["sound"].state_dict()[name])
    fresh = fresh_task(runs["predicted"].config, None).towers["sound"].state_dict()
    assert not torch.equal(fresh["kind"], after.towers["sound"].kind), "the sound's own weights are taken, too"
    heard = runs["predicted"].evaluate("knn", stream="second_sound")
    assert heard.metrics == runs["predicted"].evaluate("knn", stream="sound").metrics, "they share their weights"
    found = runs["predicted"].evaluate("cross_retrieval")
    assert "between.sound_to_clip.r@1" in found.metrics
    assert [*found.notes[:2]] == [
        "clips is not measured: second, not augmented, shows the pixels of clip",
        "sounds is not measured: second_sound, not augmented, holds the values of sound",
    ]


def test_a_run_killed_at_a_random_step_goes_on_bit_for_bit(tmp_path, corpus):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert tubelet.pretrain("av_mae", *SMALL, on=corpus, out=whole).finished
    process = start("av_mae", *SMALL, "--on", corpus.folder, "--out", cut)
    wait_for_step(process, cut, int(np.random.default_rng().integers(1, 12)))
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert checkpoint_step(cut / CHECKPOINT) < 16
    assert tubelet.pretrain("av_mae", *SMALL, on=corpus, out=cut).finished
    assert_identical(whole, cut)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, corpus: Corpus) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "av"
    tubelet.pretrain("av_mae", *SMALL, on=corpus, out=folder)
    return folder


def test_its_sound_is_measured_beside_baselines_and_names_files_without(run, corpus):
    heard = tubelet.evaluate(run, "knn", stream="sound", baselines=True)
    assert all(0 <= metric.value <= 1 for metric in heard.metrics.values())
    assert set(heard.baselines) == {"random", "mean_image", "raw_pixels", "difference_image"}
    assert any("has no sound" in line for lines in heard.failed.values() for line in lines)
    seen = tubelet.evaluate(run, "knn")
    assert {"knn", "knn, stream sound"} <= tubelet.Run(run).results.keys()
    assert heard.counts != seen.counts, "clips of the two silent videos are seen"


def test_features_of_a_stream_are_kept_apart_and_found_again(run):
    first = tubelet.evaluate(run, "linear", stream="sound")
    again = tubelet.evaluate(run, "linear", stream="sound")
    other = tubelet.evaluate(run, "linear")
    assert first.metrics == again.metrics
    assert first.metrics != other.metrics
    _, task = load_task(run)
    assert task.towers["sound"] is not None


def test_what_cannot_be_measured_of_a_stream_is_refused(run):
    with pytest.raises(RecipeError, match="no stream 'sond'; it has sound"):
        tubelet.evaluate(run, "linear", stream="sond")
    with pytest.raises(RecipeError, match="reconstruction is not measured of a stream"):
        tubelet.evaluate(run, "reconstruction", stream="sound")


def test_a_corpus_without_the_track_is_refused_with_the_command_that_makes_it(tmp_path, capsys):
    silent = sound_corpus(tmp_path, 4)
    said = r"has no track 'sound' \(it has none\); make it with `tubelet track .* sound`"
    with pytest.raises(CorpusError, match=said):
        tubelet.pretrain("av_mae", *SMALL, on=silent, out=tmp_path / "run")
    tubelet.track(silent, "sound", bands=32)
    assert pretrain("av_mae", *SMALL, "--on", silent.folder, "--out", tmp_path / "run") == 2
    assert "set streams.sound.signal.size=32, or make the track anew" in capsys.readouterr().err
    assert not (tmp_path / "run" / "recipe.json").exists()


def test_a_corpus_in_which_nothing_is_heard_is_refused(tmp_path):
    silent = sound_corpus(tmp_path, 4, silent=(0, 1, 2, 3))
    tubelet.track(silent, "sound")
    with pytest.raises(CorpusError, match=r"not one of 3 videos of .* has sound"):
        tubelet.pretrain("av_mae", *SMALL, on=silent, out=tmp_path / "run")


def test_another_track_of_the_same_name_is_another_run(tmp_path, corpus, capsys):
    """As other maps are: what decides the weights is recorded."""
    words = [word for word in SMALL if not word.startswith("steps=")]
    assert tubelet.pretrain("av_mae", *words, "steps=2", on=corpus, out=tmp_path / "run").finished
    assert "track sound" in tubelet.Run(tmp_path / "run").recorded.derived


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_ranks_that_are_killed_go_on_bit_for_bit_with_views_of_another_signal(tmp_path, corpus):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    words = [*SMALL, *VIEWS, "streams.second_sound.signal.frames=64", "batch=2", "--on", corpus.folder]
    words.remove("batch=4")
    code, said = torchrun("mavil", *words, "--out", whole)
    assert code == 0, said
    process = start_ranks("pretrain", "mavil", *words, "--out", cut)
    wait_for_step(process, cut, int(np.random.default_rng().integers(1, 12)))
    kill_ranks(process)
    code, said = torchrun("mavil", *words, "--out", cut)
    assert code == 0, said
    assert_identical(whole, cut)
