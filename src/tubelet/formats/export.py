"""A run for other software: what is written is loaded again and compared before it counts. Start at `export`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tubelet.aligners.base import open_aligner
from tubelet.corpus.table import Corpus
from tubelet.errors import RecipeError, RunError, TubeletError, WeightsError
from tubelet.files import writing
from tubelet.formats.card import write_card
from tubelet.formats.graphs import write_float16_onnx, write_program, write_video_onnx
from tubelet.formats.named import write_named_weights
from tubelet.formats.opened import Opened, open_run
from tubelet.formats.plain import write_plain
from tubelet.formats.text import check_aligner, write_text
from tubelet.formats.transformers import write_transformers
from tubelet.runs.run import Run

Target = Literal["transformers", "onnx", "safetensors", "torch", "torch-export"]
TARGETS: tuple[Target, ...] = ("transformers", "onnx", "safetensors", "torch", "torch-export")
Layout = Literal["official", "transformers", "mmaction2"]


@dataclass(frozen=True)
class Exported:
    """The files of an export, and how far what is loaded again is from the run."""

    files: list[Path]
    differences: dict[str, float]  # by target, and "onnx float16", relative
    text_difference: float | None  # of the text side; None where there is none
    remarks: list[str]


def export(
    run: str | Path | Run,
    to: Target | Sequence[Target],
    out: str | Path,
    *,
    decoder: bool = False,
    float16: bool = False,
    layout: Layout = "official",
    aligner: str | Path | None = None,
    license: str | None = None,
) -> Exported:
    """Writes a run for other software into the new folder `out`, with a model card.

    `to` is one target or several: "transformers", "onnx", "torch" (a file of plain PyTorch), "torch-export" or
    "safetensors" (in a `layout` of names). `decoder` adds the decoder, where a target can hold it. With "onnx",
    `float16` also writes a graph of half the size, and with a contrast head the text side is written too, of the
    `aligner` (that of the run's corpus where it is not given).
    `license` is for the card. What is returned names the files, and how far what is loaded again is from the run.
    """
    folder, out = Path(run), Path(out)
    targets = list(dict.fromkeys([to] if isinstance(to, str) else to))
    if unknown := [target for target in targets if target not in TARGETS]:
        raise RecipeError(f"there is no export to {unknown[0]!r}; one of: {', '.join(TARGETS)}")
    if float16 and "onnx" not in targets:
        raise RecipeError("float16 is written of ONNX alone; add onnx to the targets, or leave float16 away")
    if out.exists() and (out.is_file() or any(out.iterdir())):
        raise RunError(f"{out} exists; name a new folder with --out")
    opened, remarks = open_run(folder), list[str]()
    with writing(out, folder=True) as part:
        differences: dict[str, float] = {
            target: write(target, folder, part, opened, decoder, layout) for target in targets
        }
        if float16:
            differences["onnx float16"] = write_float16_onnx(opened.graph, part / "encoder_float16.onnx")
        text = write_text_side(part, opened, aligner, remarks) if "onnx" in targets else None
        write_card(part, out.name, folder, opened, license, differences, layout, text is not None)
    if license is None:
        remarks.append("note: the card states no licence; name it with --license before you share this")
    return Exported(sorted(out.iterdir()), differences, text, remarks)


def write(target: Target, run: Path, out: Path, opened: Opened, with_decoder: bool, layout: Layout) -> float:
    """One target; returns how far what is loaded again is from the original."""
    if target == "onnx":
        return write_video_onnx(opened.graph, out / "encoder.onnx")
    if target == "torch":
        return write_plain(opened.graph, opened.classes, out)
    if target == "torch-export":
        return write_program(opened.graph, out / "encoder.pt2")
    if with_decoder and opened.decoder is None:
        raise WeightsError(f"{run} has no decoder; export it without --decoder")
    decoder = opened.decoder if with_decoder else None
    if target == "transformers":
        return write_transformers(
            opened.encoder, out, decoder=decoder, classifier=opened.classifier, classes=opened.classes
        )
    head = None if opened.classifier is None else opened.classifier.state_dict()
    return write_named_weights(opened.encoder, out / "encoder.safetensors", layout, decoder=decoder, head=head)


def write_text_side(out: Path, opened: Opened, aligner: str | Path | None, remarks: list[str]) -> float | None:
    """The text side of a contrast head; without the run's aligner it is left out, with a remark."""
    if opened.contrast is None:
        return None
    corpus, made_by = Path(opened.plan.corpus["path"]), None
    try:
        made_by = opened.plan.texts.identity(Corpus.open(corpus))
    except TubeletError:
        if aligner is None:
            remarks.append(f"no text.onnx: {corpus} holds no embeddings of captions; name the aligner with --aligner")
            return None
    index = aligner or corpus / "aligner"
    if aligner is None and not (corpus / "aligner").exists():
        remarks.append(
            f"no text.onnx: {index} is no aligner; the captions were embedded by {made_by}: name it with --aligner"
        )
        return None
    opened_aligner = open_aligner(index)
    check_aligner(opened_aligner, opened.contrast, made_by)
    return write_text(opened_aligner, opened.contrast, out)
