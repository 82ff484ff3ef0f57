"""Weights of other code, in every layout they come in, give the outputs of that code, and go back bit for bit."""

import argparse
import json
import pickle
import re

import pytest
import torch
from safetensors.torch import save_file

from support.foreign import (
    CLIP,
    DECODER,
    ENCODER,
    config_of,
    mmaction_state,
    official_state,
    official_tokens,
    pixels_of,
    random_model,
    saved,
    video_of,
)
from tubelet.errors import WeightsError
from tubelet.models.patches import position_table
from tubelet.types import Clip
from tubelet.weights import LAYOUTS, read_weights
from tubelet.weights.layouts import to_layout

KINDS = ("VideoMAEModel", "VideoMAEForPreTraining", "VideoMAEForVideoClassification")


def encoder_from(weights, clip=None):
    encoder = weights.encoder.build(clip or weights.clip).eval()
    encoder.load_state_dict(weights.part("encoder"))
    return encoder


def back(weights):
    """The weights once more in the layout they came in."""
    return to_layout(
        {k: v.flatten(1) if k == "encoder.embed.weight" else v for k, v in weights.tensors.items()},
        LAYOUTS[weights.layout],
        weights.clip,
    )


@torch.no_grad()
def assert_same_tokens(weights, expected, relative=1e-6):
    found = encoder_from(weights).encode(video_of())
    assert (found - expected).abs().max() <= relative * expected.abs().max()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("pooled", [False, True])
def test_a_folder_of_transformers_gives_its_features(tmp_path, kind, pooled):
    config = config_of(use_mean_pooling=pooled, num_labels=5, id2label={i: f"class {i}" for i in range(5)})
    model = random_model(kind, config)
    weights = read_weights(saved(model, tmp_path / "model"))
    inner = model if kind == "VideoMAEModel" else model.videomae
    with torch.no_grad():
        assert_same_tokens(weights, inner(pixels_of(video_of())).last_hidden_state)
    assert weights.clip == CLIP
    assert (weights.encoder.heads, weights.encoder.layer_norm_eps) == (4, 1e-12)
    assert weights.encoder.final_norm is not pooled
    assert (weights.decoder is not None) == (kind == "VideoMAEForPreTraining")
    assert weights.classes == (tuple(f"class {i}" for i in range(5)) if "Classification" in kind else ())
    state = model.state_dict()
    if kind == "VideoMAEModel":
        state = {f"videomae.{name}": value for name, value in state.items()}
    assert back(weights).keys() == state.keys()
    for name, value in back(weights).items():
        assert torch.equal(value, state[name]), name


def test_transformers_4_named_the_biases_otherwise_and_kept_pickles(tmp_path):
    model = random_model("VideoMAEForPreTraining", config_of())
    saved(model, tmp_path)
    (tmp_path / "model.safetensors").unlink()
    state = model.state_dict()
    old = {n.replace("query.bias", "q_bias").replace("value.bias", "v_bias"): value for n, value in state.items()}
    assert old.keys() != state.keys()
    torch.save(old, tmp_path / "pytorch_model.bin")
    for name, value in back(read_weights(tmp_path)).items():
        assert torch.equal(value, state[name]), name


def test_a_folder_in_pieces_is_read_whole(tmp_path):
    model = random_model("VideoMAEForPreTraining", config_of())
    model.save_pretrained(tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    assert back(read_weights(tmp_path)).keys() == model.state_dict().keys()
    next(tmp_path.glob("*-00002-*.safetensors")).unlink()
    with pytest.raises(WeightsError, match=r"there is no file .*-00002-"):
        read_weights(tmp_path)


@pytest.mark.parametrize("key", ["model", "module", "state_dict", None])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_an_official_file_for_pretraining(tmp_path, key, prefix):
    state = official_state(decoder=DECODER)
    content = {f"{prefix}{name}": value for name, value in state.items()}
    if key:
        content = {key: content, "epoch": 799, "args": argparse.Namespace(model="pretrain_videomae", lr=1e-3),
                   "optimizer": {"state": {}, "param_groups": []}}  # fmt: skip
    torch.save(content, tmp_path / "checkpoint.pth")
    weights = read_weights(tmp_path / "checkpoint.pth", frames=4, size=32)
    assert (weights.layout, weights.encoder.width, weights.encoder.depth) == ("official", 32, 2)
    assert (weights.decoder.width, weights.decoder.depth, weights.encoder.layer_norm_eps) == (24, 1, 1e-6)
    assert {name: tuple(value.shape) for name, value in back(weights).items()} == {
        name: tuple(value.shape) for name, value in state.items()
    }
    for name, value in back(weights).items():
        assert torch.equal(value, state[name]), name


@pytest.mark.parametrize("prefix", ["", "encoder.", "backbone.", "module.backbone.", "model."])
def test_an_official_encoder_alone_under_any_prefix_gives_its_tokens(tmp_path, prefix):
    encoder = {"width": 192, "depth": 1, "heads": 3}
    config = type(ENCODER)(**encoder)
    state = official_state(encoder=config)
    torch.save({"model": {prefix + name: value for name, value in state.items()}}, tmp_path / "encoder.pth")
    weights = read_weights(tmp_path / "encoder.pth", frames=4, size=32)
    assert weights.encoder.heads == 3
    assert not weights.encoder.final_norm
    assert_same_tokens(weights, official_tokens(state, pixels_of(video_of()), 3))


@pytest.mark.parametrize("layout", ["official", "mmaction2"])
def test_a_fine_tuned_file_gives_tokens_classifier_and_itself(tmp_path, layout):
    encoder = type(ENCODER)(width=192, depth=1, heads=3)
    official = official_state(encoder=encoder, classes=7)
    state = mmaction_state(official) if layout == "mmaction2" else official
    stored = (
        {**state, "backbone.pos_embed": position_table(CLIP.num_tubelets, 192)[None]}
        if state is not official
        else state
    )
    torch.save({"meta": {"epoch": 1}, "state_dict": stored}, tmp_path / "fine.pth")
    weights = read_weights(tmp_path / "fine.pth", frames=4, size=32)
    assert weights.layout == layout
    assert weights.classes == tuple("0123456")
    assert_same_tokens(weights, official_tokens(official, pixels_of(video_of()), 3))
    again = back(weights)
    prefix = "encoder." if layout == "official" else ""
    for name, value in stored.items():
        name = name if name.startswith(("fc_norm.", "head.")) else prefix + name
        assert torch.equal(again.pop(name), value), name
    assert not again


def test_a_folder_of_v2s_remote_code_on_the_hub_is_read_without_running_it(tmp_path):
    encoder = type(ENCODER)(width=40, depth=1, heads=2)
    state = official_state(encoder=encoder, classes=2)
    named = {f"model.{name}": value for name, value in state.items() if not name.startswith("head.")}
    save_file(named, tmp_path / "model.safetensors")
    sizes = {"img_size": 32, "num_frames": 4, "embed_dim": 40, "depth": 1, "num_heads": 2, "cos_attn": False}
    about = {"model_type": "VideoMAEv2_Base", "auto_map": {"AutoModel": "trap.Trap"}, "model_config": sizes}
    (tmp_path / "config.json").write_text(json.dumps(about))
    (tmp_path / "trap.py").write_text("raise SystemExit('run')")
    weights = read_weights(tmp_path)
    assert (weights.clip, weights.encoder.heads) == (CLIP, 2)
    assert_same_tokens(weights, official_tokens(state, pixels_of(video_of()), 2))


def test_half_precision_and_a_model_without_biases_are_taken_and_said(tmp_path):
    config = config_of(qv_bias=False)
    model = random_model("VideoMAEModel", config)
    model.save_pretrained(tmp_path / "plain")
    weights = read_weights(tmp_path / "plain")
    with torch.no_grad():
        assert_same_tokens(weights, model(pixels_of(video_of())).last_hidden_state)
    model.half().save_pretrained(tmp_path / "half")
    assert any("float16" in remark for remark in read_weights(tmp_path / "half").remarks)


def test_pixels_normalised_otherwise_are_taken_into_the_first_layer(tmp_path):
    model = random_model("VideoMAEModel", config_of())
    saved(model, tmp_path)
    path = tmp_path / "preprocessor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"image_mean": [0.5] * 3, "image_std": [0.4, 0.5, 0.6]}))
    weights = read_weights(tmp_path)
    std = torch.tensor([0.4, 0.5, 0.6]).view(3, 1, 1, 1)
    with torch.no_grad():
        expected = model(((video_of() / 255 - 0.5) / std).transpose(1, 2)).last_hidden_state
    assert_same_tokens(weights, expected, 5e-6)
    assert any("taken into the first layer" in remark for remark in weights.remarks)


# What is refused


def damaged(state, change):
    state = dict(state)
    change(state)
    return state


def transpose(name):
    return lambda state: state.update({name: state[name].mT.contiguous()})


FAULTS = {
    "encoder.blocks.1.attn.q_bias is missing": lambda s: [s.pop(f"encoder.blocks.1.attn.{b}_bias") for b in "qv"],
    r"decoder.head.weight is \(24, 384\), not \(384, 24\)": transpose("decoder.head.weight"),
    r"encoder.blocks.0.mlp.fc1.weight is \(32, 128\), not": transpose("encoder.blocks.0.mlp.fc1.weight"),
    "encoder.blocks.0.norm1.weight is missing": lambda s: [s.pop(n) for n in list(s) if ".blocks.0.n" in n],
    "encoder.blocks.0.gamma_1": lambda s: s.update({"encoder.blocks.0.gamma_1": torch.ones(32)}),
    "no sinusoid": lambda s: s.update({"encoder.pos_embed": torch.zeros(1, 32, 32)}),
    "encoder.norm.bias is missing": lambda s: s.pop("encoder.norm.bias"),
    "mask_token holds values that are not finite": lambda s: s["mask_token"].fill_(torch.nan),
    "kernel of the patch embedding is missing": lambda s: s.pop("encoder.patch_embed.proj.weight"),
    "twice": lambda s: s.update({"module.mask_token": s["mask_token"]}),
}  # fmt: skip


@pytest.mark.parametrize("said", FAULTS)
def test_a_state_that_is_not_exactly_the_model_is_refused_in_one_line_that_names_the_tensor(tmp_path, said):
    state = damaged(official_state(decoder=DECODER), FAULTS[said])
    save_file({name: value.clone() for name, value in state.items()}, tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match=said) as error:
        read_weights(tmp_path, frames=4, size=32)
    assert "\n" not in str(error.value)
    assert str(tmp_path) in str(error.value)


def test_a_folder_whose_config_has_another_depth_is_refused(tmp_path):
    saved(random_model("VideoMAEForPreTraining", config_of()), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 3}))
    with pytest.raises(WeightsError, match=r"depth 2 .* config\.json says depth 3"):
        read_weights(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config | {"model_type": "vivit"}))
    with pytest.raises(WeightsError, match="vivit"):
        read_weights(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(WeightsError, match=r"config\.json is damaged"):
        read_weights(tmp_path)


def test_dropped_biases_and_pieces_of_transformers_are_named_in_its_words(tmp_path):
    state = random_model("VideoMAEForPreTraining", config_of()).state_dict()
    at = "videomae.encoder.layer.1.attention.attention"
    for gone in ("query.bias", "key.weight"):
        save_file({n: v for n, v in state.items() if n != f"{at}.{gone}"}, tmp_path / "model.safetensors")
        config_of().save_pretrained(tmp_path)
        with pytest.raises(WeightsError, match=rf"{at}\.{gone} is missing"):
            read_weights(tmp_path)


class Code:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_a_pickle_with_code_in_it_is_refused_and_nothing_of_it_runs(tmp_path):
    trap, path = tmp_path / "trap", tmp_path / "checkpoint.pth"
    torch.save({"model": official_state(), "args": Code(trap)}, path)
    with pytest.raises(WeightsError, match=r"pickle that would run (io|_io|builtins)\.open") as error:
        read_weights(path)
    assert "\n" not in str(error.value)
    path.write_bytes(pickle.dumps(Code(trap)))
    with pytest.raises(WeightsError, match=re.escape(str(path))):
        read_weights(path)
    assert not trap.exists()


def test_the_one_class_that_is_let_in_is_let_in_here_alone(tmp_path):
    torch.save({"args": argparse.Namespace(a=1)}, tmp_path / "x.pth")
    with pytest.raises(WeightsError, match="no weights by name"):
        read_weights(tmp_path / "x.pth")
    with pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / "x.pth", weights_only=True)


def test_damaged_files_are_one_line(tmp_path):
    saved(random_model("VideoMAEModel", config_of()), tmp_path)
    path = tmp_path / "model.safetensors"
    whole = path.read_bytes()
    for size in (0, 5, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(WeightsError, match="cannot be read as safetensors") as error:
            read_weights(tmp_path)
        assert "\n" not in str(error.value)
    torch.save(official_state(), tmp_path / "whole.pth")
    whole = (tmp_path / "whole.pth").read_bytes()
    for size in (0, 7, len(whole) // 2, len(whole) - 30):
        (tmp_path / "cut.pth").write_bytes(whole[:size])
        with pytest.raises(WeightsError, match=r"cut\.pth") as error:
            read_weights(tmp_path / "cut.pth")
        assert "\n" not in str(error.value)


def test_what_is_no_videomae_is_said(tmp_path):
    save_file({"a.weight": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match=r"holds no VideoMAE that is known here .*a\.weight"):
        read_weights(tmp_path / "other.safetensors")
    (tmp_path / "empty").mkdir()
    with pytest.raises(WeightsError, match="no weights"):
        read_weights(tmp_path / "empty")
    for name in ("one.pth", "two.pth"):
        torch.save(official_state(), tmp_path / "empty" / name)
    with pytest.raises(WeightsError, match=r"one\.pth, two\.pth"):
        read_weights(tmp_path / "empty")
    for name in ("nowhere/at/all", "nowhere.pth"):
        with pytest.raises(WeightsError, match="there is no file or folder"):
            read_weights(name)


def test_a_hub_name_is_read_from_the_local_cache(tmp_path, monkeypatch):
    from huggingface_hub import constants

    folder = tmp_path / "models--owner--name"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("0" * 40)
    model = random_model("VideoMAEModel", config_of())
    saved(model, folder / "snapshots" / ("0" * 40))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with torch.no_grad():
        assert_same_tokens(read_weights("owner/name"), model(pixels_of(video_of())).last_hidden_state)
    with pytest.raises(WeightsError, match="neither in the local cache"):
        read_weights("owner/other")


def test_tubelets_and_mlp_of_the_published_giant_are_read_off_its_tensors(tmp_path):
    """V2's ViT-g has tubelets of 14 pixels and an MLP 48/11 as wide; here it is narrower."""
    giant = type(ENCODER)(width=88, depth=1, heads=1, mlp_ratio=48 / 11)
    state = official_state(clip=Clip(tubelet_size=14), encoder=giant)
    torch.save({"module": {f"backbone.{name}": value for name, value in state.items()}}, tmp_path / "g.pt")
    weights = read_weights(tmp_path / "g.pt")
    assert weights.clip.grid == (8, 16, 16)
    assert encoder_from(weights).blocks[0].mlp.up.weight.shape == (384, 88)
    assert any("heads" in remark for remark in weights.remarks)
