"""At what price: equal steps, tokens or FLOPs; how many clips; and what fine-tuning with few labels makes of it."""

from tubelet.studies.base import MEASURES, Measure, Study, Way
from tubelet.studies.questions.hiding import CONTRAST, DRAWN, MASKS, joined

TUBE_9 = "masker=Tube masker.ratio=0.9"
UNMOVED = "steps=1 optim.base_lr=1e-12 optim.floor_lr=0"  # a run must have a step; this one leaves the encoder as drawn


def budget() -> Study:
    """Each mask at its paper's own ratio shows different amounts: what remains at equal cost?"""
    return Study(
        question="Tube masks at .9 show a quarter of what text masks at .6 show. What remains at equal cost?",
        ways={
            "tube .9": Way(TUBE_9),
            "text .6, equal steps": Way(MASKS["text"]),
            "text .6, equal tokens": Way(MASKS["text"], equal="tokens"),
            "text .6, equal FLOPs": Way(MASKS["text"], equal="flops"),
        },
        differences=tuple((f"text .6, equal {what}", "tube .9") for what in ("steps", "tokens", "FLOPs")),
        reference="tube .9",
    )


def data() -> Study:
    """Accuracy over the number of clips, at equal steps."""
    counts = (150, 300, 600, 1200)
    return Study(
        question="How many clips does pretraining need?",
        ways={
            f"{name}, {count} clips": Way(f"{MASKS[name]} data.limit={count}")
            for name in ("tube", "text")
            for count in counts
        },
        differences=tuple((f"{name}, 1200 clips", f"{name}, 150 clips") for name in ("tube", "text")),
    )


def labels() -> Study:
    """The whole encoder fine-tuned to 10 % of the labels, pretrained and from scratch."""
    tune = "finetune {run} tiny --on {corpus} --out {run}-tuned --labels-share 0.1 seed={seed}"
    accuracy = Measure("motion, 10 % fine-tuned", "finetune", "accuracy")
    return Study(
        question="What is pretraining worth to an encoder that is fine-tuned to a tenth of the labels?",
        ways={
            "tube": Way(MASKS["tube"], then=(tune,)),
            "text": Way(MASKS["text"], then=(tune,)),
            **{
                f"{name} + contrast": Way(joined(words, CONTRAST), then=(tune,))
                for name, words in {"tube": MASKS["tube"], "text drawn at 2": DRAWN["text drawn at 2"]}.items()
            },
            "scratch": Way(UNMOVED, then=(f"{tune} --scratch",)),
        },
        differences=(
            *((way, "scratch") for way in ("tube", "text", "tube + contrast", "text drawn at 2 + contrast")),
            ("text", "tube"),
            ("tube + contrast", "tube"),
        ),
        measures=(accuracy, *MEASURES),
    )
