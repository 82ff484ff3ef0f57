"""The table of the paper's cells: the words of every row give the recipe that it names."""

from pathlib import Path

import pytest

from tubelet.objectives import Contrast
from tubelet.recipes import resolve_recipe

PAGE = Path(__file__).parents[2] / "docs" / "results" / "paper-cells.md"
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.read_text().splitlines()
    if line.startswith(("| SSv2", "| K400"))
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: " ".join(row[:3]))
def test_the_words_of_a_row_hide_and_train_what_the_row_says(row):
    data, _, contrast, words, hidden = row[:5]
    _, config = resolve_recipe("text_guided", *words.strip("`").split(), "accumulate=2")
    assert config.masker.budget(config.clip).total == int(hidden)
    trained = [part for part in config.objectives.values() if part.factor]
    assert any(isinstance(part, Contrast) for part in trained) == (contrast == "yes")
    assert config.data.sampling.stride == (2 if data == "SSv2" else 4)
    assert config.epochs == 200
    assert config.batch * config.accumulate * 8 == 1024
    assert not config.data.augment.flip


def test_every_mask_stands_on_both_data_sets_with_and_without_contrast():
    assert len({tuple(row[:3]) for row in ROWS}) == len(ROWS) == 12
