"""Recipes of two views of a clip train through the public face, go on bit for bit, and on two ranks as on one."""

import math
import signal

import numpy as np
import pytest
import torch

import tubelet
from support.small_runs import (
    assert_close,
    assert_identical,
    kill_ranks,
    pretrain,
    start,
    start_ranks,
    steps,
    tensors,
    torchrun,
    wait_for_step,
)
from tubelet.checkpoint import CHECKPOINT, checkpoint_step
from tubelet.corpus.table import Corpus
from tubelet.corpus.write import write_corpus
from tubelet.recipes import brave, byol, cross_video_mae, cvrl, iic, lstcl, moco, nnclr, rho_moco, simclr, vic_mae
from tubelet.reports.pictures import load_looks
from tubelet.runs.pretrain import fresh_task

SMALL = (
    "clip.frames=4", "clip.size=32", "encoder.width=32", "encoder.depth=1", "encoder.heads=2", "data.cache=False",
    "data.sampling.stride=1", "objectives.views.hidden=16", "objectives.views.width=8", "batch=4", "log_every=1",
)  # fmt: skip
TOWER = ("streams.second.tower.encoder.width=24", "streams.second.tower.encoder.depth=1")
TOWER = (*TOWER, "streams.second.tower.encoder.heads=2")
DECODER = tuple(f"objectives.pixels.decoder.{word}" for word in ("width=32", "depth=1", "heads=2"))
FRAMES = tuple(f"objectives.frames.{word}" for word in ("hidden=16", "width=8"))
FRAMES += tuple(f"objectives.frame_pixels.decoder.{word}" for word in ("width=32", "depth=1", "heads=2"))
FRAMES += tuple(f"streams.frame.tower.encoder.{word}" for word in ("width=32", "depth=1", "heads=2"))
FURTHER = {
    cross_video_mae: (*DECODER, *FRAMES, "masker.ratio=0.75", "streams.second.masker.ratio=0.75"),
    brave: TOWER,
    vic_mae: DECODER,
    moco: ("objectives.views.negatives.size=16",),
    rho_moco: (
        "objectives.views.negatives.size=16",
        "objectives.others.negatives.size=16",
        "objectives.others.hidden=16",
        "objectives.others.width=8",
    ),
}

EVERYTHING = '''
import chz
from tubelet.loading.colours import ColourAugment
from tubelet.loading.data import Data
from tubelet.loading.pairings import Again, Scrambled
from tubelet.maskers import Random
from tubelet.models.decoder import Decoder
from tubelet.models.encoder import Vit
from tubelet.objectives import Alternate, Criticised, InstanceContrast, Quantise, Queue, Regress
from tubelet.optim import Optim
from tubelet.recipes import Pretrain
from tubelet.streams import Own, Stream
from tubelet.teachers import Momentum
from tubelet.types import Clip
from tubelet.video.sampling import Sampling


def everything():
    """A second stream, a third with an encoder of its own, a teacher, a queue, a critic, a codebook, and objectives
    that take turns."""
    small, colours = Vit(width=32, depth=1, heads=2), ColourAugment()
    decoder = Decoder(width=32, depth=1, heads=2)
    return Pretrain(
        precision="fp32",
        clip=Clip(frames=4, size=32),
        data=Data(sampling=Sampling(stride=1), augment=colours),
        encoder=small,
        masker=Random(ratio=0.5),
        streams={
            "second": Stream(pairing=Again(augment=colours), masker=Random(ratio=0.25)),
            "third": Stream(pairing=Scrambled(), tower=Own(encoder=small)),
        },
        teacher=Momentum(decay=0.9),
        objectives={
            "pixels": Criticised(on=("clip", "second"), decoder=decoder, adversary=0.1, critic_width=16),
            "codes": Quantise(on=("clip", "second"), decoder=decoder, size=12, width=4, decay=0.9, patience=2),
            "views": InstanceContrast(
                by="teacher", negatives=Queue(size=7), against=("third",), hidden=16, width=8, temperature=0.5,
                when=Alternate(turn=0),
            ),
            "other": Regress(of=("clip", "third"), hidden=16, width=8, when=Alternate(turn=1)),
        },
        optim=Optim(base_lr=0.1, floor_lr=0.0),
        steps=20,
        batch=4,
        log_every=1,
        save_every=7,
    )
'''


@pytest.fixture(scope="module")
def everything(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("recipes") / "mine.py"
    path.write_text(EVERYTHING)
    return f"{path}:everything"


@pytest.mark.parametrize(
    "recipe", [simclr, moco, nnclr, cvrl, rho_moco, iic, lstcl, byol, brave, vic_mae, cross_video_mae]
)
def test_each_recipe_trains_its_encoder_and_its_head(tmp_path, corpus, recipe):
    words = (*SMALL, *FURTHER.get(recipe, ()), "steps=20", "optim.base_lr=0.1")
    run = tubelet.pretrain(recipe.__name__, *words, on=corpus, out=tmp_path / "run")
    assert run.finished
    records = steps(tmp_path / "run")
    assert len(records) == 20
    for record in records:
        assert all(math.isfinite(record[f"views{term}"]) for term in ("", ".baseline", ".rank", ".std"))
        assert 1 <= record["views.rank"] <= 4 + 1e-3
    before = fresh_task(run.config, None).state_dict()
    after = {name.removeprefix("task."): value for name, value in tensors(tmp_path / "run").items()}
    trained = ["encoder.blocks.0.mlp.up.weight", *(name for name in before if "objectives.views.project" in name)]
    trained += [name for name in before if name.startswith("towers.") and name.endswith("qkv.weight")]
    trained += [name for name in before if name.startswith("teacher.") and name.endswith("qkv.weight")]
    for name in trained:
        assert not torch.equal(before[name], after[name]), name
    titles = load_looks(tmp_path / "run").titles.tolist()
    assert {f"{name}: visible" for name in ("clip", *run.config.streams)} <= {*titles}
    if recipe is vic_mae:
        assert "second: reconstruction" in titles
        assert records[-1]["loss"] == pytest.approx(0.97 * records[-1]["pixels"] + 0.03 * records[-1]["views"])


def test_with_everything_at_once_a_run_killed_at_a_random_step_goes_on_bit_for_bit(tmp_path, corpus, everything):
    """Two further streams, a running average, a queue, a critic, a codebook, and objectives that take turns."""
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert tubelet.pretrain(everything, on=corpus, out=whole).finished
    process = start(everything, "--on", corpus, "--out", cut)
    wait_for_step(process, cut, int(np.random.default_rng().integers(1, 16)))
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert checkpoint_step(cut / CHECKPOINT) < 20
    assert tubelet.pretrain(everything, on=corpus, out=cut).finished
    assert_identical(whole, cut)
    kept = tensors(whole)
    assert kept["task.objectives.views.negatives.filled"].item() == 7
    assert kept["task.objectives.views.keys.steps"].item() == 20
    assert 1 < steps(whole)[-1]["codes.perplexity"] <= 12
    for record, other in zip(steps(whole), steps(cut), strict=True):
        assert record["loss"] == other["loss"]
        assert ("views" in record) == (record["step"] % 2 == 1) == ("other" not in record)


def test_pictures_of_streams_are_drawn_by_an_evaluation_too_where_there_are_none_or_with_reconstruction(
    tmp_path, corpus, everything
):
    run = tmp_path / "run"
    tubelet.pretrain(everything, "steps=2", on=corpus, out=run)
    drawn, file = load_looks(run).pictures, run / "pictures" / "looks.npz"
    file.unlink()  # as of a run of an older version
    tubelet.evaluate(run, "knn")
    assert (load_looks(run).pictures == drawn).all()
    before = file.stat().st_mtime_ns
    tubelet.evaluate(run, "knn")
    assert file.stat().st_mtime_ns == before
    tubelet.evaluate(run, "reconstruction")
    assert file.stat().st_mtime_ns > before
    rows = [
        {"id": video.id, "path": video.path, "start": 0.0, "end": 1.0, "split": video.split}
        for video in Corpus.open(corpus).videos[1:]
    ]
    elsewhere = write_corpus(tmp_path / "other", "other", rows)
    file.unlink()
    tubelet.evaluate(run, "reconstruction", on=elsewhere.folder)
    assert not file.exists(), "they are of the run's own corpus"


def test_with_everything_at_once_two_ranks_train_what_one_trains(tmp_path, corpus, everything):
    one, two = tmp_path / "one", tmp_path / "two"
    words = (everything, "steps=6", "objectives.views.when=Always", "objectives.other.when=Always", "--on", corpus)
    code, said = torchrun(*words, "batch=2", "--out", two)
    assert code == 0, said
    assert pretrain(*words, "batch=4", "--out", one) == 0
    terms = (
        "pixels",
        "pixels.true",
        "pixels.predicted",
        "codes",
        "codes.commitment",
        "codes.perplexity",
        "views",
        "views.baseline",
        "views.accuracy",
        "views.rank",
        "views.std",
        "other",
        "other.baseline",
    )
    assert_close(one, two, terms)
    ours, theirs = tensors(one), tensors(two)
    name = "task.objectives.views.negatives."
    assert torch.equal(ours[f"{name}numbers"], theirs[f"{name}numbers"])
    torch.testing.assert_close(ours[f"{name}rows"], theirs[f"{name}rows"], atol=2e-5, rtol=0)
    name = "task.objectives.codes.codebook."
    assert torch.equal(ours[f"{name}idle"], theirs[f"{name}idle"])
    torch.testing.assert_close(ours[f"{name}codes"], theirs[f"{name}codes"], atol=2e-5, rtol=0)


def test_with_everything_at_once_bf16_begins_with_the_losses_of_fp32(tmp_path, corpus, everything):
    """Critic, codebook, queue and heads under autocast."""
    words = ("steps=2", "objectives.views.when=Always", "objectives.other.when=Always", "--on", corpus)
    for precision in ("fp32", "bf16"):
        out = tmp_path / precision
        assert pretrain(everything, *words, f"precision={precision}", "--out", out) == 0
    exact, rough = (steps(tmp_path / precision)[0] for precision in ("fp32", "bf16"))
    for name in ("pixels", "pixels.baseline", "codes", "codes.commitment", "views", "views.baseline", "other"):
        assert rough[name] == pytest.approx(exact[name], rel=0.05), name
    for name in ("pixels.true", "pixels.predicted"):
        assert rough[name] == pytest.approx(exact[name], abs=0.02), name
    assert rough["pixels"] != exact["pixels"]


def test_turns_are_of_steps_of_the_optimizer_whatever_is_accumulated(tmp_path, corpus, everything):
    words = (everything, "steps=4", "batch=2", "accumulate=2", "--on", corpus)
    assert pretrain(*words, "--out", tmp_path / "run") == 0
    assert ["views" in record for record in steps(tmp_path / "run")] == [True, False, True, False]


@pytest.mark.slow
def test_with_objectives_that_take_turns_two_ranks_find_a_gradient_of_every_weight(tmp_path, corpus, everything):
    code, said = torchrun(everything, "steps=4", "batch=2", "--on", corpus, "--out", tmp_path / "run")
    assert code == 0, said
    assert ["views" in record for record in steps(tmp_path / "run")] == [True, False, True, False]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_with_everything_at_once_two_ranks_killed_at_a_random_step_go_on_bit_for_bit(tmp_path, corpus, everything):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    words = (everything, "batch=2", "--on", corpus)
    code, said = torchrun(*words, "--out", whole)
    assert code == 0, said
    process = start_ranks("pretrain", *words, "--out", cut)
    wait_for_step(process, cut, int(np.random.default_rng().integers(1, 16)))
    kill_ranks(process)
    assert not (cut / CHECKPOINT).exists() or checkpoint_step(cut / CHECKPOINT) < 20
    code, said = torchrun(*words, "--out", cut)
    assert code == 0, said
    assert_identical(whole, cut)
    for record, other in zip(steps(whole), steps(cut), strict=True):
        assert record["loss"] == other["loss"]
