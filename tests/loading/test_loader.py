"""Batches are a function of seed, epoch and row: whoever makes them, wherever one begins."""

import os
import shutil
import threading
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import chz
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tubelet import seeds
from tubelet.corpus.captions import CaptionChoice
from tubelet.corpus.index import index
from tubelet.corpus.table import Corpus, number_texts
from tubelet.corpus.write import write_corpus
from tubelet.errors import CorpusError, RecipeError
from tubelet.loading import reader as reading
from tubelet.loading.augment import Augment
from tubelet.loading.data import Data
from tubelet.loading.loader import eval_batches, train_batches
from tubelet.loading.requests import permutation
from tubelet.stores.embeddings import Embeddings
from tubelet.stores.maps import Maps, MapsWriter
from tubelet.types import Batch, Clip
from tubelet.video.crop import Crop, crop_frames
from tubelet.video.reader import read_frames, timestamps
from tubelet.video.sampling import Sampling

CLIP = Clip(frames=4, size=32, tubelet_frames=2, tubelet_size=16)
DATA = Data(sampling=Sampling(stride=3))


def train(corpus: Corpus, data: Data = DATA, **changes: Any) -> list[Batch]:
    settings = {"batch": 3, "seed": 7, "first_step": 0, "last_step": 5, **changes}
    return list(train_batches(corpus, CLIP, data, **settings))


def same(left: list[Batch], right: list[Batch]) -> None:
    assert len(left) == len(right)
    for a, b in zip(left, right, strict=True):
        assert (a.ids, a.failed) == (b.ids, b.failed)
        for name in ("video", "key", "label", "caption", "source", "short", "text"):
            x, y = getattr(a, name), getattr(b, name)
            assert (x is None and y is None) or torch.equal(x, y), name
        assert a.maps.keys() == b.maps.keys()
        assert all(torch.equal(a.maps[name], b.maps[name]) for name in a.maps)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), epoch=st.integers(0, 99), count=st.integers(1, 60))
def test_an_epoch_holds_every_clip_once(seed: int, epoch: int, count: int) -> None:
    order = permutation(seed, epoch, count)
    assert sorted(order.tolist()) == list(range(count))
    assert (order == permutation(seed, epoch, count)).all()


def test_every_clip_of_an_epoch_comes_once_and_none_is_dropped(corpus: Corpus) -> None:
    ids = [name for batch in train(corpus, last_step=10) for name in batch.ids]
    for epoch in range(3):
        assert sorted(ids[10 * epoch : 10 * epoch + 10]) == sorted(video.id for video in corpus.videos)
    assert ids[:10] != ids[10:20]


def test_a_batch_may_be_larger_than_the_corpus(corpus: Corpus) -> None:
    (batch,) = train(corpus, batch=25, last_step=1)
    assert len(batch) == 25
    assert len(set(batch.key.tolist())) == 25


@pytest.mark.parametrize("workers", [1, 3])
def test_workers_change_no_byte(corpus: Corpus, workers: int) -> None:
    same(train(corpus), train(corpus, chz.replace(DATA, workers=workers)))


def test_a_process_with_threads_spawns_its_workers_afresh(corpus: Corpus) -> None:
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    try:
        batches = train(corpus, chz.replace(DATA, workers=1), last_step=2)
    finally:
        stop.set()
        thread.join()
    same(train(corpus, last_step=2), batches)


def test_any_step_may_come_first(corpus: Corpus) -> None:
    same(train(corpus)[3:], train(corpus, first_step=3))
    same(train(corpus)[4:], train(corpus, chz.replace(DATA, workers=1), first_step=4))
    assert train(corpus, first_step=5) == []


def test_slices_of_two_ranks_make_the_batch_of_one(corpus: Corpus) -> None:
    whole = train(corpus, batch=4)
    left, right = (train(corpus, batch=2, rank=rank, world=2) for rank in (0, 1))
    for one, a, b in zip(whole, left, right, strict=True):
        assert one.ids == a.ids + b.ids
        assert torch.equal(one.video, torch.cat([a.video, b.video]))
        assert torch.equal(one.key, torch.cat([a.key, b.key]))


def test_the_global_generators_are_left_alone(corpus: Corpus) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    train(corpus, chz.replace(DATA, workers=1), last_step=2)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_sample_is_its_frames_through_its_crop(corpus: Corpus) -> None:
    """The clip of (seed, epoch, row), put together by hand."""
    batch = train(corpus, last_step=1)[0]
    videos = {video.id: video for video in corpus.videos}
    for position, name in enumerate(batch.ids):
        video = videos[name]
        rng = seeds.generator(7, "sample", 0, video.row)
        u, _ = rng.random(2)
        sampled = DATA.sampling.times(timestamps(video.path), CLIP, float(u))
        crop = DATA.augment.draw(rng, video.height, video.width)
        want = crop_frames(read_frames(video.path, sampled.times), crop, CLIP.size)
        assert torch.equal(batch.video[position], want)
        assert batch.key[position] == seeds.key(7, "clip", 0, video.row)
        assert batch.source is not None
        assert batch.source[position] == video.row
        assert batch.label is not None
        assert corpus.labels[int(batch.label[position])] == video.label
        assert batch.short is not None
        assert batch.short[position] == (video.frames < 10)


def test_evaluation_takes_the_centre_of_every_video_in_order(corpus: Corpus) -> None:
    videos = corpus.videos[::-1]
    batches = list(eval_batches(corpus, videos, CLIP, DATA, batch=4))
    assert [len(batch) for batch in batches] == [4, 4, 2]
    assert [name for batch in batches for name in batch.ids] == [video.id for video in videos]
    video = videos[0]
    times = DATA.sampling.times(timestamps(video.path), CLIP, "centre").times
    want = crop_frames(read_frames(video.path, times), Crop.centre(video.height, video.width), CLIP.size)
    assert torch.equal(batches[0].video[0], want)
    same(batches, list(eval_batches(corpus, videos, CLIP, chz.replace(DATA, workers=2), batch=4)))


@pytest.fixture
def damaged(make_corpus: Callable[..., Corpus], tmp_path: Path) -> Corpus:
    """A corpus of which one file is gone and one has become text since it was indexed."""
    whole = make_corpus(tmp_path / "whole")
    rows = []
    for video in whole.videos:
        row = {k: v for k, v in vars(video).items() if k not in ("row", "path")} | {"path": video.path}
        rows.append(row)
    rows[2]["path"] = tmp_path / "gone.mp4"
    rows[5]["path"] = tmp_path / "text.mp4"
    (tmp_path / "text.mp4").write_text("no video any more")
    return write_corpus(tmp_path / "damaged", "damaged", rows)


def test_unreadable_clips_are_left_out_and_named_never_replaced(damaged: Corpus, corpus: Corpus) -> None:
    good = train(corpus, last_step=4)
    for whole, batch in zip(good, train(damaged, last_step=4), strict=True):
        lost = {line.split(": ")[0] for line in batch.failed}
        assert lost <= {damaged.videos[2].id, damaged.videos[5].id}
        kept = [position for position, name in enumerate(whole.ids) if name not in lost]
        assert batch.ids == tuple(whole.ids[position] for position in kept)
        assert torch.equal(batch.video, whole.video[kept])
    failed = [line for batch in train(damaged, last_step=4) for line in batch.failed]
    assert any("no such file" in line for line in failed)
    assert any("cannot be opened" in line for line in failed)


def test_a_batch_without_a_readable_clip_is_empty_and_says_so(damaged: Corpus) -> None:
    batches = list(eval_batches(damaged, [damaged.videos[2], damaged.videos[5]], CLIP, DATA, batch=2))
    assert len(batches) == 1
    assert len(batches[0]) == 0
    assert batches[0].video.shape == (0, 3, 4, 32, 32)
    assert len(batches[0].failed) == 2


def test_rows_that_indexing_refused_are_named_in_an_evaluation(corpus: Corpus, tmp_path: Path) -> None:
    rows = [{"id": "good", "path": corpus.videos[0].path, "frames": 20, "end": 2.0, "fps": 10.0, "split": "test"}]
    rows.append({"id": "bad", "path": "x.mp4", "status": "empty", "reason": "the file is empty", "split": "test"})
    mixed = write_corpus(tmp_path, "mixed", rows)
    (batch,) = eval_batches(mixed, mixed.videos, CLIP, DATA, batch=2)
    assert batch.ids == ("good",)
    assert batch.failed == ("bad: the file is empty",)


def test_a_long_row_is_read_around_its_clip_alone(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = []

    real = reading.open_spans

    def watched(path: Path, start: float, end: float, reading: str | None) -> Any:
        read.append((start, end))
        return real(path, start, end, reading=reading)

    monkeypatch.setattr(reading, "open_spans", watched)
    monkeypatch.setattr(reading, "LONG", 0.5)
    monkeypatch.setattr(reading, "SLACK", 0.1)
    data = chz.replace(DATA, sampling=Sampling(stride=1))
    train(corpus, data)
    assert read
    windows = [(a, b) for a, b in read if b - a < 1.5]
    assert windows
    assert min(a for a, _ in windows) >= 0
    firsts = sorted(a for a, _ in windows)
    assert firsts[-1] - firsts[0] > 0.5, "windows lie all over the video"


def test_segments_read_only_their_span(corpus: Corpus, tmp_path: Path) -> None:
    path = corpus.videos[0].path
    spans = [(0.0, 1.0), (1.0, 2.0)]
    rows = [
        {"id": f"v#{a:g}", "path": path, "start": a, "end": b, "frames": 10, "fps": 10.0, "split": "train"}
        | {"height": 40, "width": 48, "group": "v"}
        for a, b in spans
    ]
    cut = write_corpus(tmp_path, "cut", rows)
    (batch,) = eval_batches(cut, cut.videos, CLIP, chz.replace(DATA, sampling=Sampling(stride=3)), batch=2)
    for position, (start, _) in enumerate(spans):
        want = read_frames(path, start + np.array([0.0, 0.3, 0.6, 0.9]))
        assert torch.equal(batch.video[position], crop_frames(want, Crop.centre(40, 48), 32))


class KnownMaps(Maps):
    """Maps that hold what they were asked for."""

    kind = "scalar"

    def __init__(self, lacking: tuple[str, ...] = ()) -> None:
        self.lacking = lacking

    def missing(self, *some: Any) -> list[str]:
        return list(self.lacking)

    def sample(self, video: Any, caption: Any, times: np.ndarray, crop: Crop, clip: Clip, *_: Any) -> np.ndarray:
        number = -1.0 if caption is None else caption.row
        return np.array([video.row, number, times[0], crop.left] + [0.0] * (clip.num_tubelets - 4), np.float32)


class KnownEmbeddings(Embeddings):
    """Embeddings that hold the row of their caption."""

    width = 5

    def __init__(self, lacking: tuple[str, ...] = ()) -> None:
        self.lacking = lacking

    def missing(self, *some: Any) -> list[str]:
        return list(self.lacking)

    def vector(self, caption: Any) -> np.ndarray:
        return np.full(5, caption.row, np.float32)


@pytest.fixture
def stores(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Puts known maps and embeddings in the place of those on disk."""

    def use(no_maps: tuple[str, ...] = (), no_embeddings: tuple[str, ...] = ()) -> None:
        monkeypatch.setattr(Maps, "open", lambda corpus, name: KnownMaps(no_maps))
        monkeypatch.setattr(Embeddings, "open", lambda corpus: KnownEmbeddings(no_embeddings))

    use()
    return use


def test_the_caption_drawn_travels_with_its_map_and_embedding(corpus: Corpus, stores: Any) -> None:
    rows: dict[int, set[int]] = {}
    numbers = number_texts(corpus.captions)
    for batch in train(corpus, needs=("text",), text=True, last_step=9):
        assert batch.text is not None
        assert batch.caption is not None
        for position, name in enumerate(batch.ids):
            row = int(batch.text[position, 0])
            caption = corpus.captions[row]
            assert caption.video == name
            assert batch.maps["text"][position, 1] == row
            assert batch.caption[position] == numbers[reading.normalise_text(caption.text)]
            rows.setdefault(int(batch.maps["text"][position, 0]), set()).add(row)
    assert sum(len(drawn) == 2 for drawn in rows.values()) >= 3, "both captions of a video are drawn in time"
    assert len({int(n) for n in numbers.values()}) == 11  # ten of their own, one that all share


def test_maps_without_captions_are_asked_for_the_video_alone(corpus: Corpus, stores: Any) -> None:
    batch = train(corpus, needs=("motion",), last_step=1)[0]
    assert (batch.maps["motion"][:, 1] == -1).all()
    assert batch.text is None
    assert batch.caption is None


def test_a_vector_map_comes_frame_by_frame_in_shares_of_each_clips_own_crop(
    make_corpus: Callable[..., Corpus], tmp_path: Path
) -> None:
    corpus = make_corpus(tmp_path)
    with MapsWriter(corpus, "motion", "vector", {}) as maps:
        for video in corpus.videos:
            steps = np.broadcast_to(np.array([0.02, 0.01], np.float32), (20, 3, 4, 2))
            maps.add(video, "", steps, video.start + np.arange(21) / 10)
        maps.finish()
    for stride in (1, 2):
        data = chz.replace(DATA, sampling=Sampling(stride=stride), augment=Augment(flip=True, words=()))
        signs = set()
        for batch in train(corpus, data, needs=("motion",), last_step=4):
            got = batch.maps["motion"]
            assert got.shape == (len(batch), CLIP.frames, *CLIP.grid[1:], 2)
            for vectors in got.flatten(1, 3)[~batch.short]:
                assert (vectors - vectors[0]).abs().max() < 1e-3
                dx, dy = vectors[0].tolist()
                assert stride * 0.01 - 1e-4 <= dy <= stride * 0.01 / 0.3
                assert stride * 0.02 - 1e-4 <= abs(dx) <= stride * 0.02 / 0.3
                signs.add(dx > 0)
        assert signs == {True, False}


def test_the_caption_nearest_to_the_clip_is_chosen(corpus: Corpus, stores: Any) -> None:
    data = chz.replace(DATA, sampling=Sampling(stride=1), captions=CaptionChoice(pick="nearest"))
    for batch in train(corpus, data, text=True, needs=("text",)):
        assert batch.text is not None
        for position in range(len(batch)):
            middle = float(batch.maps["text"][position, 2]) + 0.15
            caption = corpus.captions[int(batch.text[position, 0])]
            assert caption.time == (0.2 if middle < 1.0 else 1.8)


def test_what_is_missing_is_said_before_the_first_step(corpus: Corpus, stores: Any, tmp_path: Path) -> None:
    stores(no_maps=("a", "b"))
    with pytest.raises(CorpusError, match=r"Text masking needs text maps for 2 of 10 videos.*tubelet saliency .* Text"):
        train_batches(corpus, CLIP, DATA, needs=("text",), batch=2, seed=0, first_step=0, last_step=1)
    stores(no_embeddings=("a",))
    with pytest.raises(CorpusError, match=r"captions of 1 of 10 videos have no embedding.*tubelet saliency .* Text"):
        train_batches(corpus, CLIP, DATA, text=True, batch=2, seed=0, first_step=0, last_step=1)
    with pytest.raises(CorpusError, match=r"no usable video in split 'test'; it has: train \(10 videos\)"):
        train(corpus, chz.replace(DATA, split="test"))
    with pytest.raises(CorpusError, match="no captions of source 'nobody'"):
        train(corpus, chz.replace(DATA, captions=CaptionChoice(source="nobody")), text=True)
    none = write_corpus(tmp_path, "none", [{"id": "x", "path": "x", "status": "empty"}])
    with pytest.raises(CorpusError, match=r"no usable video: see status and reason"):
        train(none)


def test_stores_that_do_not_exist_name_the_command(corpus: Corpus) -> None:
    for wanted in ({"needs": ("text",)}, {"text": True}):
        with pytest.raises(CorpusError, match=r"tubelet saliency .* Text"):
            train(corpus, **wanted)


def test_refusing_short_sources_names_them_at_the_door(corpus: Corpus) -> None:
    data = chz.replace(DATA, sampling=Sampling(stride=3, short="refuse"))
    with pytest.raises(CorpusError, match=r"1 of 10 videos are shorter .*\(first: down/clip 2\.mp4\)"):
        train(corpus, data)
    data = chz.replace(DATA, sampling=Sampling(step_ms=300.0, short="refuse"))
    with pytest.raises(CorpusError, match="1 of 10 videos"):
        train(corpus, data)
    train(corpus, chz.replace(DATA, sampling=Sampling(stride=2, short="refuse")), last_step=1)


def test_a_flip_is_refused_where_it_would_contradict_a_text(make_corpus: Callable[..., Corpus], tmp_path: Path) -> None:
    data = chz.replace(DATA, augment=Augment(flip=True))
    plain = make_corpus(tmp_path / "plain", label="walks")
    assert train(plain, data, last_step=1)
    sided = make_corpus(tmp_path / "sided", label="WalkingLeft")
    with pytest.raises(
        RecipeError, match=rf'flip=True .* class "WalkingLeft" of {sided.videos[0].id} \(it says left\)'
    ):
        train(sided, data)
    assert train(sided, chz.replace(data, augment=Augment(flip=True, words=())), last_step=1)
    decoded: list[tuple[int, int]] = []
    with pytest.raises(RecipeError, match=r"flip=True"):
        train(sided, chz.replace(data, cache=True), progress=lambda *done: decoded.append(done))
    assert not decoded, "it is refused before the minutes that decoding takes"


def test_captions_count_for_the_flip_only_where_they_are_used(corpus: Corpus, stores: Any, tmp_path: Path) -> None:
    rows = [{k: v for k, v in vars(video).items() if k != "row"} for video in corpus.videos]
    texts = [{"video": row["id"], "text": "it turns right" if n == 3 else "it turns"} for n, row in enumerate(rows)]
    turning = write_corpus(tmp_path, "turning", rows, texts)
    data = chz.replace(DATA, augment=Augment(flip=True))
    assert train(turning, data, last_step=1)
    with pytest.raises(RecipeError, match=rf'caption "it turns right" of {rows[3]["id"]}'):
        train(turning, data, text=True)


def test_flipped_clips_are_mirrored(corpus: Corpus) -> None:
    data = chz.replace(DATA, augment=Augment(smallest=1.0, aspect=1.0, flip=True, words=()))
    plain = chz.replace(data, augment=Augment(smallest=1.0, aspect=1.0))
    mirrored = 0
    for a, b in zip(train(corpus, data), train(corpus, plain), strict=True):
        for x, y in zip(a.video, b.video, strict=True):
            assert torch.equal(x, y) or (x.flip(-1).float() - y.float()).abs().max() <= 1
            mirrored += not torch.equal(x, y)
    assert 3 <= mirrored <= 12


def test_kept_frames_give_the_clips_that_decoding_gives(make_corpus: Callable[..., Corpus], tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path / "kept")
    seen: list[tuple[int, int, str]] = []
    kept = chz.replace(DATA, cache=True, cache_size=40)
    decoded = train(corpus, last_step=2)
    same(decoded, train(corpus, kept, last_step=2, progress=lambda *done: seen.append(done)))
    assert seen[-1][:2] == (10, 10)
    same(decoded, train(corpus, chz.replace(kept, workers=2), last_step=2))


def test_options_that_make_no_sense_are_refused() -> None:
    for wrong in ({"workers": -1}, {"cache_size": 0}):
        with pytest.raises(RecipeError):
            Data(**wrong)


def test_keys_differ_from_epoch_to_epoch_and_clip_to_clip(corpus: Corpus) -> None:
    keys = [int(key) for batch in train(corpus, last_step=10) for key in batch.key]
    assert len(set(keys)) == len(keys)
    assert all(a != b for a, b in pairwise(keys))


def test_a_file_that_changes_while_training_fails_by_name_and_a_touched_one_does_not(
    clips_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "v").mkdir()
    for number in range(3):
        shutil.copy(clips_folder / "up" / f"clip {number}.mp4", tmp_path / "v" / f"{number}.mp4")
    corpus = index([tmp_path / "v"], tmp_path / "c")
    data = Data(sampling=Sampling(stride=1), split="all")
    batches = train_batches(corpus, Clip(frames=4, size=32), data, batch=3, seed=0, first_step=0, last_step=2)
    assert next(batches).failed == ()
    shutil.copy(clips_folder / "down" / "clip 1.mp4", tmp_path / "v" / "0.mp4")
    os.utime(tmp_path / "v" / "1.mp4", ns=(1, 1))
    batch = next(batches)
    assert batch.failed == ("0.mp4: changed since the run began",)
    assert len(batch) == 2
