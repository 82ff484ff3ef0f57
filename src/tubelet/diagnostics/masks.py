"""What masks hide: every masker on the clips of a corpus, against the ground truth where it is known.

One clip from the middle of every video, its centre square or as training crops it, at each masker's own ratio. The
measures of the subject and of motion need the ground truth of a corpus of `tubelet synth`; the others are measured on
any corpus. Start reading at `masks`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import chz
import torch

from tubelet import seeds
from tubelet.config import override
from tubelet.corpus.captions import CaptionChoice
from tubelet.corpus.schema import Video
from tubelet.corpus.table import Corpus
from tubelet.diagnostics.mask_measures import Drawer, MaskTally, Measured
from tubelet.errors import CorpusError, RecipeError
from tubelet.loading.augment import Augment
from tubelet.loading.data import Data
from tubelet.loading.loader import eval_batches
from tubelet.loading.opening import check_length, nothing_in, open_maps
from tubelet.maskers import Masker, Nothing, Schedule
from tubelet.models import Base
from tubelet.progress import Progress, silent
from tubelet.recipes.named import maskers_of
from tubelet.recipes.pretrain import Pretrain
from tubelet.runs.folder import IMPORTED, load_task, read_kind, read_run_config
from tubelet.types import Clip
from tubelet.video.crop import Crop
from tubelet.video.sampling import Sampling

BATCH = 16
FIELDS = ("clip", "data", "encoder")  # of a recipe: what can be set here
LEARNED = "measured at initialisation, before any training"
TRAINED = "measured as the run trained it"


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
    and encoder are taken in place of a ViT-B on 224 pixels; a run's own masker is measured beside those that words
    name, a learned one as the run trained it. `ratio` is that of all maskers that have one and were given
    none. `crops` shows of each frame what training would, a crop drawn by `data.augment`, in place of the centre
    square. Maskers whose maps are missing, or that cannot hide their share of so small a clip, are left out and named
    in `left_out`. `CorpusError` where there is no clip, `RecipeError` where no masker is left.
    """
    corpus = Corpus.of(corpus)
    for name, value in (("clips", clips), ("pictures", pictures)):
        if value < 1:
            raise RecipeError(f"--{name} must be at least 1, not {value}")
    fields_of_clips = [word for word in words if sets_a_field(word)]
    if not crops and (unused := [word for word in fields_of_clips if word.startswith("data.augment")]):
        raise RecipeError(f"{unused[0]}: say --crops too, else the centre square of every clip is measured")
    config = configured(corpus, split, fields_of_clips, like)
    own = {} if maskers is not None or like is None else masker_of(like)
    if maskers is None:
        maskers = own | maskers_of([word for word in words if not sets_a_field(word)], ratio)
    videos = sample_videos(corpus, config.data, config.clip, clips, seed)
    left_out = {
        name: reason for name, masker in maskers.items() if (reason := reason_left_out(masker, corpus, videos, config))
    }
    drawers = {
        name: Drawer.of(masker, config.clip, config.encoder, seed)
        for name, masker in maskers.items()
        if name not in left_out
    }
    trained = {name: drawer_of(like, config) for name in own if name in drawers and drawers[name].policy is not None}
    drawers |= {name: drawer for name, drawer in trained.items() if drawer is not None}
    if not drawers:
        raise RecipeError(f"no masker is left to measure: {next(iter(left_out.values()), 'none was named')}")
    crop = partial(drawn_crop, config.data.augment, seed) if crops else None
    tally = MaskTally(config.clip, drawers, {video.id: video for video in videos}, pictures, crop)
    tally_batches(tally, corpus, config.data, seed, progress)
    remarks = {
        name: TRAINED if trained.get(name) else LEARNED for name, drawer in drawers.items() if drawer.policy is not None
    }
    remarks |= {name: "at the end of its schedule" for name, a in drawers.items() if isinstance(a.masker, Schedule)}
    return Measured(
        videos=tally.videos,
        cameras=tally.cameras,
        fixed={name: tally.fixed(name, config.encoder) for name in drawers},
        clips=tally.clips,
        maps=tally.maps,
        left_out=left_out,
        remarks=remarks,
        failed=tally.failed,
        pictures=tally.pictures,
        protocol=protocol(corpus, config, seed, tally),
    )


@torch.inference_mode()
def tally_batches(tally: MaskTally, corpus: Corpus, data: Data, seed: int, progress: Progress) -> None:
    """Every clip through every masker; `CorpusError` where no clip can be read."""
    videos = list(tally.by_id.values())
    needs = tuple(dict.fromkeys(name for drawer in tally.drawers.values() for name in drawer.masker.maps))
    done = 0
    for batch in eval_batches(corpus, videos, tally.clip, data, batch=BATCH, needs=needs, crop=tally.crop):
        done += len(batch) + len(batch.failed)
        tally.failed += batch.failed
        if len(batch):
            rows = [] if batch.source is None else batch.source.tolist()
            keys = torch.tensor([seeds.key(seed, "masks", row) for row in rows])
            tally.add(replace(batch, key=keys), corpus, data)
        progress(done, len(videos), "")
    if not tally.videos:
        raise CorpusError(f"none of {len(videos)} clips could be read (first: {tally.failed[0]})")


def protocol(corpus: Corpus, config: Pretrain, seed: int, tally: MaskTally) -> dict[str, Any]:
    """What decides the figures."""
    crop = "the centre square" if tally.crop is None else "drawn by data.augment"
    return {
        "corpus": corpus.name,
        "fingerprint": corpus.fingerprint(),
        "split": config.data.split,
        "seed": seed,
        "clips": len(tally.videos),
        "short_clips": tally.short,
        "clip": fields(config.clip),
        "sampling": fields(config.data.sampling),
        "captions": fields(config.data.captions),
        "crop": f"{crop}, one clip from the middle of a video",
        **({"augment": fields(config.data.augment)} if tally.crop else {}),
        "encoder": with_class(config.encoder),
        "batch": BATCH,
        "maskers": {name: with_class(drawer.masker) for name, drawer in tally.drawers.items()},
        "statistic": "the value of every clip, then the mean over clips and its standard error",
    }


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
        if "text" in run.maps:
            data = chz.replace(data, captions=run.data.captions)
        base = chz.replace(base, clip=run.clip, encoder=run.encoder, data=data)
    return override(base, words)


def masker_of(like: str | Path | Pretrain) -> dict[str, Masker]:
    """What hides in this run, by what it is called in a table; nothing of one that was not pretrained here."""
    if not isinstance(like, Pretrain) and (read_kind(like) == "finetune" or read_run_config(like).recipe == IMPORTED):
        return {}
    masker = (like if isinstance(like, Pretrain) else read_run_config(like).config).masker
    return {} if isinstance(masker, Nothing) else {f"{type(masker).__name__} of the run": masker}


def drawer_of(like: str | Path | Pretrain | None, config: Pretrain) -> Drawer | None:
    """Of a run's learned masker, as it was trained; None where there is no such run, or its clips are others."""
    if like is None or isinstance(like, Pretrain):
        return None
    run, task = load_task(like)
    if (run.clip, run.encoder) != (config.clip, config.encoder):
        return None
    return Drawer(run.masker, run.clip, task.policy, task.encoder)


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


def reason_left_out(masker: Masker, corpus: Corpus, videos: Sequence[Video], config: Pretrain) -> str | None:
    """Why this masker cannot be measured here, with the remedy; None where it can."""
    try:
        masker.budget(config.clip)
        lists = config.data.captions.candidates(corpus, videos) if "text" in masker.maps else []
        captions = {video.row: some for video, some in zip(videos, lists, strict=bool(lists))}
        for name in masker.maps:
            open_maps(corpus, name, videos, captions)
    except (CorpusError, RecipeError) as error:
        return str(error)
    return None


def with_class(config: Any) -> dict[str, Any]:
    return {"class": type(config).__name__, **fields(config)}


def fields(config: Any) -> dict[str, Any]:
    """A config as JSON holds it, parts with their class."""
    values = {name: getattr(config, name) for name in chz.chz_fields(config)}
    return {
        name: with_class(value) if chz.is_chz(value) else dict(value) if isinstance(value, Mapping) else value
        for name, value in values.items()
    }
