import chz

from tubelet.config import changed, to_plain
from tubelet.maskers import Text, Tube
from tubelet.models.encoder import Vit
from tubelet.objectives import Contrast, Pixels
from tubelet.recipes import Pretrain, tiny


def test_a_recipe_of_defaults_names_only_what_it_had_to_say():
    assert list(changed(Pretrain(steps=10))) == ["steps"]


def test_values_parts_and_entries_that_differ_are_named_once():
    config = Pretrain(
        steps=10,
        encoder=Vit(width=192),
        masker=Text(ratio=0.7),
        objectives={"pixels": Pixels(weight=2.0), "contrast": Contrast()},
    )
    assert list(changed(config)) == [
        "steps",
        "encoder.width",
        "masker",
        "masker.ratio",
        "objectives.pixels.weight",
        "objectives.contrast",
    ]


def test_another_part_at_its_own_defaults_is_named_without_its_fields():
    assert "masker" not in list(changed(Pretrain(steps=10, masker=Tube())))
    assert [name for name in changed(Pretrain(steps=10, masker=Text())) if "masker" in name] == ["masker"]


def test_every_name_is_a_field_of_the_recipe():
    config = chz.replace(tiny(), masker=Text())
    assert set(changed(config)) <= set(to_plain(config))
