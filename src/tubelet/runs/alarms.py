"""What a run says of itself while nobody watches, each in a line and in the log. Start reading at `Alarms`."""

from collections import deque
from collections.abc import Callable, Iterable
from statistics import median

from tubelet.checksums import Record
from tubelet.log import Log
from tubelet.objectives.collapse import LEAST_CLIPS, LEAST_RECORDS, LEAST_STEPS, collapsed
from tubelet.runs.start import Tell
from tubelet.train import Training

LONG_WAIT = 0.5  # share of its time in which the loop waits for clips
STEEP = 10.0  # times the median of the last gradient norms
GROWN = 1.5  # times the memory of the first records, and so many GB more
LEAST_GB = 1.0
FEW, MANY = 10, 50  # records that a norm and the memory are compared with


class Alarms:
    """Looks at every record of a step that is logged; `before` are those of a run that resumes."""

    def __init__(self, tell: Tell, log: Log, config: Training, world: int, before: Iterable[Record] = ()) -> None:
        self.tell, self.log = tell, log
        records = list(before)
        self.looks: list[Callable[[Record], list[str]]] = [
            CollapseAlarm(tell, config.batch * world, records).look,
            StarvationAlarm().look,
            GradientAlarm(records).look,
            MemoryAlarm().look,
        ]

    def __call__(self, record: Record) -> None:
        for look in self.looks:
            for sentence in look(record):
                self.tell(sentence)
                self.log.write("alarm", record["step"], said=sentence)


class StarvationAlarm:
    """Says once that the loop waits for clips: after some records in a row, as the first are always waited for."""

    def __init__(self) -> None:
        self.in_a_row: list[Record] = []
        self.said = False

    def look(self, record: Record) -> list[str]:
        self.in_a_row = [*self.in_a_row, record] if record["data_wait"] >= LONG_WAIT else []
        if self.said or len(self.in_a_row) < LEAST_RECORDS:
            return []
        self.said = True
        share = sum(one["data_wait"] for one in self.in_a_row) / len(self.in_a_row)
        return [
            f"the loop waits for clips {share:.0%} of its time (steps {self.in_a_row[0]['step']} to {record['step']}): "
            "more data.workers, data.cache=True for a small corpus or `tubelet pack` for a large one keep it busy"
        ]


class GradientAlarm:
    """Says of a gradient that its norm is far above those before it, once until it is among them again."""

    def __init__(self, before: Iterable[Record] = ()) -> None:
        self.norms: deque[float] = deque(maxlen=MANY)
        self.above = False
        for record in before:
            self.look(record)

    def look(self, record: Record) -> list[str]:
        norm, usual = record["gradient_norm"], median(self.norms) if len(self.norms) >= FEW else float("inf")
        above, before = norm > STEEP * usual, self.above
        self.norms.append(norm)
        self.above = above
        if not above or before:
            return []
        return [
            f"gradient_norm {norm:.3g} of step {record['step']} is {norm / usual:.0f} times the median of the last "
            f"{len(self.norms) - 1} records: where it stays so, lower optim.base_lr or set optim.clip_norm"
        ]


class MemoryAlarm:
    """Says that the memory of this process grows, each time that it has grown by half and a GB."""

    def __init__(self) -> None:
        self.first: deque[float] = deque(maxlen=FEW)
        self.since, self.usual = 0, 0.0

    def look(self, record: Record) -> list[str]:
        memory = record["memory"]
        if len(self.first) < FEW:
            self.first.append(memory)
            self.since, self.usual = record["step"], max(self.first)
            return []
        if memory < max(GROWN * self.usual, self.usual + LEAST_GB):
            return []
        steps = f"between steps {self.since} and {record['step']}"
        said = f"memory has grown from {self.usual:.1f} to {memory:.1f} GB {steps}"
        self.since, self.usual = record["step"], memory
        return [f"{said}: if it lasts, stop the run (Ctrl-C) and resume it with the same command"]


class CollapseAlarm:
    """Says once of each objective that its encoder, its output or its target no longer tells clips apart, or that its
    codes are one: after some records in a row, because a head that begins may first say the mean of all."""

    def __init__(self, tell: Tell, clips: int, before: Iterable[Record] = ()):
        self.tell = tell
        self.clips = clips  # of a forward pass on all ranks
        self.warned: set[str] = set()
        self.in_a_row: dict[str, tuple[int, int]] = {}  # how many records, and the step of the first
        for record in before:  # of the log of a run that resumes: what was said then is not said again
            self.look(record)

    def __call__(self, record: Record) -> None:
        for sentence in self.look(record):
            self.tell(sentence)

    def look(self, record: Record) -> list[str]:
        """What is to be said now. Of an objective that does not count in this step the record says nothing."""
        found, step = collapsed(record) if self.clips >= LEAST_CLIPS else {}, int(record["step"])
        before, said = self.in_a_row, []
        self.in_a_row = {name: one for name, one in before.items() if name.partition(".")[0] not in record}
        for name, sentence in found.items():
            objective, (records, first) = name.partition(".")[0], before.get(name, (0, step))
            self.in_a_row[name] = records + 1, first
            least = LEAST_STEPS if name.endswith(".perplexity") else 0
            if records + 1 >= LEAST_RECORDS and step - first >= least and objective not in self.warned:
                self.warned.add(objective)
                said.append(sentence)
        return said
