"""Measure an encoder on a corpus: linear, attentive, knn, few_shot, low_label, zero_shot, retrieval, propagation,
reconstruction. Writes RUN/results.json and prints a table with 95 % intervals.
Settings are key=value: linear.grid=0.01,0.1 retrieval.source=subject data.sampling.stride=2"""

import argparse
import contextlib
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tubelet.cli.options import add_limits

if TYPE_CHECKING:
    from rich.table import Table

    from tubelet.corpus.table import Corpus
    from tubelet.errors import TubeletError
    from tubelet.evaluations import Context, Evaluation
    from tubelet.loading.data import Data
    from tubelet.recipes import Pretrain


SHARES = ("accuracy", "balanced_accuracy", "top5_accuracy", "r", "map")  # measures that are shown in percent


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="folder that `tubelet pretrain`, `finetune` or `import` wrote")
    parser.add_argument("--on", metavar="CORPUS", help="corpus folder (default: the one it was trained on)")
    parser.add_argument(
        "what", nargs="*", metavar="EVALUATION|key=value", help="what to measure (default: linear), and settings"
    )
    parser.add_argument(
        "--baselines",
        action="store_true",
        help="beside it: the encoder at random initialisation, a mean image and the raw pixels",
    )
    parser.add_argument(
        "--baseline",
        action="append",
        default=[],
        metavar="NAME",
        help="only this one of them: random, mean_image or raw_pixels; may be repeated",
    )
    parser.add_argument("--labels", metavar="FILE", help="CSV or Parquet with a column video, id or path, and a label")
    parser.add_argument(
        "--label", metavar="COLUMN", help="the column of --labels, or of the truth beside the synthetic dataset"
    )
    parser.add_argument("--strict", action="store_true", help="refuse --labels of which a row names no video")
    parser.add_argument(
        "--as", dest="own", metavar="NAME", help="keep it as an entry of its own, beside the same with other settings"
    )
    parser.add_argument(
        "--allow-seen", action="store_true", help="measure on clips whose captions or labels were trained on"
    )
    parser.add_argument("--batch", type=int, default=16, help="clips of one forward pass (default: %(default)s)")
    add_limits(parser)


def run(args: argparse.Namespace) -> None:
    from tubelet.distributed import process_group

    with process_group():
        measure(args)


def measure(args: argparse.Namespace) -> None:
    """Of several processes each reads its share of the clips; the first writes and prints."""
    from pathlib import Path

    import torch

    from tubelet.checkpoint import checkpoint_step
    from tubelet.console import Console
    from tubelet.corpus.table import Corpus
    from tubelet.distributed import is_rank0
    from tubelet.errors import OtherRankError, RecipeError, RunError, TubeletError
    from tubelet.evaluations import Context, Linear
    from tubelet.evaluations.baselines import BASELINES
    from tubelet.evaluations.cache import FOLDER
    from tubelet.evaluations.contamination import Leaks
    from tubelet.evaluations.familiarity import Familiarity, write_familiarity
    from tubelet.evaluations.heads import FOLDER as CLASSIFIERS
    from tubelet.evaluations.heads import best_head, write_head
    from tubelet.evaluations.labels import other_labels
    from tubelet.evaluations.results import complete, entry_name, merge_result
    from tubelet.evaluations.trained_on import PROBES
    from tubelet.files import file_name, within
    from tubelet.progress import Bar, silent
    from tubelet.runs.folder import load_task, read_run_config, weights_file
    from tubelet.runs.record import of_probe, of_run

    folder = Path(args.run)
    if args.own and not re.fullmatch(r"[\w.+-]+", args.own):
        raise RecipeError(f"--as {args.own} must be one word of letters, digits and . + - _, as in --as sgd")
    plan = read_run_config(folder)
    evaluations, data = choose(args.what, plan.config)
    if not (args.on or plan.corpus["path"]):
        raise RunError(f"{folder} was imported and trained on no corpus here; name one with --on CORPUS")
    corpus = Corpus.open(args.on or plan.corpus["path"])
    labels = label = None
    said: list[str] = []  # of the table of labels
    if args.labels or args.label:
        file, label = args.labels and Path(args.labels), args.label or "label"
        labels = other_labels(corpus, file, args.label, said, args.strict)
    config, task = load_task(folder)
    step = checkpoint_step(weights_file(folder))
    leaks = Leaks.of(
        corpus, record := of_run(folder),
        guided=config.guided_by_text, compared=config.needs_text, source=config.data.captions.source, labels=labels,
    )  # fmt: skip
    task.to(torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else "cpu")
    with Bar("reading", "clips") if is_rank0() else contextlib.nullcontext(silent) as bar:
        context = Context(
            encoder=task.encoder, corpus=corpus, clip=config.clip, data=data, task=task, texts=plan.texts,
            folder=folder, keep=folder / FOLDER, seed=config.seed, batch=args.batch, labels=labels, progress=bar,
        )  # fmt: skip
        others = {name: BASELINES[name](context) for name in asked_for(args)}
        results = {}
        refused: dict[str, TubeletError] = {}
        for own, evaluation in evaluations.items():
            try:
                leaks.refuse(getattr(evaluation, "split", "test"), args.allow_seen, evaluation.compares_text)
                evaluation.check(corpus, data, labels, config.seed)
                measured = evaluation.run(context)
            except TubeletError as error:
                refused[own] = error
                continue
            result = complete(evaluation, measured, context, leaks, step)
            result["asked"] = asked(args, own, str(corpus.folder))
            if evaluation.reads_features or evaluation.reads_tokens:
                result["baselines"] = baselines(evaluation, result, others, corpus, label)
            name = entry_name(own, context.identity, plan.corpus, label, args.own)
            results[name] = merge_result(folder, name, result)
            if type(evaluation) is Linear:
                head, train = best_head(evaluation, context, result, step), context.features("train").with_label()
                known = Familiarity.of(train.pooled(head.pool), train.ids, train.groups)
                write_familiarity(folder, file_name(name), known)
                write_head(head, within(folder, CLASSIFIERS, f"{file_name(name)}.safetensors"))
                if is_rank0():
                    (record + of_probe(context)).write(within(folder, PROBES, f"{file_name(name)}.parquet"))
    if not results:
        raise not_measured(refused) if is_rank0() else OtherRankError("nothing is measured")
    if not is_rank0():
        return
    console = Console()
    for name, result in results.items():
        console.print(table(name, result, console.width))
        for line in remarks(result):
            console.print(line, soft_wrap=True)
    for line in (*said, *leaks.lines()):
        console.print(line, soft_wrap=True)
    console.print(f"written to {folder / 'results.json'}", soft_wrap=True)
    if refused:
        raise not_measured(refused, list(results))


def not_measured(refused: "Mapping[str, TubeletError]", measured: Sequence[str] = ()) -> "TubeletError":
    """Which evaluations could not be measured, and why; the error of the only one that was asked for as it is."""
    from tubelet.errors import PartlyMeasured, TubeletError

    if not measured and len(refused) == 1:
        return next(iter(refused.values()))
    said = "; ".join(f"{name} is not measured: {error}" for name, error in refused.items())
    return PartlyMeasured(f"{said}; measured and written: {', '.join(measured)}") if measured else TubeletError(said)


def asked_for(args: argparse.Namespace) -> list[str]:
    """The baselines that are wanted, in the order of their list."""
    from tubelet.errors import RecipeError
    from tubelet.evaluations.baselines import BASELINES

    if unknown := set(args.baseline) - set(BASELINES):
        raise RecipeError(f"there is no baseline {sorted(unknown)[0]!r}; one of: {', '.join(BASELINES)}")
    return [name for name in BASELINES if args.baselines or name in args.baseline]


def asked(args: argparse.Namespace, own: str, corpus: str) -> dict[str, Any]:
    """What measures this one evaluation again: its name, where, and the settings it was given."""
    settings = [word for word in args.what if word.startswith((f"{own}.", "data."))]
    for option, value in (("labels", args.labels), ("label", args.label), ("as", args.own)):
        settings += [f"--{option}", value] if value else []
    settings += ["--allow-seen"] if args.allow_seen else []
    return {"evaluation": own, "on": corpus, "settings": settings}


def choose(words: Sequence[str], config: "Pretrain") -> "tuple[dict[str, Evaluation], Data]":
    """The evaluations named, with their settings, and how clips are read, with those of `data.`.

    Known are those of the house and those of the run's own recipe, which begin with the settings they have there.
    """
    import difflib

    from tubelet.config import override
    from tubelet.errors import RecipeError
    from tubelet.evaluations import EVALUATIONS

    known = {cls.name: cls() for cls in EVALUATIONS} | dict(config.evaluations)
    settings: dict[str, list[str]] = {"data": []}
    named: dict[str, None] = {}
    for word in words:
        part, setting = word.split(".", 1) if "=" in word and "." in word.split("=")[0] else (word, None)
        if part not in known and (setting is None or part != "data"):
            if part == "finetune":
                raise RecipeError("fine-tuning is a run of its own: `tubelet finetune RUN --on CORPUS --out FOLDER`")
            near = difflib.get_close_matches(part.split("=")[0], known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
            raise RecipeError(f"there is no evaluation {part!r}; {hint}")
        if setting is not None:
            settings.setdefault(part, []).append(setting)
        if part != "data":
            named[part] = None
    return (
        {name: override(known[name], settings.get(name, [])) for name in named or ["linear"]},
        override(config.data, settings["data"]),
    )


def baselines(
    evaluation: "Evaluation",
    result: dict[str, Any],
    others: "Mapping[str, Context]",
    corpus: "Corpus",
    label: str | None,
) -> dict[str, Any]:
    """The same evaluation of what needs no training; and the ceiling of the synthetic dataset, where that is known."""
    from tubelet.errors import CorpusError
    from tubelet.evaluations.baselines import ceiling, measured

    found: dict[str, Any] = {}
    for name, context in others.items():
        try:
            found[name] = measured(evaluation, context)
        except CorpusError as error:  # text and video without a contrast head: nothing to put beside the run
            result.setdefault("remarks", []).append(f"no baseline {name.replace('_', ' ')}: {error}")
    known = ceiling(corpus, result["metrics"]) if label is None else None
    return found | ({"ceiling": known} if known and known["metrics"] else {})


def table(name: str, result: Mapping[str, Any], width: int) -> "Table":
    """A row a metric, with its interval, beside the baselines (with theirs where there is room) and chance."""
    from rich import box
    from rich.table import Table

    rows = [metric for metric in result["metrics"] if not is_chance(metric)]
    others = result.get("baselines") or {}
    has_chance = any(chance_of(metric, result["metrics"]) is not None for metric in rows)
    made = Table(title=f"{name}, {result['corpus']['name']}", title_justify="left", title_style="bold", box=box.SIMPLE)
    made.add_column()
    for column in ("this run", *others, *(["chance"] if has_chance else [])):
        made.add_column(column.replace("_", "\n"), justify="right", no_wrap=True)
    for metric in rows:
        cells = [cell(metric, result), *(cell(metric, other, interval=width > 100) for other in others.values())]
        if has_chance:
            chance = chance_of(metric, result["metrics"])
            cells.append("" if chance is None else shown(metric, chance))
        made.add_row(metric.replace("_", " ").replace(".", ", "), *cells)
    return made


def is_chance(metric: str) -> bool:
    return metric == "majority" or metric.rpartition(".")[2].startswith("chance")


def chance_of(metric: str, metrics: Mapping[str, float]) -> float | None:
    """The level of this metric without any features."""
    measure = metric.rpartition(".")[2]
    if measure == "accuracy":
        return max(metrics.get("majority", 0.0), metrics.get("chance", 0.0)) or None
    if measure == "balanced_accuracy":
        return metrics.get("chance")
    if measure == "top5_accuracy":
        return metrics.get(metric.replace("top5", "chance_top5"))
    return metrics.get(f"{metric.partition('.')[0]}.chance_{measure}")


def cell(metric: str, result: Mapping[str, Any], interval: bool = True) -> str:
    value = result["metrics"].get(metric)
    if value is None:
        return ""
    bounds = (result.get("intervals") or {}).get(metric) if interval else None
    return shown(metric, value) + (f" [{shown(metric, bounds[0])}, {shown(metric, bounds[1])}]" if bounds else "")


def shown(metric: str, value: float) -> str:
    """Accuracies and recalls in percent, the rest in three figures."""
    share = metric.rpartition(".")[2].split("@")[0] in SHARES
    return f"{100 * value:.1f}" if share else f"{value:.3g}"


def remarks(result: Mapping[str, Any]) -> list[str]:
    """What stands behind the numbers: how many clips, which failed, what was selected, what was not measured."""
    lines = []
    counts = result.get("counts", {})
    for split, count in ({"clips": counts} if "used" in counts else counts).items():
        if isinstance(count, dict) and "used" in count:
            parts = [f"{count[name]} {name}" for name in ("failed", "unlabelled", "short") if count.get(name)]
            groups = f" of {count['groups']} groups" if "groups" in count else ""
            lines.append(f"{split}: {count['used']} clips{groups}" + "".join(f", {part}" for part in parts))
    failed = result.get("failed") or {}
    for split, names in (failed if isinstance(failed, dict) else {"": failed}).items():
        lines += [f"  failed {split}: {name}" for name in names[:8]]
        lines += [f"  and {len(names) - 8} more, all in results.json"] if len(names) > 8 else []
    if selected := result.get("protocol", {}).get("selected"):
        lines.append("selected on train: " + ", ".join(f"{pool} {setting}" for pool, setting in selected.items()))
    notes = [*result.get("marks", []), *result.get("warnings", [])]
    return lines + list(result.get("remarks", [])) + [f"NOTE: {note}" for note in notes]
