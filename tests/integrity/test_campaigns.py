"""Whatever moment a command is killed at, and whatever bit of its files is flipped: nothing is lost or other."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from damage import flip, kinds
from kills import Home
from workplace import COMMANDS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    home = Home(tmp_path_factory.mktemp("home"))
    yield home
    home.close()


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_killed_at_any_commit_ends_as_if_it_had_not_been(home: Home, name: str) -> None:
    counts = home.campaign(name)
    assert counts.commits
    assert not counts.faults
    assert (counts.equal, counts.leftovers, counts.refusals) == (counts.kills, 0, 0)


def test_no_flipped_bit_of_any_file_is_read_as_other_content(home: Home) -> None:
    home.finish()
    rows = [flip(home.work, kind, *found) for kind, found in kinds(home.work).items()]
    assert not [fault for row in rows for fault in row.faults]
    assert all(row.flips == row.refused + row.equal >= 40 for row in rows)
