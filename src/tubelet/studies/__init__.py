"""A study is a function that returns a `Study`. The list below is the registry, in the order of the help."""

from tubelet.studies.base import MEASURES, Declares, Measure, Study, Variant
from tubelet.studies.questions.cost import budget, data, labels, phases
from tubelet.studies.questions.few import few, warm
from tubelet.studies.questions.grain import context, dose, grain
from tubelet.studies.questions.guidance import captions, robustness, scorer, start
from tubelet.studies.questions.hiding import contrast, direction, masks, ratio
from tubelet.studies.questions.methods import methods, moments

STUDIES: tuple[Declares, ...] = (
    masks,
    contrast,
    ratio,
    direction,
    captions,
    scorer,
    robustness,
    budget,
    data,
    labels,
    start,
    methods,
    moments,
    phases,
    grain,
    context,
    dose,
    few,
    warm,
)

__all__ = ["MEASURES", "STUDIES", "Declares", "Measure", "Study", "Variant"]
