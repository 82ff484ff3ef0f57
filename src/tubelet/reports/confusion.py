"""Which class was taken for which other, as a matrix or as the most frequent pairs."""

from dataclasses import dataclass

import numpy as np

from tubelet.run_record import RunRecord

LARGEST = 16  # classes of a confusion matrix that is shown whole
PAIRS = 12  # most frequent confusions that are named of a larger one


@dataclass(frozen=True)
class Confusion:
    """Rows are the true classes, columns the predicted ones; each cell its count and its share of the row."""

    run: str
    title: str
    classes: list[str]
    rows: list[list[tuple[int, float]]]
    pairs: list[tuple[str, str, int]]  # the most frequent confusions of a matrix too large to show


def confusions(run: RunRecord) -> list[Confusion]:
    return [
        confusion(run.name, f"{entry}, {pool}", list(result.classes), np.asarray(details["confusion"]))
        for entry, result in run.results.items()
        for pool, details in result.details.items()
        if details.get("confusion") and len(details["confusion"]) == len(result.classes)
    ]


def confusion(run: str, name: str, classes: list[str], matrix: np.ndarray) -> Confusion:
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    whole = len(classes) <= LARGEST
    off = [
        (int(matrix[i, j]), i, j) for i in range(len(classes)) for j in range(len(classes)) if i != j and matrix[i, j]
    ]
    off.sort(key=lambda entry: (-entry[0], entry[1], entry[2]))
    return Confusion(
        run=run,
        title=name,
        classes=classes,
        rows=[[(int(n), float(s)) for n, s in zip(*pair, strict=True)] for pair in zip(matrix, shares, strict=True)]
        if whole
        else [],
        pairs=[] if whole else [(classes[i], classes[j], count) for count, i, j in off[:PAIRS]],
    )
