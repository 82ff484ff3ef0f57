"""Runs on clips and the words of their captions: trained, measured, and marked as told of captions."""

import math

import pytest

import tubelet
from support.small_runs import steps
from tubelet.corpus.table import Corpus
from tubelet.errors import CorpusError, RecipeError
from tubelet.evaluations.trained_on import FILE, TrainedOn
from tubelet.synthetic import Size, write_synth

SMALL = (
    "clip.frames=4", "clip.size=32", "encoder.width=32", "encoder.depth=1", "encoder.heads=2", "data.cache=False",
    "data.sampling.stride=1", "data.captions.source=both", "precision=fp32", "masker.ratio=0.5", "batch=4",
    "log_every=1", "save_every=10", "steps=12", "objectives.pixels.decoder.width=24",
    "objectives.pixels.decoder.heads=2",
    "objectives.words.decoder.width=24", "objectives.words.decoder.heads=2",
)  # fmt: skip
VIEWS = (
    "streams.words.tower.blocks=1", "streams.words.tower.last=1", "objectives.views=InstanceContrast",
    "objectives.views.of=clip,words", "objectives.views.hidden=16", "objectives.views.width=8",
)  # fmt: skip


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    folder = tmp_path_factory.mktemp("said") / "corpus"
    write_synth(folder, Size(train=8, test=6, pixels=48, frames=8))
    return Corpus.open(folder)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, corpus: Corpus) -> tubelet.Run:
    out = tmp_path_factory.mktemp("runs") / "m3ae"
    return tubelet.pretrain("m3ae", *SMALL, *VIEWS, on=corpus, out=out)


def test_m3ae_rebuilds_pixels_and_words_and_clips_are_found_by_their_captions(run):
    record = steps(run.folder)[-1]
    assert all(math.isfinite(record[name]) for name in ("words.baseline", "words.accuracy", "views.baseline"))
    assert record["loss"] == pytest.approx(record["pixels"] + 0.5 * record["words"] + record["views"], rel=1e-4)
    found = run.evaluate("cross_retrieval")
    assert {"views.words_to_clip.r@1", "views.clip_to_words.r@1"} <= found.metrics.keys()
    left = run.evaluate("missing", samples=50)
    assert {*left.metrics} == {f"{name}.accuracy" for name in ("all", "without_clip", "without_words")}
    said = run.evaluate("knn", stream="words", baselines=True)
    assert "random" in said.baselines


def test_words_that_were_trained_on_are_captions_that_were_told(tmp_path, run, corpus):
    known = TrainedOn.read(run.folder / FILE)
    assert {(clip.told, clip.split) for clip in known.clips} == {("captions", "train")}
    everything = tubelet.pretrain("m3ae", *SMALL, *VIEWS, "data.split=all", on=corpus, out=tmp_path / "run")
    with pytest.raises(CorpusError, match=r"the encoder was trained on 6 of 6 clips .* and knows the answers there"):
        everything.evaluate("cross_retrieval")
    said = everything.evaluate("knn")
    assert any("6 of 6 clips of test were trained on by the encoder" in line for line in said.warnings)
    assert any("caption names the label in 100% of the videos" in line for line in said.warnings)


def test_a_small_vocabulary_and_a_corpus_without_captions_are_refused_before_the_first_step(tmp_path, corpus):
    with pytest.raises(CorpusError, match=r"set streams\.words\.signal\.vocabulary=\d+"):
        tubelet.pretrain("m3ae", *SMALL, "streams.words.signal.vocabulary=16", on=corpus, out=tmp_path / "run")
    words = [word for word in SMALL if "captions" not in word]
    with pytest.raises(CorpusError, match="no captions of source 'nobody'"):
        tubelet.pretrain("m3ae", *words, "data.captions.source=nobody", on=corpus, out=tmp_path / "run")
    assert not (tmp_path / "run" / "recipe.json").exists()


CODE = [word for word in SMALL if not word.startswith(("masker", "objectives"))]


def test_coca_says_captions_and_finds_clips_by_them(tmp_path, corpus):
    words = ("streams.text.tower.encoder.width=32", "streams.text.tower.encoder.heads=2", "objectives.caption.width=24")
    words += ("objectives.caption.heads=2", "objectives.views.hidden=16", "objectives.views.width=8")
    run = tubelet.pretrain("coca", *CODE, *words, on=corpus, out=tmp_path / "run")
    record = steps(run.folder)[-1]
    assert record["loss"] == pytest.approx(2 * record["caption"] + record["views"], rel=1e-4)
    found = run.evaluate("captioning", samples=50)
    assert {*found.metrics} == {"exact", "f1"}
    assert {*found.references} == {"exact, another clip's captions", "f1, another clip's captions"}
    assert found.counts["test"]["used"] == 6
    assert "views.text_to_clip.r@1" in run.evaluate("cross_retrieval").metrics
    with pytest.raises(RecipeError, match="the stream words of this run is not encoded"):
        run.evaluate("knn", stream="words")


def test_smaug_matches_and_finds_captions_from_few_tubelets(tmp_path, corpus):
    words = ["masker=Random", "masker.ratio=0.75", *(word for word in SMALL if not word.startswith("masker"))]
    words += ["objectives.views.hidden=16", "objectives.views.width=8"]
    words += ["objectives.matching.width=24", "objectives.matching.heads=2"]
    run = tubelet.pretrain("smaug", *words, on=corpus, out=tmp_path / "run")
    record = steps(run.folder)[-1]
    parts = record["pixels"] + 0.5 * record["words"] + 0.1 * (record["views"] + record["matching"])
    assert record["loss"] == pytest.approx(parts, rel=1e-4)
