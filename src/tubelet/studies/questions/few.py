"""A few hundred real clips of a few people or cameras: what makes an encoder of them better than no training?"""

from tubelet.studies.base import Measure, Study, Variant

BY_GROUP = "linear.cv=9"  # of nine groups it leaves one out; of hundreds one in nine
MEASURES = tuple(
    Measure(f"{metric.replace('_', ' ')}, {title}", "linear", f"{pool}.{metric}", settings=(BY_GROUP,))
    for pool, title in (("mean", "mean"), ("temporal_concat", "temporal concat"))
    for metric in ("balanced_accuracy", "accuracy")
)
PSEUDO = "data.augment=PseudoMotion data.augment.smallest=0.3"


def few() -> Study:
    """The recipe `few_clips`, each of its parts taken away, and each of what else was tried."""
    variants = {
        "few_clips": Variant(),
        "with the background": Variant("clip.subtract_background=False"),
        "frames 4 apart": Variant("data.sampling=Sampling data.sampling.stride=4"),
        "tubelets of 16 pixels": Variant("clip.tubelet_size=16"),
        "pseudo-motion in half of the clips": Variant(PSEUDO),
        "pseudo-motion alone": Variant(f"{PSEUDO} data.augment.share=1"),
        "frame masks": Variant("masker=Frame masker.ratio=0.5"),
        "differences predicted": Variant("objectives.pixels.target=Difference"),
        "raw values predicted": Variant("objectives.pixels.target=Raw"),
        "100 steps more": Variant("steps=250"),
        "pixels and differences, with the background": Variant("steps=150", recipe="motion_mae"),
        "two frames apart": Variant("steps=150", recipe="siam_mae"),
    }
    return Study(
        question="Of a few hundred real clips, what makes an encoder better than no training?",
        variants=variants,
        differences=tuple((name, "few_clips") for name in variants if name != "few_clips"),
        recipe="few_clips",
        measures=MEASURES,
    )


def warm() -> Study:
    """Before the user's own clips, generated ones: none, 2,000 or 20,000."""
    variants = {"from scratch": Variant()} | {
        f"{count} generated clips": Variant(
            "init={run}-generated",
            first=(
                f"synth --out {{corpus}}-generated-{count} --train {count} --test 4",
                f"pretrain few_clips --on {{corpus}}-generated-{count} --out {{run}}-generated steps=450 seed={{seed}}",
            ),
        )
        for count in (2000, 20000)
    }
    return Study(
        question="Of a few hundred real clips, does it help to begin with generated ones?",
        variants=variants,
        differences=tuple((name, "from scratch") for name in variants if name != "from scratch"),
        recipe="few_clips",
        measures=MEASURES,
    )
