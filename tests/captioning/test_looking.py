"""Captions by models that look: as plain transformers writes them, in batches or one by one, stopped or not."""

import os
import shutil
import signal
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import torch

from tubelet.captioning import (
    CAPTIONERS,
    Blip2,
    Captioned,
    Captioner,
    Captioning,
    ImageToText,
    VideoToText,
    caption,
    looking,
)
from tubelet.captioning import pretrained as module
from tubelet.captioning.base import Looking
from tubelet.captioning.looking import described
from tubelet.captioning.pretrained import Describer
from tubelet.config import concrete
from tubelet.corpus.table import Corpus
from tubelet.corpus.write import write_captions
from tubelet.errors import RecipeError, WeightsError
from tubelet.jobs import runner as jobs
from tubelet.jobs import tasks
from tubelet.jobs.parts import Part, PartFinished
from tubelet.video.reader import read_frames

hf = pytest.importorskip("transformers")
PIL = pytest.importorskip("PIL.Image")

from support import crashing  # noqa: E402
from support import tiny_captioners as tiny  # noqa: E402

Run = Callable[..., tuple[int, str, str]]
GOOD = [f"clip {number}" for number in range(4)]
MIDDLES = [0.25, 0.75, 1.25]  # of three equal parts of 1.5 s
MODELS: dict[str, tuple[Callable[[Path], Path], type[Looking]]] = {
    "blip2": (tiny.blip2, Blip2),
    "blip": (tiny.blip, ImageToText),
    "git": (tiny.git, ImageToText),
    "pair": (tiny.pair, ImageToText),
    "llava": (tiny.llava, ImageToText),
    "git video": (tiny.git, VideoToText),
    "llava video": (tiny.llava, VideoToText),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    makers = dict.fromkeys(maker for maker, _ in MODELS.values())
    return {maker.__name__: maker(tmp_path_factory.mktemp(maker.__name__)) for maker in makers}


@pytest.fixture
def captioner(folders: dict[str, Path]) -> Callable[..., Looking]:
    def make(name: str, **fields: Any) -> Looking:
        maker, cls = MODELS[name]
        return cls(model=str(folders[maker.__name__]), **{"frames": 3, "longest": 8, **fields})

    return make


def texts(done: Captioned) -> list[tuple[str, str, float | None]]:
    return [(c.video, c.text, c.time) for c in done.corpus.captions]


@lru_cache
def loaded(folder: Path, *parts: str) -> list[Any]:
    return [getattr(hf, part).from_pretrained(folder) for part in parts]


def by_hand(folder: Path, kind: str, pictures: list[np.ndarray], prompt: str) -> str:
    """One unit of pictures through the library as its pages show it, without any batch."""
    images = [PIL.fromarray(picture) for picture in pictures]
    (model,) = loaded(folder, "AutoModelForImageTextToText")
    length = {"max_new_tokens": 8, "do_sample": False}
    if kind == "pair":
        reader, words = loaded(folder, "AutoImageProcessor", "AutoTokenizer")
        said = model.eval().generate(**reader(images=images, return_tensors="pt"), **length)
        return words.decode(said[0], skip_special_tokens=True)
    (processor,) = loaded(folder, "AutoProcessor")
    if kind.startswith("llava"):
        asked = "USER: " + "<image> " * len(images) + f"{prompt or 'Describe this in one sentence.'} ASSISTANT:"
        inputs = processor(images=images, text=asked, return_tensors="pt")
        said = model.generate(**inputs, **length)[:, inputs["input_ids"].shape[1] :]
    elif kind.startswith("git"):
        pixels = processor(images=images, return_tensors="pt")["pixel_values"]
        begin = {}
        if prompt:
            ids = processor.tokenizer(prompt, add_special_tokens=False)["input_ids"]
            begin = {"input_ids": torch.tensor([[tiny.BEGIN, *ids]])}
        said = model.generate(pixel_values=pixels[None] if kind == "git video" else pixels, **begin, **length)
    else:
        inputs = processor(images=images, return_tensors="pt", **({"text": prompt} if prompt else {}))
        said = model.generate(**inputs, **length)
    text = " ".join(processor.tokenizer.decode(said[0], skip_special_tokens=True).split())
    return text.removeprefix(prompt).strip()


@pytest.mark.parametrize("prompt", ["", "a photo of"])
@pytest.mark.parametrize("name", MODELS)
def test_every_model_says_what_it_says_in_plain_transformers_and_in_batches_what_it_says_one_by_one(
    name: str, prompt: str, corpus: Corpus, captioner: Callable[..., Looking], folders: dict[str, Path]
) -> None:
    if name == "pair" and prompt:
        with pytest.raises(WeightsError, match=r"takes no captioner\.prompt"):
            caption(corpus, Captioning(captioner=captioner(name, prompt=prompt)))
        return
    made = texts(caption(corpus, Captioning(captioner=captioner(name, prompt=prompt, batch=5))))
    again = caption(corpus, Captioning(captioner=captioner(name, prompt=prompt, batch=1)))
    assert again.computed == 0, "all are kept whatever the size of a batch, and the damaged one is remembered"
    assert texts(again) == made
    expected: list[tuple[str, str, float | None]] = []
    for video in GOOD:
        frames = read_frames(corpus.folder / f"{video}.mp4", MIDDLES)
        units = [list(frames)] if name.endswith("video") else [[frame] for frame in frames]
        said = [by_hand(folders[MODELS[name][0].__name__], name, unit, prompt) for unit in units]
        times = [None] if name.endswith("video") else MIDDLES
        expected += [(video, text, moment) for text, moment in zip(said, times, strict=True) if text]
    assert made == expected
    assert len({text for _, text, _ in expected}) > 2, "models that say one thing of all pictures test nothing"


@pytest.mark.parametrize("name", ["blip2", "llava video"])
def test_batches_change_nothing(name: str, corpus: Corpus, captioner: Callable[..., Looking]) -> None:
    whole = [frames for video in GOOD for frames in [read_frames(corpus.folder / f"{video}.mp4", MIDDLES)]]
    units = [list(frames) for frames in whole] if name.endswith("video") else [[f] for frames in whole for f in frames]
    describer = Describer.load(captioner(name, beams=2, repeat=2))
    assert describer.describe(units, 0) == [describer.describe([unit], 0)[0] for unit in units]


def test_each_caption_keeps_its_source_model_time_and_prompt_and_bad_videos_are_named(
    corpus: Corpus, folders: dict[str, Path], run: Run
) -> None:
    words = ("caption", corpus.folder, f"captioner.model={folders['blip2']}", "captioner.prompt=a photo of")
    code, out, err = run(*words, "captioner.longest=6")
    assert code == 2
    assert "1 of 5 videos has no caption (first: clip 4:" in err
    table = pandas.read_parquet(corpus.folder / "captions.parquet")
    assert table.columns.tolist() == ["video", "text", "source", "time", "model", "prompt"]
    assert f"{len(table)} captions of 4 videos in {corpus.folder}, 4 looked at now" in out
    assert f"{12 - len(table)} empty" in out
    frames = [(video, moment) for video in GOOD for moment in MIDDLES]
    assert [pair for pair in frames if pair in set(zip(table["video"], table["time"], strict=True))] == list(
        zip(table["video"], table["time"], strict=True)
    )
    assert set(table["source"]) == {"blip2"}
    assert set(table["prompt"]) == {"a photo of"}
    assert len(set(table["model"])) == 1
    assert table["model"][0].startswith(f"{folders['blip2'].name} (blip-2:")
    assert not table["text"].str.startswith("a photo of").any()
    code, _, err = run(*words[:3], "captioner.longest=6")
    assert "captions of source 'blip2' are there already, by blip2" in err
    assert "with another prompt; name the new ones with source=NAME" in err
    assert pandas.read_parquet(corpus.folder / "captions.parquet").equals(table)
    run(*words[:3], "captioner.longest=6", "replace=True")
    assert pandas.read_parquet(corpus.folder / "captions.parquet")["prompt"].isna().all()


def test_a_job_stopped_in_the_middle_goes_on_and_ends_with_the_same_table(
    corpus: Corpus, captioner: Callable[..., Looking], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = Captioning(captioner=captioner("blip2", batch=2))
    whole = texts(caption(corpus, job))
    shutil.rmtree(corpus.folder / "captions")
    write_captions(corpus, [])
    looked: list[int] = []
    describe = Describer.describe

    def counted(self: Describer, units: Any, key: int) -> list[str]:
        if len(looked) == 3:
            raise KeyboardInterrupt
        looked.append(len(units))
        return describe(self, units, key)

    monkeypatch.setattr(module.Describer, "describe", counted)
    with pytest.raises(KeyboardInterrupt):
        caption(corpus, job)
    assert Corpus.open(corpus.folder).captions == [], "the table is written when all is there"
    monkeypatch.setattr(module.Describer, "describe", describe)
    done = caption(corpus, job)
    assert texts(done) == whole
    assert 0 < done.computed < 5, "what was described before is not described again"


def test_a_killed_driver_and_a_killed_worker_cost_what_they_were_at_and_nothing_else(
    corpus: Corpus, captioner: Callable[..., Looking], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = Captioning(captioner=captioner("blip2", batch=3))
    whole = texts(caption(corpus, job))
    shutil.rmtree(corpus.folder / "captions")
    write_captions(corpus, [])
    describe = Describer.describe
    monkeypatch.setattr(tasks, "FEWEST", 1)
    child = os.fork()
    if not child:
        calls: list[int] = []

        def dies(self: Describer, units: Any, key: int) -> list[str]:
            calls.append(len(units))
            if len(calls) == 3:
                os.kill(os.getpid(), signal.SIGKILL)
            return describe(self, units, key)

        try:
            Describer.describe = dies  # type: ignore[method-assign]
            caption(corpus, job)
        finally:
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    kept = len(list((corpus.folder / "captions").glob("*/shard-*.arrow")))
    assert kept == 2
    monkeypatch.setattr(looking, "key_frames", crashing.crash_once)
    done = caption(corpus, job)
    assert done.computed == 4 - kept, "what stood in a whole shard is not looked at again"
    assert set(done.failed) == {"clip 4"}, "the video that a killed worker was at is tried once more"
    assert texts(caption(corpus, job)) == whole


def test_captions_in_parts_are_those_of_one_command(
    corpus: Corpus, captioner: Callable[..., Looking], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = Captioning(captioner=captioner("blip2", batch=2))
    monkeypatch.setattr(tasks, "FEWEST", 2)
    whole = texts(caption(corpus, job))
    shutil.rmtree(corpus.folder / "captions")
    write_captions(corpus, [])
    for number in (3, 1):
        with pytest.raises(PartFinished, match=r"not yet: .*2/3"):
            caption(corpus, job, running=jobs.Running(part=Part(number, 3)))
    assert Corpus.open(corpus.folder).captions == [], "the table is written when all is there"
    done = caption(corpus, job, running=jobs.Running(part=Part(2, 3)))
    assert texts(done) == whole
    assert (set(done.failed), done.computed) == ({"clip 4"}, 0)


def test_drawn_words_follow_from_the_seed_and_the_video_alone(
    corpus: Corpus, captioner: Callable[..., Looking]
) -> None:
    def drawn(**fields: Any) -> list[str]:
        how = captioner("blip2", temperature=2.0, **fields)
        describer = Describer.load(how)
        videos = corpus.select("all")[:4]
        order = videos[::-1] if fields.get("batch") == 1 else videos
        seen = [
            (video, looking.key_frames(looking.FramesJob(video.path, video.start, video.end, how.frames)))
            for video in order
        ]
        found = {video.id: texts for video, texts, _ in described(seen, how, describer)}
        return [text for video in videos for text in found[video.id]]

    torch.manual_seed(5)
    assert drawn() == drawn(batch=1)
    assert drawn() != drawn(seed=1)
    assert torch.initial_seed() == 5, "nobody else's randomness is touched"


def test_frames_are_read_together_only_by_models_that_can(
    corpus: Corpus, folders: dict[str, Path], captioner: Callable[..., Looking]
) -> None:
    with pytest.raises(WeightsError, match="'blip-2' model, which looks at one picture at a time; use captioner=Image"):
        Describer.load(VideoToText(model=str(folders["blip2"])))
    with pytest.raises(WeightsError, match=r"looks at 3 frames: captioner\.frames=3"):
        Describer.load(captioner("git video", frames=6))
    with pytest.raises(RecipeError, match=r"captioner\.batch must be at least 1"):
        captioner("git", batch=0)


def test_without_weights_one_line_names_the_local_folder(
    corpus: Corpus, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    began = time.monotonic()
    code, _, err = run("caption", corpus.folder)
    assert (code, err.count("\n")) == (2, 1)
    assert "the weights of 'Salesforce/blip2-opt-2.7b' are neither in the local cache nor to be fetched" in err
    assert err.endswith("offline, give a local folder that holds them: captioner.model=PATH\n")
    assert time.monotonic() - began < 60
    (tmp_path / "empty").mkdir()
    code, _, err = run("caption", corpus.folder, f"captioner.model={tmp_path / 'empty'}")
    assert "holds no captioning model that transformers can load" in err
    code, _, err = run("caption", corpus.folder, "captioner=ImageToText")
    assert "name the model that writes captions: captioner.model=" in err
    assert not (corpus.folder / "captions").exists()


def test_half_precision_is_another_model_in_the_shards(corpus: Corpus, captioner: Callable[..., Looking]) -> None:
    describer = Describer.load(captioner("blip2", precision="bfloat16", longest=2))
    assert (describer.precision, describer.dtype) == ("bfloat16", torch.bfloat16)
    frames = read_frames(corpus.folder / "clip 0.mp4", MIDDLES)
    assert len(describer.describe([[frame] for frame in frames], 0)) == 3
    assert Describer.load(captioner("blip2")).precision == ("bfloat16" if torch.cuda.is_available() else "float32")


def test_every_captioner_is_listed_with_a_source_of_its_own() -> None:
    assert set(CAPTIONERS) == set(concrete(Captioner))
    assert len({captioner.source for captioner in CAPTIONERS}) == len(CAPTIONERS)
