"""Write a run for other software, with a model card; what was written is loaded again and compared before it counts.

tubelet export RUN --to transformers --out FOLDER     AutoModel.from_pretrained(FOLDER), without code of ours
tubelet export RUN --to onnx torch-export --out F     any batch; embedding, tokens; joint and text.onnx with a contrast
tubelet export RUN --to safetensors --layout official --out F     the weights under the names of VideoMAE's code
"""

import argparse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from tubelet.recipes import Plan
    from tubelet.tasks import Pretraining

TARGETS = ("transformers", "onnx", "safetensors", "torch-export")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="folder of `tubelet pretrain` or `tubelet import`")
    parser.add_argument("--to", nargs="+", required=True, choices=TARGETS, help="one or more of these")
    parser.add_argument("--out", required=True, metavar="FOLDER", help="the new folder")
    parser.add_argument("--decoder", action="store_true", help="with the decoder (transformers, safetensors)")
    parser.add_argument(
        "--layout", default="official", choices=("official", "transformers", "mmaction2"), help="names for safetensors"
    )
    parser.add_argument(
        "--aligner",
        metavar="PATH",
        help="the aligner of the run's captions, for text.onnx (default: that of its corpus)",
    )
    parser.add_argument("--license", metavar="NAME", help="for the card, as in apache-2.0")


def run(args: argparse.Namespace) -> None:
    import os
    import shutil
    from pathlib import Path

    from tubelet.errors import RunError
    from tubelet.export.card import write_card
    from tubelet.export.graphs import video_model
    from tubelet.recipes.folder import load_task, read_plan

    folder, out = Path(args.run), Path(args.out)
    if out.exists() and (out.is_file() or any(out.iterdir())):
        raise RunError(f"{out} exists; name a new folder with --out")
    plan = read_plan(folder)
    _, task = load_task(folder)
    part = out.with_name(f".{out.name}.{os.getpid()}.part")
    part.mkdir(parents=True)
    try:
        differences: dict[str, float] = {}
        for target in dict.fromkeys(args.to):
            differences[target] = write(target, args, folder, part, task)
            print(f"{target}: loaded again, relative difference {differences[target]:.1e}")
        contrast = "onnx" in args.to and video_model(task).project is not None
        text = contrast and write_words(args, part, plan, task)
        write_card(part, out.name, folder, plan, args.license, differences, args.layout, text)
        part.replace(out)  # whole or not at all
    finally:
        shutil.rmtree(part, ignore_errors=True)
    if args.license is None:
        print("note: the card states no licence; name it with --license before you share this")
    print(f"{out}: {', '.join(sorted(path.name for path in out.iterdir()))}")


def write(target: str, args: argparse.Namespace, folder: "Path", out: "Path", task: "Pretraining") -> float:
    """One target; returns how far what is loaded again is from the original."""
    from tubelet.export.graphs import video_model, write_program, write_video_onnx
    from tubelet.export.named import decoder_of, write_safetensors
    from tubelet.export.transformers import write_transformers

    if target == "onnx":
        return write_video_onnx(video_model(task), out / "encoder.onnx")
    if target == "torch-export":
        return write_program(video_model(task), out / "encoder.pt2")
    decoder = decoder_of(task) if args.decoder else None
    head, classes = classifier(folder)
    if target == "transformers":
        return write_transformers(task.encoder, out, decoder=decoder, head=head, classes=classes)
    return write_safetensors(task.encoder, out / "encoder.safetensors", args.layout, decoder=decoder, head=head)


def classifier(folder: "Path") -> "tuple[dict[str, Any], tuple[str, ...]]":
    """The classifier that was imported beside the encoder, and its classes."""
    import json

    from safetensors.torch import load_file

    from tubelet.recipes.imported import ABOUT, HEAD

    if not (folder / HEAD).exists():
        return {}, ()
    return load_file(folder / HEAD), tuple(json.loads((folder / ABOUT).read_text(encoding="utf-8"))["classes"])


def write_words(args: argparse.Namespace, out: "Path", plan: "Plan", task: "Pretraining") -> bool:
    """The text side; without the run's aligner it is left out, and said."""
    from pathlib import Path

    from tubelet.align import open_aligner
    from tubelet.data.maps import Embeddings
    from tubelet.data.table import Corpus
    from tubelet.errors import TubeletError
    from tubelet.export.text import check_aligner, write_text
    from tubelet.objectives.contrast import ContrastLoss

    head = next(head for head in task.objectives.values() if isinstance(head, ContrastLoss))
    made_by = None
    try:
        corpus = Corpus.open(plan.corpus["path"])
        made_by = str(Embeddings.open(corpus).about["model"])
    except TubeletError:
        if args.aligner is None:
            print(f"no text.onnx: the corpus {plan.corpus['path']} is gone; name the aligner with --aligner")
            return False
    place = args.aligner or Path(plan.corpus["path"]) / "aligner"
    if args.aligner is None and not Path(place).exists():
        print(
            f"no text.onnx: {place} holds no aligner; the captions were embedded by {made_by}: name it with --aligner"
        )
        return False
    aligner = open_aligner(place)
    check_aligner(aligner, head, made_by)
    difference = write_text(aligner, head, out)
    print(f"text: loaded again, relative difference {difference:.1e}")
    return True
