"""The classifier of a fine-tuned run, and what its evaluation is given."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from tubelet.checkpoint import load_strictly
from tubelet.checksums import Damaged, read_safetensors
from tubelet.corpus.table import Corpus
from tubelet.distributed import DistributedContext
from tubelet.errors import CorpusError, WeightsError
from tubelet.evaluations.tuned import FineTuned, Tuned, with_test
from tubelet.evaluations.verdicts import verdicts
from tubelet.models import Classifier
from tubelet.recipes.finetune import Finetune
from tubelet.results import Result, read_results
from tubelet.runs.division import Division
from tubelet.runs.folder import read_run_config_of, weights_file


def tuned_model(run: Path) -> tuple[Finetune, Classifier, tuple[str, ...]]:
    """The fine-tuned model that is kept, how it was made, and its classes."""
    config = read_run_config_of(run, Finetune).config
    path = weights_file(run)
    try:
        tensors, metadata = read_safetensors(path)
        classes = tuple(metadata["classes"].split("\n"))
    except (OSError, KeyError, Damaged) as error:
        raise WeightsError(f"{path} cannot be read as a classifier ({error}); fine-tune again") from error
    model = Classifier(config.encoder, config.clip, len(classes))
    load_strictly(model, tensors, path)
    return config, model.eval(), classes


def tuned_of(run: Path, corpus: Corpus, labels: Mapping[str, str] | None) -> Tuned:
    """The classifier of a run, and the labelled videos of a corpus as its fine-tuning would divide them."""
    config, model, classes = tuned_model(run)
    recorded = read_run_config_of(run, Finetune)
    if labels is None and "labels" in recorded.derived and recorded.corpus["fingerprint"] == corpus.fingerprint():
        raise CorpusError(f"{run} was fine-tuned to a table of labels; give it here too, with --labels (and --label)")
    division = Division.of(corpus, config.data, labels, config.labels_share, config.held_out, config.seed, config.grid)
    if division.classes != classes:
        raise CorpusError(
            f"the classifier of {run} tells {', '.join(classes)} apart, and the labels of {corpus.name} are "
            f"{', '.join(division.classes)}; name a corpus of the same classes with --on, or the labels it learned"
        )
    if config.refit:
        division = replace(division, fit=(*division.fit, *division.select), select=())
    context = DistributedContext.here(recorded.precision)
    return tuned_inputs(model.to(context.device), division, context, config.batch)


def tuned_inputs(model: Classifier, division: Division, context: DistributedContext, batch: int) -> Tuned:
    def scores(video: Tensor) -> Tensor:
        with context.autocast():
            return model(video)

    return Tuned(
        scores, division.classes, division.fit, division.select, division.test, division.unlabelled["test"], batch,
        context.device,
    )  # fmt: skip


def measured_anew(run: Path, measured: Result) -> Result:
    """With what the fine-tuning decided before test was measured, from the run's results."""
    before = read_results(run).get(FineTuned.name)
    if before is None:
        return measured
    said = verdicts(before)  # which are added again
    return with_test(replace(before, warnings=(), notes=[note for note in before.notes if note not in said]), measured)
