"""Runs both campaigns and writes their tables: python tests/integrity/campaign.py docs/results/integrity.md

Every row is kept in a file as soon as it is measured, and the page is written once all are there. The same call given
again goes on with what is missing, so one that was cut off loses nothing; rows of another commit are measured anew.
`--only` takes some of the commands and kinds of file: several processes that name one file of rows share the work.
"""

import argparse
import json
import os
import platform
import subprocess
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from damage import FLIPS, Flips, flip, kinds
from kills import Counts, Home
from workplace import COMMANDS

TEXT = """# Kills and damaged files

Measured at {commit} ({machine}) by

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


class Rows:
    """What was measured at one commit, by the name of a command or of a kind of file."""

    def __init__(self, path: Path, commit: str) -> None:
        self.path, self.commit = path, commit

    def read(self) -> dict[str, Any]:
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        rows = [json.loads(line) for line in lines]
        return {row["of"]: row for row in rows if row["commit"] == self.commit}

    def add(self, of: str, row: Counts | Flips) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps({"commit": self.commit, "of": of, **asdict(row)}) + "\n")
        print(row, flush=True)


def measure(rows: Rows, only: list[str]) -> tuple[list[str], list[str]]:
    """Every row that is asked for and not there yet; the names of all commands, and of all kinds of file."""
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder))
        try:
            for name in COMMANDS:
                if name not in rows.read() and (not only or name in only):
                    rows.add(name, home.campaign(name))
            home.finish()
            found = kinds(home.work)
            for kind, how in found.items():
                if kind not in rows.read() and (not only or kind in only):
                    rows.add(kind, flip(home.work, kind, *how))
        finally:
            home.close()
    return list(COMMANDS), list(found)


def table(rows: dict[str, Any], names: list[str], columns: tuple[str, ...]) -> str:
    lines = [(name, *(rows[name][column] for column in columns)) for name in names]
    lines.append(("all", *(sum(column) for column in list(zip(*lines, strict=True))[1:])))
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def machine() -> str:
    cores = (
        f"{os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}, torch {torch.__version__}"
    )
    return f"{cores}, one thread a command"


def source() -> str:
    """The commit of this source, with a mark where it was changed since."""
    told = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--exclude", "*"]
    return subprocess.run(told, check=True, capture_output=True, text=True).stdout.strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", type=Path, help="the page to write")
    parser.add_argument("--rows", type=Path, default=Path("integrity.jsonl"), help="keeps the rows; integrity.jsonl")
    parser.add_argument("--only", nargs="+", default=[], help="these rows alone, and no page")
    words = parser.parse_args()
    rows = Rows(words.rows, source())
    commands, files = measure(rows, words.only)
    if words.only:
        return
    found = rows.read()
    words.page.write_text(
        TEXT.format(
            commit=rows.commit, machine=machine(), flips=FLIPS,
            kills=table(found, commands, ("commits", "removals", "kills", "equal", "leftovers", "refusals")),
            damage=table(found, files, ("flips", "refused", "equal", "other")),
        )
    )  # fmt: skip


if __name__ == "__main__":
    main()
