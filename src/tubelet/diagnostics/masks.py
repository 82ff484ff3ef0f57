"""What masks hide: every masker on the clips of a corpus, against the ground truth where it is known.

One clip from the middle of every video, its centre square or as training crops it, at each masker's own ratio. The
measures of the subject and of motion need the ground truth of a corpus of `tubelet synth`; the others are measured on
any corpus. `MEASURES` defines each. Start reading at `masks`.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import chz
import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int64, UInt8
from torch import Tensor

from tubelet import seeds
from tubelet.config import override
from tubelet.corpus.captions import CaptionChoice
from tubelet.corpus.table import Corpus, Video
from tubelet.diagnostics.truth import Table, TrueClip, areas_of, by_camera, plain
from tubelet.errors import CorpusError, RecipeError
from tubelet.flops import step_flops
from tubelet.loading.augment import Augment
from tubelet.loading.data import Data
from tubelet.loading.loader import eval_batches
from tubelet.loading.reader import check_length, nothing_in, open_maps
from tubelet.loading.requests import CropOf
from tubelet.maskers import TOKENS, Masker, Policy, Schedule
from tubelet.maskers.vectors import per_time_step, speed
from tubelet.models import Base, Encoder
from tubelet.models.encoder import Vit
from tubelet.models.patches import cut
from tubelet.progress import Progress, silent
from tubelet.recipes.named import maskers_of
from tubelet.recipes.pretrain import Pretrain
from tubelet.runs.folder import read_run_config
from tubelet.types import Batch, Clip, Grid, Mask
from tubelet.video.crop import Crop
from tubelet.video.sampling import Sampling

if TYPE_CHECKING:
    import pandas

BATCH = 16
FIELDS = ("clip", "data", "encoder")  # of a recipe: what can be set here
MEASURES = {
    "visible": "tubelets of a clip that the encoder sees",
    "hidden": "share of the tubelets that is hidden: the chance level of subject_hidden",
    "subject_hidden": "share of the subject's area, over the whole clip, that is hidden",
    "roc_auc": "ROC area of the masker's scores (high: hidden) for the subject: tubelets that it covers by half "
    "against those without it",
    "roc_auc_distractors": "the same against those tubelets without it that other things cover by half",
    "motion_iou": "intersection over union of what is hidden in one time step, moved along the true motion to the "
    "next, and of what is hidden there, over the pixels that stay in view",
    "motion_iou_visible": "the same of what is visible",
    "step_iou": "intersection over union of the patch positions that are hidden in one time step and in the next",
    "step_iou_visible": "the same of what is visible",
    "entropy": "mean over tubelets of the binary entropy of the share of clips that hide it, over that of the share "
    "hidden: 1 any tubelet is as likely as any other, 0 the same mask for every clip; with few clips it comes out low",
    "milliseconds": "processor time of drawing the mask of one clip, in batches; the median over batches",
    "gflop": "forward and backward of the encoder for the visible tubelets of one clip, and of the network of a "
    "learned masker, counted by PyTorch; no decoder",
}
LEARNED = "measured at initialisation, before any training"


@dataclass(frozen=True)
class Picture:
    """A clip of the contact sheet: a few of its time steps, and what each masker hides there."""

    video: str
    caption: str
    camera: str
    frames: UInt8[np.ndarray, "s h w 3"]
    hidden: Mapping[str, Bool[np.ndarray, "s rows columns"]]


@dataclass(frozen=True)
class Measured:
    """Per masker: `fixed[masker][measure]` a number, `clips[masker][measure]` one per clip in the order of `videos`.

    `maps` has the ROC areas of the maps themselves; without ground truth it is empty, and so is `cameras`.
    """

    videos: list[str]
    cameras: list[str]
    fixed: Mapping[str, Mapping[str, float]]
    clips: Mapping[str, Mapping[str, Sequence[float]]]
    maps: Mapping[str, Mapping[str, Sequence[float]]]
    left_out: Mapping[str, str]
    remarks: Mapping[str, str]
    failed: Sequence[str]
    pictures: Sequence[Picture]
    protocol: Mapping[str, Any]

    @property
    def knows_truth(self) -> bool:
        return bool(self.cameras)

    def table(self) -> Table:
        """masker -> measure -> camera ("overall" first) -> mean, standard error over clips, clips."""
        return by_camera(self.clips, self.cameras or ["any"] * len(self.videos))

    def table_of_maps(self) -> Table:
        """map -> against -> camera -> the same, of the ROC area of the map itself."""
        return by_camera(self.maps, self.cameras)

    def frame(self) -> "pandas.DataFrame":
        """A row per masker and measure: masker, measure, camera, mean, error (standard error over clips), clips."""
        import pandas

        rows = [
            {"masker": masker, "measure": measure, "camera": "overall", "mean": value, "clips": len(self.videos)}
            for masker, measures in self.fixed.items()
            for measure, value in measures.items()
        ]
        rows += [
            {"masker": masker, "measure": measure, "camera": camera, **summary}
            for masker, measures in self.table().items()
            for measure, cameras in measures.items()
            for camera, summary in cameras.items()
        ]
        return pandas.DataFrame(rows, columns=["masker", "measure", "camera", "mean", "error", "clips"])

    def as_json(self) -> dict[str, Any]:
        """Everything but the pictures; NaN as null."""
        found: dict[str, Any] = plain(
            {
                "protocol": self.protocol,
                "measures": MEASURES,
                "left_out": self.left_out,
                "remarks": self.remarks,
                "failed": list(self.failed),
                "fixed": self.fixed,
                "table": self.table(),
                "maps": self.table_of_maps() if self.knows_truth else {},
            }
        )
        found["clips"] = [
            plain(
                {"video": video}
                | ({"camera": self.cameras[n]} if self.cameras else {})
                | {"masks": {name: {what: each[n] for what, each in of.items()} for name, of in self.clips.items()}}
                | {"maps": {name: {what: each[n] for what, each in of.items()} for name, of in self.maps.items()}}
            )
            for n, video in enumerate(self.videos)
        ]
        return found


def masks(
    corpus: Corpus | str | Path,
    *words: str,
    maskers: Mapping[str, Masker] | None = None,
    like: str | Path | Pretrain | None = None,
    split: str = "test",
    ratio: float | None = None,
    clips: int = 100,
    seed: int = 0,
    pictures: int = 6,
    crops: bool = False,
    progress: Progress = silent,
) -> Measured:
    """What maskers hide of the same clips of a split, drawn by the seed if not all.

    `words` are maskers ("Tube", "Text:pick=bottom", "my.py:Mine:ratio=0.5"; none: every one) and fields of clip, data
    and encoder ("clip.size=64"); `maskers` are objects, in place of names. `like` is a run, or a recipe, whose clips
    and encoder are taken in place of a ViT-B on 224 pixels; `ratio` is that of all maskers that have one and were given
    none. `crops` shows of each frame what training would, a crop drawn by `data.augment`, in place of the centre
    square. Maskers whose maps are missing, or that cannot hide their share of so small a clip, are left out and named
    in `left_out`. `CorpusError` where there is no clip, `RecipeError` where no masker is left.
    """
    corpus = corpus if isinstance(corpus, Corpus) else Corpus.open(corpus)
    for name, value in (("clips", clips), ("pictures", pictures)):
        if value < 1:
            raise RecipeError(f"--{name} must be at least 1, not {value}")
    fields_of_clips = [word for word in words if sets_a_field(word)]
    if not crops and (unused := [word for word in fields_of_clips if word.startswith("data.augment")]):
        raise RecipeError(f"{unused[0]}: say --crops too, else the centre square of every clip is measured")
    config = configured(corpus, split, fields_of_clips, like)
    clip, data, encoder = config.clip, config.data, config.encoder
    if maskers is None:
        maskers = maskers_of([word for word in words if not sets_a_field(word)], ratio)
    videos = sample_videos(corpus, data, clip, clips, seed)
    left_out = {
        name: reason
        for name, masker in maskers.items()
        if (reason := reason_left_out(masker, corpus, videos, clip, data))
    }
    drawers = {name: Drawer.of(masker, clip, encoder, seed) for name, masker in maskers.items() if name not in left_out}
    if not drawers:
        raise RecipeError(f"no masker is left to measure: {next(iter(left_out.values()), 'none was named')}")
    needs = tuple(dict.fromkeys(name for drawer in drawers.values() for name in drawer.masker.maps))
    known = "synth" in corpus.about
    crop = partial(drawn_crop, data.augment, seed) if crops else None
    tally = Tally(clip, drawers, {video.id: video for video in videos}, pictures, crop)
    done = 0
    with torch.inference_mode():
        for batch in eval_batches(corpus, videos, clip, data, batch=BATCH, needs=needs, crop=crop):
            done += len(batch) + len(batch.failed)
            tally.failed += batch.failed
            if len(batch):
                rows = [] if batch.source is None else batch.source.tolist()
                keys = torch.tensor([seeds.key(seed, "masks", row) for row in rows])
                tally.add(replace(batch, key=keys), corpus, data, known)
            progress(done, len(videos), "")
    if not tally.videos:
        raise CorpusError(f"none of {len(videos)} clips could be read (first: {tally.failed[0]})")
    remarks = {name: LEARNED for name, drawer in drawers.items() if drawer.policy is not None}
    remarks |= {name: "at the end of its schedule" for name, a in drawers.items() if isinstance(a.masker, Schedule)}
    return Measured(
        videos=tally.videos,
        cameras=tally.cameras,
        fixed={name: tally.fixed(name, encoder) for name in drawers},
        clips=tally.clips,
        maps=tally.maps,
        left_out=left_out,
        remarks=remarks,
        failed=tally.failed,
        pictures=tally.pictures,
        protocol={
            "corpus": corpus.name,
            "fingerprint": corpus.fingerprint(),
            "split": data.split,
            "seed": seed,
            "clips": len(tally.videos),
            "short_clips": tally.short,
            "clip": fields(clip),
            "sampling": fields(data.sampling),
            "captions": fields(data.captions),
            "crop": f"{'drawn by data.augment' if crops else 'the centre square'}, one clip from the middle of a video",
            **({"augment": fields(data.augment)} if crops else {}),
            "encoder": {"class": type(encoder).__name__, **fields(encoder)},
            "batch": BATCH,
            "maskers": {name: {"class": type(a.masker).__name__, **fields(a.masker)} for name, a in drawers.items()},
            "statistic": "the value of every clip, then the mean over clips and its standard error",
        },
    )


def sets_a_field(word: str) -> bool:
    """Whether the word is key=value, not a masker with its own after a colon."""
    return "=" in word.partition(":")[0]


def configured(corpus: Corpus, split: str, words: Sequence[str], like: str | Path | Pretrain | None) -> Pretrain:
    """Which clips are measured, and with which encoder."""
    for word in words:
        if word.partition("=")[0].partition(".")[0] not in FIELDS:
            raise RecipeError(
                f"{word}: only fields of {', '.join(FIELDS)} can be set here; a masker's stand after "
                "its name, as in Text:pick=bottom"
            )
        if word.startswith("data.split="):
            raise RecipeError(f"{word}: say it with --split")
    base = Pretrain(data=plain_data(corpus, split), encoder=Base(), steps=1)
    if like is not None:
        run = like if isinstance(like, Pretrain) else read_run_config(like).config
        data = chz.replace(base.data, sampling=run.data.sampling, augment=run.data.augment)
        base = chz.replace(base, clip=run.clip, encoder=run.encoder, data=data)
    return override(base, words)


def plain_data(corpus: Corpus, split: str = "test") -> Data:
    """Every second frame; captions of the source `subject` where there is one."""
    source = "subject" if "subject" in corpus.sources else None
    return Data(sampling=Sampling(stride=2), captions=CaptionChoice(source=source), split=split)


def sample_videos(corpus: Corpus, data: Data, clip: Clip, clips: int, seed: int) -> list[Video]:
    """So many videos of the split, drawn by the seed, in the order of the table."""
    videos = corpus.select(data.split)
    if not videos:
        raise CorpusError(nothing_in(corpus, data.split))
    order = seeds.generator(seed, "clips to mask", len(videos)).permutation(len(videos))
    videos = [videos[index] for index in sorted(order[:clips])]
    check_length(videos, clip, data.sampling)
    return videos


def drawn_crop(augment: Augment, seed: int, video: Video, height: int, width: int) -> Crop:
    """The part of the frame that a training clip of this video might show."""
    return augment.draw(seeds.generator(seed, "crop to mask", video.row), height, width)


def reason_left_out(masker: Masker, corpus: Corpus, videos: Sequence[Video], clip: Clip, data: Data) -> str | None:
    """Why this masker cannot be measured here, with the remedy; None where it can."""
    try:
        masker.budget(clip)
        lists = data.captions.candidates(corpus, videos) if "text" in masker.maps else []
        captions = {video.row: some for video, some in zip(videos, lists, strict=bool(lists))}
        for name in masker.maps:
            open_maps(corpus, name, videos, captions)
    except (CorpusError, RecipeError) as error:
        return str(error)
    return None


@dataclass(frozen=True)
class Drawer:
    """Draws the masks of a masker; of a learned one with fresh weights."""

    masker: Masker
    clip: Clip
    policy: Policy | None
    encoder: Encoder | None

    @classmethod
    def of(cls, masker: Masker, clip: Clip, encoder: Vit, seed: int) -> "Drawer":
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seeds.key(seed, "weights of a masker"))
            embeds = encoder.build(clip) if TOKENS in masker.needs else None
            return cls(masker, clip, masker.build(clip, encoder.width), embeds)

    def draw(self, batch: Batch) -> Mask:
        tokens = None if self.encoder is None else self.encoder.patches(cut(batch.video, self.clip))
        return (self.masker if self.policy is None else self.policy)(batch, self.clip, batch.key, tokens)

    def scores(self, batch: Batch, mask: Mask) -> Float[Tensor, "b n"]:
        """What the mask was drawn by, high for hidden; of a learned masker minus the logarithm of its probabilities."""
        if mask.log_prob is not None:
            return -mask.log_prob
        return self.masker.at(batch.progress).scores(batch, self.clip, batch.key)


class Tally:
    """What is summed up while the clips pass."""

    def __init__(
        self,
        clip: Clip,
        drawers: Mapping[str, Drawer],
        videos: Mapping[str, Video],
        pictures: int,
        crop: CropOf | None,
    ) -> None:
        self.clip, self.drawers, self.by_id, self.crop = clip, drawers, videos, crop
        self.shown = {list(videos)[index] for index in evenly_spaced(pictures, len(videos))}
        self.videos: list[str] = []
        self.cameras: list[str] = []
        self.failed: tuple[str, ...] = ()
        self.pictures: list[Picture] = []
        self.short = 0
        self.clips: dict[str, dict[str, list[float]]] = {name: {} for name in drawers}
        self.maps: dict[str, dict[str, list[float]]] = {}
        self.spent: dict[str, list[float]] = {name: [] for name in drawers}
        self.often = {name: np.zeros(clip.num_tubelets) for name in drawers}
        self.hides: dict[str, int] = {}

    def add(self, batch: Batch, corpus: Corpus, data: Data, known: bool) -> None:
        truths = (
            [TrueClip.of(corpus, self.by_id[name], self.clip, data.sampling, self.crop) for name in batch.ids]
            if known
            else []
        )
        hidden: dict[str, Bool[np.ndarray, "b n"]] = {}
        for name, drawer in self.drawers.items():
            began = time.process_time()
            mask = drawer.draw(batch)
            self.spent[name].append((time.process_time() - began) / len(batch))
            self.hides[name] = mask.hidden.shape[1]
            flags = torch.zeros(len(batch), self.clip.num_tubelets, dtype=torch.bool).scatter(1, mask.hidden, True)
            hidden[name] = flags.numpy()
            self.often[name] += hidden[name].sum(0)
            scores = drawer.scores(batch, mask).float().numpy() if known else None
            for n, one in enumerate(hidden[name]):
                figures = step_measures(one, self.clip.grid)
                if scores is not None:
                    figures |= truth_measures(one, scores[n], truths[n])
                append(self.clips[name], figures)
        for n, known_clip in enumerate(truths):
            for name, values in map_scores(batch, self.clip).items():
                append(self.maps.setdefault(name, {}), areas_of(values[n], known_clip.subject, known_clip.others))
        self.videos += batch.ids
        self.cameras += [known_clip.camera for known_clip in truths]
        self.short += 0 if batch.short is None else int(batch.short.sum())
        for n, name in enumerate(batch.ids):
            if name in self.shown:
                camera = truths[n].camera if truths else ""
                self.pictures.append(self.picture(batch, n, corpus, data, camera, hidden))

    def picture(
        self,
        batch: Batch,
        n: int,
        corpus: Corpus,
        data: Data,
        camera: str,
        hidden: Mapping[str, Bool[np.ndarray, "b n"]],
    ) -> Picture:
        captions = corpus.captions_of(self.by_id[batch.ids[n]], data.captions.source)
        time_steps = evenly_spaced(4, self.clip.grid[0])
        frames = batch.video[n].permute(1, 2, 3, 0).numpy()
        return Picture(
            video=batch.ids[n],
            caption=captions[0].text if captions else "",
            camera=camera,
            frames=frames[[time_step * self.clip.tubelet_frames for time_step in time_steps]].copy(),
            hidden={name: each[n].reshape(self.clip.grid)[time_steps] for name, each in hidden.items()},
        )

    def fixed(self, name: str, encoder: Vit) -> dict[str, float]:
        share = self.hides[name] / self.clip.num_tubelets
        visible = self.clip.num_tubelets - self.hides[name]
        often = binary_entropy(self.often[name] / len(self.videos)).mean()
        return {
            "visible": float(visible),
            "hidden": share,
            "entropy": float(often / binary_entropy(np.array(share))),
            "milliseconds": 1e3 * float(np.median(self.spent[name])),
            "gflop": step_flops(encoder, self.drawers[name].masker, self.clip, visible) / 1e9,
        }


def step_measures(hidden: Bool[np.ndarray, "n"], grid: Grid) -> dict[str, float]:
    """The measures that need no ground truth."""
    indices = grid[1] * grid[2]
    here = np.arange(len(hidden) - indices)
    stays, shown = agreement(hidden, here, here + indices)
    return {"step_iou": stays, "step_iou_visible": shown}


def truth_measures(
    hidden: Bool[np.ndarray, "n"], scores: Float32[np.ndarray, "n"], known: TrueClip
) -> dict[str, float]:
    area = float(known.subject.sum())
    areas = areas_of(scores, known.subject, known.others)
    follows, shown = agreement(hidden, known.before, known.after)
    return {
        "subject_hidden": float(known.subject[hidden].sum()) / area if area else float("nan"),
        "roc_auc": areas["all"],
        "roc_auc_distractors": areas["distractors"],
        "motion_iou": follows,
        "motion_iou_visible": shown,
    }


def agreement(
    hidden: Bool[np.ndarray, "n"], before: Int64[np.ndarray, "i"], after: Int64[np.ndarray, "i"]
) -> tuple[float, float]:
    """Intersection over union of hidden before and hidden after, and of visible; NaN where there is nothing."""
    first, second = hidden[before], hidden[after]
    both, either, total = int((first & second).sum()), int((first | second).sum()), len(first)
    return (
        both / either if either else float("nan"),
        (total - either) / (total - both) if total > both else float("nan"),
    )


def map_scores(batch: Batch, clip: Clip) -> dict[str, Float32[np.ndarray, "b n"]]:
    """Every map of the batch as a number a tubelet; of vectors the speed, as it is and without the camera's; of parts
    each by its number."""
    found: dict[str, Tensor] = {}
    for name, values in batch.maps.items():
        if values.ndim == 2:
            found[name] = values
            continue
        if values.ndim == 3:
            found |= {f"{name} {number}": part for number, part in enumerate(values.unbind(-1))}
            continue
        vectors = per_time_step(values, clip)
        found[f"{name} speed"] = speed(vectors).flatten(1)
        found[f"{name} compensated"] = speed(vectors, "median").flatten(1)
    return {name: values.float().numpy() for name, values in found.items()}


def binary_entropy(share: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
    """In bits; 0 for a share of 0 or 1."""
    inside = np.clip(share, 1e-12, 1 - 1e-12)
    bits = -(inside * np.log2(inside) + (1 - inside) * np.log2(1 - inside))
    return np.where((share <= 0) | (share >= 1), 0.0, bits)


def append(lists: dict[str, list[float]], figures: Mapping[str, float]) -> None:
    for name, figure in figures.items():
        lists.setdefault(name, []).append(figure)


def evenly_spaced(count: int, total: int) -> list[int]:
    """Up to so many indices, the first and the last among them."""
    return sorted(set(np.linspace(0, total - 1, min(count, total)).round().astype(int).tolist()))


def fields(config: Any) -> dict[str, Any]:
    """A config as JSON holds it, parts with their class."""
    return {
        name: {"class": type(value).__name__, **fields(value)}
        if chz.is_chz(value := getattr(config, name))
        else dict(value)
        if isinstance(value, Mapping)
        else value
        for name in chz.chz_fields(config)
    }
