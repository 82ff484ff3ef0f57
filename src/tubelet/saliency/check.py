"""Does the text map find what the caption names? Measured on held-out clips whose truth is known.

A patch (a cell of the map's grid) is positive where the subject covers at least half of it, negative where it covers
none of it; others are left out. The ROC area is taken per clip, over the patches of all its frames, then the mean over
clips. *Distractor patches* are the negatives that other things cover at least half. Start reading at `check`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8

from tubelet import seeds
from tubelet.align import Aligner
from tubelet.data.maps import area_weights
from tubelet.data.synthetic import COLOURS, truth
from tubelet.data.table import Corpus, Video, normalise_text
from tubelet.data.video import read_span
from tubelet.errors import CorpusError
from tubelet.saliency.text import embed, likeness, quiet

ROWS = {
    "text map": "the cosine of patch and caption",
    "shuffled caption": "the same with the caption of another clip",
    "colour word": "minus the distance of the pixels' colours to that of the colour word in the caption",
    "centre": "minus the distance from the centre of the frame",
}
AGAINST = ("all", "distractors")
Grid = Float32[np.ndarray, "t gh gw"]


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
    areas: dict[str, dict[str, list[float]]]
    examples: list[Example]
    protocol: dict[str, Any]

    def table(self) -> dict[str, dict[str, dict[str, dict[str, float]]]]:
        """row -> against -> camera ("overall" first) -> mean, standard error over clips, clips."""
        cameras = np.array(self.cameras)
        groups = {
            "overall": np.ones(len(cameras), bool),
            **{name: cameras == name for name in sorted(set(self.cameras))},
        }
        return {
            row: {
                against: {name: summary(np.array(values)[chosen]) for name, chosen in groups.items()}
                for against, values in by_side.items()
            }
            for row, by_side in self.areas.items()
        }


def check(
    corpus: Corpus,
    aligner: Aligner,
    source: str | None = None,
    split: str = "test",
    every: int = 4,
    most: int | None = None,
    pictures: int = 8,
    seed: int = 0,
    progress: Callable[[int, int], None] = quiet,
) -> Checked:
    """Scores every `every`-th frame of the clips of a split with the caption of this source."""
    clips = with_truth(corpus, source, split)[:most]
    captions = [text for _, text in clips]
    vectors = embed(aligner, sorted(set(captions)))
    strangers = shuffled(captions, seed)
    areas: dict[str, dict[str, list[float]]] = {row: {against: [] for against in AGAINST} for row in ROWS}
    examples: list[Example] = []
    cameras: list[str] = []
    shape = (0, 0)
    for number, (video, caption) in enumerate(clips):
        frames = read_span(video.path, video.start, video.end)[0][::every]
        known = truth(corpus, video)
        cameras.append(known.camera)
        owner = known.owner[::every]
        both = likeness(aligner, frames, np.stack([vectors[caption], vectors[strangers[number]]]))
        shape = both.shape[2:]
        subject, others = coverage(owner == 1, *shape), coverage(owner >= 2, *shape)
        positive, negative = subject >= 0.5, subject == 0
        scores = {
            "text map": both[0],
            "shuffled caption": both[1],
            "colour word": colour_word(frames, caption, *shape),
            "centre": centre(len(frames), *shape),
        }
        for row, score in scores.items():
            areas[row]["all"].append(roc_area(score[positive], score[negative]))
            areas[row]["distractors"].append(roc_area(score[positive], score[negative & (others >= 0.5)]))
        if len(examples) < pictures and number % max(len(clips) // pictures, 1) == 0:
            examples.append(Example(video.id, caption, frames, both[0], subject, areas["text map"]["all"][-1]))
        progress(number + 1, len(clips))
    protocol = {
        "corpus": corpus.name,
        "fingerprint": corpus.fingerprint(),
        "split": split,
        "source": source,
        "every": every,
        "grid": list(shape),
        "aligner": aligner.identity,
        "positive": "subject covers at least half of the patch",
        "negative": "subject covers none of it",
        "distractor": "a negative of which other things cover at least half",
        "statistic": "ROC area per clip over the patches of its frames, then the mean over clips",
        "rows": ROWS,
    }
    return Checked([video.id for video, _ in clips], cameras, areas, examples, protocol)


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
        line[0].set_title(f"{example.caption}  ({example.area:.3f})", fontsize=7, loc="left")
        line[columns].set_title("map", fontsize=7, loc="left")
        line[2 * columns].set_title("truth: share of the subject", fontsize=7, loc="left")
    for axis in axes.flat:
        axis.set_axis_off()
    figure.tight_layout(pad=0.3)
    figure.savefig(path, dpi=110)
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
                "areas": plain({row: {a: checked.areas[row][a][n] for a in AGAINST} for row in ROWS}),
            }
            for n, (video, camera) in enumerate(zip(checked.videos, checked.cameras, strict=True))
        ],
    }


def plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: plain(inner) for key, inner in value.items()}
    return None if isinstance(value, float) and not np.isfinite(value) else value
