"""The figures of masks and of maps as tables of text: title, header, rows."""

from tubelet.diagnostics.maps import MapMeasures
from tubelet.diagnostics.mask_measures import Measured
from tubelet.diagnostics.truth import AGAINST
from tubelet.reports.tables import TextTable

COLUMNS = {
    "visible": "seen",
    "hidden": "hidden",
    "subject_hidden": "cover",
    "roc_auc": "ROC",
    "roc_auc_distractors": "distr",
    "motion_iou": "follow",
    "motion_iou_visible": "shown",
    "step_iou": "step_iou",
    "step_iou_visible": "shown",
    "entropy": "entr",
    "milliseconds": "ms",
    "gflop": "GFLOP",
}
ALWAYS = ("visible", "hidden", "entropy", "milliseconds", "gflop")
KNOWN = ("subject_hidden", "roc_auc", "roc_auc_distractors", "motion_iou", "motion_iou_visible")
UNKNOWN = ("step_iou", "step_iou_visible")
LEGEND = {
    True: "seen: visible tubelets; hidden: their share, which is chance for cover: the share of the\n"
    "subject that is hidden; ROC: of the scores for the subject; distr: against distractors\n"
    "alone; follow, shown: IoU of what is hidden, and of what is visible, with the next time step's\n"
    "along the true motion; entr: entropy, 1 any tubelet is as likely, 0 always the same mask",
    False: "seen: visible tubelets; hidden: the share of the others; step_iou, shown: IoU of what is\n"
    "hidden, and of what is visible, with the next time step's; entr: entropy, 1 any tubelet is as\n"
    "likely, 0 always the same mask",
}


def mask_tables(measured: Measured) -> list[TextTable]:
    """All figures of every masker over all clips; and, where the truth is known, by the camera."""
    by_clip, about = measured.table(), measured.protocol
    order = [name for name in COLUMNS if name in (*ALWAYS, *(KNOWN if measured.knows_truth else UNKNOWN))]
    rows = []
    for name, fixed in measured.fixed.items():
        figures = [fixed[what] if what in ALWAYS else by_clip[name][what]["overall"]["mean"] for what in order]
        rows.append([name, *(format_measure(what, figure) for what, figure in zip(order, figures, strict=True))])
    title = f"{len(measured.videos)} {about['split']} clips of {about['corpus']}, means"
    tables = [TextTable(title, ["", *(COLUMNS[measure] for measure in order)], rows)]
    if not measured.knows_truth:
        return tables
    cameras = [camera for camera in next(iter(by_clip.values()))["subject_hidden"] if camera != "overall"]
    parts = ("subject_hidden", "roc_auc", "motion_iou")
    clips = ", ".join(f"{measured.cameras.count(camera)} {camera}" for camera in cameras)
    header = ["", *(f"{COLUMNS[part]}\n{camera}" for part in parts for camera in cameras)]
    rows = [
        [name, *(format_measure(part, row[part][camera]["mean"]) for part in parts for camera in cameras)]
        for name, row in by_clip.items()
    ]
    tables.append(TextTable(f"by camera ({clips})", header, rows))
    if measured.maps:
        where = ["overall", *cameras]
        rows = []
        for name, areas in measured.table_of_maps().items():
            pairs = ([format_measure("roc_auc", areas[side][camera]["mean"]) for side in AGAINST] for camera in where)
            rows.append([name, *(" / ".join(pair) for pair in pairs)])
        title = "ROC area of the maps themselves, on the tubelets / against distractors"
        tables.append(TextTable(title, ["", *where], rows))
    return tables


def format_measure(measure: str, figure: float) -> str:
    if figure != figure:
        return "-"
    if measure == "visible":
        return str(int(figure))
    if measure in ("milliseconds", "gflop"):
        return f"{figure:.2f}" if figure < 10 else f"{figure:.0f}"
    return f"{figure:.2f}".removeprefix("0")


def map_table(measured: MapMeasures) -> TextTable:
    """The ROC areas by camera."""
    table = measured.table()
    cameras = list(next(iter(table.values()))["all"])
    title = f"ROC area per clip, mean over {len(measured.videos)} {measured.protocol['split']} clips"
    rows = []
    for row, by_side in table.items():
        pairs = ([by_side[against][camera]["mean"] for against in AGAINST] for camera in cameras)
        cells = [" / ".join("-" if area != area else f"{area:.3f}".lstrip("0") for area in pair) for pair in pairs]
        rows.append([row, *cells])
    return TextTable(title, ["", *cameras], rows, "all patches / distractor patches only")
