"""What is computed once stays computed: by content, for all runs, until it is deleted."""

import json
import os
import shutil
from dataclasses import replace

import pytest
import torch
from torch import nn

from tubelet.corpus.table import Corpus
from tubelet.corpus.write import write_corpus
from tubelet.evaluations import Context, Knn, Linear
from tubelet.evaluations.baselines import MeanImage, baseline_result, mean_image, untrained
from tubelet.evaluations.cache import Store, corpus_cache, view_of
from tubelet.models.encoder import Vit

QUICK = Linear(grid=(0.01, 1.0), pools=("mean",))
ROW = ("id", "path", "end", "fps", "frames", "width", "height", "label", "split", "group", "status", "reason")


class Counting(nn.Module):
    """A tiny encoder that knows how many clips it saw, in all its instances."""

    seen = 0

    def __init__(self, clip, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.inner = Vit(width=32, depth=1, heads=2).build(clip)
        self.config = "counting"

    def encode(self, video):
        Counting.seen += len(video)
        return self.inner.encode(video)


@pytest.fixture
def corpus(small, tmp_path) -> Corpus:
    """The small corpus in a folder of its own, without anything kept."""
    folder = tmp_path / "corpus"
    shutil.copytree(small.folder, folder, ignore=shutil.ignore_patterns("features"))
    return Corpus.open(folder)


@pytest.fixture
def clips_seen():
    """How many clips the encoder saw since it was asked last."""
    Counting.seen = 0

    def since() -> int:
        seen, Counting.seen = Counting.seen, 0
        return seen

    return since


def rows_of(corpus: Corpus) -> list[dict]:
    return [{name: getattr(video, name) for name in ROW} for video in corpus.videos]


def test_a_renamed_video_keeps_its_features_and_a_changed_one_does_not(corpus, clip, data, clips_seen, tmp_path):
    context = Context(Counting(clip), corpus, clip, data, keep=tmp_path / "kept")
    before = context.features("train")
    assert clips_seen() == 24
    rows = rows_of(corpus)
    os.rename(rows[3]["path"], corpus.folder / "videos" / "another name.mp4")
    rows[3] |= {"id": "another name", "path": corpus.folder / "videos" / "another name.mp4"}
    shutil.copy(rows[5]["path"], rows[4]["path"])
    changed = write_corpus(corpus.folder, "changed", rows)
    after = replace(context, corpus=changed, computed={}).features("train")
    assert clips_seen() == 0  # what stands at 4 now was seen at 5
    assert after.ids[3] == "another name"
    assert torch.equal(after.mean[4], before.mean[5])
    assert torch.equal(after.mean[[0, 1, 2, 3]], before.mean[[0, 1, 2, 3]])


def test_splits_and_corpora_share_rows_and_a_clip_that_comes_later_is_the_only_one_computed(
    corpus, clip, data, clips_seen, tmp_path
):
    rows = rows_of(corpus)
    part = write_corpus(tmp_path / "part", "part", rows[:20])
    context = Context(Counting(clip), part, clip, data, keep=tmp_path / "kept")
    context.features("all")
    assert clips_seen() == 20
    grown = replace(context, corpus=corpus, computed={})
    assert len(grown.features("train")) == 24
    assert clips_seen() == 4
    assert len(replace(grown, computed={}).features("all")) == 35
    assert clips_seen() == 11


def test_other_weights_another_clip_or_another_sampling_are_other_features(corpus, clip, data, clips_seen, tmp_path):
    import chz

    from tubelet.types import Clip
    from tubelet.video.sampling import Sampling

    encoder, keep = Counting(clip), tmp_path / "kept"
    Context(encoder, corpus, clip, data, keep=keep).features("train")
    wider = Clip(frames=4, size=48, tubelet_frames=2, tubelet_size=16)
    for other, its_clip, its_data in (
        (Counting(clip, seed=1), clip, data),
        (Counting(wider), wider, data),
        (encoder, clip, chz.replace(data, sampling=Sampling(stride=2))),
    ):
        clips_seen()
        Context(other, corpus, its_clip, its_data, keep=keep).features("train")
        assert clips_seen() == 24
    Context(encoder, corpus, clip, data, keep=keep).features("train")
    assert clips_seen() == 0


def test_what_an_interrupted_command_computed_is_kept(corpus, clip, data, clips_seen, tmp_path):
    def stop(done: int, total: int, what: str) -> None:
        if done >= 16:
            raise KeyboardInterrupt

    context = Context(Counting(clip), corpus, clip, data, keep=tmp_path, batch=8, progress=stop)
    with pytest.raises(KeyboardInterrupt):
        context.features("train")
    clips_seen()
    again = replace(context, progress=lambda done, total, what: None).features("train")
    assert clips_seen() < 24
    assert torch.equal(
        again.mean, replace(context, keep=None, progress=lambda done, total, what: None).features("train").mean
    )


def test_a_failure_is_not_kept_so_a_repaired_file_counts_the_next_time(corpus, clip, data, clips_seen, tmp_path):
    context = Context(Counting(clip), corpus, clip, data, keep=tmp_path)
    assert "clip 32" not in context.features("test").ids
    good = next(video.path for video in corpus.videos if video.id == "clip 34")
    shutil.copy(good, next(video.path for video in corpus.videos if video.id == "clip 32"))
    repaired = replace(context, computed={}).features("test")
    assert "clip 32" in repaired.ids
    assert [line.split(":")[0] for line in repaired.failed] == ["gone"]


def test_a_baseline_costs_another_run_nothing(corpus, clip, data, clips_seen, tmp_path, monkeypatch):
    """Two runs of one size and seed: neither a clip is encoded nor a probe fitted again."""
    monkeypatch.setattr(MeanImage, "encode", counted(MeanImage.encode))
    fits = []
    predict = Linear.predict
    monkeypatch.setattr(Linear, "predict", lambda *given: fits.append(1) or predict(*given))

    def run(name: str, seed: int) -> Context:
        return Context(Vit(width=32, depth=1, heads=2).build(clip), corpus, clip, data, keep=tmp_path / name, seed=seed)

    first = {make: baseline_result(QUICK, make(run("a", 0))) for make in (untrained, mean_image)}
    assert clips_seen() == 35
    assert len(fits) > 0
    fits.clear()
    second = {make: baseline_result(QUICK, make(run("b", 0))) for make in (untrained, mean_image)}
    assert second == first
    assert (clips_seen(), fits) == (0, [])
    baseline_result(Knn(), mean_image(run("b", 0)))  # another protocol: the features are there
    assert clips_seen() == 0
    baseline_result(Linear(grid=(0.5,), pools=("mean",)), mean_image(run("b", 0)))  # another question
    assert (clips_seen(), len(fits) > 0) == (0, True)
    fits.clear()
    baseline_result(QUICK, mean_image(run("c", 1)))  # another seed holds out other groups
    assert len(fits) > 0
    shutil.rmtree(corpus_cache(corpus))
    assert baseline_result(QUICK, mean_image(run("b", 0))) == first[mean_image]
    assert clips_seen() == 35


def test_an_answer_counts_only_while_features_labels_and_code_are_the_same(
    corpus, clip, data, tmp_path, monkeypatch, clips_seen
):
    context = mean_image(Context(Vit(width=32, depth=1, heads=2).build(clip), corpus, clip, data, keep=tmp_path))
    asked = []
    run = Linear.run
    monkeypatch.setattr(Linear, "run", lambda *given: asked.append(1) or run(*given))
    baseline_result(QUICK, context)
    baseline_result(QUICK, replace(context, computed={}))
    assert len(asked) == 1
    labels = {video.id: str(video.row % 2) for video in corpus.videos}
    baseline_result(QUICK, replace(context, labels=labels))
    assert len(asked) == 2
    shutil.copy(corpus.folder / "videos" / "clip 01.mp4", corpus.folder / "videos" / "clip 00.mp4")
    baseline_result(QUICK, replace(context, computed={}))
    assert len(asked) == 3
    monkeypatch.setattr("tubelet.evaluations.cache.digest_of_code", lambda who: "other code")
    baseline_result(QUICK, replace(context, computed={}))
    assert len(asked) == 4
    for path in (corpus_cache(corpus) / "baselines").iterdir():
        path.write_text(path.read_text()[:-9])
    baseline_result(QUICK, replace(context, computed={}))
    assert len(asked) == 5


def test_a_corpus_that_cannot_be_written_is_served_from_the_users_cache(corpus, clip, data, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("os.access", lambda path, mode: False)
    assert corpus_cache(corpus) == tmp_path / "home" / "tubelet" / "features"


def test_two_commands_can_fill_one_series(corpus, clip, data, tmp_path):
    encoder = MeanImage(clip)
    one, other = (Store(tmp_path, view_of(encoder, clip, data)) for _ in range(2))
    features = Context(encoder, corpus, clip, data).features("train")
    videos = corpus.select("train")

    def row(index: int):
        from tubelet.evaluations.cache import CachedRow

        return CachedRow(False, {"mean": features.mean[index].numpy()})

    for index in range(4):
        one.add(videos[index], row(index))
        other.add(videos[index + 2], row(index + 2))
    one.flush()
    other.flush()
    found = Store(tmp_path, view_of(encoder, clip, data))
    assert len(found.series.rows) == 6
    assert torch.equal(torch.from_numpy(found.find(videos[5]).parts["mean"].copy()), features.mean[5])


def test_the_lock_of_a_command_killed_after_its_last_row_goes_though_nothing_is_left_to_write(
    corpus, clip, data, tmp_path
):
    encoder = MeanImage(clip)
    Context(encoder, corpus, clip, data, keep=tmp_path).features("train")
    [about] = (path for path in tmp_path.rglob("about.json") if not path.is_relative_to(corpus.folder))
    (about.parent / ".lock").touch()
    Context(encoder, corpus, clip, data, keep=tmp_path).features("train")
    assert not list(tmp_path.rglob(".*"))


def test_what_is_kept_says_in_words_what_made_it(corpus, clip, data, tmp_path):
    context = mean_image(Context(Vit(width=32, depth=1, heads=2).build(clip), corpus, clip, data, keep=tmp_path))
    baseline_result(Knn(), context)
    [about] = [json.loads(path.read_text()) for path in corpus_cache(corpus).glob("*/about.json")]
    assert "mean image 16x16" in about["config"]
    assert "size=32" in about["clip"]
    [answer] = [json.loads(path.read_text()) for path in (corpus_cache(corpus) / "baselines").iterdir()]
    assert answer["question"]["evaluation"].startswith("Knn(")
    assert set(answer["inputs"]) == {"train", "test"}


def counted(encode):
    def count(self, video):
        Counting.seen += len(video)
        return encode(self, video)

    return count
