"""A second model over the features of long videos: tracked, trained, measured, refused in a line."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import tubelet
from support.small_runs import steps
from tubelet.corpus.schema import Video
from tubelet.corpus.table import Corpus
from tubelet.errors import CorpusError, RecipeError, RunError
from tubelet.evaluations.timelines import Windows, averaged
from tubelet.evaluations.trained_on import FILE, TrainedOn
from tubelet.formats.localiser import export_moments
from tubelet.loading.loader import eval_batches
from tubelet.recipes import lv_mae, resolve_recipe
from tubelet.runs.folder import load_task
from tubelet.runs.run import Run
from tubelet.stores.tracks import Tracks
from tubelet.synthetic.long import ORDERED
from tubelet.types import Clip, Vectors
from tubelet.video.sampling import Sampling

FRAMES = (
    "clip.frames=4", "clip.size=32", "encoder.width=16", "encoder.depth=1", "encoder.heads=2", "data.cache=False",
    "objectives.pixels.decoder.width=16", "objectives.pixels.decoder.heads=2", "batch=4", "steps=2",
    "data.sampling.stride=1",
)  # fmt: skip
SMALL = {
    "clip.frames": 6, "clip.width": 16, "encoder.width": 32, "encoder.depth": 1, "encoder.heads": 2, "batch": 6,
    "objectives.vectors.decoder.width": 24, "objectives.vectors.decoder.heads": 2, "log_every": 1, "steps": 12,
    "optim.base_lr": 0.1,
}  # fmt: skip
EVERY = 0.25


def happens(corpus: Corpus, video: str, seconds: float) -> str | None:
    """The label of the moment in which these seconds lie."""
    return next((m.label for m in corpus.moments_by_video[video] if m.start <= seconds < m.end), None)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Eighteen videos of 2.7 s with a vector every quarter of a second, which tells what happens then."""
    folder = tmp_path_factory.mktemp("long")
    made = tubelet.synth(folder / "c", train=12, test=6, size=32, frames=8, kind="synth-long")
    (folder / "arrays").mkdir()
    kinds = {name: np.random.default_rng(9).standard_normal((4, 16))[n] for n, name in enumerate((*ORDERED, None))}
    for number, video in enumerate(made.videos):
        values = [kinds[happens(made, video.id, EVERY * (n + 0.5))] for n in range(11)]
        values += 0.1 * np.random.default_rng(number).standard_normal((11, 16))
        np.savez(folder / "arrays" / f"{video.id}.npz", values=values, times=EVERY * np.arange(11))
    tubelet.track(made, "vectors", files=str(folder / "arrays"))
    return made


@pytest.fixture(scope="module")
def run(corpus: Corpus) -> Run:
    return tubelet.pretrain("lv_mae", on=corpus, out=corpus.folder.parent / "lv", **SMALL)


def test_vectors_by_a_run_are_those_that_it_embeds_and_what_it_saw_is_trained_on_too(tmp_path: Path) -> None:
    corpus = tubelet.synth(tmp_path / "c", train=3, test=1, size=32, frames=8, kind="synth-long")
    base = str(tmp_path / "base")
    tubelet.pretrain("miniature", *FRAMES, on=corpus, out=base)
    assert tubelet.track(corpus, "vectors", run=base, every=EVERY).computed == 4
    video = corpus.videos[3]
    (expected,) = tubelet.embed(base, [video.path], windows=EVERY)
    reader = Tracks.open(corpus, "vectors").reader(video)
    assert reader.times.tolist() == expected.start.tolist()
    unit = torch.nn.functional.normalize(expected.features, dim=1)
    torch.testing.assert_close(torch.from_numpy(reader.frames(reader.times))[:, 0, 0], unit, atol=2e-3, rtol=0)
    run = tubelet.pretrain("lv_mae", on=corpus, out=tmp_path / "lv", **SMALL | {"steps": 1, "batch": 2})
    record = TrainedOn.read(run.folder / FILE)
    assert record.unknown == ()
    assert {clip.origin for clip in record.clips} == {None, base}


def test_a_file_that_could_not_be_indexed_is_no_failure_of_its_vectors(tmp_path: Path) -> None:
    made = tubelet.synth(tmp_path / "c", train=3, test=1, size=32, frames=8)
    tubelet.pretrain("miniature", *FRAMES, on=made, out=tmp_path / "base")
    (made.folder / "videos" / "bad.mp4").write_text("no video")
    corpus = tubelet.index(made.folder / "videos", tmp_path / "d")
    assert len(corpus.videos) == 5
    filled = tubelet.track(corpus, "vectors", run=str(tmp_path / "base"), every=EVERY)
    assert (filled.videos, filled.failed) == (4, {})


def test_where_nobody_knows_what_made_the_vectors_the_record_says_so(run: Run) -> None:
    (line,) = TrainedOn.read(run.folder / FILE).unknown
    assert "what made them was trained on is not known" in line


def test_it_trains_on_windows_of_the_track_alone(corpus: Corpus, run: Run) -> None:
    records = steps(run.folder)
    assert records[-1]["vectors"] < records[0]["vectors"]
    config, _ = load_task(run.folder)
    batch = next(eval_batches(corpus, corpus.select("test"), config.clip, config.data, batch=6))
    assert batch.video.shape == (6, 16, 6, 1, 1)
    assert batch.video.dtype == torch.float32
    reader = Tracks.open(corpus, "vectors").reader(corpus.by_id[batch.ids[0]])
    first = (len(reader.times) - 6) // 2
    torch.testing.assert_close(
        batch.video[0, :, :, 0, 0].T, torch.from_numpy(reader.frames(reader.times)[first : first + 6, 0, 0])
    )


@pytest.mark.parametrize("word", ["masker=Change", "masker=Future"])
def test_other_masks_of_time_train_too(corpus: Corpus, tmp_path: Path, word: str) -> None:
    assert tubelet.pretrain("lv_mae", word, on=corpus, out=tmp_path / "run", **SMALL | {"steps": 2}).finished


def test_linear_and_attentive_probes_read_it_and_their_baselines(run: Run) -> None:
    found = run.evaluate("linear", "attentive", "linear.grid=0.01", "attentive.epochs=2", baselines=True)
    linear = found["linear"]
    assert set(linear.baselines) >= {"random", "mean_image", "raw_pixels"}
    assert linear.counts["test"]["used"] == 6


def test_a_video_with_fewer_vectors_is_stretched_and_named(corpus: Corpus, tmp_path: Path) -> None:
    said: list[str] = []
    long = SMALL | {"clip.frames": 16, "steps": 2}
    assert tubelet.pretrain("lv_mae", on=corpus, out=tmp_path / "run", tell=said.append, **long).finished
    assert any("12 of 12 videos are shorter than a clip's span" in line and "spread over it" in line for line in said)
    with pytest.raises(CorpusError, match=r"12 of 12 videos are shorter.*short=stretch"):
        tubelet.pretrain("lv_mae", "data.sampling.short=refuse", on=corpus, out=tmp_path / "no", **long)


def test_what_does_not_fit_is_refused_with_the_word_to_change(corpus: Corpus, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"has 1x1x16 values .* and clip has 1x1x128; set clip.width=16"):
        tubelet.pretrain("lv_mae", on=corpus, out=tmp_path / "run")
    with pytest.raises(RecipeError, match=r"masker=Text needs maps of text, .* clip=Vectors has none"):
        resolve_recipe("lv_mae", "masker=Text")
    with pytest.raises(RecipeError, match=r"streams\.other reads frames, which are not there beside clip=Vectors"):
        resolve_recipe("lv_mae", "streams.other=Stream", "streams.other.signal=Clip")
    bare = tubelet.synth(tmp_path / "c", train=2, test=1, size=32, frames=8, kind="synth-long")
    with pytest.raises(CorpusError, match=r"no track 'vectors'.*tubelet track .* vectors run=RUN"):
        tubelet.pretrain("lv_mae", on=bare, out=tmp_path / "run", **SMALL)
    with pytest.raises(RecipeError, match="run and files exclude each other"):
        tubelet.track(corpus, "vectors", run="a", files="b.parquet")
    assert isinstance(lv_mae().clip, Vectors)


def test_what_happens_is_found_where_the_vectors_tell_it_and_the_page_draws_it(run: Run, tmp_path: Path) -> None:
    found = run.evaluate("segmentation", baselines=["raw_pixels"])
    for name in ("frame_accuracy", "f1@0.5", "map@0.3"):
        assert found.metrics[name].value > 0.7, name
        assert found.baselines["raw_pixels"].metrics[name].value > 0.9, name
    assert found.metrics["frame_accuracy"].chance < 0.6
    assert found.counts["test"] == {"used": 6, "failed": 0, "time_steps": 66, "moments": 18}
    page = tubelet.report(run, tmp_path / "page.html").read_text()
    assert "<h2>Timelines</h2>" in page
    assert all(f"<b>{name}</b>" in page for name in found.details["timelines"])


def test_moments_are_found_by_one_of_them_with_their_seconds(corpus: Corpus, run: Run) -> None:
    moment = next(m for m in corpus.moments if m.video == "train-00003" and m.label == "flashes")
    asked = (moment.start + moment.end) / 2
    found = tubelet.search(run, like=f"train-00003@{asked}", moments=True, top=6).to_pandas()
    assert len(found) == 6
    np.testing.assert_allclose(found["end"] - found["start"], EVERY)
    names = found["id"].str.partition("@")
    assert (names[2].astype(float) - found["start"]).abs().max() < 0.01
    right = [happens(corpus, name, start + EVERY / 2) for name, start in zip(names[0], found["start"], strict=True)]
    assert right.count("flashes") >= 4
    of_one = found[names[0] == "train-00003"]["start"]
    assert (of_one - moment.start).abs().min() > EVERY if len(of_one) else True
    with pytest.raises(RecipeError, match="reads the track 'vectors' of a corpus, not files"):
        tubelet.search(run, like=str(corpus.videos[0].path), moments=True)


def test_a_classifier_of_windows_labels_every_window_with_its_seconds(corpus: Corpus, run: Run, tmp_path: Path) -> None:
    run.evaluate("linear", grid=[0.01])
    table = tubelet.predict(run, corpus, split="test").to_pandas()
    assert table["id"].value_counts().to_dict() == {video.id: 2 for video in corpus.select("test")}
    first = table[table["id"] == "test-00000"]
    assert first["start"].tolist() == [0.0, 5 * EVERY]
    assert first["end"].tolist() == [6 * EVERY, pytest.approx(corpus.by_id["test-00000"].end)]
    assert set(table["label"]) <= set(corpus.labels)
    with pytest.raises(RecipeError, match=r"is no corpus, and this classifier reads the track 'vectors'"):
        tubelet.predict(run, tmp_path)


def test_it_is_fine_tuned_as_any_run(corpus: Corpus, run: Run, tmp_path: Path) -> None:
    tuned = tubelet.finetune(run, "tiny", "steps=2", "held_out=0", "optim.base_lr=0.01", on=corpus, out=tmp_path / "t")
    assert len(tubelet.predict(tuned, corpus, split="test").to_pandas()) == 12


def test_what_reads_frames_refuses_it_in_a_sentence(corpus: Corpus, run: Run, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"reads the track 'vectors' of a corpus, not frames.*--to localiser"):
        tubelet.embed(run, corpus.videos[0].path)
    with pytest.raises(RunError, match=r"reads the track 'vectors', not frames.*--to localiser"):
        tubelet.export(run, "transformers", tmp_path / "out")


def test_localisers_read_features_that_are_evenly_spaced_beside_moments(
    corpus: Corpus, run: Run, tmp_path: Path
) -> None:
    made = export_moments(run, tmp_path / "out")
    config, said = (json.loads((tmp_path / "out" / name).read_text()) for name in ("config.json", "moments.json"))
    assert (config["input_dim"], config["num_classes"], config["feat_stride"]) == (32, 3, pytest.approx(15 * EVERY))
    assert made.step == pytest.approx(EVERY)
    video = corpus.videos[-1]
    features = np.load(tmp_path / "out" / "features" / f"{video.id}.npy")
    assert (features.shape, features.dtype) == ((11, 32), np.float32)
    entry = said["database"][video.id]
    assert (entry["subset"], entry["fps"]) == ("validation", 15.0)
    moments = [(m.start, min(m.end, video.end), m.label) for m in corpus.moments_by_video[video.id]]
    assert [(*one["segment"], one["label"]) for one in entry["annotations"]] == moments
    assert [config["classes"][one["label_id"]] for one in entry["annotations"]] == [label for *_, label in moments]
    with pytest.raises(RunError, match="name a new folder"):
        export_moments(run, tmp_path / "out")


def test_segmentation_without_moments_is_refused_with_the_command_that_adds_them(run: Run, tmp_path: Path) -> None:
    bare = tubelet.synth(tmp_path / "bare", train=2, test=2, size=32, frames=8)
    with pytest.raises(CorpusError, match=r"segmentation needs moments, .* `tubelet index --update --moments FILE`"):
        run.evaluate("segmentation", on=str(bare.folder))


def test_time_steps_of_frames_cover_all_of_a_video_and_average_clips_that_overlap() -> None:
    times = np.arange(25) / 5
    windows = Windows.over(times, Clip(frames=8, size=32, tubelet_frames=2), Sampling(stride=1))
    assert windows.begins == tuple(np.linspace(0, 1, 4))
    assert windows.step == pytest.approx(0.4)
    video = Video(0, "a", Path("a"), 0.0, 5.0, 5.0, 5.0, 25, 32, 32, "", None, "", "a", "ok", "")
    steps = windows.middles[..., None]
    line = averaged(video, windows, steps)
    assert np.allclose(line.times, (np.arange(13) + 0.5) * 0.4)
    for time, feature in zip(line.times, line.features[:, 0].tolist(), strict=True):
        inside = windows.middles[(windows.middles >= time - 0.2 - 1e-6) & (windows.middles < time + 0.2 - 1e-6)]
        assert feature == pytest.approx(inside.mean(), abs=1e-5)
