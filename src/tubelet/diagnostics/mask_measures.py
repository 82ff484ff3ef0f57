"""What is measured of the masks that maskers draw, clip by clip. `MEASURES` defines each; start at `Tally.add`."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int64, UInt8
from torch import Tensor

from tubelet import seeds
from tubelet.checksums import plain
from tubelet.corpus.schema import Video
from tubelet.corpus.table import Corpus
from tubelet.diagnostics.truth import Table, TrueClip, areas_of, by_camera
from tubelet.flops import step_flops
from tubelet.loading.data import Data
from tubelet.loading.requests import CropOf
from tubelet.maskers import TOKENS, Masker, Policy
from tubelet.maskers.vectors import per_time_step, speed
from tubelet.models import Encoder
from tubelet.models.encoder import Vit
from tubelet.models.patches import cut
from tubelet.synthetic import has_truth
from tubelet.types import Batch, Clip, Grid, Mask

if TYPE_CHECKING:
    import pandas

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


class MaskTally:
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
        self.shown = {list(videos)[index] for index in spaced_indices(pictures, len(videos))}
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

    def add(self, batch: Batch, corpus: Corpus, data: Data) -> None:
        known = has_truth(corpus)
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
        time_steps = spaced_indices(4, self.clip.grid[0])
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


def spaced_indices(count: int, total: int) -> list[int]:
    """Up to so many indices, the first and the last among them."""
    return sorted(set(np.linspace(0, total - 1, min(count, total)).round().astype(int).tolist()))
