"""Trains a sequence of phases. Start reading at `phases`."""

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

from tubelet.corpus.table import Corpus
from tubelet.errors import RecipeError
from tubelet.progress import Progress, silent
from tubelet.recipes import Pretrain, resolve_recipe
from tubelet.recipes.finetune import resolve_finetune
from tubelet.recipes.phases import Phase, Phases, resolve_phases
from tubelet.runs.finetune import finetune
from tubelet.runs.folder import as_encoder_alone, read_run_config
from tubelet.runs.pretrain import pretrain
from tubelet.runs.run import Run
from tubelet.runs.start import Tell, quiet

VERBS: dict[str, Callable[..., Run]] = {"pretrain": pretrain, "finetune": finetune}


def phases(
    phases: str | Callable[[], Phases],
    *words: str,
    on: Path | str | Corpus,
    out: Path | str,
    allow_changed: bool = False,
    progress: Progress = silent,
    tell: Tell = quiet,
) -> dict[str, Run]:
    """Trains one phase after another, each an ordinary command with a folder below `out`; the runs by their names.

    The phases are those of a name (`videomae_v2`), of `path/to/file.py:function`, or of a function. A word sets a field
    of all, `seed=1`, or of one, `target.steps=50`. What is finished is skipped, and an interrupted phase resumes; asked
    to stop, the last run that is returned is not `finished`. `tell` is called with each command before it runs.
    """
    resolved = resolve_phases(phases, words, Path(on), Path(out))
    check(resolved)
    runs: dict[str, Run] = {}
    for phase in resolved:
        tell(f"$ {shlex.join(phase.command)}")
        runs[phase.name] = VERBS[phase.verb](
            *phase.words, **phase.options, allow_changed=allow_changed, command=phase.command, progress=progress,
            tell=tell,
        )  # fmt: skip
        if not runs[phase.name].finished:
            break
    return runs


def check(phases: Sequence[Phase]) -> None:
    """Refuses a wrong word of any phase before the first is trained."""
    known: dict[str, Pretrain] = {}
    for phase in phases:
        if phase.verb not in VERBS:
            raise RecipeError(f"phase {phase.name} is of {phase.verb}; a phase is one of {' or '.join(VERBS)}")
        if phase.verb == "pretrain":
            known[phase.options["out"]] = resolve_recipe(*phase.words)[1]
            continue
        run, *words = phase.words
        origin = known.get(run) or read_run_config(run).config
        known[phase.options["out"]] = as_encoder_alone(resolve_finetune(Path(run), origin, *words)[1])
