"""What every listed saliency source promises. A source is tested by being listed in `tubelet.saliency_maps.SOURCES`."""

import pickle
import shutil
from pathlib import Path

import chz
import numpy as np
import pytest
import torch

import tubelet
from support.moving import Shift
from support.random_clips import random_model, tokenizer
from tubelet.aligners.config import Shape
from tubelet.aligners.small import SmallAligner, Towers
from tubelet.aligners.vocabulary import Vocabulary
from tubelet.cli import main, module_of
from tubelet.config import describe, override
from tubelet.corpus.table import Corpus
from tubelet.errors import CorpusError
from tubelet.saliency_maps import SOURCES, Attention, Flow, Imported, Noise, Source, Text
from tubelet.stores.maps import KINDS, Maps
from tubelet.synthetic import Size, write_synth

every_source = pytest.mark.parametrize("kind", SOURCES, ids=lambda kind: kind.__name__)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small synthetic dataset with an aligner, a CLIP of random weights, and arrays of somebody's own."""
    folder = tmp_path_factory.mktemp("sources")
    write_synth(folder / "corpus", Size(train=3, test=1, frames=6))
    torch.manual_seed(0)
    shape, words = Shape(side=32, width=8, depth=1, text_width=8, joint=8), Vocabulary.of(["a red star"])
    SmallAligner(shape, words, Towers(shape, words.size)).save(folder / "corpus" / "aligner")
    random_model("clip", 1).save_pretrained(folder / "clip")
    tokenizer().save_pretrained(folder / "clip")
    arrays = np.random.default_rng(0).random((4, 6, 5, 5))
    ids = [video.id for video in Corpus.open(folder / "corpus").videos]
    np.savez(folder / "mine.npz", **dict(zip(ids, arrays, strict=True)))
    return folder


@pytest.fixture
def corpus(made: Path, tmp_path: Path) -> Corpus:
    shutil.copytree(made / "corpus", tmp_path / "corpus")
    return Corpus.open(tmp_path / "corpus")


def config(kind: type[Source], made: Path) -> Source:
    """A config of this class that works on the dataset."""
    given = {
        Text: {"sources": ("subject",), "rate": "all"},
        Attention: {"aligner": str(made / "clip"), "rate": "all"},
        Flow: {"engine": Shift()},
        Imported: {"name": "mine", "files": (str(made / "mine.npz"),)},
    }
    return kind(**given.get(kind, {}))


def layers(corpus: Corpus, name: str) -> list[np.ndarray]:
    maps = Maps.open(corpus, name)
    captions = [corpus.captions_of(video, "subject")[0] if name == "text" else None for video in corpus.videos]
    return [maps.layers(video, caption)[0] for video, caption in zip(corpus.videos, captions, strict=True)]


@every_source
def test_it_makes_maps_of_every_video_once_and_prints_nothing(
    kind: type[Source], made: Path, corpus: Corpus, capsys: pytest.CaptureFixture[str]
) -> None:
    source = config(kind, made)
    capsys.readouterr()
    filled = tubelet.saliency(corpus.folder, source)
    assert (filled.maps, filled.videos, filled.computed) == (source.maps, 4, 4 * len(source.maps))
    assert not filled.failed
    assert filled.method
    for name in filled.maps:
        assert Maps.open(corpus, name).kind == KINDS.get(name, "scalar")
        assert all(np.isfinite(values).all() and values.shape[0] > 0 for values in layers(corpus, name))
    again = tubelet.saliency(corpus, source)
    assert (again.videos, again.computed) == (4, 0)
    assert "".join(capsys.readouterr()) == ""


@every_source
def test_interrupted_it_resumes_to_the_same_maps(kind: type[Source], made: Path, corpus: Corpus, tmp_path) -> None:
    source = config(kind, made)

    def interrupt(done: int, total: int, remark: str = "") -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tubelet.saliency(corpus, source, progress=interrupt)
    calls = []
    filled = tubelet.saliency(corpus, source, progress=lambda done, total, remark="": calls.append((done, total)))
    assert (filled.videos, dict(filled.failed)) == (4, {})
    assert calls[-1][0] == calls[-1][1], "it ends at its total"
    shutil.copytree(made / "corpus", tmp_path / "whole")
    whole = Corpus.open(tmp_path / "whole")
    tubelet.saliency(whole, source)
    for name in source.maps:
        for one, other in zip(layers(corpus, name), layers(whole, name), strict=True):
            np.testing.assert_array_equal(one, other)


@every_source
def test_an_unreadable_video_is_skipped_with_its_reason(kind: type[Source], made: Path, corpus: Corpus) -> None:
    broken = corpus.videos[1]
    broken.path.write_bytes(b"not a video")
    filled = tubelet.saliency(corpus, config(kind, made))
    if kind is Noise:  # which decodes nothing
        assert not filled.failed
        return
    assert list(filled.failed) == [broken.id]
    assert "cannot be opened" in filled.failed[broken.id]
    assert filled.videos == 3


@every_source
def test_its_maps_have_checksums(kind: type[Source], made: Path, corpus: Corpus) -> None:
    source = config(kind, made)
    tubelet.saliency(corpus, source)
    (shard,) = (corpus.folder / "maps" / source.maps[0]).rglob("shard-*.arrow")
    content = bytearray(shard.read_bytes())
    values = layers(corpus, source.maps[0])[0].astype(np.float16).tobytes()
    content[content.index(values) + len(values) // 2] ^= 1
    shard.write_bytes(bytes(content))
    with pytest.raises(CorpusError, match="damaged"):
        layers(corpus, source.maps[0])


@every_source
def test_it_is_a_frozen_config_that_travels_to_workers_and_explains_every_field(kind: type[Source], made: Path) -> None:
    source = config(kind, made)
    assert chz.asdict(pickle.loads(pickle.dumps(source))).keys() == chz.asdict(source).keys()
    for name, field in chz.chz_fields(kind).items():
        assert field._doc, name
        with pytest.raises(Exception, match="Cannot modify field"):
            setattr(source, name, None)
    assert describe(override(kind(), [])) == describe(kind())


@every_source
def test_the_command_names_it_and_lists_its_fields(kind: type[Source], corpus: Corpus, capsys) -> None:
    assert f"tubelet saliency CORPUS {kind.__name__}" in module_of("saliency").__doc__
    assert main(["saliency", str(corpus.folder)]) == 0
    overview = capsys.readouterr().out
    assert "has no maps" in overview
    assert f"\n{kind.__name__}: " in overview
    assert main(["saliency", str(corpus.folder), kind.__name__, "--help"]) == 0
    fields = capsys.readouterr().out
    assert all(f"  {name}=" in fields for name in chz.chz_fields(kind))


def test_the_command_says_which_maps_a_corpus_has(corpus: Corpus, capsys) -> None:
    assert main(["saliency", str(corpus.folder), "Noise", "cells=6"]) == 0
    capsys.readouterr()
    assert main(["saliency", str(corpus.folder)]) == 0
    assert "  noise         scalar, 4 of 4 videos, cells 6" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["Txt"], "did you mean Text?"),
        (["Text", "scorer=surgry"], "did you mean surgery?"),
        (["Text", "aligners=x"], "did you mean aligner?"),
        (["Text", "Noise"], "name one source of maps"),
        (["cells=3"], "name one source of maps"),
        (["Noise", "cells=0"], "cells must be at least 1"),
        (["Flow", "engine=NoFlow"], "optical flow needs an engine"),
        (["Imported"], "imported maps need a name"),
    ],
)
def test_a_wrong_word_is_one_line_with_the_nearest_right_one(words, said, corpus: Corpus, capsys) -> None:
    assert main(["saliency", str(corpus.folder), *words]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert said in error


def test_a_source_of_ones_own_is_a_class_of_a_file(corpus: Corpus, tmp_path: Path, capsys) -> None:
    (tmp_path / "mine.py").write_text(
        "import chz\nfrom tubelet.saliency_maps import Noise\n\n\n@chz.chz\nclass Coarse(Noise):\n"
        '    """Noise on few cells."""\n\n    cells: int = chz.field(default=3, doc="cells along the short side")\n'
    )
    assert main(["saliency", str(corpus.folder), f"{tmp_path / 'mine.py'}:Coarse"]) == 0
    assert "4 maps computed now" in capsys.readouterr().out
    assert layers(corpus, "noise")[0].shape[1:] == (3, 3)
