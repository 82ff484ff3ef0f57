"""What a cell of the paper's tables is: its recipe, its price, and what is reported. Start reading at `recipe_of`."""

from collections.abc import Callable
from dataclasses import dataclass

import chz

from tubelet.jobs.pool import cores
from tubelet.loading.data import Data
from tubelet.maskers import Masker, Motion, Text, Tube
from tubelet.objectives import Contrast, Pixels
from tubelet.recipes.paper.cost import GPU, hours, step_flops
from tubelet.recipes.pretrain import Pretrain
from tubelet.recipes.videomae import videomae
from tubelet.video.sampling import Sampling

EPOCHS = 200.0
MASKS: dict[str, Callable[[], Masker]] = {
    "tube": lambda: Tube(ratio=0.9),
    "mgm": lambda: Motion(ratio=0.75),
    "tgm": lambda: Text(ratio=0.6),
}
HIDDEN = {"tube": 176 * 8, "mgm": 147 * 8, "tgm": 117 * 8}  # of 1568 tubelets
VIDEOS = {"ssv2": 168_913, "k400": 240_436}  # of the official training lists; of K400 fewer can be had today
STRIDE = {"ssv2": 2, "k400": 4}
NAMES = {"ssv2": "Something-Something V2", "k400": "Kinetics-400"}


@dataclass(frozen=True)
class Cell:
    """One mask on one data set, with or without the contrast; `reported` is top-1 in %: fine-tuned, linear probe."""

    data: str
    mask: str
    contrast: bool
    reported: tuple[float, float] | None

    @property
    def name(self) -> str:
        return f"paper_{self.data}_{self.mask}" + ("_contrast" if self.contrast else "")


CELLS = (
    Cell("ssv2", "tube", False, (66.6, 25.7)),
    Cell("ssv2", "mgm", False, (67.3, 33.0)),
    Cell("ssv2", "tgm", False, (67.1, 26.2)),
    Cell("ssv2", "tube", True, (65.5, 33.3)),
    Cell("ssv2", "mgm", True, (67.0, 37.1)),
    Cell("ssv2", "tgm", True, (67.5, 33.4)),
    Cell("k400", "tube", False, (78.4, 38.1)),
    Cell("k400", "mgm", False, (79.9, 32.1)),
    Cell("k400", "tgm", False, (79.9, 33.8)),
    Cell("k400", "tube", True, None),
    Cell("k400", "mgm", True, None),
    Cell("k400", "tgm", True, None),
)


def recipe_of(cell: Cell) -> Callable[[], Pretrain]:
    """The cell as a recipe: a function with a name, a page of help, and the config."""

    def recipe() -> Pretrain:
        return config(cell)

    recipe.__name__ = recipe.__qualname__ = cell.name
    recipe.__doc__ = page(cell)
    return recipe


def config(cell: Cell) -> Pretrain:
    """ViT-B from scratch on 16 x 224 x 224, 200 epochs, AdamW at 1.5e-4 for 256 clips; no flip.

    Batch (1024 on 8 GPUs), crop and temperature are ours: the paper's are not known to us.
    """
    objectives = {"pixels": Pixels(), "contrast": Contrast()} if cell.contrast else {"pixels": Pixels()}
    return chz.replace(
        videomae(),
        data=Data(sampling=Sampling(stride=STRIDE[cell.data]), workers=min(8, cores())),
        masker=MASKS[cell.mask](),
        objectives=objectives,
        epochs=EPOCHS,
        accumulate=2,
    )


def page(cell: Cell) -> str:
    """One screen: what it is, how it is launched, what it costs, what the paper reports."""
    corpus, run = f"corpora/{cell.data}", f"runs/{cell.name.removeprefix(f'paper_{cell.data}_')}"
    losses = "pixels and contrast" if cell.contrast else "pixels alone"
    text = cell.contrast or cell.mask == "tgm"
    lines = [f"    tubelet index {FOLDERS[cell.data]} --out {corpus}" + (" --captions blip2.csv" if text else "")]
    if text:
        lines.append(f"    tubelet saliency text {corpus} --aligner openai/clip-vit-base-patch32")
    if cell.mask == "mgm":
        lines.append(f"    tubelet saliency motion {corpus}")
    lines.append(f"    torchrun --nproc-per-node 8 -m tubelet pretrain {cell.name} --on {corpus} --out {run}")
    flops, videos = step_flops(HIDDEN[cell.mask]), VIDEOS[cell.data]
    reported = "nothing for this cell in the notes known to us."
    if cell.reported is not None:
        reported = (
            f"{cell.reported[0]} fine-tuned, {cell.reported[1]} linear probe (top-1, %). Cells with and\n"
            "without contrast stand in two tables there whose baselines differ: never subtract across them."
        )
    return "\n".join(
        [
            f"TGM paper: {NAMES[cell.data]}, {cell.mask} mask, {losses}. Not yet run by us.",
            "",
            *lines,
            "",
            f"Cost: forward {flops / 3e9:.1f} GFLOP a clip, forward and backward {flops / 1e9:.0f}.",
            f"{videos:,} videos for {EPOCHS:g} epochs: {hours(flops, videos, EPOCHS):,.0f} GPU-hours on {GPU},",
            "decoding not counted. None of it is measured here.",
            f"Reported by the paper: {reported}",
            "Ours, where the paper's is not known: a batch of 1024, crops of .5 to 1 of a frame, no flip.",
        ]
    )


FOLDERS = {"ssv2": "something-something-v2/", "k400": "kinetics-400/"}
