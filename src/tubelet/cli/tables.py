"""Results and tables on the terminal."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table as RichTable

    from tubelet.console import Console
    from tubelet.reports.tables import Table, TextTable
    from tubelet.results import Result

CLIPS = "clips of "  # what the rows of the counts begin with
WORD, HEAD = 18, 60  # letters of a word, and of a whole name, in the head of a column
SHORTER = {"initialisation": "init", "difference": "diff."}  # words in the heads of columns
NAMED = 8  # clips that failed and are named before the rest is counted


def print_result(console: "Console", name: str, result: "Result") -> None:
    """The table of a result, and what stands behind its numbers."""
    from tubelet.reports.tables import results_table
    from tubelet.run_record import RunRecord

    made = results_table(name, [RunRecord(Path(), "this run", {}, results={name: result})])
    made_of = f"{name}, {result.corpus['name']}" if "name" in result.corpus else name
    console.print(metrics_table(made, made_of, intervals=console.width > 100))
    for line in remarks(result):
        console.print(line, soft_wrap=True)


def metrics_table(made: "Table", title: str, intervals: bool) -> "RichTable":
    """A row a metric with its interval, fractions in percent, next to the baselines (with theirs where there is room)
    and chance."""
    from rich import box
    from rich.table import Table as RichTable

    table = RichTable(title=title, title_justify="left", title_style="bold", box=box.SIMPLE, padding=(0, 1, 0, 0))
    table.add_column()
    for column in ("this run", *made.beside):
        for word, shorter in SHORTER.items():
            column = column.replace(word, shorter)
        table.add_column(column.replace(" ", "\n"), justify="right", no_wrap=True)
    for row in made.rows:
        if row.name.startswith(CLIPS):
            continue  # said in a line of its own: it would widen the column
        cells = [
            cell.text.removesuffix(" %")
            + (f" [{cell.interval.replace(' to ', ', ')}]" if cell.interval and (intervals or not at) else "")
            for at, cell in enumerate(row.cells)
        ]
        table.add_row(row.name, *cells)
    return table


def remarks(result: "Result") -> list[str]:
    """Which clips failed, what was selected, what to know before the numbers."""
    from tubelet.reports.tables import count_rows

    lines = [f"{row.name}: {row.cells[0].text}" for row in count_rows([result])]
    for split, names in result.failed.items():
        lines += [f"failed {split}: {name}" for name in names[:NAMED]]
        lines += [f"and {len(names) - NAMED} more, all in results.json"] if len(names) > NAMED else []
    if selected := result.protocol.get("selected"):
        lines.append("selected on train: " + ", ".join(f"{pool} {in_words(one)}" for pool, one in selected.items()))
    lines += [f"VERDICT: {result.verdict}"] * bool(result.verdict)
    return [*lines, *(f"WARNING: {text}" for text in result.warnings), *(f"NOTE: {text}" for text in result.notes)]


def in_words(setting: object) -> str:
    """A setting; of one a fold, each with the number of folds, the most frequent first."""
    if not isinstance(setting, list):
        return str(setting)
    folds = Counter(map(str, setting)).most_common()
    return " and ".join(f"{one} in {count} fold{'s' * (count > 1)}" for one, count in folds)


def column_heads(names: Sequence[str]) -> dict[str, str]:
    """Names as the head of a column has room for them; a number tells apart what comes out equal."""
    short: dict[str, str] = {}
    for name in dict.fromkeys(names):
        said = shorten_middle(" ".join(shorten_middle(word, WORD) for word in name.split(" ")), HEAD)
        same = sum(other.startswith(said) for other in short.values())
        short[name] = f"{said} ({same + 1})" if same and said != name else said
    return short


def shorten_middle(text: str, room: int) -> str:
    """The beginning and the end of a text that is too long."""
    return text if len(text) <= room else f"{text[: room // 2]}…{text[len(text) - room + room // 2 + 1 :]}"


def print_rows(console: "Console", header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table of text."""
    from rich import box
    from rich.table import Table as RichTable

    table = RichTable(box=box.SIMPLE, padding=(0, 1, 0, 0))
    for name in header:
        table.add_column(name, justify="right" if table.columns else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    console.print(table)


def print_table(console: "Console", table: "TextTable", first: tuple[int, int] | None = None) -> None:
    """A table of figures with its title; `first` bounds the width of the first column, which else keeps its lines."""
    from rich import box
    from rich.table import Table as RichTable

    drawn = RichTable(
        title=table.title, title_justify="left", title_style="bold", caption=table.caption, box=box.SIMPLE_HEAD,
        padding=0, pad_edge=False,
    )  # fmt: skip
    low, high = first or (None, None)
    for name in table.header:
        if drawn.columns:
            drawn.add_column(name, justify="right", no_wrap=True)
        else:
            drawn.add_column(name, no_wrap=first is None, min_width=low, max_width=high)
    for row in table.rows:
        drawn.add_row(*row)
    console.print(drawn)
