"""Write a run for other software, with a model card; what was written is loaded again and compared before it counts.

tubelet export RUN --to transformers --out FOLDER     AutoModel.from_pretrained(FOLDER), without code of ours
tubelet export RUN --to onnx torch-export --out F     any batch; embedding, tokens; joint and text.onnx with a contrast
tubelet export RUN --to onnx --float16 --out F        also encoder_float16.onnx, of half the size
tubelet export RUN --to torch --out FOLDER            encoder.py and encoder.pth: plain PyTorch, without tubelet
tubelet export RUN --to safetensors --layout official --out F     the weights under the names of VideoMAE's code
tubelet export RUN --to localiser --on CORPUS --out F     features and moments of a corpus, as ActionFormer reads them
"""

import argparse

from tubelet.cli.options import fields_of

TARGETS = ("transformers", "onnx", "safetensors", "torch", "torch-export", "localiser")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="folder of `tubelet pretrain`, `finetune` or `import`")
    parser.add_argument("--to", nargs="+", required=True, choices=TARGETS, help="one or more of these")
    parser.add_argument("--out", required=True, metavar="FOLDER", help="the new folder")
    parser.add_argument("--decoder", action="store_true", help="with the decoder (transformers, safetensors)")
    parser.add_argument("--float16", action="store_true", help="onnx: also a graph whose blocks compute in float16")
    parser.add_argument(
        "--layout", default="official", choices=("official", "transformers", "mmaction2"), help="names for safetensors"
    )
    parser.add_argument(
        "--aligner",
        metavar="PATH",
        help="the aligner of the run's captions, for text.onnx (default: that of its corpus)",
    )
    parser.add_argument("--on", metavar="CORPUS", help="localiser: the corpus (default: the one it was trained on)")
    parser.add_argument("--license", metavar="NAME", help="for the card, as in apache-2.0")


def run(args: argparse.Namespace) -> None:
    from tubelet.errors import RecipeError
    from tubelet.formats.export import export
    from tubelet.formats.graphs import CLOSE, CLOSE_FLOAT16

    if "localiser" in args.to:
        if len(args.to) > 1:
            raise RecipeError("--to localiser writes features of a corpus, not the run: give it alone")
        export_features(args)
        return
    made = export(**{name: value for name, value in fields_of(args).items() if name != "on"})
    for target, difference in made.differences.items():
        close = CLOSE_FLOAT16 if target == "onnx float16" else CLOSE
        print(f"{target}: loaded again, relative difference {difference:.1e} (at most {close:.0e})")
    if made.text_difference is not None:
        print(f"text: loaded again, relative difference {made.text_difference:.1e} (at most {CLOSE:.0e})")
    for line in made.remarks:
        print(line)
    print(f"{args.out}: {', '.join(path.name for path in made.files)}")


def export_features(args: argparse.Namespace) -> None:
    from tubelet.cli.options import shortened
    from tubelet.formats.localiser import export_moments
    from tubelet.progress import Bar

    with Bar("reading", "videos") as bar:
        made = export_moments(args.run, args.out, on=args.on, progress=bar)
    for line in shortened([f"no features: {line}" for line in made.failed]):
        print(line)
    print(f"{args.out}: {made.videos} videos, {made.width} numbers for every {made.step:.3g} s")
