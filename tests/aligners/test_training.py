"""How aligners are trained: hard negatives, early stop, interruption, and fine-tuning of small CLIPs and SigLIPs."""

import json
import math
from pathlib import Path

import chz
import numpy as np
import pytest
import torch
from test_learned import SMALL, coloured

from support.random_clips import random_model, tokenizer
from tubelet.aligners.base import open_aligner
from tubelet.aligners.clip import ClipAligner
from tubelet.aligners.config import ClipFinetuning, SmallAlignerTraining
from tubelet.aligners.examples import split_validation
from tubelet.aligners.finetuning import TrainableClip, open_for_training, tune
from tubelet.aligners.matching import info_nce
from tubelet.aligners.siglip import SiglipAligner
from tubelet.aligners.training import TrainingCheckpoint, train_small_aligner, validate
from tubelet.cli import main
from tubelet.corpus.table import Corpus
from tubelet.errors import CorpusError, RecipeError
from tubelet.stores.maps import Maps

transformers = pytest.importorskip("transformers")

TINY = chz.replace(SMALL, steps=8, batch=8)


def test_hard_negatives_count_by_their_likelihood_as_a_loop_over_the_paper_says() -> None:
    rng = np.random.default_rng(3)
    scores, column, beta = rng.normal(size=(5, 3)), np.array([0, 1, 1, 2, 0]), 0.7
    belongs = np.zeros((5, 3), bool)
    belongs[np.arange(5), column] = True
    belongs[3, :] = True  # a frame without a negative caption
    total = 0.0
    for frame in range(5):
        own = scores[frame, column[frame]]
        captions = [scores[frame, c] for c in range(3) if not belongs[frame, c]]
        frames = [scores[f, column[frame]] for f in range(5) if not belongs[f, column[frame]]]
        for others in (captions, frames):
            weights = np.exp(beta * np.array(others))
            negative = float((np.exp(others) * weights / weights.mean()).sum()) if others else 0.0
            total += math.log(math.exp(own) + negative) - own
    tensors = torch.from_numpy(scores).requires_grad_(), torch.from_numpy(column), torch.from_numpy(belongs)
    got = info_nce(*tensors, beta)
    assert float(got.detach()) == pytest.approx(total / 10)
    got.backward()
    assert torch.isfinite(tensors[0].grad).all()
    assert float(info_nce(*tensors, 0.0).detach()) < float(got.detach())


def test_early_stop_keeps_the_weights_that_were_best_for_pairs_it_never_trained_on() -> None:
    examples = coloured(20)[0]
    settings = chz.replace(TINY, steps=200, lr=0.05, patience=2, eval_every=1, val_fraction=0.3)
    aligner, curve = train_small_aligner(examples, settings)
    looks = [row for row in curve.rows if "held_out" in row]
    assert len(curve.rows) < 200
    assert curve.best == min(looks, key=lambda row: row["held_out"])["step"] == looks[-3]["step"]
    own, held = split_validation(examples, settings)
    assert not {video.group for video in own.videos} & {video.group for video in held.videos}
    assert len(own.videos) == 14
    again = validate(Still(aligner), held, settings)
    best = next(row for row in looks if row["step"] == curve.best)
    assert again["held_out"] == pytest.approx(best["held_out"], rel=1e-5)


class Still:
    """An aligner that is not trained any more, as `validate` asks for one."""

    def __init__(self, aligner) -> None:
        self.trained, self.module, self.side = aligner, aligner.towers, aligner.shape.side

    def aligner(self):
        return self.trained

    def log_scale(self):
        return self.module.log_scale

    def patches(self, frames): ...

    def texts(self, numbers, rng): ...


def test_too_few_videos_for_early_stop_are_said() -> None:
    with pytest.raises(CorpusError, match="train without patience, or hold out more with val_fraction"):
        train_small_aligner(coloured(4)[0], chz.replace(TINY, patience=1))
    with pytest.raises(RecipeError, match="val_fraction must lie between 0 and 1"):
        SmallAlignerTraining(val_fraction=1.0)


def test_an_interrupted_training_goes_on_bit_for_bit_and_takes_up_no_other(tmp_path: Path) -> None:
    examples = coloured(20)[0]
    settings = chz.replace(TINY, patience=9, eval_every=2, val_fraction=0.3)
    whole, curve = train_small_aligner(examples, settings)

    def stop(done: int, total: int, _: str) -> None:
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_small_aligner(examples, settings, stop, TrainingCheckpoint(tmp_path / "training.pt", "this"))
    other, _ = train_small_aligner(
        examples, chz.replace(settings, seed=1), checkpoint=TrainingCheckpoint(tmp_path / "training.pt", "another")
    )
    assert other.identity == train_small_aligner(examples, chz.replace(settings, seed=1))[0].identity
    steps: list[int] = []
    rest, curve_of_rest = train_small_aligner(
        examples, settings, lambda done, *_: steps.append(done), TrainingCheckpoint(tmp_path / "training.pt", "this")
    )
    assert steps[0] == 6
    assert rest.identity == whole.identity
    assert curve_of_rest == curve


# A CLIP or SigLIP of one's own


@pytest.fixture(scope="module", params=["clip", "siglip"])
def folder(request, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp(request.param)
    random_model(request.param, 2).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


def test_fine_tuning_lowers_the_contrast_and_trains_only_the_blocks_that_were_asked(folder: Path) -> None:
    examples = coloured(24)[0]
    for blocks in (None, 1, 0):
        aligner, settings = open_for_training(
            ClipFinetuning(model=str(folder), steps=12, batch=8, lr=2e-3, blocks=blocks, frames=1), device="cpu"
        )
        before = {name: value.clone() for name, value in aligner.model.state_dict().items()}
        tuned, curve = tune(aligner, examples, settings)
        losses = [row["loss"] for row in curve.rows]
        assert np.mean(losses[-4:]) < np.mean(losses[:4])
        assert tuned.identity != aligner.identity
        changed = {name for name, value in tuned.model.state_dict().items() if not torch.equal(value, before[name])}
        inside = {name for name in changed if ".layers." in name or "embeddings" in name or "pre_layrnorm" in name}
        if blocks == 0:
            assert not inside
        elif blocks == 1:
            assert inside
            assert all(".layers.1." in name or "text_model.encoder.layers.0." in name for name in inside)
        else:
            assert any("embeddings" in name for name in inside)
        assert changed - inside


def test_what_is_trained_is_what_maps_are_made_of(folder: Path) -> None:
    """The patches of a step are those of `patches` at the model's own size."""
    aligner, _ = open_for_training(ClipFinetuning(model=str(folder)), device="cpu")
    frames = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
    trained = TrainableClip(aligner, ["a dog"]).patches(torch.from_numpy(frames))
    torch.testing.assert_close(trained.reshape(2, 4, 4, -1), aligner.tokens(frames, 16, 16), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("folder", ["clip"], indirect=True)
def test_the_command_fine_tunes_makes_a_report_and_its_folder_is_the_aligner(folder: Path, tmp_path, capsys) -> None:
    corpus = str(tmp_path / "corpus")
    assert main(["synth", "--out", corpus, "--train", "8", "--test", "3", "--size", "32", "--frames", "8"]) == 0
    command = ["align", corpus, "--from", str(folder), "blocks=1", "steps=4", "batch=4", "lr=0.001"]
    command += ["patience=1", "eval_every=2", "val_fraction=0.3", "hardness=0.5"]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "recall at 1" in said
    assert "lowest validation loss" in said
    made = Path(corpus) / "aligner"
    about, page = json.loads((made / "aligner.json").read_text()), (made / "report.html").read_text()
    assert about["from"] == {
        "name": str(folder),
        "identity": open_for_training(ClipFinetuning(model=str(folder)))[0].identity,
    }
    for words in ("Retrieval on the test split", "the map of its caption", "data:image/jpeg", "hardness 0.5", "<svg"):
        assert words in page
    assert not (made / "training.pt").exists()
    assert main(command) == 0
    assert "holds this aligner already" in capsys.readouterr().out
    assert main(["align", corpus]) == 2
    assert "holds another aligner" in capsys.readouterr().err
    assert main(["saliency", corpus, "Text", "reading=upsample", "scorer=value"]) == 0
    opened_again = open_aligner(made, "upsample", "value")
    assert isinstance(opened_again, ClipAligner if about["family"] == "clip" else SiglipAligner)
    assert Maps.open(Corpus.open(corpus), "text").about["method"]["model"] == opened_again.identity
    assert open_aligner(made, "upsample").identity == about["identity"]
    plain = {"clip": "CLIPModel", "siglip": "SiglipModel"}[about["family"]]
    assert getattr(transformers, plain).from_pretrained(made).num_parameters() > 0


def test_options_that_do_not_go_together_are_said(tmp_path, capsys, monkeypatch) -> None:
    assert main(["synth", "--out", str(tmp_path), "--train", "2", "--test", "1", "--size", "32", "--frames", "8"]) == 0
    capsys.readouterr()
    monkeypatch.setattr("tubelet.aligners.pretrained.reachable", lambda: False)
    for words, reason in (
        (["--from", "no-such/clip"], "offline, give a local folder that holds them: --from PATH"),
        (["blocks=1"], "there is no option blocks"),
        (["--from", "x", "--seconds", "3"], "give steps= instead"),
        (["hardness=-1"], "hardness must be at least 0"),
    ):
        assert main(["align", str(tmp_path), *words]) == 2
        assert reason in capsys.readouterr().err
