"""The text side of a contrast head, for search outside: words in, a vector of length 1 out, in the space of `joint`.

Of an aligner of `tubelet align`: text.onnx, text.json with its words, and search.py, which needs NumPy and ONNX
Runtime alone. Of a CLIP: text.onnx and its tokenizer's folder.
"""

import json
from pathlib import Path
from typing import Any

from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.export import Dim
from torch.nn.functional import normalize

from tubelet.aligners.base import Aligner
from tubelet.aligners.clip import ClipAligner
from tubelet.aligners.small import SmallAligner, TextTower
from tubelet.aligners.vocabulary import BUCKETS, LONGEST
from tubelet.errors import WeightsError
from tubelet.formats.graphs import write_onnx
from tubelet.objectives.contrast import ContrastLoss
from tubelet.stores.embeddings import same_texts

PROBES = ["a red square", "two dogs run after a ball on the beach", "x"]
SEARCH = Path(__file__).with_name("search.py.txt")


class LearnedText(nn.Module):
    def __init__(self, tower: TextTower, head: ContrastLoss):
        super().__init__()
        self.tower, self.head = tower, head.text

    def forward(
        self, parts: Int64[Tensor, "b words parts"], there: Bool[Tensor, "b words"]
    ) -> tuple[Float[Tensor, "b e"]]:
        return (normalize(self.head(self.tower(parts, there)), dim=-1),)


class ClipText(nn.Module):
    def __init__(self, model: Any, head: ContrastLoss):
        super().__init__()
        self.text, self.project, self.head = model.text_model, model.text_projection, head.text

    def forward(
        self, input_ids: Int64[Tensor, "b words"], attention_mask: Int64[Tensor, "b words"]
    ) -> tuple[Float[Tensor, "b e"]]:
        found = self.text(input_ids=input_ids, attention_mask=attention_mask).pooler_output
        return (normalize(self.head(self.project(found)), dim=-1),)


def write_text(aligner: Aligner, head: ContrastLoss, folder: Path) -> float:
    """Writes the text side; returns how far ONNX Runtime is from PyTorch."""
    head = head.eval().cpu()
    if isinstance(aligner, SmallAligner):
        batch, words, parts = Dim("batch"), Dim("words", max=LONGEST), Dim("parts_of_a_word")
        difference = write_onnx(
            LearnedText(aligner.towers.text, head).eval(),
            [aligner.words.encode(PROBES[:1]), aligner.words.encode(PROBES)],
            ["parts", "there"],
            ["joint"],
            {"parts": {0: batch, 1: words, 2: parts}, "there": {0: batch, 1: words}},
            folder / "text.onnx",
        )
        about = {"words": list(aligner.words.seen), "buckets": BUCKETS, "longest": LONGEST}
        (folder / "text.json").write_text(json.dumps(about, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        (folder / "search.py").write_text(SEARCH.read_text(encoding="utf-8"), encoding="utf-8")
        return difference
    if isinstance(aligner, ClipAligner) and aligner.family == "clip":
        batch, padded = Dim("batch"), {"padding": "max_length", "truncation": True, "max_length": aligner.longest}
        tokens = [aligner.tokenizer(texts, return_tensors="pt", **padded) for texts in (PROBES[:1], PROBES)]
        difference = write_onnx(
            ClipText(aligner.model.cpu(), head).eval(),
            [(some["input_ids"], some["attention_mask"]) for some in tokens],
            ["input_ids", "attention_mask"],
            ["joint"],
            {name: {0: batch} for name in ("input_ids", "attention_mask")},
            folder / "text.onnx",
        )
        aligner.tokenizer.save_pretrained(folder / "tokenizer")
        return difference
    kind = aligner.identity.partition(":")[0]
    raise WeightsError(f"the text side of a {kind} aligner cannot be exported; CLIP's can, and a learned one's")


def check_aligner(aligner: Aligner, head: ContrastLoss, made_by: str | None) -> None:
    """The head must have been trained on this aligner's embeddings."""
    expected = head.text_width
    if aligner.width != expected:
        raise WeightsError(f"the contrast head reads texts of width {expected}, the aligner gives {aligner.width}")
    if made_by is not None and not same_texts(made_by, aligner.identity):
        raise WeightsError(
            f"the captions that the run learned from were embedded by {made_by}, and this aligner is "
            f"{aligner.identity}; name the one it was with --aligner"
        )
