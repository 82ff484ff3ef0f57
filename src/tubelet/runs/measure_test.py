"""What test says of a classifier that was fine-tuned without it: last of all. Start reading at `conclude`."""

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from tubelet.checkpoint import BEST, CHECKPOINT, load_strictly
from tubelet.checksums import Damaged, read_safetensors, write_safetensors
from tubelet.distributed import is_rank0
from tubelet.errors import RunError, WeightsError
from tubelet.evaluations.contamination import Contamination
from tubelet.evaluations.familiarity import familiar_with, write_familiarity
from tubelet.evaluations.features import outline
from tubelet.evaluations.results import merge_result, view
from tubelet.evaluations.selection import measure_of
from tubelet.evaluations.tuned import FineTuned, TunedContext, with_test
from tubelet.files import remove_leftovers, write_atomically
from tubelet.log import read_log, versions
from tubelet.recipes.finetune import Finetune
from tubelet.results import Metric, Result
from tubelet.runs.candidate import REFIT, Candidate
from tubelet.runs.division import Division
from tubelet.runs.folder import CLASSIFIER, LOG
from tubelet.runs.selection import Chosen, below
from tubelet.runs.tuned import tuned_inputs


def conclude(
    candidate: Candidate, division: Division, contamination: Contamination, chosen: Chosen, folder: Path
) -> None:
    """Measures the weights that are kept on test, writes the result, and last the classifier; then the scaffolding
    goes. `division` is that of the selection."""
    config, corpus = candidate.config, candidate.corpus
    step = chosen.step if candidate.until is None else candidate.until
    weights = best_weights(candidate.folder, step)
    model = config.build(len(division.classes)).model
    load_strictly(model, weights, candidate.folder / BEST)
    model.to(candidate.context.device).eval()
    result = result_of(candidate, division, contamination, chosen, step)
    if division.test:
        context = TunedContext(
            encoder=model.encoder, corpus=corpus, clip=config.clip, data=config.data, seed=config.seed,
            progress=candidate.progress, tuned=tuned_inputs(model, candidate.division, candidate.context, config.batch),
        )  # fmt: skip
        result = with_test(
            result, FineTuned(views=config.views, samples=config.samples, measure=config.measure).run(context)
        )
    else:
        split = config.data.split
        known = f"was trained on (data.split={split})" if split in ("all", "test") else "has no labelled video"
        note = f"the test split of {corpus.name} {known}: nothing is measured on it"
        result = replace(result, notes=[*result.notes, note])
    merge_result(folder, "finetune", result)
    familiarity = familiar_with(
        model.features, corpus, candidate.division.fit, config.clip, config.data, config.batch, candidate.context.device
    )
    write_familiarity(folder, "finetune", familiarity)
    if not is_rank0():
        return
    write_atomically(folder / LOG, (below(folder, chosen.rate) / LOG).read_bytes())
    about = {"classes": "\n".join(division.classes), "step": str(step), "rate": f"{chosen.rate:g}"}
    write_safetensors(folder / CLASSIFIER, weights, about)
    tidy(config, folder)


def tidy(config: Finetune, folder: Path) -> None:
    """Removes what was needed on the way: the weights of every rate."""
    for root in (folder, folder / REFIT):
        for rate in config.grid:
            for name in (CHECKPOINT, BEST):
                (below(root, rate) / name).unlink(missing_ok=True)
            remove_leftovers(below(root, rate))


def best_weights(folder: Path, step: int) -> dict[str, Tensor]:
    """Of the step that the log calls the best."""
    path = folder / BEST
    try:
        weights, metadata = read_safetensors(path)
        kept = metadata["step"]
    except (OSError, KeyError, Damaged) as error:
        raise WeightsError(f"{path} is damaged ({error}); delete {folder} and give the same command again") from None
    if kept != str(step):
        raise RunError(
            f"{path} holds the weights of step {kept} and step {step} was the best that is logged; delete "
            f"{folder} and give the same command again"
        )
    return weights


def result_of(
    candidate: Candidate, division: Division, contamination: Contamination, chosen: Chosen, step: int
) -> Result:
    """What was decided before test is measured; `division` is that of the selection."""
    config = candidate.config
    known = contamination.of_split("test")
    measure = measure_of(outline(division.fit, division.classes).label, config.measure)
    fit, select = (outline(part, division.classes) for part in (division.fit, division.select))
    failed = unread_videos(candidate)
    names = {line.partition(": ")[0] for line in failed}
    used = fit.rows(torch.tensor([name not in names for name in fit.ids]))
    return Result(
        step=step,
        seed=config.seed,
        versions=versions(),
        view=view(config.clip, config.data),
        corpus={"name": candidate.corpus.name, "fingerprint": candidate.corpus.fingerprint()},
        trained_on=contamination.splits,
        contamination=known.as_json(),
        warnings=[] if config.scratch else [*contamination.warnings(), *known.warnings()],
        protocol={
            "encoder": "fresh weights" if config.scratch else f"all weights, beginning with {config.init}",
            "head": "mean of all tokens, LayerNorm, linear",
            "labels": f"{config.labels_share:.0%} of train's labelled groups of every class: {len(fit)} clips fit, "
            f"{len(select)} select",
            "selection": f"learning rate and step of the highest {measure.replace('_', ' ')} on the {len(select)} "
            f"held-out clips of train ({config.held_out:.0%} of the groups of every label, by a keyed hash), ties by "
            "cross-entropy"
            if len(select)
            else "none: one learning rate, and its last step",
            "refit": "no: the selected weights, which the held-out clips did not fit"
            if candidate.until is None
            else f"trained once more on all {len(fit) + len(select)} clips at the selected rate, left at the same "
            f"share of its schedule: step {step} of {candidate.steps}",
            "steps": candidate.steps,
            "selected": {"rate": chosen.rate, "step": chosen.step},
            "held_out_accuracy": {f"{rate:g}": f"{top:.4f} at step {at}" for rate, (top, at) in chosen.grid.items()},
            **FineTuned(views=config.views, samples=config.samples).protocol,
            "seed": config.seed,
        },
        metrics={} if chosen.accuracy is None else {f"held_out.{measure}": Metric(chosen.accuracy)},
        counts={
            "train": {
                "used": len(used), "failed": len(failed), "unlabelled": division.unlabelled[config.data.split],
                "groups": len(set(used.groups)),
            },
            "selecting": sum(name not in names for name in select.ids),
        },
        failed={"train": failed},
        notes=list(chosen.ties),
        classes=list(division.classes),
    )  # fmt: skip


def unread_videos(candidate: Candidate) -> list[str]:
    """The labelled videos of train that could not be read, by indexing or on the way: "id: reason", each once."""
    found = {video.id: f"{video.id}: {video.reason or video.status}" for video in candidate.division.unreadable}
    for record in read_log(candidate.folder / LOG):
        found |= {line.partition(": ")[0]: line for line in record.get("failed") or ()}
    return list(found.values())
