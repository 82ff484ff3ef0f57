"""The page of an aligner's training, from its folder alone: what it had, how it went, what it finds, where it looks."""

import base64
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from markupsafe import Markup

from tubelet.checksums import Record, read_json
from tubelet.errors import RunError
from tubelet.files import within, write_atomically
from tubelet.reports.document import document
from tubelet.reports.figures import Line, curves, smoothed
from tubelet.reports.training import Chart
from tubelet.results import UNREADABLE

JPEG = b"\xff\xd8\xff"  # how such a file begins
ROWS = {
    "text map": "the map of its caption",
    "shuffled caption": "the map of another clip's caption",
    "colour word": "similarity to the colour that the caption names",
    "centre": "nearness to the centre",
}


class Areas(TypedDict):
    """ROC areas: map -> against what -> camera -> mean, error, clips."""

    clips: int
    source: str | None
    rows: dict[str, dict[str, dict[str, dict[str, float | None]]]]


class TrainingRecord(TypedDict):
    """What `training.json` says."""

    curve: list[dict[str, float]]
    best: int | None
    areas: Areas | None
    pictures: dict[str, Any]


def write_page(folder: Path) -> Path:
    """Writes `report.html` beside what it is made of: `aligner.json`, `training.json`, `maps.jpg`."""
    remedy = "make the aligner again with `tubelet align --force`"
    about: Record = read_json(within(folder, "aligner.json"), Record, RunError, remedy)
    training: TrainingRecord = read_json(within(folder, "training.json"), Record, RunError, remedy)
    picture = within(folder, "maps.jpg")
    content = picture.read_bytes() if picture.exists() else b""
    if content and not content.startswith(JPEG):
        raise RunError(f"{picture} is no JPEG; delete it, and give the `tubelet align` command again")
    shown = base64.b64encode(content).decode("ascii")
    try:
        page = compose(about, training, shown)
    except UNREADABLE as error:
        raise RunError(
            f"aligner.json or training.json in {folder} holds what no command of tubelet writes "
            f"({type(error).__name__}: {error}); {remedy}"
        ) from error
    out = folder / "report.html"
    write_atomically(out, page.encode())
    return out


def compose(about: Record, training: TrainingRecord, picture: str) -> str:
    """The page as text; the picture is in base64."""
    return document(
        "aligner.html",
        "tubelet align",
        corpus=about["corpus"]["name"],
        identity=about["identity"],
        facts=facts(about, training),
        charts=charts(training),
        retrieval=retrieval(about.get("held_out")),
        areas=areas(training["areas"]),
        measured=training["areas"] and training["areas"]["clips"],
        picture=Markup(picture),
        split=training["pictures"]["split"],
        left_out=about.get("failed") or {},
    )


def facts(about: Record, training: TrainingRecord) -> list[tuple[str, str]]:
    """What it was made from, in words."""
    settings, rows = about["settings"], training["curve"]
    begun = about.get("from")
    steps = f"{len(rows)} of {settings['steps']}, {settings['batch']} frames each"
    if training["best"] is not None:
        steps += f"; the weights of step {training['best']} were kept, the best for held-out pairs"
    return [
        ("Initial weights", begun["name"] if begun else "random weights"),
        ("Train videos", f"{about['videos']:,}, with {about['texts']:,} different captions"),
        ("Caption sources", ", ".join(settings["sources"]) or "all"),
        ("Steps", steps),
        ("Hard negatives", f"hardness {settings['hardness']:g}" if settings.get("hardness") else "none: all alike"),
        ("Time", f"{about['seconds']:g} s, {about['processor_seconds']:g} s of processor time"),
    ]


def charts(training: TrainingRecord) -> list[Chart]:
    rows = training["curve"]
    steps, losses = (np.asarray([row[name] for row in rows], float) for name in ("step", "loss"))
    looks = [row for row in rows if "held_out" in row]
    lines = [Line("every step", steps, losses, 0, faint=True), Line("train", steps, smoothed(losses), 0)]
    note = "Contrast of frames and captions, in nats. Faint: every step; bold: running mean."
    if looks:
        at = np.asarray([row["step"] for row in looks], float)
        lines.append(Line("held out", at, np.asarray([row["held_out"] for row in looks]), 1, dots=True))
        note += " Dots: held-out pairs, all at once, so on a scale of their own."
    found = [Chart("Loss", note, curves("aligner-loss", lines))]
    if looks:
        kinds = (("frame to caption", "frame_to_text"), ("caption to frame", "text_to_frame"))
        lines = [
            Line(label, at, np.asarray([row[name] for row in looks]), n, dots=True)
            for n, (label, name) in enumerate(kinds)
        ]
        about = "Recall at 1 among the held-out part of the train split: frame to caption, then caption to frame."
        found.append(
            Chart(
                "Retrieval while training", about, curves("aligner-recall", lines, percent=True, floor=0.0, named=True)
            )
        )
    return found


def retrieval(found: Record | None) -> list[tuple[str, str, str]]:
    """(direction, recall at 1, chance) on the test split."""
    if not found:
        return []
    return [
        (label, f"{100 * found[name]:.1f} %", f"{100 * found[f'chance_{name}']:.1f} %")
        for label, name in (
            (f"caption to frame, {found['texts']} captions", "text_to_frame"),
            (f"frame to caption, {found['videos']} videos", "frame_to_text"),
        )
    ]


def areas(found: Areas | None) -> list[tuple[str, str, str]]:
    """(row, ROC area against all, against distractors)."""
    if not found:
        return []
    return [
        (
            ROWS.get(name, name),
            figure(by_side["all"]["overall"]["mean"]),
            figure(by_side["distractors"]["overall"]["mean"]),
        )
        for name, by_side in found["rows"].items()
    ]


def figure(value: float | None) -> str:
    return "—" if value is None else f"{value:.3f}"
