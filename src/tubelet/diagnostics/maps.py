"""Do maps find the subject, which is what captions name? Measured on held-out clips whose truth is known.

A patch (a cell of the map's grid) is positive where the subject covers at least half of it, negative where it covers
none of it; others are left out. The ROC area is taken per clip, over the patches of all its frames, then the mean over
clips. *Distractor patches* are the negatives that other things cover at least half. Start reading at `check`, for the
text maps of an aligner beside its controls, or at `check_maps`, for maps that a corpus holds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8

from tubelet import seeds
from tubelet.aligners import Aligner
from tubelet.corpus.table import Corpus, Video, normalise_text
from tubelet.errors import CorpusError
from tubelet.files import writing
from tubelet.progress import Progress, silent
from tubelet.saliency_maps.text import embed_texts, similarity_maps
from tubelet.stores.maps import Maps
from tubelet.stores.resample import area_weights
from tubelet.synthetic import COLOURS, truth
from tubelet.video.reader import SAME, read_span, timestamps

ROWS = {
    "text map": "the cosine of patch and caption",
    "shuffled caption": "the same with the caption of another clip",
    "colour word": "minus the distance of the pixels' colours to that of the colour word in the caption",
    "centre": "minus the distance from the centre of the frame",
}
CENTRE = {"centre": ROWS["centre"]}
AGAINST = ("all", "distractors")
WORDS = 64  # characters of a caption above its frames
SPEEDS = {
    "speed": "the length of the map's vector",
    "compensated": "the length of its difference from the frame's median vector",
}
Grid = Float32[np.ndarray, "t gh gw"]
Areas = dict[str, dict[str, list[float]]]
"""row -> against -> the area of every clip"""


@dataclass(frozen=True)
class Example:
    """A clip with its truth and every row's score, for the picture."""

    video: str
    caption: str
    frames: UInt8[np.ndarray, "t h w 3"]
    score: Grid
    cover: Grid
    area: float


@dataclass(frozen=True)
class Checked:
    """ROC areas of every clip: areas[row][against] in the order of `videos`, NaN where a side has no patch."""

    videos: list[str]
    cameras: list[str]
    areas: Areas
    examples: list[Example]
    protocol: dict[str, Any]

    def table(self) -> dict[str, dict[str, dict[str, dict[str, float]]]]:
        """row -> against -> camera ("overall" first) -> mean, standard error over clips, clips."""
        return by_camera(self.areas, self.cameras)


def check(
    corpus: Corpus,
    aligner: Aligner,
    source: str | None = None,
    split: str = "test",
    every: int = 4,
    most: int | None = None,
    pictures: int = 8,
    seed: int = 0,
    progress: Progress = silent,
) -> Checked:
    """Scores every `every`-th frame of the clips of a split with the caption of this source."""
    clips = with_truth(corpus, source, split)[:most]
    captions = [text for _, text in clips]
    vectors = embed_texts(aligner, sorted(set(captions)))
    strangers = shuffled(captions, seed)
    areas: Areas = {}
    examples: list[Example] = []
    cameras: list[str] = []
    shape = (0, 0)
    for number, (video, caption) in enumerate(clips):
        frames = read_span(video.path, video.start, video.end, video.reading)[0][::every]
        known = truth(corpus, video)
        cameras.append(known.camera)
        owner = known.owner[::every]
        both = similarity_maps(aligner, frames, np.stack([vectors[caption], vectors[strangers[number]]]))
        shape = both.shape[2:]
        scores = {
            "text map": both[0],
            "shuffled caption": both[1],
            "colour word": colour_word(frames, caption, *shape),
            "centre": centre(len(frames), *shape),
        }
        subject = add_areas(areas, scores, owner)
        if len(examples) < pictures and number % max(len(clips) // pictures, 1) == 0:
            examples.append(Example(video.id, caption, frames, both[0], subject, areas["text map"]["all"][-1]))
        progress(number + 1, len(clips), "")
    about = {"source": source, "grid": list(shape), "aligner": aligner.identity, "rows": ROWS}
    return Checked(
        [video.id for video, _ in clips], cameras, areas, examples, protocol_of(corpus, split, every) | about
    )


def check_maps(
    corpus: Corpus,
    names: Sequence[str],
    source: str | None = None,
    split: str = "test",
    every: int = 4,
    most: int | None = None,
    pictures: int = 8,
    progress: Progress = silent,
) -> Checked:
    """The maps of these names at every `every`-th frame; the speed of vector maps, as it is and compensated.

    Each map is looked at on its own grid. `text` maps take the first caption of this source.
    """
    opened = {name: Maps.open(corpus, name) for name in names}
    videos = corpus.select(split)[:most]
    if not videos:
        raise CorpusError(f"{corpus.folder} has no usable video in split {split!r}")
    rows: dict[str, str] = {}
    areas: Areas = {}
    examples: list[Example] = []
    cameras: list[str] = []
    grids: dict[str, list[int]] = {}
    for number, video in enumerate(videos):
        known = truth(corpus, video)
        cameras.append(known.camera)
        owner = known.owner[::every]
        times = timestamps(video.path, video.reading)[::every]
        scores: dict[str, Grid] = {}
        for name, maps in opened.items():
            caption = corpus.captions_of(video, source)[0] if name == "text" else None
            layers, stamps = maps.layers(video, caption)
            shown = layers[np.clip(np.searchsorted(stamps, times + SAME, side="right") - 1, 0, len(layers) - 1)]
            grids[name] = list(shown.shape[1:3])
            scores |= {f"{name}{what}": score for what, score in speeds(shown).items()}
        scores["centre"] = centre(len(times), *next(iter(scores.values())).shape[1:])
        rows = {row: SPEEDS.get(row.partition(" ")[2], "the map itself") for row in scores} | CENTRE
        subject = add_areas(areas, scores, owner)
        if len(examples) < pictures and number % max(len(videos) // pictures, 1) == 0:
            shown_frames = read_span(video.path, video.start, video.end, video.reading)[0][::every]
            first = next(iter(scores))
            about_clip = f"{video.label}, {known.camera} camera"
            examples.append(
                Example(video.id, about_clip, shown_frames, scores[first], subject, areas[first]["all"][-1])
            )
        progress(number + 1, len(videos), "")
    methods = {name: maps.about["method"] for name, maps in opened.items()}
    about = {"source": source, "grid": grids, "maps": methods, "rows": rows}
    return Checked([video.id for video in videos], cameras, areas, examples, protocol_of(corpus, split, every) | about)


def speeds(layers: Float32[np.ndarray, "t gh gw *v"]) -> dict[str, Grid]:
    """A scalar map as it is; of a vector map the length of its vectors, and of their difference from the median."""
    if layers.ndim == 3:
        return {"": layers}
    median = np.median(layers, axis=(1, 2), keepdims=True)
    return {" speed": np.linalg.norm(layers, axis=-1), " compensated": np.linalg.norm(layers - median, axis=-1)}


def add_areas(areas: Areas, scores: Mapping[str, Grid], owner: UInt8[np.ndarray, "t h w"]) -> Grid:
    """One clip's area of every row, on the row's own grid; returns the subject's cover on the first row's."""
    covers: dict[tuple[int, ...], tuple[Grid, Grid]] = {}
    for row, score in scores.items():
        grid = score.shape[1:]
        if grid not in covers:
            covers[grid] = coverage(owner == 1, *grid), coverage(owner >= 2, *grid)
        subject, others = covers[grid]
        mine = areas.setdefault(row, {against: [] for against in AGAINST})
        for against, area in areas_of(score, subject, others).items():
            mine[against].append(area)
    return next(iter(covers.values()))[0]


def areas_of(
    score: Float[np.ndarray, "*cells"], subject: Float[np.ndarray, "*cells"], others: Float[np.ndarray, "*cells"]
) -> dict[str, float]:
    """The ROC area of a score for the subject, against all cells without it and against those of distractors alone."""
    positive, negative = subject >= 0.5, subject == 0
    return {
        "all": roc_area(score[positive], score[negative]),
        "distractors": roc_area(score[positive], score[negative & (others >= 0.5)]),
    }


def by_camera(
    values: Mapping[str, Mapping[str, Sequence[float]]], cameras: Sequence[str]
) -> dict[str, dict[str, dict[str, dict[str, float]]]]:
    """row -> measure -> camera ("overall" first) -> mean, standard error over clips, clips."""
    kinds = np.array(cameras)
    groups = {"overall": np.ones(len(kinds), bool), **{name: kinds == name for name in sorted(set(cameras))}}
    return {
        row: {
            measure: {name: summary(np.array(of_clips)[chosen]) for name, chosen in groups.items()}
            for measure, of_clips in measures.items()
        }
        for row, measures in values.items()
    }


def protocol_of(corpus: Corpus, split: str, every: int) -> dict[str, Any]:
    return {
        "corpus": corpus.name,
        "fingerprint": corpus.fingerprint(),
        "split": split,
        "every": every,
        "positive": "subject covers at least half of the patch",
        "negative": "subject covers none of it",
        "distractor": "a negative of which other things cover at least half",
        "statistic": "ROC area per clip over the patches of its frames, then the mean over clips",
    }


def with_truth(corpus: Corpus, source: str | None, split: str) -> list[tuple[Video, str]]:
    """The clips of a split with a caption each."""
    found = [
        (video, normalise_text(captions[0].text))
        for video in corpus.select(split)
        if (captions := corpus.captions_of(video, source))
    ]
    if len({text for _, text in found}) < 2:
        raise CorpusError(
            f"{corpus.folder} has fewer than 2 different captions of source {source!r} in split {split!r}; "
            f"sources: {', '.join(corpus.sources) or 'none'}"
        )
    return found


def shuffled(captions: Sequence[str], seed: int) -> list[str]:
    """For every clip a caption drawn from the other clips, of another text."""
    rng = seeds.generator(seed, "shuffled captions")
    return [
        (others := [other for other in captions if other != caption])[rng.integers(len(others))] for caption in captions
    ]


def coverage(mask: Bool[np.ndarray, "t h w"], rows: int, columns: int) -> Float32[np.ndarray, "t {rows} {columns}"]:
    """The share of every cell that the mask covers."""
    down, across = area_weights(0.0, 1.0, rows, mask.shape[1]), area_weights(0.0, 1.0, columns, mask.shape[2])
    return np.round(down @ mask.astype(np.float32) @ across.T, 6)


def colour_word(frames: UInt8[np.ndarray, "t h w 3"], caption: str, rows: int, columns: int) -> Grid:
    """The first colour word of the caption against the pixels; 0 everywhere where it has none."""
    named = [COLOURS[word] for word in caption.split() if word in COLOURS]
    if not named:
        return np.zeros((len(frames), rows, columns), np.float32)
    distance = np.linalg.norm(frames.astype(np.float32) / 255 - np.array(named[0], np.float32), axis=-1)
    down, across = area_weights(0.0, 1.0, rows, frames.shape[1]), area_weights(0.0, 1.0, columns, frames.shape[2])
    return -(down @ distance @ across.T)


def centre(count: int, rows: int, columns: int) -> Grid:
    y, x = (np.arange(rows) + 0.5) / rows - 0.5, (np.arange(columns) + 0.5) / columns - 0.5
    return np.broadcast_to(-np.hypot(y[:, None], x), (count, rows, columns)).astype(np.float32)


def roc_area(positive: Float[np.ndarray, "p"], negative: Float[np.ndarray, "q"]) -> float:
    """The chance that a positive scores above a negative, ties counting half; NaN where a side is empty."""
    if not positive.size or not negative.size:
        return float("nan")
    ordered = np.sort(negative)
    below = np.searchsorted(ordered, positive, side="left")
    upto = np.searchsorted(ordered, positive, side="right")
    return float((below + upto).mean() / 2 / negative.size)


def summary(areas: Float[np.ndarray, "n"]) -> dict[str, float]:
    there = areas[np.isfinite(areas)]
    if not there.size:
        return {"mean": float("nan"), "error": float("nan"), "clips": 0}
    error = float(there.std(ddof=1) / there.size**0.5) if there.size > 1 else float("nan")
    return {"mean": float(there.mean()), "error": error, "clips": int(there.size)}


def contact_sheet(examples: Sequence[Example], path: Any, columns: int = 4) -> None:
    """Frames, map and truth of some clips, one row each, as a picture."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    from tubelet.report.figures import caption, literal_text

    with literal_text():
        figure, axes = pyplot.subplots(
            len(examples), 3 * columns, figsize=(1.1 * 3 * columns, 1.25 * len(examples)), squeeze=False
        )
        for line, example in zip(axes, examples, strict=True):
            chosen = np.linspace(0, len(example.frames) - 1, columns).round().astype(int)
            low, high = np.percentile(example.score, [1, 99.5])
            for column, frame in enumerate(chosen):
                line[column].imshow(example.frames[frame])
                line[columns + column].imshow(example.score[frame], vmin=low, vmax=high, cmap="magma")
                line[2 * columns + column].imshow(example.cover[frame], vmin=0, vmax=1, cmap="gray")
            line[0].set_title(f"{caption(example.caption, WORDS)}  ({example.area:.3f})", fontsize=7, loc="left")
            line[columns].set_title("map", fontsize=7, loc="left")
            line[2 * columns].set_title("truth: share of the subject", fontsize=7, loc="left")
        for axis in axes.flat:
            axis.set_axis_off()
        # A layout that makes room for the texts has none for the frames where a caption is long.
        top = 1 - 0.2 / (1.25 * len(examples))
        figure.subplots_adjust(left=0.005, right=0.995, bottom=0.01, top=top, wspace=0.04, hspace=0.2)
        with writing(path) as part:
            figure.savefig(part, format="png", dpi=110)
    pyplot.close(figure)


def as_json(checked: Checked) -> Mapping[str, Any]:
    """The table, the protocol and every clip's areas; NaN as null."""
    return {
        "protocol": checked.protocol,
        "areas": plain(checked.table()),
        "clips": [
            {
                "video": video,
                "camera": camera,
                "areas": plain({row: {a: mine[a][n] for a in AGAINST} for row, mine in checked.areas.items()}),
            }
            for n, (video, camera) in enumerate(zip(checked.videos, checked.cameras, strict=True))
        ],
    }


def plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: plain(inner) for key, inner in value.items()}
    return None if isinstance(value, float) and not np.isfinite(value) else value
