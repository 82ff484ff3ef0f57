"""Measure an encoder on a corpus: linear, attentive, knn, few_shot, low_label, zero_shot, retrieval, propagation,
reconstruction. Writes RUN/results.json and prints a table with 95 % intervals.
Settings are key=value: linear.grid=0.01,0.1 retrieval.source=subject data.sampling.stride=2"""

import argparse

from tubelet.cli.options import add_batch, add_limits


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="folder that `tubelet pretrain`, `finetune` or `import` wrote")
    parser.add_argument("--on", metavar="CORPUS", help="corpus folder (default: the one it was trained on)")
    parser.add_argument(
        "what",
        nargs="*",
        metavar="EVALUATION|key=value",
        help="what to measure, and settings (default: linear; of a fine-tuned run finetune: its classifier on test)",
    )
    parser.add_argument(
        "--baselines",
        action="store_true",
        help="measure the encoder at random initialisation, a mean image, the raw pixels and a difference image too",
    )
    parser.add_argument(
        "--baseline",
        action="append",
        default=[],
        metavar="NAME",
        help="only this one of them: random, mean_image, raw_pixels or difference_image; may be repeated",
    )
    parser.add_argument("--labels", metavar="FILE", help="CSV or Parquet with a column video, id or path, and a label")
    parser.add_argument(
        "--label", metavar="COLUMN", help="the column of --labels, or of the ground truth of the synthetic dataset"
    )
    parser.add_argument("--strict", action="store_true", help="fail if a row of --labels matches no video")
    parser.add_argument(
        "--as",
        dest="own",
        metavar="NAME",
        help="store the result under this name, beside others of the same evaluation",
    )
    parser.add_argument(
        "--allow-seen", action="store_true", help="measure on clips whose captions or labels were trained on"
    )
    parser.add_argument("--stream", metavar="NAME", help="measure this stream of the run, as sound, not its clips")
    add_batch(parser)
    add_limits(parser)


def run(args: argparse.Namespace) -> None:
    import contextlib

    from tubelet.cli.tables import print_result
    from tubelet.console import Console
    from tubelet.distributed import is_rank0, process_group
    from tubelet.progress import Bar, silent
    from tubelet.runs.evaluate import measure

    with process_group(), Bar("reading", "clips") if is_rank0() else contextlib.nullcontext(silent) as bar:
        found = measure(
            args.run, args.what, on=args.on, labels=args.labels, label=args.label,
            baselines=args.baselines or args.baseline, own=args.own, strict=args.strict, allow_seen=args.allow_seen,
            stream=args.stream, batch=args.batch, progress=bar,
        )  # fmt: skip
        if not is_rank0():
            return  # the first tells what could not be measured, and ends with the code of that
    console = Console()
    for name, result in found.results.items():
        print_result(console, name, result)
    if found.results:
        for line in found.lines:
            console.print(line, soft_wrap=True)
        console.print(f"written to {args.run}/results.json", soft_wrap=True)
    if found.error is not None:
        raise found.error
