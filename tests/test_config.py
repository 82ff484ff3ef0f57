"""`key=value` on a recipe: typed, near names suggested, nothing of a replaced part left."""

import json
import typing

import chz
import pytest

from tubelet.config import describe, from_plain, override, to_plain
from tubelet.errors import RecipeError
from tubelet.maskers import MASKERS, Random, RunningCell, Text, Tube
from tubelet.models.encoder import Small, Tiny
from tubelet.objectives import Contrast
from tubelet.recipes import RECIPES, Pretrain, text_guided, tiny, tiny_text_guided, videomae

SHOWN = {
    "objectives.contrast.weight=0": {"objectives.contrast.weight": 0.0},
    "masker=Tube": {"masker": "Tube", "masker.ratio": 0.9},
    "masker.ratio=0.75": {"masker.ratio": 0.75},
    "clip.size=112": {"clip.size": 112},
    "clip.frames=8": {"clip.frames": 8},
}


@pytest.mark.parametrize("recipe", [text_guided, tiny_text_guided])
@pytest.mark.parametrize("word", SHOWN)
def test_one_word_changes_one_thing(recipe, word):
    before, after = to_plain(recipe()), to_plain(override(recipe(), [word]))
    changed = {path: value for path, value in after.items() if before.get(path, "absent") != value}
    assert changed == {path: value for path, value in SHOWN[word].items() if before.get(path, "absent") != value}
    assert changed or recipe is tiny_text_guided  # whose clips have 8 frames already


@pytest.mark.parametrize("recipe", [text_guided, tiny_text_guided])
def test_the_five_words_together(recipe):
    config = override(recipe(), list(SHOWN))
    assert config.masker == Tube(ratio=0.75)
    assert (config.clip.size, config.clip.frames) == (112, 8)
    assert not config.needs_text
    assert config.objectives["pixels"] == recipe().objectives["pixels"]


@pytest.mark.parametrize("old", MASKERS)
@pytest.mark.parametrize("new", MASKERS)
def test_a_swapped_masker_is_the_new_one_with_nothing_of_the_old(old, new):
    """Whatever the old one was set to."""
    fields = chz.chz_fields(old)
    changed = {name: 0.3125 for name, field in fields.items() if field.final_type is float}
    config = chz.replace(videomae(), masker=old(**changed))
    assert override(config, [f"masker={new.__name__}"]).masker == new()
    name = "ratio" if "ratio" in chz.chz_fields(new) else "last.ratio"
    values = to_plain(override(config, [f"masker={new.__name__}", f"masker.{name}=0.5625"]))
    assert {path.split(".")[1] for path in values if path.startswith("masker.")} == set(chz.chz_fields(new))
    assert values[f"masker.{name}"] == 0.5625


def test_a_part_swapped_inside_a_part_keeps_the_rest():
    config = override(text_guided(), ["objectives.pixels.decoder=Decoder", "objectives.pixels.decoder.depth=2"])
    assert config.objectives["pixels"].decoder.depth == 2
    assert config.objectives["contrast"] == Contrast()
    assert config.masker == Text(ratio=0.6)


def test_what_is_decoded_is_a_part_of_its_own_beside_what_is_hidden():
    config = override(videomae(), ["decode=RunningCell", "decode.share=0.25"])
    assert config.decode == RunningCell(share=0.25)
    assert config.masker == videomae().masker
    with pytest.raises(RecipeError, match="no Decode called 'Running'; did you mean RunningCell"):
        override(videomae(), ["decode=Running"])


def test_an_encoder_by_the_name_of_its_size():
    config = override(videomae(), ["encoder=Small", "encoder.depth=3"])
    assert config.encoder == Small(depth=3)


def test_an_objective_and_an_evaluation_can_be_added():
    words = ["objectives.contrast=Contrast", "objectives.contrast.detach=True", "evaluations.linear=Linear"]
    config = override(tiny(), words)
    assert config.objectives["contrast"] == Contrast(detach=True)
    assert type(config.evaluations["linear"]).__name__ == "Linear"


def test_steps_and_epochs_displace_each_other_but_not_both():
    assert override(videomae(), ["steps=7"]).epochs is None
    assert override(tiny(), ["epochs=2"]).steps is None
    with pytest.raises(RecipeError, match="both are given"):
        override(tiny(), ["epochs=2", "steps=7"])
    assert override(videomae(), ["data.sampling.step_ms=40"]).data.sampling.stride is None


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("masker.ratoi=0.5", "no option masker.ratoi; did you mean masker.ratio?"),
        ("maskr=Tube", "no option maskr; did you mean masker?"),
        ("ratio=0.5", "did you mean masker.ratio?"),
        ("masker=Tub", "no Masker called 'Tub'; did you mean Tube?"),
        ("masker=tube", "did you mean Tube?"),
        ("masker=Masker", "no Masker called 'Masker'; known: "),
        ("masker.pick=topp", "must be top | bottom | random | sample; did you mean top?"),
        ("clip.frames=abc", "clip.frames=abc does not fit: it must be int"),
        ("clip.frames=8.5", "clip.frames=8.5 does not fit: it must be int"),
        ("clip.frames=7", "clip.frames=7 must be a positive multiple of clip.tubelet_frames=2"),
        ("masker.ratio=most", "masker.ratio=most does not fit: it must be float"),
        ("compile=maybe", "compile=maybe does not fit: it must be bool"),
        ("precision=fp16", "must be auto | bf16 | fp32"),
        ("optim.betas=0.9", "optim.betas=0.9 does not fit: it must be float,float"),
        ("objectives.contrst.weight=0", "no objectives.contrst; add it with objectives.contrst=Captioning|Contrast|"),
        ("objectives.contrast=Contrst", "no Objective called 'Contrst'; did you mean Contrast?"),
        ("objective.contrast.weight=0", "did you mean objectives.contrast.weight?"),
        ("objectives.contrast.weight=-1", "must be 0 or more"),
        ("clip.frames.x=1", "no option clip.frames.x"),
        ("masker", "'masker' is no option: write key=value"),
        ("=3", "'=3' is no option: write key=value"),
        ("batch=0", "batch=0 must be at least 1"),
        ("steps=0", "must be positive"),
        ("masker=mine.py:Edges", "use a class of your own in a recipe of its file, mine.py:FUNCTION"),
        ("masker.ratio=nan", "masker.ratio=nan is no number that can be computed with; give a finite one"),
        ("data.cache_limit=inf", "data.cache_limit=inf is no number"),
        ("evaluate_limit=-1", "evaluate_limit=-1 must not be negative"),
        ("objectives.contrast.width=-1", "must not be negative"),
        ("optim.betas=0.9,1.5", "optim.betas=0.9,1.5 must be at least 0 and less than 1"),
        ("optim.weight_decay=-1", "optim.weight_decay=-1.0 must be a number of 0 or more"),
        ("encoder.mlp_ratio=-1", "encoder.mlp_ratio=-1.0 makes an MLP of width -768"),
        ("encoder.layer_norm_eps=0", "must be more than 0 and less than 1"),
        ("objectives.pixels.decoder.mlp_ratio=1e9", "decoder.mlp_ratio=1000000000.0 makes an MLP"),
        ("masker=os:getcwd", "no Masker called 'os:getcwd'"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(word, said):
    with pytest.raises(RecipeError) as caught:
        override(text_guided(), [word])
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("word", ["held_out=1.5", "held_out=-1", "samples=0"])
def test_a_probe_that_selects_on_nothing_or_has_no_interval_is_refused(word):
    with pytest.raises(RecipeError, match=rf"^linear\.{word}.* must be"):
        override(tiny(), [f"evaluations.linear.{word}"])


def test_a_leftover_of_the_old_part_is_unknown():
    with pytest.raises(RecipeError, match=r"no option masker\.pick"):
        override(text_guided(), ["masker=Random", "masker.pick=top"])
    with pytest.raises(RecipeError, match="seed is given twice"):
        override(text_guided(), ["seed=1", "seed=2"])


def test_false_means_false():
    assert override(tiny(), ["data.augment.flip=False"]).data.augment.flip is False
    assert override(tiny(), ["data.augment.flip=True"]).data.augment.flip is True


@pytest.mark.parametrize("recipe", RECIPES)
def test_help_lists_every_field_with_value_type_and_doc(recipe):
    config = recipe()
    lines = describe(config).splitlines()
    assert len(lines) == len(to_plain(config))
    for path, line in zip(to_plain(config), lines, strict=True):
        assert line.split()[0].startswith(f"{path}=")
        assert len(line.split()) >= 3, f"{path} has no doc"


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_says_in_a_line_what_it_is_and_how_it_is_launched(recipe):
    first, *rest = typing.cast(str, recipe.__doc__).splitlines()
    assert 10 < len(first) < 110
    text = "\n".join(rest)
    assert f"pretrain {recipe.__name__} --on" in text
    assert "Expected" in text or "measured" in text


def test_a_part_that_may_be_none_is_named_like_any_other_and_survives_its_json():
    none = override(tiny(), ["teacher=Frozen", "teacher.init=runs/a"])
    some = override(none, ["teacher.encoder=Tiny", "teacher.encoder.depth=3", "teacher.clip=Clip"])
    assert none.teacher.encoder is None
    assert (type(some.teacher.encoder), some.teacher.encoder.depth) == (Tiny, 3)
    for config in (none, some):
        assert from_plain(type(config), json.loads(json.dumps(to_plain(config))), "recipe.json") == config


def test_overriding_leaves_the_recipe_as_it_was():
    config = tiny_text_guided()
    before = to_plain(config)
    assert override(config, ["masker=Random"]).masker == Random()
    assert to_plain(config) == before


def test_a_part_that_may_be_none_is_named_and_read_back_like_any_other():
    config = override(Pretrain(steps=1), ["teacher=Frozen", "teacher.init=runs/a", "teacher.encoder=Tiny"])
    assert config.teacher.encoder == Tiny()
    config = override(config, ["teacher.encoder.depth=3", "teacher.clip=Clip", "teacher.clip.frames=8"])
    assert (config.teacher.encoder.depth, config.teacher.clip.frames) == (3, 8)
    assert from_plain(Pretrain, to_plain(config), "recipe.json") == config
