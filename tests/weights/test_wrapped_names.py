"""Weights that were saved compiled or in parallel are the same weights; what does not fit says what would."""

import pytest
import torch
from safetensors.torch import load_file

from support.foreign import official_state
from tubelet.checkpoint import CHECKPOINT
from tubelet.cli import main
from tubelet.errors import RecipeError, WeightsError
from tubelet.models.encoder import Vit
from tubelet.weights import read_weights


def compiled(name: str) -> str:
    return f"_orig_mod.{name}"


def compiled_blocks(name: str) -> str:
    return name.replace("blocks.0.", "blocks.0._orig_mod.")


def parallel_and_compiled(name: str) -> str:
    return f"module._orig_mod.{name}"


def compiled_and_parallel(name: str) -> str:
    return f"_orig_mod.module.{name}"


@pytest.mark.parametrize("named", [compiled, compiled_blocks, parallel_and_compiled, compiled_and_parallel])
def test_prefixes_of_compile_and_of_parallel_training_are_left_out(named, tmp_path, capsys):
    state = official_state(classes=3)
    torch.save({"model": state}, tmp_path / "plain.pth")
    torch.save({"model": {named(name): value for name, value in state.items()}}, tmp_path / "named.pth")
    for name in ("plain", "named"):
        words = ["import", str(tmp_path / f"{name}.pth"), "--trained-on=4x32", "encoder.heads=4"]
        assert main([*words, "--out", str(tmp_path / name)]) == 0, capsys.readouterr().err
    assert "its names carry `_orig_mod.`" in capsys.readouterr().out
    plain, renamed = (load_file(tmp_path / name / CHECKPOINT) for name in ("plain", "named"))
    assert plain.keys() == renamed.keys()
    assert all(torch.equal(value, renamed[name]) for name, value in plain.items())


def test_weights_that_are_there_with_and_without_it_are_refused(tmp_path):
    state = official_state(classes=3)
    torch.save({"model": {**state, **{compiled(name): value for name, value in state.items()}}}, tmp_path / "twice.pth")
    with pytest.raises(WeightsError, match="holds weights twice"):
        read_weights(tmp_path / "twice.pth", frames=4, size=32)


@pytest.mark.parametrize(
    ("width", "heads"), [(192, 3), (768, 12), (1408, 16), (100, 1), (200, 4), (48, 1), (320, 5), (97, 1)]
)
def test_a_hint_about_heads_fits_the_width(width, heads):
    with pytest.raises(
        RecipeError, match=rf"encoder.width={width} must be .* for this width set encoder.heads={heads}$"
    ):
        Vit(width=width, heads=7 if width % 7 else 11)
    assert Vit(width=width, heads=heads).heads == heads


def test_another_size_names_the_size_that_fits(tmp_path, capsys):
    torch.save({"model": official_state()}, tmp_path / "small.pth")
    words = [
        "import",
        str(tmp_path / "small.pth"),
        "--trained-on=4x32",
        "encoder.heads=4",
        "--out",
        str(tmp_path / "run"),
    ]
    assert main(words) == 0
    clip = ["clip.frames=4", "clip.size=32", "clip.tubelet_size=8", "encoder.final_norm=False"]
    synth = ["synth", "--out", str(tmp_path / "synth"), "--train", "4", "--test", "2", "--size", "32", "--frames", "12"]
    assert main([*synth, "--workers", "1"]) == 0
    capsys.readouterr()
    words = ["pretrain", "tiny", f"init={tmp_path / 'run'}", *clip, "--on", str(tmp_path / "synth")]
    assert main([*words, "--out", str(tmp_path / "more")]) == 2
    said = capsys.readouterr().err
    assert "set encoder.width=32 encoder.depth=2 encoder.heads=4" in said
