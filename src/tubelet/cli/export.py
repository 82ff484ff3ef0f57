"""Write a run for other software, with a model card; what was written is loaded again and compared before it counts.

tubelet export RUN --to transformers --out FOLDER     AutoModel.from_pretrained(FOLDER), without code of ours
tubelet export RUN --to onnx torch-export --out F     any batch; embedding, tokens; joint and text.onnx with a contrast
tubelet export RUN --to safetensors --layout official --out F     the weights under the names of VideoMAE's code
"""

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from tubelet.formats.opened import Opened

TARGETS = ("transformers", "onnx", "safetensors", "torch-export")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="folder of `tubelet pretrain`, `finetune` or `import`")
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
    from pathlib import Path

    from tubelet.errors import RunError
    from tubelet.files import writing
    from tubelet.formats.card import write_card
    from tubelet.formats.opened import open_run

    folder, out = Path(args.run), Path(args.out)
    if out.exists() and (out.is_file() or any(out.iterdir())):
        raise RunError(f"{out} exists; name a new folder with --out")
    opened = open_run(folder)
    with writing(out, folder=True) as part:
        differences: dict[str, float] = {}
        for target in dict.fromkeys(args.to):
            differences[target] = write(target, args, part, opened)
            print(f"{target}: loaded again, relative difference {differences[target]:.1e}")
        text = "onnx" in args.to and write_words(args, part, opened)
        write_card(part, out.name, folder, opened, args.license, differences, args.layout, text)
    if args.license is None:
        print("note: the card states no licence; name it with --license before you share this")
    print(f"{out}: {', '.join(sorted(path.name for path in out.iterdir()))}")


def write(target: str, args: argparse.Namespace, out: "Path", opened: "Opened") -> float:
    """One target; returns how far what is loaded again is from the original."""
    from tubelet.errors import WeightsError
    from tubelet.formats.graphs import write_program, write_video_onnx
    from tubelet.formats.named import write_safetensors
    from tubelet.formats.transformers import write_transformers

    if target == "onnx":
        return write_video_onnx(opened.graph, out / "encoder.onnx")
    if target == "torch-export":
        return write_program(opened.graph, out / "encoder.pt2")
    if args.decoder and opened.decoder is None:
        raise WeightsError(f"{args.run} has no decoder; export it without --decoder")
    decoder = opened.decoder if args.decoder else None
    if target == "transformers":
        return write_transformers(
            opened.encoder, out, decoder=decoder, classifier=opened.classifier, classes=opened.classes
        )
    head = None if opened.classifier is None else opened.classifier.state_dict()
    return write_safetensors(opened.encoder, out / "encoder.safetensors", args.layout, decoder=decoder, head=head)


def write_words(args: argparse.Namespace, out: "Path", opened: "Opened") -> bool:
    """The text side of a contrast head; without the run's aligner it is left out, and said."""
    from pathlib import Path

    from tubelet.aligners import open_aligner
    from tubelet.corpus.table import Corpus
    from tubelet.errors import TubeletError
    from tubelet.formats.text import check_aligner, write_text

    if opened.contrast is None:
        return False
    corpus, made_by = Path(opened.plan.corpus["path"]), None
    try:
        made_by = opened.plan.texts.identity(Corpus.open(corpus))
    except TubeletError:
        if args.aligner is None:
            print(f"no text.onnx: {corpus} holds no embeddings of captions; name the aligner with --aligner")
            return False
    place = args.aligner or corpus / "aligner"
    if args.aligner is None and not (corpus / "aligner").exists():
        print(f"no text.onnx: {place} is no aligner; the captions were embedded by {made_by}: name it with --aligner")
        return False
    aligner = open_aligner(place)
    check_aligner(aligner, opened.contrast, made_by)
    difference = write_text(aligner, opened.contrast, out)
    print(f"text: loaded again, relative difference {difference:.1e}")
    return True
