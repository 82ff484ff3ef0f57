"""`tubelet evaluate` on a run that was really trained: what it prints, writes, refuses."""

import json
import re
import shutil
from zlib import crc32

import chz
import numpy as np
import pytest
import torch

from tubelet import cli
from tubelet.corpus.captions import CaptionChoice
from tubelet.corpus.table import Corpus, normalise_text
from tubelet.corpus.write import write_corpus
from tubelet.loading.data import Data
from tubelet.maskers import Tube
from tubelet.models.decoder import Decoder
from tubelet.models.encoder import Vit
from tubelet.objectives import Contrast, Pixels
from tubelet.recipes import Pretrain
from tubelet.results import Metric, read_results
from tubelet.runs.pretrain import pretrain
from tubelet.stores.embeddings import EmbeddingsWriter
from tubelet.video.sampling import Sampling


@pytest.fixture(scope="module")
def corpus(small, tmp_path_factory):
    """The small corpus in a folder of its own, with caption embeddings and an aligner that was trained on train."""
    folder = tmp_path_factory.mktemp("evaluate") / "corpus"
    shutil.copytree(small.folder, folder, ignore=shutil.ignore_patterns("embeddings"))
    corpus = Corpus.open(folder)
    with EmbeddingsWriter(corpus, "random", 6) as writer:
        for text in sorted({normalise_text(caption.text) for caption in corpus.captions}):
            writer.add(text, np.random.default_rng(crc32(text.encode())).normal(size=6).astype(np.float32))
        writer.finish()
    trained_on(corpus, ["train"])
    return corpus


def trained_on(corpus, splits):
    (corpus.folder / "aligner").mkdir(exist_ok=True)
    about = {
        "identity": "random",
        "corpus": {"name": corpus.name, "fingerprint": corpus.fingerprint(), "splits": splits},
    }
    (corpus.folder / "aligner" / "aligner.json").write_text(json.dumps(about))


def config(clip, source, **objectives):
    return Pretrain(
        precision="fp32",
        clip=clip,
        data=Data(sampling=Sampling(stride=1), captions=CaptionChoice(source=source)),
        encoder=Vit(width=32, depth=1, heads=2),
        masker=Tube(ratio=0.5),
        objectives={"pixels": Pixels(decoder=Decoder(width=16, depth=1, heads=2)), **objectives},
        steps=2,
        batch=4,
    )


@pytest.fixture(scope="module")
def trained(corpus, clip, tmp_path_factory):
    """Reconstruction alone; and with a contrast whose captions say the label."""
    folder = tmp_path_factory.mktemp("runs")
    pretrain(config(clip, "subject"), on=corpus.folder, out=folder / "pixels")
    pretrain(config(clip, "verb", contrast=Contrast()), on=corpus.folder, out=folder / "guided")
    return folder


@pytest.fixture
def runs(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "runs")


def evaluate(capsys, *words) -> tuple[int, str, str]:
    status = cli.main(["evaluate", *map(str, words)])
    said = capsys.readouterr()
    return status, said.out, said.err


def results(run) -> dict:
    return read_results(run)


def test_all_evaluations_with_baselines_are_printed_and_written(runs, corpus, capsys):
    names = ["linear", "knn", "retrieval", "reconstruction"]
    status, out, _ = evaluate(capsys, runs / "pixels", "--on", corpus.folder, *names, "--baselines")
    assert status == 0
    found = results(runs / "pixels")
    assert list(found) == names
    for name in names[:3]:
        assert set(found[name].baselines) == {"random", "mean_image", "raw_pixels", "difference_image"}
    assert not found["reconstruction"].baselines
    # the mean over time cannot tell rising from falling; the time steps side by side can, for it is a change of grey
    assert found["linear"].baselines["mean_image"].metrics["temporal_concat.accuracy"].value == 1.0
    assert found["linear"].baselines["mean_image"].metrics["mean.accuracy"].value < 0.9
    for result in found.values():
        assert result.versions["torch"] == torch.__version__
        assert result.seed == 0
        assert result.settings.startswith(("Linear(", "Knn(", "Retrieval(", "Reconstruction("))
    assert found["linear"].protocol["split"] == "fitted and selected on train, measured once on test"
    assert found["linear"].counts["test"]["missing"] == 1
    assert set(found["linear"].contamination["shared"]) == {"same_file", "same_group", "near_duplicate", "rule"}
    assert found["linear"].trained_on == {"encoder": ["train"], "aligner": []}
    assert found["linear"].corpus == {"name": "small", "fingerprint": corpus.fingerprint()}
    assert found["linear"].step == 2
    for part in ("mean, accuracy", "image", "raw", "chance", "failed test: clip 32: ",
                 "failed test: gone: no such file", "no contrast head",
                 "of small, the encoder was trained on: train", "aligner: not used"):  # fmt: skip
        assert part in out, part


def test_one_baseline_can_be_asked_for_alone(runs, capsys):
    run = runs / "pixels"
    (run / "results.json").unlink(missing_ok=True)
    assert evaluate(capsys, run, "knn", "--baseline", "mean_image")[0] == 0
    assert set(results(run)["knn"].baselines) == {"mean_image"}
    words = ("knn", "multiview", "multiview.views=2x1", "multiview.linear.pools=mean", "--baseline", "random")
    assert evaluate(capsys, run, *words)[0] == 0
    assert set(results(run)["knn"].baselines) == {"mean_image", "random"}
    assert set(results(run)["multiview"].baselines) == {"random"}
    assert "shared" in results(run)["multiview"].contamination


def test_a_second_command_adds_and_keeps_and_settings_are_obeyed(runs, corpus, capsys):
    run = runs / "pixels"
    evaluate(capsys, run, "linear", "--baselines")
    before = results(run)["linear"]
    status, _, _ = evaluate(capsys, run, "knn", "knn.vote=majority", "knn.grid=1,3", "data.sampling.stride=2")
    assert status == 0
    found = results(run)
    assert found["linear"] == before
    assert found["knn"].protocol["vote"] == "majority"
    assert found["knn"].protocol["grid"] == [1, 3]
    settings = ["knn.vote=majority", "knn.grid=1,3", "data.sampling.stride=2"]
    assert found["knn"].asked == {"evaluation": "knn", "on": str(corpus.folder), "settings": settings}
    assert evaluate(capsys, run, "linear")[0] == 0
    assert results(run)["linear"].baselines == before.baselines


def test_other_settings_stand_beside_no_baseline_of_the_old_ones(runs, capsys):
    run = runs / "pixels"
    for words in (["linear.grid=0.01", "linear.pools=mean"], ["linear", "data.sampling.stride=2"]):
        evaluate(capsys, run, "linear", "--baseline", "random")
        assert set(results(run)["linear"].baselines) == {"random"}
        evaluate(capsys, run, *words)
        assert not results(run)["linear"].baselines
    assert "stride=2" in results(run)["linear"].view["sampling"]


def test_the_same_with_other_settings_is_kept_under_a_name_of_its_own(runs, corpus, capsys):
    run = runs / "pixels"
    evaluate(capsys, run, "linear")
    before = results(run)["linear"]
    status, out, _ = evaluate(capsys, run, "linear", "linear.solver=sgd", "linear.epochs=5", "--as", "sgd")
    assert status == 0
    found = results(run)
    assert found["linear"] == before
    assert found["linear as sgd"].protocol["head"].startswith("linear, cross-entropy, SGD")
    assert found["linear as sgd"].asked["settings"] == ["linear.solver=sgd", "linear.epochs=5", "--as", "sgd"]
    assert "linear as sgd, small" in out
    assert {path.stem for path in (run / "classifiers").iterdir()} == {"linear", "linear as sgd"}
    status, _, err = evaluate(capsys, run, "linear", "--as", "../sgd")
    assert status == 2
    assert "--as ../sgd must be one word" in err


def test_another_corpus_has_an_entry_of_its_own(runs, corpus, capsys, tmp_path):
    same = ("id", "path", "end", "fps", "frames", "width", "height", "label", "split", "group", "status", "reason")
    rows = [{name: getattr(video, name) for name in same} for video in corpus.videos]
    rows = [row for row in rows if row["id"] != "gone"]
    other = write_corpus(tmp_path / "other", "fewer", rows)
    evaluate(capsys, runs / "pixels", "--on", corpus.folder, "linear")
    status, out, _ = evaluate(capsys, runs / "pixels", "--on", other.folder, "linear")
    assert status == 0
    assert list(results(runs / "pixels")) == ["linear", f"linear on fewer-{other.fingerprint()[:8]}"]
    assert "of fewer, the encoder was trained on: train (trained on small)" in out, "the same files, in another table"


def test_the_corpus_of_the_run_it_began_with_counts_as_seen(runs, corpus, clip, capsys, tmp_path):
    same = ("id", "path", "end", "fps", "frames", "width", "height", "label", "group")
    rows = [{name: getattr(video, name) for name in same} for video in corpus.select("train")]
    other = write_corpus(tmp_path / "other", "train alone", [{**row, "split": "train"} for row in rows])
    recipe = chz.replace(config(clip, "subject"), init=str(runs / "pixels"))
    pretrain(recipe, on=other.folder, out=runs / "again")
    status, out, _ = evaluate(capsys, runs / "again", "--on", corpus.folder, "linear")
    assert status == 0
    assert "of small, the encoder was trained on: train (trained on train alone)" in out


def test_text_and_video_are_measured_and_a_caption_that_names_the_label_is_marked(runs, corpus, capsys):
    status, out, _ = evaluate(capsys, runs / "guided", "linear", "retrieval")
    assert status == 0
    found = results(runs / "guided")
    assert "text_to_video.r@1" in found["retrieval"].metrics
    assert found["retrieval"].counts["text_and_video"]["distinct_captions"] == 2
    assert found["linear"].warnings[0].startswith("caption names the label in 100%")
    assert "WARNING: caption names the label" in out
    assert found["linear"].trained_on["aligner"] == ["train"]
    assert (runs / "guided" / "pictures").is_dir()


def test_without_labels_text_and_video_are_measured_although_no_baseline_can_be(runs, corpus, capsys, tmp_path):
    shutil.copytree(corpus.folder / "embeddings", tmp_path / "unlabelled" / "embeddings")
    rows = [{**vars(video), "label": None} for video in corpus.videos]
    captions = [{"video": c.video, "text": c.text, "source": c.source} for c in corpus.captions]
    for row in rows:
        del row["row"]
    unlabelled = write_corpus(tmp_path / "unlabelled", "unlabelled", rows, captions)
    status, out, _ = evaluate(capsys, runs / "guided", "--on", unlabelled.folder, "retrieval", "--baselines")
    assert status == 0
    (found,) = [result for name, result in results(runs / "guided").items() if name.startswith("retrieval on ")]
    assert "text_to_video.r@1" in found.metrics
    assert found.counts["test"]["used"] == len(unlabelled.select("test")) - 1, "one cannot be read"
    assert not re.search(r"\d unlabelled", out)
    assert found.baselines == {}
    assert "no baseline random: " in out


def test_a_test_split_that_the_aligner_has_seen_is_refused_unless_allowed(runs, corpus, clip, capsys):
    trained_on(corpus, ["test", "train"])
    shutil.rmtree(runs / "guided")
    try:
        pretrain(config(clip, "verb", contrast=Contrast()), on=corpus.folder, out=runs / "guided")
        status, _, err = evaluate(capsys, runs / "guided", "linear")
        assert status == 2
        assert "--allow-seen" in err
        assert "linear" not in (results(runs / "guided") if (runs / "guided" / "results.json").exists() else {})
        assert evaluate(capsys, runs / "guided", "linear", "--allow-seen")[0] == 0
        assert evaluate(capsys, runs / "pixels", "linear")[0] == 0  # no text ever reached this one
        words = [
            "tiny",
            "steps=1",
            "batch=2",
            "rates=0.1",
            "samples=50",
            "--on",
            corpus.folder,
            "--out",
            runs / "tuned",
        ]
        assert cli.main(["finetune", str(runs / "guided"), *map(str, words)]) == 2
        assert "--allow-seen" in capsys.readouterr().err
        assert not (runs / "tuned").exists()
        assert cli.main(["finetune", str(runs / "guided"), *map(str, words), "--allow-seen"]) == 0
        assert results(runs / "tuned")["finetune"].trained_on["aligner"] == ["test", "train"]
    finally:
        trained_on(corpus, ["train"])


def test_other_labels_are_measured_under_their_name(runs, corpus, capsys, tmp_path):
    table = tmp_path / "labels.csv"
    rows = "\n".join(f"{video.id},{('one', 'two')[video.row % 4 // 2]}" for video in corpus.videos)
    table.write_text("video,half\n" + rows + "\n")
    status, _, _ = evaluate(capsys, runs / "pixels", "linear", "--labels", table, "--label", "half")
    assert status == 0
    found = results(runs / "pixels")["linear, label half"]
    assert found.classes == ("one", "two")


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["liner"], "did you mean linear?"),
        (["linear", "linear.gird=1"], "did you mean grid"),
        (["linear.grid=x"], "grid=x"),
        (["knn=3"], "did you mean knn?"),
        (["--on", "nowhere"], "nowhere"),
        (["--bselines"], "did you mean --baselines"),
        (
            ["--baseline", "mean"],
            "there is no baseline 'mean'; one of: random, mean_image, raw_pixels, difference_image",
        ),
        (["--label", "colour"], "--labels FILE"),
    ],
)
def test_a_wrong_word_is_one_line_and_writes_nothing(runs, capsys, words, match):
    before = (runs / "pixels" / "results.json").exists()
    status, _, err = evaluate(capsys, runs / "pixels", *words)
    assert status == 2
    assert err.count("\n") == 1
    assert match in err
    assert (runs / "pixels" / "results.json").exists() == before


def test_a_folder_that_is_no_run_is_one_line(tmp_path, capsys):
    status, _, err = evaluate(capsys, tmp_path, "linear")
    assert status == 2
    assert "tubelet pretrain" in err


def test_the_embedded_corpus_shows_its_ceiling_beside_accuracies(small, tmp_path):
    from tubelet.evaluations.baselines import ceiling
    from tubelet.synthetic import CEILING, VERSION

    embedded = write_corpus(tmp_path / "synth", VERSION, [{"id": "a", "path": "a.mp4", "split": "test"}])
    found = ceiling(embedded, ["r@1", "mean.accuracy", "mean.balanced_accuracy"])
    assert found.metrics == {"mean.accuracy": Metric(CEILING.accuracy)}
    assert found.protocol["conditions"] == CEILING.conditions
    assert ceiling(small, ["mean.accuracy"]) is None
