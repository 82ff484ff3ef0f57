"""The methods of the field, side by side at equal FLOPs."""

from tubelet.studies.base import MEASURES, Study, Variant

PREDICTED = ("reconstruction", "retrieval")  # which not every method can be measured by
RECIPES = (
    "st_mae", "hvm", "siam_mae", "crop_mae", "vjepa", "vic_mae", "simclr", "moco", "nnclr", "cvrl", "iic", "lstcl",
    "byol", "brave",
)  # fmt: skip


def methods() -> Study:
    """Every recipe of a method that needs pixels alone, of the size of `miniature`, at the FLOPs of VideoMAE's mask."""
    return Study(
        question="What do the methods of the field learn of motion and of appearance, at equal FLOPs?",
        variants={
            "VideoMAE": Variant(),
            **{recipe: Variant(recipe=recipe, equal="flops") for recipe in RECIPES},
        },
        differences=tuple((recipe, "VideoMAE") for recipe in RECIPES),
        reference="VideoMAE",
        measures=tuple(measure for measure in MEASURES if measure.evaluation not in PREDICTED),
    )
