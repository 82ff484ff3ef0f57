"""Text maps of the cropped clips themselves: what they hold, how far kept maps differ, and training with them."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from tubelet.cli import main
from tubelet.config import override
from tubelet.corpus.captions import CaptionChoice
from tubelet.corpus.table import Corpus
from tubelet.diagnostics.online import compare_maps
from tubelet.errors import RecipeError
from tubelet.loading.augment import Augment
from tubelet.loading.data import Data
from tubelet.loading.loader import train_batches
from tubelet.log import read_log
from tubelet.recipes import Pretrain
from tubelet.saliency_maps.online import OnlineTextMaps, TextMaps
from tubelet.saliency_maps.text import fill_text
from tubelet.stores.embeddings import Embeddings
from tubelet.types import Clip
from tubelet.video.sampling import Sampling

CLIP = Clip(frames=4, size=32, tubelet_frames=2, tubelet_size=8)
CROPPED = Data(
    sampling=Sampling(stride=2),
    augment=Augment(smallest=0.5, flip=True, words=()),
    captions=CaptionChoice(source="left"),
)


def test_every_tubelet_gets_the_mean_cosine_of_the_patches_that_lie_in_it(corpus: Corpus, colours) -> None:
    fill_text(corpus, colours, rate=None)
    coarse = Clip(frames=4, size=32, tubelet_frames=2, tubelet_size=16)  # 2x2 places of 2x2 patches
    (batch,) = train_batches(corpus, coarse, CROPPED, text=True, batch=3, seed=0, first_step=0, last_step=1)
    found = OnlineTextMaps(TextMaps(), coarse, colours)(batch)
    assert found.shape == (3, 8)
    frames, texts = batch.video.permute(0, 2, 3, 4, 1).numpy(), batch.text.numpy().astype(np.float64)
    for clip in range(3):
        for tubelet in range(8):
            time_step, row, column = tubelet // 4, tubelet // 2 % 2, tubelet % 2
            cosines = []
            for frame in (2 * time_step, 2 * time_step + 1):
                patches = colours.patches(frames[clip, frame][None])[0].numpy().astype(np.float64)
                inside = patches[2 * row : 2 * row + 2, 2 * column : 2 * column + 2].reshape(4, 3)
                lengths = np.linalg.norm(inside, axis=1) * np.linalg.norm(texts[clip])
                cosines += list(inside @ texts[clip] / lengths)
            assert found[clip, tubelet].item() == pytest.approx(np.mean(cosines), abs=1e-5)


def test_the_cached_map_of_a_crop_is_nearly_the_map_of_the_cropped_frames(corpus: Corpus, colours) -> None:
    """Equal but for resampling, through crop, flip and time; and what is left of it with another caption's map."""
    fill_text(corpus, colours, rate=None)
    found = compare_maps(corpus, colours, CLIP, CROPPED, clips=12)
    assert len(found.correlation) >= 12
    assert np.median(found.correlation) > 0.95
    assert np.mean(found.iou) > 0.8 > found.chance
    other = compare_maps(corpus, Backwards(colours), CLIP, CROPPED, clips=12)
    assert np.mean(other.correlation) < 0


class Backwards:
    """Looks at mirrored frames."""

    def __init__(self, inner) -> None:
        self.identity, self.width, self.texts, self.inner = inner.identity, inner.width, inner.texts, inner

    def patches(self, frames: np.ndarray) -> torch.Tensor:
        return self.inner.patches(np.ascontiguousarray(frames[:, :, ::-1]))


def test_captions_embedded_by_another_model_are_refused(corpus: Corpus, colours) -> None:
    fill_text(corpus, colours, rate=None)
    colours.identity = "other colours"
    with pytest.raises(RecipeError, match="other colours, and the caption embeddings of the corpus were made by colou"):
        OnlineTextMaps(TextMaps(), CLIP, colours).fits(Embeddings.open(corpus))


def test_online_maps_need_an_aligner_to_be_named() -> None:
    with pytest.raises(RecipeError, match=r"name it, as text\.aligner=CORPUS/aligner"):
        override(Pretrain(steps=1), ["text.online=True"])


@pytest.fixture(scope="module")
def aligned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small corpus with an aligner, its maps and its embeddings."""
    folder = tmp_path_factory.mktemp("aligned") / "corpus"
    assert main(["synth", "--out", str(folder), "--train", "12", "--test", "4"]) == 0
    assert main(["align", str(folder), "sources=subject", "steps=3"]) == 0
    assert main(["saliency", str(folder), "Text", "sources=subject"]) == 0
    return folder


def test_a_run_scores_its_clips_as_it_trains_and_needs_no_kept_map(aligned: Path, tmp_path: Path) -> None:
    words = [
        "pretrain", "tiny_text_guided", "--on", str(aligned), "batch=4", "encoder.depth=1", "evaluate_every=0",
        "text.online=True", f"text.aligner={aligned / 'aligner'}", "log_every=1",
        "evaluations.reconstruction=Reconstruction",
    ]  # fmt: skip
    maps = aligned / "maps"
    maps.rename(aligned / "maps away")  # nothing of them is read
    try:
        assert main([*words, "steps=4", "--out", str(tmp_path / "whole")]) == 0
    finally:
        (aligned / "maps away").rename(maps)
    losses = [record["loss"] for record in read_log(tmp_path / "whole" / "log.jsonl") if record["kind"] == "step"]
    assert len(losses) == 4
    assert "reconstruction" in json.loads((tmp_path / "whole" / "results.json").read_text())
    kept = [word for word in words if not word.startswith("text.")]
    assert main([*kept, "steps=4", "--out", str(tmp_path / "kept")]) == 0
    others = [record["loss"] for record in read_log(tmp_path / "kept" / "log.jsonl") if record["kind"] == "step"]
    assert others != losses, "kept maps are near, and not the same"


def test_the_command_says_what_caching_costs(aligned: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(["maps", str(aligned), "--online", "clip.size=64", "--clips", "8"]) == 0
    said = capsys.readouterr().out
    assert "8 randomly cropped test clips" in said
    assert "correlation over the tubelets" in said
    assert "ms a clip" in said
    assert main(["maps", str(aligned), "--online", "optim.base_lr=1"]) == 2
    assert "fields of clip and data can be set" in capsys.readouterr().err
