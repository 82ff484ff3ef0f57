"""What masks hide, measured on a small corpus whose truth is known, and on one of which nothing is."""

import json
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import chz
import numpy as np
import pytest
from PIL import Image

from tubelet import saliency_maps
from tubelet.cli import main
from tubelet.corpus.table import Corpus
from tubelet.diagnostics.mask_measures import Measured, agreement
from tubelet.diagnostics.masks import LEARNED, drawn_crop, masks, plain_data
from tubelet.diagnostics.truth import TrueClip, followed
from tubelet.loading.augment import Augment
from tubelet.loading.data import Data
from tubelet.maskers import Adaptive, Adversary, Centre, Motion, Oracle, PartPriority, Parts, Random, Text, Tube
from tubelet.models.encoder import Vit
from tubelet.recipes.pretrain import Pretrain
from tubelet.synthetic import Size, Truth, truth, write_synth
from tubelet.types import Clip
from tubelet.video.crop import Crop
from tubelet.video.sampling import Sampling
from tubelet.video.writer import write_video

CLIP = Clip(frames=8, size=48, tubelet_frames=2, tubelet_size=8)  # 4 6 6
VIT = Vit(width=32, depth=1, heads=2)
LIKE = Pretrain(clip=CLIP, encoder=VIT, data=Data(sampling=Sampling(stride=2)), steps=1)
SMALL = ["clip.frames=8", "clip.size=48", "clip.tubelet_size=8", "encoder.width=32", "encoder.depth=1",
         "encoder.heads=2"]  # fmt: skip
MASKERS = {"Random": Random(ratio=0.5), "Tube": Tube(ratio=0.5), "Oracle": Oracle(ratio=0.5), "Centre": Centre()}
CLIPS = 16


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    folder = tmp_path_factory.mktemp("synth") / "corpus"
    write_synth(folder, Size(train=1, test=CLIPS, frames=16, pixels=48))
    corpus = Corpus.open(folder)
    assert not saliency_maps.Oracle(cells=12).fill(corpus).failed
    assert not saliency_maps.Parts(cells=12).fill(corpus).failed
    return corpus


@pytest.fixture(scope="module")
def measured(corpus: Corpus) -> Measured:
    others = {"Adaptive": Adaptive(ratio=0.5), "Text": Text(), "Motion": Motion()}
    return masks(corpus, maskers=MASKERS | others, like=LIKE, pictures=2)


def test_the_oracle_covers_the_subject_and_chance_masks_their_share(measured: Measured) -> None:
    table = measured.table()
    assert table["Oracle"]["subject_hidden"]["overall"]["mean"] > 0.98
    assert table["Oracle"]["roc_auc"]["overall"]["mean"] > 0.999
    for name in ("Random", "Tube"):
        row = table[name]
        assert measured.fixed[name]["hidden"] == 0.5
        for what in ("subject_hidden", "roc_auc"):
            assert row[what]["overall"]["mean"] == pytest.approx(0.5, abs=4 * max(row[what]["overall"]["error"], 0.01))
    assert sum(measured.cameras.count(camera) for camera in set(measured.cameras)) == CLIPS
    assert sum(part["clips"] for name, part in table["Tube"]["subject_hidden"].items() if name != "overall") == CLIPS


def test_parts_are_told_one_by_one_and_the_subjects_finds_the_subject(corpus: Corpus) -> None:
    found = masks(corpus, maskers={"Parts": Parts(ratio=0.5), "Adversary": Adversary(prior="oracle")}, like=LIKE)
    areas = {name: np.nanmean(of["all"]) for name, of in found.maps.items()}
    assert areas.keys() == {"oracle", *(f"parts {number}" for number in range(5))}
    assert areas["parts 1"] > 0.99
    assert areas["parts 0"] < 0.1
    hidden = PartPriority(ratio=0.5, first=(0,))
    table = masks(corpus, maskers={"PartPriority": hidden}, like=LIKE).table()
    assert table["PartPriority"]["subject_hidden"]["overall"]["mean"] > 0.65  # its border stays


def test_coverage_is_that_of_a_loop_over_pixels(corpus: Corpus) -> None:
    """The hidden share of the subject's pixels, counted one tubelet after another from the truth."""
    import torch

    from tubelet import seeds
    from tubelet.loading.loader import eval_batches

    got = masks(corpus, maskers={"Random": Random(ratio=0.5)}, like=LIKE, clips=3, seed=4)
    (videos,) = [[video for video in corpus.select("test") if video.id in got.videos]]
    for batch in eval_batches(corpus, videos, CLIP, plain_data(corpus), batch=1):
        key = torch.tensor([seeds.key(4, "masks", int(batch.source[0]))])
        hidden = Random(ratio=0.5)(replace(batch, key=key), CLIP, key).hidden[0].tolist()
        owner = truth(corpus, batch.ids[0]).owner[0:16:2]  # 8 frames, every second of 16, from the first
        covered = sum(
            int(
                (
                    owner[2 * time_step : 2 * time_step + 2, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8] == 1
                ).sum()
            )
            for time_step, row, column in ((n // 36, n // 6 % 6, n % 6) for n in hidden)
        )
        expected = covered / (owner == 1).sum()
        assert got.clips["Random"]["subject_hidden"][got.videos.index(batch.ids[0])] == pytest.approx(
            expected, abs=1e-4
        )


def test_in_crops_the_truth_is_cropped_as_the_clips_are(corpus: Corpus) -> None:
    """Of a quarter of the frame, by a loop over its pixels; what the oracle's cropped map finds is the subject."""
    augment = Augment(smallest=0.25, largest=0.25, aspect=1.0, flip=True)
    data = chz.replace(plain_data(corpus), augment=augment)
    like = chz.replace(LIKE, data=data)
    maskers = {"Oracle": MASKERS["Oracle"], "Random": Random(ratio=0.5)}
    cropped = masks(corpus, maskers=maskers, like=like, crops=True)
    whole = masks(corpus, maskers=maskers, like=like)
    assert cropped.table()["Oracle"]["roc_auc"]["overall"]["mean"] > 0.99
    assert cropped.table()["Random"]["subject_hidden"]["overall"]["mean"] == pytest.approx(0.5, abs=0.06)
    assert cropped.protocol["crop"] != whole.protocol["crop"]
    assert cropped.clips["Oracle"] != whole.clips["Oracle"]
    flips = set()
    for video in corpus.select("test")[:6]:
        owner = truth(corpus, video).owner[0:16:2]
        crop = drawn_crop(augment, 0, video, *owner.shape[1:])
        top, left, rows, columns = crop.pixels(*owner.shape[1:])
        assert (rows, columns) == (24, 24)
        seen = owner[:, top : top + 24, left : left + 24] == 1
        if crop.flip:
            seen = seen[..., ::-1]
        expected = [
            seen[2 * time_step : 2 * time_step + 2, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4].mean()
            for time_step, row, column in np.ndindex(CLIP.grid)
        ]
        known = TrueClip.of(corpus, video, CLIP, data.sampling, partial(drawn_crop, augment, 0))
        np.testing.assert_allclose(known.subject, expected, atol=1e-5)
        flips.add(crop.flip)
    assert flips == {True, False}


def test_a_mirrored_crop_of_a_moving_ground_moves_the_other_way() -> None:
    moving = scene(moves=8.0)
    half = Crop(0.25, 0.25, 0.5, 0.5)
    before, after = followed(moving, np.arange(4), (4, 3, 3), half)
    assert len(before) == 3 * 24 * 16  # a column of places leaves the crop
    assert set((after - before).tolist()) == {9 + 1}
    before, after = followed(moving, np.arange(4), (4, 3, 3), replace(half, flip=True))
    assert set((after - before).tolist()) == {9 - 1}


def test_a_tube_follows_what_does_not_move_and_a_moving_mask_what_moves() -> None:
    still = scene(moves=0.0)
    moving = scene(moves=8.0)  # a place a frame
    tube = np.tile(np.arange(36) % 3 == 0, 4)
    walks = np.concatenate(
        [np.roll((np.arange(36) % 6 == 1).reshape(6, 6), time_step, 1).ravel() for time_step in range(4)]
    )
    frames = np.arange(4)
    assert agreement(tube, *followed(still, frames, (4, 6, 6))) == (1.0, 1.0)
    assert agreement(walks, *followed(moving, frames, (4, 6, 6))) == (1.0, 1.0)
    assert agreement(walks, *followed(still, frames, (4, 6, 6)))[0] == 0.0
    before, after = followed(moving, frames, (4, 6, 6))
    assert len(before) == 3 * 40 * 48  # the last column of places has left the frame
    assert (after - before == 36 + 1).all()


def scene(moves: float) -> Truth:
    """Ground alone, that moves to the right by so many pixels a frame."""
    position = np.zeros((1, 5, 2))
    position[0, :, 0] = moves * np.arange(5)
    return Truth(np.zeros((4, 48, 48), np.uint8), np.ones((1, 5)), np.zeros((1, 5)), position)


def test_a_tube_stays_and_every_masks_entropy_is_told(measured: Measured) -> None:
    assert set(measured.clips["Tube"]["step_iou"]) == {1.0}
    still = [n for n, camera in enumerate(measured.cameras) if camera == "static"]
    assert all(measured.clips["Tube"]["motion_iou"][n] > 0.8 for n in still)
    assert measured.fixed["Centre"]["entropy"] == 0
    assert measured.fixed["Random"]["entropy"] > 0.9


def test_what_cannot_be_measured_is_left_out_with_the_command_that_helps(measured: Measured, corpus: Corpus) -> None:
    assert set(measured.left_out) == {"Text", "Motion"}, measured.left_out
    assert list(measured.fixed) == [*MASKERS, "Adaptive"]
    assert f"`tubelet saliency {corpus.folder} Text`" in measured.left_out["Text"]
    assert f"`tubelet saliency {corpus.folder} Motion`" in measured.left_out["Motion"]
    assert measured.remarks == {"Adaptive": LEARNED}


def test_the_same_seed_gives_the_same_figures_and_another_other_masks(corpus: Corpus, measured: Measured) -> None:
    again = masks(corpus, maskers=MASKERS, like=LIKE, pictures=1)
    assert {name: again.clips[name] for name in MASKERS} == {name: measured.clips[name] for name in MASKERS}
    other = masks(corpus, maskers={"Tube": MASKERS["Tube"]}, like=LIKE, clips=CLIPS, seed=1)
    assert other.videos == measured.videos
    assert other.clips["Tube"] != measured.clips["Tube"]
    few = masks(corpus, maskers={"Tube": MASKERS["Tube"]}, like=LIKE, clips=5)
    assert len(few.videos) == 5
    assert set(few.videos) < set(measured.videos)


def test_the_command_prints_tables_of_80_columns_and_keeps_figures_and_a_sheet(
    corpus: Corpus, capsys, tmp_path
) -> None:
    words = ["Random", "Tube:ratio=0.75", "Oracle", "Motion:compensate=median", *SMALL, "--ratio", "0.5"]
    assert main(["masks", str(corpus.folder), *words, "--pictures", "2", "--out", str(tmp_path)]) == 0
    said = capsys.readouterr()
    lines = said.out.splitlines()
    tables = lines[: next(n for n, line in enumerate(lines) if line.startswith("seen:"))]
    assert max(map(len, tables)) <= 80
    assert any("Tube ratio=0.75" in line and ".75" in line for line in tables)
    assert "left out: Motion compensate=median" in said.err
    assert said.err.count("\n") == 1
    kept = json.loads((tmp_path / "masks.json").read_text())
    about = kept["protocol"]
    assert (about["corpus"], about["fingerprint"], about["split"]) == ("synth-1", corpus.fingerprint(), "test")
    assert about["maskers"]["Random"]["ratio"] == 0.5
    assert kept["hardware"]["processor"]
    assert len(kept["clips"]) == CLIPS
    mean = np.mean([clip["masks"]["Random"]["subject_hidden"] for clip in kept["clips"]])
    assert kept["table"]["Random"]["subject_hidden"]["overall"]["mean"] == pytest.approx(mean)
    sheet = np.asarray(Image.open(tmp_path / "masks.png"))
    assert sheet.shape[1] > 4 * 170
    assert len(np.unique(sheet.reshape(-1, 3), axis=0)) > 100


def test_without_truth_the_label_free_columns_are_told(tmp_path: Path, capsys) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (16, 48, 48, 3)).astype(np.uint8)
    (tmp_path / "videos").mkdir()
    for number in range(3):
        write_video(tmp_path / "videos" / f"{number}.mp4", np.roll(frames, number, 0), 8.0)
    folder, out = tmp_path / "corpus", tmp_path / "out"
    assert main(["index", str(tmp_path / "videos"), "--out", str(folder)]) == 0
    capsys.readouterr()
    assert main(["masks", str(folder), "--split", "all", *SMALL, "--out", str(out)]) == 0
    said = capsys.readouterr()
    assert "step_iou" in said.out
    assert "ROC" not in said.out
    assert "Tube" in said.out
    left = [line.split(":")[1].strip() for line in said.err.splitlines()]
    assert left == ["Text", "TextFrame", "Motion", "Flow", "Oracle", "Attention", "Blend", "Parts", "PartPriority"]
    assert json.loads((out / "masks.json").read_text())["maps"] == {}
    assert (out / "masks.png").read_bytes()[:4] == b"\x89PNG"


def test_a_copy_of_the_synthetic_dataset_without_its_truth_is_measured_as_any_videos(corpus: Corpus, tmp_path: Path):
    copy = shutil.copytree(corpus.folder, tmp_path / "copy", ignore=shutil.ignore_patterns("truth", "maps"))
    found = masks(copy, maskers={"Tube": MASKERS["Tube"]}, like=LIKE, pictures=1, clips=2).table()["Tube"]
    assert "step_iou" in found
    assert "subject_hidden" not in found


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["Tub"], "there is no Masker called 'Tub'; did you mean Tube?"),
        (["Tube:rato=0.5"], "there is no option masker.rato; did you mean masker.ratio?"),
        (["Tube", "Tube"], "Tube is named twice"),
        (["Motion"], "no masker is left to measure"),
        (["--ratio", "1"], "--ratio must be between 0 and 1"),
        (["--clips", "0"], "--clips must be at least 1"),
        (["--split", "nowhere"], "no usable video in split 'nowhere'"),
        (["data.augment.smallest=0.2"], "say --crops too"),
        (["steps=3"], "only fields of clip, data, encoder can be set here"),
        (["clip.sise=64"], "did you mean clip.size?"),
    ],
)
def test_mistakes_are_one_line(corpus: Corpus, words, said, capsys) -> None:
    assert main(["masks", str(corpus.folder), *words]) == 2
    line = capsys.readouterr().err.strip()
    assert said in line
    assert "\n" not in line
