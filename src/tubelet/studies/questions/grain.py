"""On a finer grid, 8x8 positions: which masks, what surroundings change, how much of the subject should be hidden."""

from tubelet.studies.base import Study, Variant
from tubelet.studies.questions.guidance import NOISE
from tubelet.studies.questions.hiding import CONTRAST, MASKS, SAMPLED, SUBJECT, joined

FINE = "miniature_fine"
MASKS_OF_THE_GRAIN = {name: MASKS[name] for name in ("tube", "random", "motion", "oracle")} | {
    "text": MASKS["text"],
    "text, sampled": SAMPLED["text, sampled (tau = 2)"],
    "text, bottom": SAMPLED["text, bottom"],
}
RATIOS = (0.15, 0.3, 0.45, 0.6, 0.75, 0.9)


def grain() -> Study:
    """The masks of the paper and their controls, alone and with the contrast, where a mask can follow an outline."""
    variants = {name: Variant(words) for name, words in MASKS_OF_THE_GRAIN.items()}
    variants |= {f"{name} + contrast": Variant(joined(words, CONTRAST)) for name, words in MASKS_OF_THE_GRAIN.items()}
    return Study(
        question="At 8x8 positions, which tubelets should be hidden, and under which masks does the contrast help?",
        variants=variants,
        differences=(
            *((f"{name} + contrast", name) for name in MASKS_OF_THE_GRAIN),
            *((name, "tube") for name in MASKS_OF_THE_GRAIN if name != "tube"),
            *((f"{name} + contrast", "tube + contrast") for name in MASKS_OF_THE_GRAIN if name != "tube"),
        ),
        recipe=FINE,
        seeds=5,
    )


def context() -> Study:
    """Of a corpus of `tubelet synth --context`: do text-guided masks gain where surroundings speak for the subject?"""
    names = ("tube", "text", "text, sampled", "text, bottom", "oracle")
    masks = {name: MASKS_OF_THE_GRAIN[name] for name in names}
    variants = {name: Variant(words) for name, words in masks.items()}
    variants |= {f"{name} + contrast": Variant(joined(words, CONTRAST)) for name, words in masks.items()}
    return Study(
        question="Where surroundings speak for the subject, is it better to hide what the caption names?",
        variants=variants,
        differences=(
            *((f"{name} + contrast", name) for name in names),
            *((name, "tube") for name in names[1:]),
            *((f"{name} + contrast", "tube + contrast") for name in names[1:]),
        ),
        recipe=FINE,
    )


def dose() -> Study:
    """From almost none to all of the subject hidden: by ratio, temperature, direction, and the quality of the maps."""
    doses = {
        f"{mask} {ratio}": joined(MASKS[mask], f"masker.ratio={ratio}") for mask in ("tube", "text") for ratio in RATIOS
    }
    for name in ("text, sampled (tau = 2)", "text, sampled (tau = 0.5)", "random per time step"):
        doses |= {f"{name} {ratio}": joined(SAMPLED[name], f"masker.ratio={ratio}") for ratio in (0.3, 0.6, 0.9)}
    doses |= {f"oracle {ratio}": joined(MASKS["oracle"], f"masker.ratio={ratio}") for ratio in (0.15, 0.3, 0.6)}
    doses |= {f"text, bottom {ratio}": joined(SAMPLED["text, bottom"], f"masker.ratio={ratio}") for ratio in (0.3, 0.6)}
    for noise in (0.25, 0.5, 0.75, 1.0):
        weights = f"masker.weights.noise={noise} masker.weights.text={1 - noise}"
        doses[f"text with noise {noise}"] = joined(NOISE, SUBJECT, weights)
    return Study(
        question="How much of what the caption names should be hidden?",
        variants={name: Variant(joined(words, CONTRAST)) for name, words in doses.items()},
        differences=tuple((f"text {ratio}", f"tube {ratio}") for ratio in RATIOS),
        recipe=FINE,
        seeds=1,
    )
