"""How well maps find the subject, which captions name: the ROC area on held-out clips whose ground truth is known.

The ROC area is taken per clip, over the patches of all its frames (`tubelet.diagnostics.truth` says which count), then
averaged over clips. Start reading at `measure_aligner`, for the text maps of an aligner next to their controls, or at
`measure_maps`, for maps that a corpus has.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float32, UInt8

from tubelet import seeds
from tubelet.aligners.base import Aligner
from tubelet.checksums import plain, write_json
from tubelet.contact_sheet import Row, draw, fitted, heat
from tubelet.corpus.schema import Video
from tubelet.corpus.table import Corpus, normalise_text
from tubelet.diagnostics.truth import AGAINST, Table, areas_of, by_camera, coverage
from tubelet.errors import CorpusError, RecipeError
from tubelet.progress import Progress, silent
from tubelet.recipes.named import source_of
from tubelet.saliency_maps import Text
from tubelet.saliency_maps.text import aligner_of, embed_texts, similarity_maps
from tubelet.stores.maps import Kind, Maps
from tubelet.stores.resample import area_weights
from tubelet.synthetic import COLOURS, truth
from tubelet.video.reader import SAME, read_span, timestamps

if TYPE_CHECKING:
    import pandas

ROWS = {
    "text map": "the cosine of patch and caption",
    "shuffled caption": "the same with the caption of another clip",
    "colour word": "minus the distance of the pixels' colours to that of the colour word in the caption",
    "centre": "minus the distance from the centre of the frame",
}
CENTRE = {"centre": ROWS["centre"]}
SPEEDS = {
    "speed": "the length of the map's vector",
    "compensated": "the length of its difference from the frame's median vector",
}
TALL, WIDEST = 88, 160  # pixels of a picture
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
class MapMeasures:
    """ROC areas of every clip: areas[row][against] in the order of `videos`, NaN where a side has no patch."""

    videos: list[str]
    cameras: list[str]
    areas: Areas
    examples: list[Example]
    protocol: dict[str, Any]
    trained: Mapping[str, Any] = field(default_factory=dict)  # how the aligner was trained, where that is known

    def frame(self) -> "pandas.DataFrame":
        """A row per map, side and camera: map, against, camera, mean, error (standard error over clips), clips."""
        import pandas

        rows = [
            {"map": row, "against": against, "camera": camera, **summary}
            for row, sides in self.table().items()
            for against, cameras in sides.items()
            for camera, summary in cameras.items()
        ]
        return pandas.DataFrame(rows, columns=["map", "against", "camera", "mean", "error", "clips"])

    def table(self) -> Table:
        """row -> against -> camera ("overall" first) -> mean, standard error over clips, clips."""
        return by_camera(self.areas, self.cameras)


def maps(
    corpus: Corpus | str | Path,
    *words: str,
    source: str | None = None,
    split: str = "test",
    every: int = 4,
    clips: int | None = None,
    progress: Progress = silent,
) -> MapMeasures:
    """How well saliency maps find what captions name, on a corpus whose ground truth is known.

    `words` are names of maps that the corpus has ("motion"); without one, the text maps of an aligner are measured,
    next to their controls, and fields say of which ("aligner=CLIP", "scorer=surgery"; the default is CORPUS/aligner).
    `source` is that of the captions (`subject`, where it is there). Of so many `clips` of a split, `every` so many
    frames are measured.
    """
    corpus = Corpus.of(corpus)
    for name, value in (("every", every), ("clips", clips)):
        if value is not None and value < 1:
            raise RecipeError(f"--{name} must be at least 1, not {value}")
    names = [word for word in words if "=" not in word]
    text = text_source([word for word in words if "=" in word])
    source = source or ("subject" if "subject" in corpus.sources else None)
    if names:
        return measure_maps(corpus, names, source, split, every, clips, progress=progress)
    aligner = aligner_of(corpus, text.aligner, text.reading, text.scorer)
    return measure_aligner(corpus, aligner, source, split, every, clips, progress=progress)


def text_source(fields: Sequence[str]) -> Text:
    """The source of text maps that these fields say."""
    found = source_of(["Text", *fields])
    assert isinstance(found, Text)
    return found


def measure_aligner(
    corpus: Corpus,
    aligner: Aligner,
    source: str | None = None,
    split: str = "test",
    every: int = 4,
    most: int | None = None,
    pictures: int = 8,
    seed: int = 0,
    progress: Progress = silent,
) -> MapMeasures:
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
    known_of = getattr(aligner, "about", {})
    trained = {name: known_of[name] for name in ("seconds", "processor_seconds", "settings") if name in known_of}
    about = {"source": source, "grid": list(shape), "aligner": aligner.identity, "rows": ROWS}
    return MapMeasures(
        [video.id for video, _ in clips], cameras, areas, examples, protocol_of(corpus, split, every) | about, trained
    )


def measure_maps(
    corpus: Corpus,
    names: Sequence[str],
    source: str | None = None,
    split: str = "test",
    every: int = 4,
    most: int | None = None,
    pictures: int = 8,
    progress: Progress = silent,
) -> MapMeasures:
    """The maps of these names at every `every`-th frame; the speed of vector maps, as it is and compensated.

    Each map is measured on its own grid. `text` maps take the first caption of this source.
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
            scores |= {f"{name}{what}": score for what, score in scores_by_row(shown, maps.kind).items()}
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
    return MapMeasures(
        [video.id for video in videos], cameras, areas, examples, protocol_of(corpus, split, every) | about
    )


def scores_by_row(layers: Float32[np.ndarray, "t gh gw *v"], kind: Kind) -> dict[str, Grid]:
    """Every map as one number a cell; of parts each by its number."""
    if kind == "parts":
        return {f" {number}": layers[..., number] for number in range(layers.shape[-1])}
    return speeds(layers)


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


def write_maps(measured: MapMeasures, folder: str | Path) -> tuple[Path, Path]:
    """maps.json, all figures, and maps.png, a picture of some clips."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    files = folder / "maps.json", folder / "maps.png"
    write_json(
        files[0],
        {
            "protocol": measured.protocol,
            "areas": plain(measured.table()),
            "trained": measured.trained,
            "clips": [
                {
                    "video": video,
                    "camera": camera,
                    "areas": plain({row: {a: mine[a][n] for a in AGAINST} for row, mine in measured.areas.items()}),
                }
                for n, (video, camera) in enumerate(zip(measured.videos, measured.cameras, strict=True))
            ],
        },
    )
    write_map_sheet(measured, files[1])
    return files


def write_map_sheet(measured: MapMeasures, path: Path, columns: int = 4) -> None:
    """Frames, map and ground truth of some clips, a row each."""
    rows = []
    for one in measured.examples:
        chosen = np.linspace(0, len(one.frames) - 1, columns).round().astype(int)
        low, high = np.percentile(one.score, [1, 99.5])
        frames = [fitted(one.frames[index], TALL, WIDEST) for index in chosen]
        scores = [heat(frame, one.score[index], low, high) for frame, index in zip(frames, chosen, strict=True)]
        truths = [heat(frame, one.cover[index], 0.0, 1.0) for frame, index in zip(frames, chosen, strict=True)]
        rows.append(Row([*frames, *scores, *truths], f"{one.caption}  (ROC area {one.area:.3f})"))
    names = ("frames", "map", "truth")
    header = [[name] if index == 0 else [] for name in names for index in range(columns)]
    draw(rows, path, header, gap=3)
