"""What holds for every table: it reads back as written, in any order, and no name means a file that contradicts it."""

import csv
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tubelet.corpus.annotations import read_labels
from tubelet.corpus.names import Names
from tubelet.corpus.rows import named_rows
from tubelet.corpus.tables import Table
from tubelet.errors import CorpusError

# Python's writer leaves a lone carriage return bare where lines end in another mark, so that no reader can tell.
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), max_size=30)


@given(
    texts=st.lists(TEXTS, min_size=1, max_size=6),
    delimiter=st.sampled_from(",;\t|"),
    quoting=st.sampled_from((csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC)),
    end=st.sampled_from(("\n", "\r\n")),
    encoding=st.sampled_from(("utf-8", "utf-8-sig", "utf-16")),
)
def test_a_table_that_a_csv_writer_wrote_reads_back(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], delimiter: str, quoting: int, end: str, encoding: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "law.csv"
    with path.open("w", newline="", encoding=encoding) as file:
        writer = csv.writer(file, delimiter=delimiter, quoting=quoting, lineterminator=end)  # type: ignore[arg-type]
        writer.writerow(("path", "caption"))
        writer.writerows((f"{number}.mp4", text) for number, text in enumerate(texts))
    rows = named_rows(Table.read(path), ("path", "caption"))
    assert [(row["path"], row["caption"]) for row in rows] == [
        (f"{number}.mp4", text.strip()) for number, text in enumerate(texts)
    ]


@given(
    rows=st.lists(st.tuples(st.integers(0, 5), st.sampled_from(("run", "sit", "007", "a, b"))), min_size=1, max_size=8),
    order=st.randoms(use_true_random=False),
)
def test_the_order_of_rows_changes_nothing(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, str]], order: random.Random
) -> None:
    path = tmp_path_factory.getbasetemp() / "order.csv"
    names = Names([(f"{number}.mp4", path.parent / f"{number}.mp4") for number in range(4)])
    found = []
    for _ in range(2):
        lines = [f'{number}.mp4,"{label}"' for number, label in rows]
        path.write_text("\n".join(["path,label", *lines]))
        try:
            given_labels, use = read_labels(path, names, [])
            found.append((given_labels, use.used, len(use.unused)))
        except CorpusError as error:
            found.append(("two values" in str(error), 0, 0))
        order.shuffle(rows)
    assert found[0] == found[1]


PARTS = st.lists(st.sampled_from(("a", "b", "run", "train")), max_size=3)


@given(
    videos=st.lists(st.tuples(PARTS, st.sampled_from(("1.mp4", "1.avi", "2.mp4"))), min_size=1, max_size=6),
    folders=PARTS,
    last=st.sampled_from(("1.mp4", "1.avi", "1", "2", "2.mp4", "2.mkv")),
)
def test_a_name_never_means_a_file_whose_path_contradicts_it(
    videos: list[tuple[list[str], str]], folders: list[str], last: str
) -> None:
    paths = {"/".join((*parts, name)) for parts, name in videos}
    names = Names([(path, Path("/data/clips") / path) for path in paths])
    said = "/".join((*folders, last))

    def ends(path: str) -> bool:
        whole, stem = f"/data/clips/{path}", f"/data/clips/{path.rpartition('.')[0]}"
        return whole.endswith(f"/{said}") or ("." not in last and stem.endswith(f"/{said}"))

    fitting = [path for path in paths if ends(path)]
    found = names.find(said, Path("/elsewhere"))
    assert found == (said if said in paths else fitting[0] if len(fitting) == 1 else None)
