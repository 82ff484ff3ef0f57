"""The text tower of a CLIP, with a contrast head behind it, as ONNX: the vectors of the model itself."""

import numpy as np
import onnxruntime
import pytest
import torch
import transformers
from test_clip import tiny_clip

from tubelet.aligners.base import open_aligner
from tubelet.errors import WeightsError
from tubelet.formats.text import check_aligner, write_text
from tubelet.objectives import Contrast, Sizes
from tubelet.types import Clip

TEXTS = ["a dog", "two cats on a mat", ""]


@pytest.fixture(scope="module")
def aligner(tmp_path_factory):
    return open_aligner(tiny_clip(tmp_path_factory.mktemp("clip")))


@pytest.mark.parametrize("width", [None, 12])
def test_a_clips_text_side_gives_the_vectors_of_the_run(aligner, tmp_path, width):
    torch.manual_seed(1)
    head = Contrast(width=width).build(Sizes(Clip(), 32, aligner.width))
    assert write_text(aligner, head, tmp_path) < 1e-5
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "tokenizer")
    words = tokenizer(TEXTS, padding="max_length", truncation=True, max_length=16, return_tensors="np")
    session = onnxruntime.InferenceSession(tmp_path / "text.onnx", providers=["CPUExecutionProvider"])
    found = session.run(["joint"], {name: words[name] for name in ("input_ids", "attention_mask")})[0]
    with torch.no_grad():
        expected = head.embed_text(aligner.texts(TEXTS)).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_an_aligner_that_did_not_make_the_captions_embeddings_is_refused(aligner):
    head = Contrast(width=12).build(Sizes(Clip(), 32, aligner.width))
    check_aligner(aligner, head, aligner.identity)
    with pytest.raises(WeightsError, match="name the one it was"):
        check_aligner(aligner, head, "clip:0000:dense")
    with pytest.raises(WeightsError, match="width 7"):
        check_aligner(aligner, Contrast(width=12).build(Sizes(Clip(), 32, 7)), None)
