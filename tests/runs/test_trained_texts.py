"""A run reads texts by the model that embedded its captions, whatever its corpus was given since."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from support.small_runs import make_corpus
from tubelet.aligners.config import Shape
from tubelet.aligners.small import SmallAligner, Towers
from tubelet.aligners.vocabulary import Vocabulary
from tubelet.cli import main
from tubelet.corpus.table import Corpus, normalise_text
from tubelet.errors import WeightsError
from tubelet.formats.export import write_text_side
from tubelet.formats.opened import open_run
from tubelet.stores.embeddings import EmbeddingsWriter


def embed(corpus: Corpus, seed: int) -> SmallAligner:
    """As `tubelet align` and `tubelet saliency` do it: the corpus has this aligner and its embeddings now."""
    torch.manual_seed(seed)
    shape = Shape(side=32, width=8, depth=1, text_width=8, joint=8)
    texts = sorted({normalise_text(caption.text) for caption in corpus.captions})
    words = Vocabulary.of(texts)
    aligner = SmallAligner(shape, words, Towers(shape, words.size))
    aligner.save(corpus.folder / "aligner")
    with EmbeddingsWriter(corpus, aligner.identity, 8) as embeddings:
        for text in texts:
            if not embeddings.has(text):
                embeddings.add(text, aligner.texts([text])[0].numpy().astype(np.float32))
        embeddings.finish()
    return aligner


@pytest.fixture(scope="module")
def trained(recipes: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """A run, its corpus, which was given another aligner since, and the aligner of the run."""
    folder = tmp_path_factory.mktemp("trained")
    corpus = make_corpus(folder / "corpus")
    embed(corpus, 0)
    shutil.copytree(corpus.folder / "aligner", folder / "first")
    words = [f"{recipes}:both", "masker=Tube", "steps=2", "--on", str(corpus.folder), "--out", str(folder / "run")]
    assert main(["pretrain", *words]) == 0
    assert main(["evaluate", str(folder / "run"), *MEASURED, *labels(corpus, folder)]) == 0
    embed(corpus, 1)
    return folder / "run", corpus.folder, folder / "first"


MEASURED = ("retrieval", "zero_shot", "--allow-seen")


def labels(corpus: Corpus, folder: Path) -> list[str]:
    rows = [f"{video.id},{('red star', 'blue disc')[index % 2]}" for index, video in enumerate(corpus.videos)]
    (folder / "labels.csv").write_text("\n".join(["video,label", *rows]))
    return ["--labels", str(folder / "labels.csv")]


def numbers(run: Path, name: str) -> dict[str, float]:
    """What was measured, by the last command."""
    results = json.loads((run / "results.json").read_text())
    [found] = [result for key, result in results.items() if key.startswith(name)]
    return found["metrics"]


def test_retrieval_takes_the_embeddings_of_the_run(trained, tmp_path, capsys):
    run, corpus, _ = trained
    before = numbers(run, "retrieval")
    assert "text_to_video.r@1" in before
    words = ["evaluate", str(run), "retrieval", "--allow-seen", *labels(Corpus.open(corpus), tmp_path)]
    assert main(words) == 0, capsys.readouterr().err
    assert numbers(run, "retrieval") == before


def test_zero_shot_reads_prompts_as_the_run_read_captions(trained, tmp_path, capsys):
    run, corpus, first = trained
    before = json.loads((run / "results.json").read_text())
    words = ["evaluate", str(run), "zero_shot", "--allow-seen", *labels(Corpus.open(corpus), tmp_path)]
    assert main(words) == 2
    said = capsys.readouterr().err
    assert f"embedded by {SmallAligner.load(first).identity}" in said
    assert "name the same model as zero_shot.aligner=PATH" in said
    assert main([*words, f"zero_shot.aligner={first}"]) == 0
    [scores] = [result["details"] for key, result in before.items() if key.startswith("zero_shot")]
    after = json.loads((run / "results.json").read_text())
    assert [result["details"] for key, result in after.items() if key.startswith("zero_shot")] == [scores]


def test_an_export_takes_no_other_aligner_than_that_of_the_run(trained, tmp_path):
    run, _, first = trained
    with pytest.raises(WeightsError, match=f"embedded by {SmallAligner.load(first).identity}, and this aligner is"):
        write_text_side(tmp_path, open_run(run), None, [])


def test_captions_that_another_model_embedded_are_refused_on_another_corpus(trained, tmp_path, capsys):
    run, _, first = trained
    embed(other := make_corpus(tmp_path / "other"), 2)
    words = ["evaluate", str(run), "retrieval", "--on", str(other.folder), "--allow-seen"]
    assert main([*words, *labels(other, tmp_path)]) == 2
    said = capsys.readouterr().err
    assert f"those that the run was trained with by {SmallAligner.load(first).identity}" in said
    assert f"tubelet saliency {other.folder} Text aligner=" in said
    embed(other, 0)
    assert main([*words, *labels(other, tmp_path)]) == 0, capsys.readouterr().err


def test_embeddings_that_are_gone_are_missed(trained, tmp_path, capsys):
    run, corpus, _ = trained
    series = json.loads((run / "recipe.json").read_text())["derived"]["caption embeddings"]
    (corpus / "embeddings" / series).rename(tmp_path / series)
    try:
        assert main(["evaluate", str(run), "retrieval", *labels(Corpus.open(corpus), tmp_path), "--allow-seen"]) == 2
        assert f"that the run was trained with ({series}) are no longer in {corpus}" in capsys.readouterr().err
    finally:
        (tmp_path / series).rename(corpus / "embeddings" / series)
