"""A folder of eight small videos, and every command once, in the order in which each finds what it needs."""

import csv
from pathlib import Path

import numpy as np

from tubelet.video.writer import write_video

RECIPE = '''
from tubelet.corpus.captions import CaptionChoice
from tubelet.loading.data import Data
from tubelet.video.sampling import Sampling
from tubelet.evaluations import Knn
from tubelet.maskers import Text
from tubelet.models.decoder import Decoder
from tubelet.models.encoder import Vit
from tubelet.objectives import Contrast, Pixels
from tubelet.recipes import Pretrain
from tubelet.studies import Measure, Study, Variant
from tubelet.types import Clip


def both():
    """Pixels and contrast under text masks, as small as it gets."""
    return Pretrain(
        precision="fp32",
        clip=Clip(frames=4, size=32),
        data=Data(sampling=Sampling(stride=1), cache=True, captions=CaptionChoice(source="caption")),
        encoder=Vit(width=32, depth=1, heads=2),
        masker=Text(ratio=0.5),
        objectives={"pixels": Pixels(decoder=Decoder(width=32, depth=1, heads=2)), "contrast": Contrast(width=16)},
        evaluations={"knn": Knn()},
        steps=4,
        batch=2,
        log_every=1,
        save_every=2,
    )


def twice():
    """A run, and one that begins with its encoder."""
    return {"first": "pretrain mine.py:both steps=2", "second": "pretrain mine.py:both steps=2 init={first}"}


def small():
    """One mask."""
    return Study(
        question="Which?",
        variants={"tube": Variant("masker=Tube masker.ratio=0.5 objectives.contrast.weight=0")},
        recipe=f"{__file__}:both",
        seeds=1,
        measures=(Measure("R²", "reconstruction", "r2"),),
    )
'''
CAPTIONS = ("a red square", "a blue disc", "a red star", "a green square", "a red disc", "a blue star", "a ring", "x")

COMMANDS: dict[str, list[str]] = {
    "synth": ["synth", "--out", "synth", "--train", "2", "--test", "1", "--workers", "1"],
    "index": ["index", "videos", "--labels", "labels.csv", "--captions", "captions.csv", "--out", "c"],
    "caption": ["caption", "c", "captioner=Templates"],
    "captions": ["captions", "c", "--samples", "2"],
    "align": ["align", "c", "steps=3", "frames=2", "batch=8"],
    "saliency Text": ["saliency", "c", "Text"],
    "saliency Motion": ["saliency", "c", "Motion"],
    "pretrain": ["pretrain", "mine.py:both", "--on", "c", "--out", "run"],
    "evaluate": ["evaluate", "run", "linear", "reconstruction", "--on", "c", "--baseline", "mean_image",
                 "linear.grid=0.1", "linear.samples=10", "--allow-seen"],
    "finetune": ["finetune", "run", "tiny", "--on", "c", "--out", "tuned", "steps=2", "rates=0.01,0.1", "batch=2",
                 "held_out=0.5", "--allow-seen"],
    "embed": ["embed", "run", "c", "--out", "features.parquet"],
    "predict": ["predict", "tuned", "c", "--out", "labels.parquet"],
    "search": ["search", "run", "a red square"],
    "masks": ["masks", "c", "Tube", "Random", "--like", "run", "--clips", "2", "--pictures", "1", "--out", "masks"],
    "study": ["study", "mine.py:small", "--on", "c", "--out", "study"],
    "report": ["report", "run", "tuned", "--out", "page.html"],
    "compare": ["compare", "run", "tuned", "--out", "compared.md"],
    "export": ["export", "run", "--to", "safetensors", "transformers", "--out", "exported"],
    "import": ["import", "exported", "--out", "imported"],
    "saliency Oracle": ["saliency", "synth", "Oracle"],
    "maps": ["maps", "synth", "oracle", "--clips", "2", "--out", "mapped"],
    "phases": ["phases", "mine.py:twice", "--on", "c", "--out", "phases"],
    "track": ["track", "c", "vectors", "run=run", "every=0.5"],
    "pack": ["pack", "c", "--out", "packed", "--size", "32"],
    "pack --to parquet": ["pack", "c", "--to", "parquet", "--copy", "--out", "parquet"],
    "curate": ["curate", "c", "--drop", "frozen", "--shots", "shots.csv", "--workers", "1"],
    "inspect --static": ["inspect", "c", "--static", "pages", "--videos", "2"],
    "index --update": ["index", "more", "--update", "--out", "synth"],
}  # fmt: skip


def furnish(folder: Path) -> None:
    (folder / "videos").mkdir(parents=True)
    (folder / "mine.py").write_text(RECIPE)
    rng = np.random.default_rng(0)
    labels, captions = [("path", "label")], [("path", "caption")]
    for number, caption in enumerate(CAPTIONS):
        frames = rng.integers(0, 255, (10, 3, 3, 3)).repeat(16, 1).repeat(16, 2).astype(np.uint8)
        write_video(folder / "videos" / f"{number}.mp4", frames, 10.0)
        labels.append((f"{number}.mp4", f"verb {number % 2}"))
        captions.append((f"{number}.mp4", caption))
    (folder / "videos" / "bad.mp4").write_text("no video")
    (folder / "more").mkdir()
    write_video(folder / "more" / "still.mp4", np.full((10, 48, 48, 3), 90, np.uint8), 10.0)
    for name, rows in (("labels.csv", labels), ("captions.csv", captions)):
        with (folder / name).open("w", newline="") as file:
            csv.writer(file).writerows(rows)
