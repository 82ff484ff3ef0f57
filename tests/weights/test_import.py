"""`tubelet import` makes a run of weights from elsewhere, and a run begins with them: `init=`."""

import json

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

import tubelet
from support.foreign import config_of, official_state, pixels_of, random_model, saved, video_of
from tubelet.cli import main
from tubelet.corpus.write import write_corpus
from tubelet.models.patches import position_table
from tubelet.runs.folder import load_task, read_run_config
from tubelet.runs.init import init_source, load_init_weights, resolve_init
from tubelet.video.writer import write_video

RECIPE = '''
from tubelet.loading.data import Data
from tubelet.video.sampling import Sampling
from tubelet.maskers import Tube
from tubelet.models.decoder import Decoder
from tubelet.models.encoder import Vit
from tubelet.objectives import Pixels
from tubelet.recipes import Pretrain
from tubelet.types import Clip


def same():
    """The model of the weights that the tests make."""
    return Pretrain(
        precision="fp32",
        clip=Clip(frames=4, size=32, tubelet_size=8),
        data=Data(sampling=Sampling(stride=1)),
        encoder=Vit(width=32, depth=2, heads=4, layer_norm_eps=1e-12),
        masker=Tube(ratio=0.5),
        objectives={"pixels": Pixels(decoder=Decoder(width=24, depth=1, heads=2, layer_norm_eps=1e-12))},
        steps=1,
        batch=2,
    )
'''


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    path = tmp_path_factory.mktemp("recipes") / "mine.py"
    path.write_text(RECIPE)
    return path


@pytest.fixture(scope="module")
def model():
    return random_model("VideoMAEForPreTraining", config_of())


@pytest.fixture(scope="module")
def folder(tmp_path_factory, model):
    return saved(model, tmp_path_factory.mktemp("transformers") / "model")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    rows = []
    for index in range(8):
        frames = np.random.default_rng(index).integers(0, 256, (6, 32, 32, 3)).astype(np.uint8)
        write_video(folder / f"{index}.mp4", frames, 8.0)
        rows.append({"id": f"{index}", "path": folder / f"{index}.mp4", "end": 0.75, "fps": 8.0, "frames": 6,
                     "width": 32, "height": 32, "label": f"class {index % 2}",
                     "split": "train" if index < 4 else "test"})  # fmt: skip
    return write_corpus(folder, "small", rows)


@pytest.fixture(scope="module")
def imported(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "imported"
    assert main(["import", str(folder), "--out", str(out), "data.sampling.stride=1"]) == 0
    return out


@torch.no_grad()
def tokens(model, video):
    return model.videomae(pixels_of(video)).last_hidden_state


def close(found, expected):
    assert (found - expected).abs().max() <= 1e-6 * expected.abs().max()


def test_an_imported_folder_is_a_run_for_every_command(imported, corpus, model, tmp_path, capsys):
    encoder = tubelet.load_encoder(imported)
    with torch.no_grad():
        close(encoder.encode(video_of()), tokens(model, video_of()))
    assert encoder.sampling.stride == 1
    assert main(["evaluate", str(imported), "knn", "linear", "reconstruction", "--on", str(corpus.folder)]) == 0
    assert "of small, the encoder was trained on: unknown" in capsys.readouterr().out
    features = tmp_path / "features.parquet"
    assert main(["embed", str(imported), str(corpus.folder), "--out", str(features)]) == 0
    capsys.readouterr()
    assert main(["masks", str(corpus.folder), "Tube", "--like", str(imported), "--clips", "2", "--pictures", "1"]) == 0
    assert "32-wide, 2-deep encoder" in capsys.readouterr().out
    assert main(["report", str(imported), "--out", str(tmp_path / "report.html")]) == 0
    page = (tmp_path / "report.html").read_text()
    assert "imported" in page
    assert f"tubelet import {json.loads((imported / 'import.json').read_text())['source']}" in page
    assert main(["evaluate", str(imported), "knn"]) == 2
    assert "--on CORPUS" in capsys.readouterr().err


def test_an_encoder_without_a_decoder_is_imported_too(corpus, tmp_path, capsys):
    torch.save({"model": official_state(classes=3)}, tmp_path / "fine.pth")
    words = ["import", str(tmp_path / "fine.pth"), "--trained-on", "4x32", "encoder.heads=4"]
    assert main([*words, "--out", str(tmp_path / "run")]) == 0
    out = capsys.readouterr().out
    assert "classifier: 3 classes" in out
    assert "official layout" in out
    assert main(["evaluate", str(tmp_path / "run"), "knn", "--on", str(corpus.folder)]) == 0
    assert main(["evaluate", str(tmp_path / "run"), "reconstruction", "--on", str(corpus.folder)]) == 2
    assert "no objective `pixels`" in capsys.readouterr().err
    assert read_run_config(tmp_path / "run").config.encoder.final_norm is False
    assert main([*words, "--out", str(tmp_path / "run")]) == 2
    assert "exists" in capsys.readouterr().err


def test_what_cannot_be_imported_leaves_nothing(tmp_path, capsys):
    (tmp_path / "bad.safetensors").write_bytes(b"no weights")
    for words in ([str(tmp_path / "bad.safetensors")], [str(tmp_path / "none.pth")]):
        assert main(["import", *words, "--out", str(tmp_path / "run")]) == 2
        assert capsys.readouterr().err.count("\n") == 1
        assert not (tmp_path / "run").exists()


def test_at_another_clip_size_the_positions_are_interpolated_and_it_is_said(folder, tmp_path, capsys):
    run = tmp_path / "run"
    assert main(["import", str(folder), "--out", str(run), "clip.size=48", "clip.frames=8"]) == 0
    assert "positions: the table of 2x4x4 interpolated to 4x6x6" in capsys.readouterr().out
    table = position_table(32, 32).T.reshape(1, 32, 2, 4, 4).double()
    expected = interpolate(table, (4, 6, 6), mode="trilinear").flatten(2)[0].T.float()
    encoder = tubelet.load_encoder(run)
    torch.testing.assert_close(encoder.positions, expected, atol=1e-6, rtol=0)
    assert (
        main(["import", str(folder), "--out", str(tmp_path / "own"), "clip.size=48", "encoder.positions_of=2,6,6"]) == 0
    )
    assert torch.equal(tubelet.load_encoder(tmp_path / "own").positions, position_table(72, 32))


def begin(recipe, init, *words):
    """The task as a run begins it, and what is said."""
    from tubelet.config import override
    from tubelet.recipes import RECIPES
    from tubelet.recipes.find import find
    from tubelet.runs.pretrain import fresh_task

    config, found = resolve_init(
        override(find(f"{recipe}:same", RECIPES)[1](), [f"init={init}", *words]), recipe.parent / "x"
    )
    task = fresh_task(config, None).eval()
    return task, load_init_weights(task, found)


def test_a_warm_start_has_the_features_and_the_reconstruction_of_the_source_at_step_0(recipe, folder, model):
    task, lines = begin(recipe, folder)
    with torch.no_grad():
        close(task.encoder.encode(video_of()), tokens(model, video_of()))
    decoder = dict(task.named_modules())["objectives.pixels.decoder"]
    assert torch.equal(decoder.project.weight, model.encoder_to_decoder.weight)
    assert any("taken: encoder (30 tensors), objectives.pixels (" in line for line in lines)


def test_a_warm_start_says_what_is_interpolated_new_and_left(recipe, folder, imported, tmp_path):
    _, lines = begin(recipe, folder, "clip.size=48", "encoder.layer_norm_eps=1e-6")
    said = "\n".join(lines)
    assert "encoder: the position table of 2x4x4 is interpolated to 2x6x6" in said
    assert "objectives.pixels.decoder: the position table of 2x4x4" in said
    assert "set encoder.layer_norm_eps=1e-12" in said
    _, lines = begin(recipe, folder, "objectives.pixels.decoder.depth=2")
    assert "new: objectives.pixels (decoder.blocks.1" in "\n".join(lines)
    torch.save(official_state(classes=3), tmp_path / "fine.pth")
    assert (
        main(
            ["import", str(tmp_path / "fine.pth"), "--trained-on=4x32", "encoder.heads=4", "--out", str(tmp_path / "f")]
        )
        == 0
    )
    _, lines = begin(recipe, tmp_path / "f", "encoder.final_norm=False")
    assert "new: objectives.pixels (not in the source)" in "\n".join(lines)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["encoder.heads=2"], "set encoder.heads=4"),
        (["encoder.depth=3"], r"blocks.2.attention.q_bias is missing"),
        (["encoder.final_norm=False"], "set encoder.final_norm=True"),
        (["clip.tubelet_size=16"], "embed.weight is (32, 384), not (32, 1536)"),
    ],
)
def test_another_encoder_is_refused_with_what_differs(recipe, folder, corpus, tmp_path, capsys, words, said):
    command = ["pretrain", f"{recipe}:same", f"init={folder}", *words, "--on", str(corpus.folder)]
    assert main([*command, "--out", str(tmp_path / "run")]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_recipe_without_any_objective_is_not_trained(recipe, corpus, tmp_path, capsys):
    words = [f"{recipe}:same", "objectives.pixels.weight=0", "--on", str(corpus.folder), "--out", str(tmp_path / "run")]
    assert main(["pretrain", *words]) == 2
    assert "nothing to train" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_run_that_began_with_foreign_weights_goes_on_without_them(recipe, model, corpus, tmp_path, capsys):
    weights = saved(model, tmp_path / "weights")
    words = [
        f"{recipe}:same",
        f"init={weights}",
        "clip.size=48",
        "--on",
        str(corpus.folder),
        "--out",
        str(tmp_path / "run"),
    ]
    assert main(["pretrain", *words]) == 0
    assert "is interpolated to 2x6x6" in capsys.readouterr().err
    weights.rename(tmp_path / "gone")
    assert main(["pretrain", *words]) == 0
    assert "is finished" in capsys.readouterr().err
    config, _ = load_task(tmp_path / "run")
    assert config.encoder.positions_of == (2, 4, 4)
    assert init_source(str(tmp_path / "run")).encoder == config.encoder
