"""At what cost: equal steps, tokens or FLOPs; how many clips; and what fine-tuning with few labels makes of it."""

from tubelet.studies.base import MEASURES, Measure, Study, Variant
from tubelet.studies.questions.hiding import CONTRAST, MASKS, SAMPLED, joined

TUBE_9 = "masker=Tube masker.ratio=0.9"
UNMOVED = "steps=1 optim.base_lr=1e-12 optim.floor_lr=0"  # a step that leaves the encoder at its initialisation


def budget() -> Study:
    """Each mask at its paper's own ratio shows different amounts: what remains at equal cost?"""
    return Study(
        question="Tube masks at .9 show a quarter of what text masks at .6 show. What remains at equal cost?",
        variants={
            "tube .9": Variant(TUBE_9),
            "text .6, equal steps": Variant(MASKS["text"]),
            "text .6, equal tokens": Variant(MASKS["text"], equal="tokens"),
            "text .6, equal FLOPs": Variant(MASKS["text"], equal="flops"),
        },
        differences=tuple((f"text .6, equal {what}", "tube .9") for what in ("steps", "tokens", "FLOPs")),
        reference="tube .9",
    )


def data() -> Study:
    """Accuracy over the number of clips, at equal steps."""
    counts = (150, 300, 600, 1200)
    return Study(
        question="How many clips does pretraining need?",
        variants={
            f"{name}, {count} clips": Variant(f"{MASKS[name]} data.limit={count}")
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
        variants={
            "tube": Variant(MASKS["tube"], then=(tune,)),
            "text": Variant(MASKS["text"], then=(tune,)),
            **{
                f"{name} + contrast": Variant(joined(words, CONTRAST), then=(tune,))
                for name, words in {
                    "tube": MASKS["tube"],
                    "text, sampled (tau = 2)": SAMPLED["text, sampled (tau = 2)"],
                }.items()
            },
            "scratch": Variant(UNMOVED, then=(f"{tune} --scratch",)),
        },
        differences=(
            *((name, "scratch") for name in ("tube", "text", "tube + contrast", "text, sampled (tau = 2) + contrast")),
            ("text", "tube"),
            ("tube + contrast", "tube"),
        ),
        measures=(accuracy, *MEASURES),
    )


def phases() -> Study:
    """VideoMAE V2's three phases: pretrained, fine-tuned to one label of all clips, then to another of a tenth."""
    supervised = "finetune {run} tiny --on {corpus} --label shape --out {run}-supervised seed={seed}"
    target = "--on {corpus} --out {run}-target --labels-share 0.1 seed={seed}"
    two, three = f"finetune {{run}} tiny {target}", (supervised, f"finetune {{run}}-supervised tiny {target}")
    return Study(
        question="Is a phase of fine-tuning to other labels worth it between pretraining and a tenth of the labels?",
        variants={
            "two phases": Variant(then=(two,)),
            "three phases": Variant(then=three),
            "three phases, no pretraining": Variant(
                UNMOVED, recipe="miniature", then=(f"{supervised} --scratch", three[1])
            ),
            "scratch": Variant(UNMOVED, recipe="miniature", then=(f"{two} --scratch",)),
        },
        differences=(
            ("three phases", "two phases"),
            ("three phases", "three phases, no pretraining"),
            ("two phases", "scratch"),
        ),
        recipe="videomae_v2",
        measures=(Measure("motion, 10 % fine-tuned", "finetune", "accuracy"),),
    )
