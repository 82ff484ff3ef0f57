"""Every command, killed before and after every commit and every removal that it makes, and given again.

What stands then is compared with what the uninterrupted command leaves. A command that was killed after its last commit
may say that its result is there already; any other refusal counts. `Home` keeps the state after each command.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

from content import content_of
from forks import Forks
from workplace import COMMANDS, furnish

MOMENTS = ("before", "after")


@dataclass
class Counts:
    """A row of the table."""

    command: str
    commits: int
    removals: int
    kills: int = 0
    equal: int = 0
    leftovers: int = 0
    refusals: int = 0
    faults: tuple[str, ...] = ()


class Home:
    def __init__(self, folder: Path) -> None:
        self.folder, self.work = folder, folder / "work"
        furnish(folder / "furnished")
        self.forks = Forks(folder)
        self.points: dict[str, list[str]] = {}

    def prepare(self, name: str) -> list[str]:
        """The states before this command and after it, and the points on the way between."""
        names = list(COMMANDS)
        for command in names[len(self.points) : names.index(name) + 1]:
            self.restore(command)
            self.whole(command)
            self.points[command] = self.forks.points.read_text().splitlines()
            shutil.copytree(self.work, self.folder / f"after {command}")
        return self.points[name]

    def finish(self) -> None:
        """Every command was given once."""
        last = list(COMMANDS)[-1]
        self.prepare(last)
        self.put(self.folder / f"after {last}")

    def whole(self, name: str) -> None:
        """The command without a kill of ours. One that a signal of others ends says nothing, so the code is told."""
        code = self.forks.run(COMMANDS[name], self.work)
        assert code == 0, f"{name} ended with {code} and said: {self.forks.said.read_text()}"

    def restore(self, name: str) -> None:
        """The state before this command."""
        names = list(COMMANDS)
        earlier = names[: names.index(name)]
        self.put(self.folder / (f"after {earlier[-1]}" if earlier else "furnished"))

    def put(self, state: Path) -> None:
        shutil.rmtree(self.work, ignore_errors=True)
        shutil.copytree(state, self.work)

    def campaign(self, name: str) -> Counts:
        points = self.prepare(name)
        self.restore(name)
        self.whole(name)
        wanted = content_of(self.work)
        found = Counts(name, sum(point.startswith("commit") for point in points), 0)
        found.removals = len(points) - found.commits
        for number, point in enumerate(points):
            for moment in MOMENTS:
                self.kill(name, number, moment, point, wanted, found)
        return found

    def kill(self, name: str, number: int, moment: str, point: str, wanted: dict, found: Counts) -> None:
        self.restore(name)
        code = self.forks.run(COMMANDS[name], self.work, (number, moment))
        found.kills += 1
        where = f"{name}: {moment} {point}"
        if code != -9:
            found.faults += (f"{where}: not killed, {code}",)
            return
        whole = content_of(self.work) == wanted
        again = self.forks.run(COMMANDS[name], self.work)
        if again and not whole:
            found.refusals += 1
            found.faults += (f"{where}: refused: {self.forks.said.read_text().strip()[-300:]}",)
        now = content_of(self.work)
        if left := sorted(now.keys() - wanted.keys()):
            found.leftovers += 1
            found.faults += (f"{where}: left {left[:3]}",)
        differ = sorted(path for path in wanted if now.get(path) != wanted[path])
        found.equal += not differ
        if differ:
            found.faults += (f"{where}: differ {differ[:3]}",)

    def close(self) -> None:
        self.forks.close()
