"""A text of words that the aligner never learned is no question: they are named, and with no other it is refused."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from support.small_runs import CAPTIONS, make_corpus
from tubelet.aligners.config import Shape
from tubelet.aligners.small import SmallAligner, Towers
from tubelet.aligners.unknown_words import near
from tubelet.aligners.vocabulary import Vocabulary
from tubelet.cli import main
from tubelet.corpus.table import Corpus, normalise_text
from tubelet.results import read_results
from tubelet.stores.embeddings import EmbeddingsWriter

LEARNED = ("a red square", "a blue disc", "a red star", "a green square", "a blue star", "verb 0", "verb 1")


def aligner_of(texts) -> SmallAligner:
    torch.manual_seed(0)
    shape, words = Shape(side=32, width=8, depth=1, text_width=8, joint=8), Vocabulary.of(texts)
    return SmallAligner(shape, words, Towers(shape, words.size))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Corpus:
    """Its aligner learned all captions but "a ring" and "x"."""
    corpus = make_corpus(tmp_path_factory.mktemp("words") / "corpus")
    aligner = aligner_of(LEARNED)
    aligner.save(corpus.folder / "aligner")
    with EmbeddingsWriter(corpus, aligner.identity, 8) as embeddings:
        for text in sorted({normalise_text(caption.text) for caption in corpus.captions}):
            embeddings.add(text, aligner.texts([text])[0].numpy().astype(np.float32))
        embeddings.finish()
    return Corpus.open(corpus.folder)


@pytest.fixture(scope="module")
def run(corpus, recipes, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("words run") / "run"
    words = [f"{recipes}:both", "masker=Tube", "steps=2", "--on", str(corpus.folder), "--out", str(out)]
    assert main(["pretrain", *words]) == 0
    return out


def tubelet(capsys, *words) -> tuple[int, str, str]:
    status = main([str(word) for word in words])
    said = capsys.readouterr()
    return status, said.out, said.err


def hits(out: str) -> list[str]:
    return [line for line in out.splitlines() if ".mp4" in line]


@pytest.mark.parametrize("text", ["qwerty zzz", "a ring", "the zebra with it", "Ünïcode 7"])
def test_a_search_of_which_no_word_was_learned_is_refused(run, capsys, text):
    status, out, err = tubelet(capsys, "search", run, text)
    assert status == 2
    assert f"the aligner learned no word of {text!r}" in err
    assert "+0." not in out


@pytest.mark.parametrize(
    ("asked", "meant"), [("dog", ""), ("do", ""), ("god", ""), ("discs", "disc"), ("stair", "star")]
)
def test_no_word_of_two_letters_is_suggested_nor_one_that_is_spelt_otherwise(asked, meant):
    found = near(aligner_of(("do go up", "a blue disc", "a star")), [asked])
    assert found == (f" (did you mean {meant!r}?)" if meant else "")
    assert near(aligner_of(("dog",)), ["do"]) == ""


def test_a_search_with_some_strange_words_names_them_and_what_may_be_meant(run, capsys):
    status, out, err = tubelet(capsys, "search", run, "a red squares of zzz")
    assert status == 0, err
    assert "NOTE: the aligner never learned 'squares', 'of', 'zzz' (did you mean 'square'?)" in out
    results = read_results(run)
    [entry] = [result for name, result in results.items() if "zzz" in name]
    assert entry.notes[0].startswith("the aligner never learned 'squares'")
    status, out, err = tubelet(capsys, "search", run, "A RED  star!")
    assert status == 0, err
    assert "never learned" not in out


def test_a_search_reads_texts_as_the_run_was_trained_with_whatever_aligner_came_since(
    corpus, recipes, tmp_path, capsys
):
    """A vector of another model, of the same width or not, says nothing to the contrast of this run."""
    folder, run = tmp_path / "corpus", tmp_path / "run"
    shutil.copytree(corpus.folder, folder)
    words = [f"{recipes}:both", "masker=Tube", "steps=2", "data.cache=False", "--on", str(folder), "--out", str(run)]
    assert main(["pretrain", *words]) == 0
    before = tubelet(capsys, "search", run, "a red star")
    assert before[0] == 0, before
    for width in (8, 16):
        torch.manual_seed(width)
        shape = Shape(side=32, width=8, depth=1, text_width=8, joint=width)
        other = SmallAligner(shape, Vocabulary.of(LEARNED), Towers(shape, Vocabulary.of(LEARNED).size))
        other.save(folder / "aligner")
        with EmbeddingsWriter(Corpus.open(folder), other.identity, width) as embeddings:
            embeddings.add("a red star", other.texts(["a red star"])[0].numpy().astype(np.float32))
            embeddings.finish()
        status, out, err = tubelet(capsys, "search", run, "a red star")
        assert (status, hits(out)) == (0, hits(before[1])), err
        status, _, err = tubelet(capsys, "search", run, "a blue square")
        assert status == 2
        assert "name the one that the run was trained with" in err


def test_classes_that_no_caption_named_are_said_by_zero_shot(run, corpus, tmp_path, capsys):
    def measure(one: str, other: str) -> tuple[int, str, str]:
        rows = [f"{video.id},{(one, other)[index % 2]}" for index, video in enumerate(corpus.videos)]
        (tmp_path / "labels.csv").write_text("\n".join(["video,label", *rows]))
        return tubelet(capsys, "evaluate", run, "zero_shot", "--labels", tmp_path / "labels.csv")

    status, out, err = measure("red star", "somersault")
    assert status == 0, err
    assert "NOTE: the aligner learned no word of 'somersault': these classes are guessed" in out
    status, out, err = measure("red star", "blue somersault")
    assert "NOTE: of other classes the aligner never learned 'somersault'" in out
    status, _, err = measure("pirouette", "somersault")
    assert status == 2
    assert "learned no word of any of the 2 classes" in err
    status, out, err = measure("red star", "blue_disc")
    assert "never learned" not in out


def test_maps_of_captions_with_strange_words_are_counted(corpus, tmp_path, capsys):
    status, out, err = tubelet(capsys, "saliency", corpus.folder, "Text", "sources=subject", "--workers", 1)
    assert status == 0, err
    distinct = len(set(CAPTIONS))
    assert f"NOTE: 2 of {distinct} captions have words that the aligner never learned, 'ring', 'x'; of 2 it" in out


def test_nothing_is_claimed_of_a_model_without_a_list_of_words_or_a_script_without_spaces():
    from tubelet.aligners.unknown_words import check_classes, check_text, unknown_words

    class Clip:
        identity, width = "clip:1", 8

        def patches(self, frames): ...

        def texts(self, texts): ...

    assert check_text(Clip(), "qwerty zzz") == []
    assert check_classes(Clip(), ["qwerty"]) == []
    assert unknown_words(aligner_of(["一只狗在跑"]), "一只猫在跑") == []
    assert check_text(aligner_of(["a dog"]), "a dog") == []
