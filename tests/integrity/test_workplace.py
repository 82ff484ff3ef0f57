"""The slow campaigns are given a recipe, a study and commands that tubelet still knows."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from workplace import COMMANDS, furnish

from tubelet.cli import VERBS
from tubelet.recipes import resolve_recipe
from tubelet.recipes.find import find
from tubelet.studies import STUDIES

COMPOSED = {"demo", "push"}  # commands that stand there themselves, and one that writes to a hub alone


def test_recipe_study_and_commands_of_the_campaigns_are_known(tmp_path: Path) -> None:
    furnish(tmp_path)
    assert resolve_recipe(f"{tmp_path / 'mine.py'}:both")[1].steps == 4
    assert find(f"{tmp_path / 'mine.py'}:small", STUDIES)[1]().variants
    assert {words[0] for words in COMMANDS.values()} == set(VERBS) - COMPOSED
