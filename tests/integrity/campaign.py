"""Runs both campaigns and writes their tables: python tests/integrity/campaign.py docs/results/integrity.md"""

import os
import platform
import sys
import tempfile
from pathlib import Path

from damage import flip, kinds
from kills import Home
from workplace import COMMANDS

TEXT = """# Kills and damaged files

Measured here ({cores} cores, {system}) by

    python tests/integrity/campaign.py docs/results/integrity.md

on eight small videos. `make test-all` runs the same and asks for zeros.

## Kills

Every command is killed (SIGKILL) before and after every commit (a file or folder that comes to stand at its place) and
every removal of what is no longer needed, then given again. Equal: every file says what that of the uninterrupted
command says, but for times. Leftovers: runs after which a file more is there. Refusals: runs in which the same command
did not go on (one that was killed after its last commit may say that its result is there).

| command | commits | removals | kills | equal | leftovers | refusals |
|---|---|---|---|---|---|---|
{kills}

## Flipped bits

In every kind of file, {flips} single bits are flipped, each on its own: a quarter at its beginning, a quarter at its
end, the rest anywhere. Each file is then read as the next command reads it. Equal: nothing that is read had changed, or
it was made again.

| kind of file | flips | refused by name | equal | read as other content |
|---|---|---|---|---|
{damage}
"""


def main(out: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder))
        kills = []
        for name in COMMANDS:
            row = home.campaign(name)
            kills.append((name, row.commits, row.removals, row.kills, row.equal, row.leftovers, row.refusals))
            print(*kills[-1], *row.faults, sep="\n  ", flush=True)
        kills.append(("all", *(sum(column) for column in list(zip(*kills, strict=True))[1:])))
        damage = []
        for kind, found in kinds(home.work).items():
            flips = flip(home.work, kind, *found)
            damage.append((kind, flips.flips, flips.refused, flips.equal, flips.other))
            print(*damage[-1], *flips.faults[:3], sep="\n  ", flush=True)
        damage.append(("all", *(sum(column) for column in list(zip(*damage, strict=True))[1:])))
        home.close()
    out.write_text(
        TEXT.format(
            cores=os.cpu_count(), system=platform.system(), flips=damage[0][1],
            kills=table(kills), damage=table(damage),
        )
    )  # fmt: skip


def table(rows: list[tuple]) -> str:
    return "\n".join("| " + " | ".join(map(str, row)) + " |" for row in rows)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
