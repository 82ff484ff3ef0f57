"""Make a run folder of VideoMAE weights: official files (also of V2), mmaction2's, folders of transformers, the hub.

V-JEPA 2 and VideoPrism, as transformers has them, become runs too, to be measured, embedded with and searched by.

Every other command takes the folder as a run: evaluate, embed, export, report, and init= of pretrain. Strict: what is
missing or left over is named and nothing is written. No code in a file is executed.

  tubelet import MCG-NJU/videomae-base --out runs/videomae-base
  tubelet import facebook/vjepa2-vitl-fpc64-256 --out runs/vjepa2 clip.frames=16
  tubelet import checkpoint.pth --out runs/small clip.size=112      positions are interpolated, with a note
"""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="WEIGHTS", help="file, folder, or owner/name of the hub")
    parser.add_argument(
        "words", nargs="*", metavar="key=value", help="fields of clip, data and encoder, as in data.sampling.stride=2"
    )
    parser.add_argument(
        "--trained-on", metavar="FRAMESxSIZE", help="the clips of its training, where no config says it (16x224)"
    )
    parser.add_argument("--out", required=True, metavar="RUN", help="the new folder")


def run(args: argparse.Namespace) -> None:
    import re
    from pathlib import Path

    from tubelet.errors import RecipeError
    from tubelet.runs.imported import write_imported

    out = Path(args.out)
    trained_on = None
    if args.trained_on is not None:
        if not (sizes := re.fullmatch(r"(\d+)x(\d+)", args.trained_on)):
            raise RecipeError(f"--trained-on {args.trained_on} must be frames x size, as in 16x224")
        trained_on = int(sizes[1]), int(sizes[2])
    config, found = write_imported(args.source, out, args.words, trained_on)
    clip, encoder = config.clip, config.encoder
    print(f"{found.origin}: {found.layout} layout, {len(found.tensors)} tensors, all of them taken")
    print(
        f"encoder: width {encoder.width}, depth {encoder.depth}, {encoder.heads} heads, "
        f"tubelets of {clip.tubelet_frames}x{clip.tubelet_size}x{clip.tubelet_size}; clips of {clip.frames}x{clip.size}"
    )
    if (decoder := found.decoder) is not None:
        print(f"decoder: width {decoder.width}, depth {decoder.depth}, {decoder.heads} heads")
    if found.classes:
        print(f"classifier: {len(found.classes)} classes, kept beside it")
    if encoder.positions_of is not None:
        of, to = ("x".join(map(str, grid)) for grid in (encoder.positions_of, clip.grid))
        print(f"positions: the table of {of} interpolated to {to}, linearly in time and space")
    for remark in found.remarks:
        print(f"note: {remark}")
    print(f"{out}: next: `tubelet evaluate {out} --on CORPUS knn`, `tubelet pretrain RECIPE init={out} ...`")
