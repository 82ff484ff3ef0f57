"""The small aligner: what it learns, what it may not look at, what it keeps."""

import json
import math
from pathlib import Path

import chz
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tubelet.aligners.base import open_aligner, similarity
from tubelet.aligners.config import Shape, SmallAlignerTraining
from tubelet.aligners.examples import Examples, evenly_spaced, read_examples
from tubelet.aligners.matching import info_nce, retrieval, smooth_max
from tubelet.aligners.small import SmallAligner, fit
from tubelet.aligners.training import train_small_aligner
from tubelet.aligners.vocabulary import BUCKETS, Vocabulary
from tubelet.checksums import write_json
from tubelet.corpus.schema import Video
from tubelet.corpus.table import Corpus
from tubelet.corpus.write import write_corpus
from tubelet.errors import RecipeError, WeightsError
from tubelet.video.writer import write_video

COLOURS = {"red": (230, 40, 40), "green": (40, 200, 60), "blue": (50, 70, 240), "yellow": (240, 220, 40)}
SMALL = SmallAlignerTraining(
    shape=Shape(side=48, width=16, depth=1, text_width=16, joint=16), steps=120, batch=32, frames=1
)


def picture(rng: np.random.Generator, colour: str, other: str, side: int = 48) -> tuple[np.ndarray, np.ndarray]:
    """A square of the colour and one of another colour on grey, and where the first one is on the grid."""
    frame = np.full((side, side, 3), rng.integers(90, 150), np.uint8)
    where = np.zeros((side // 8, side // 8), bool)
    first, second = rng.permutation((side // 16) ** 2)[:2]
    for position, name in ((second, other), (first, colour)):
        top, left = (16 * int(part) for part in divmod(int(position), side // 16))
        frame[top : top + 16, left : left + 16] = COLOURS[name]
        if name == colour:
            where[top // 8 : top // 8 + 2, left // 8 : left // 8 + 2] = True
    return frame, where


def coloured(count: int, seed: int = 0) -> tuple[Examples, list[np.ndarray]]:
    rng = np.random.default_rng(seed)
    names = list(COLOURS)
    frames, wheres, captions, videos = [], [], [], []
    for number in range(count):
        colour, other = rng.permutation(names)[:2]
        frame, where = picture(rng, str(colour), str(other))
        frames.append(frame)
        wheres.append(where)
        captions.append([names.index(str(colour))])
        videos.append(video(number))
    texts = [f"a {name} square" for name in names]
    return Examples(frames, [[number] for number in range(count)], captions, texts, videos, {}), wheres


def video(number: int) -> Video:
    return Video(
        number, f"v{number}", Path("v"), 0.0, 1.0, 1.0, 8.0, 8, 48, 48, "", None, "train", f"v{number}", "ok", ""
    )


@pytest.fixture(scope="module")
def trained() -> SmallAligner:
    return train_small_aligner(coloured(200)[0], SMALL)[0]


def test_it_finds_the_place_that_a_caption_names_though_it_was_never_told_places(trained: SmallAligner) -> None:
    from sklearn.metrics import roc_auc_score

    held_out, wheres = coloured(60, seed=1)
    texts = trained.texts(held_out.texts)
    maps = similarity(trained.patches(np.stack(held_out.frames)), texts)
    areas = [
        roc_auc_score(where.ravel(), maps[held_out.captions[n][0], n].ravel().numpy()) for n, where in enumerate(wheres)
    ]
    assert np.mean(areas) > 0.95
    strangers = [
        roc_auc_score(where.ravel(), maps[(held_out.captions[n][0] + 1) % 4, n].ravel().numpy())
        for n, where in enumerate(wheres)
    ]
    assert np.mean(strangers) < np.mean(areas) - 0.1
    found = retrieval(trained, held_out, SMALL)
    assert found.chance_frame_to_text == 0.25
    assert 0.38 < found.frame_to_text < 0.62, "of the two squares of a frame nothing says which one is named"


def test_the_same_seed_gives_the_same_aligner_bit_for_bit_and_another_seed_another() -> None:
    examples = coloured(40)[0]
    short = chz.replace(SMALL, steps=4)
    assert train_small_aligner(examples, short)[0].identity == train_small_aligner(examples, short)[0].identity
    assert (
        train_small_aligner(examples, short)[0].identity
        != train_small_aligner(examples, chz.replace(short, seed=1))[0].identity
    )


def test_training_leaves_the_global_generator_alone() -> None:
    state = torch.random.get_rng_state()
    train_small_aligner(coloured(20)[0], chz.replace(SMALL, steps=1))
    assert torch.equal(state, torch.random.get_rng_state())


def test_a_saved_aligner_is_the_same_after_loading(trained: SmallAligner, tmp_path: Path) -> None:
    trained.save(tmp_path)
    again = open_aligner(tmp_path)
    assert again.identity == trained.identity
    frames = np.stack(coloured(3, seed=5)[0].frames)
    assert torch.equal(again.patches(frames), trained.patches(frames))
    assert torch.equal(again.texts(["a blue thing"]), trained.texts(["a blue thing"]))


def test_a_damaged_or_mixed_up_aligner_is_refused(trained: SmallAligner, tmp_path: Path) -> None:
    trained.save(tmp_path)
    about = json.loads((tmp_path / "aligner.json").read_text())
    write_json(tmp_path / "aligner.json", {**about, "shape": {**about["shape"], "depth": 2}})
    with pytest.raises(WeightsError, match=r"does not fit aligner.json: image.blocks.1"):
        SmallAligner.load(tmp_path)
    write_json(tmp_path / "aligner.json", about)
    weights = tmp_path / "aligner.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(WeightsError, match="no aligner can be read"):
        SmallAligner.load(tmp_path)


def test_frames_of_any_shape_get_a_grid_of_their_aspect_ratio(trained: SmallAligner) -> None:
    for height, width, rows, columns in ((48, 48, 6, 6), (240, 320, 6, 8), (37, 90, 6, 15), (300, 200, 9, 6)):
        patches = trained.patches(np.zeros((2, height, width, 3), np.uint8))
        assert patches.shape == (2, rows, columns, 16)
    assert fit(np.zeros((1, 48, 64, 3), np.uint8), 48).shape == (1, 48, 64, 3)


def test_any_text_has_an_embedding_and_spelling_brings_words_near(trained: SmallAligner) -> None:
    texts = ["", "une voiture rouge", "狗在跑", "!!!", "word " * 100]
    assert torch.isfinite(trained.texts(texts)).all()
    words = Vocabulary.of(["a red square"])
    (one, other, far), there = words.encode(["reddish", "redder", "tall"])
    assert there.all()
    assert set(one[0].tolist()) & set(other[0].tolist()) - {0}
    assert not set(one[0].tolist()) & set(far[0].tolist()) - {0}
    assert one[0, 0] == 0, "an unseen word has no number of its own"
    known = words.encode(["Red"])[0][0, 0, 0]
    assert known > BUCKETS


def test_a_text_is_embedded_alike_alone_and_among_longer_ones(trained: SmallAligner) -> None:
    texts = ["a red square", "there is a very long sentence about a yellow square here"]
    torch.testing.assert_close(trained.texts(texts)[:1], trained.texts(texts[:1]), atol=1e-5, rtol=1e-4)


@given(sharpness=st.floats(0.1, 30), seed=st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_the_smooth_maximum_lies_between_mean_and_maximum_and_tends_to_either(sharpness: float, seed: int) -> None:
    values = torch.rand(2, 9, 3, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    got = smooth_max(values, sharpness)
    assert (got >= values.mean(1) - 1e-5).all()
    assert (got <= values.amax(1) + 1e-5).all()
    torch.testing.assert_close(smooth_max(values, 0.0), values.mean(1))
    torch.testing.assert_close(smooth_max(values, 1e5), values.amax(1), atol=1e-4, rtol=1e-4)


def test_the_contrast_equals_a_loop_in_which_captions_that_belong_are_no_negatives() -> None:
    rng = np.random.default_rng(3)
    scores = rng.normal(size=(5, 3))
    column = np.array([0, 1, 1, 2, 0])  # frames 1 and 2 have equal captions
    belongs = np.zeros((5, 3), bool)
    belongs[np.arange(5), column] = True
    belongs[3, 0] = True  # the video of frame 3 has caption 0 too
    total = 0.0
    for frame in range(5):
        own = scores[frame, column[frame]]
        captions = [own] + [scores[frame, c] for c in range(3) if not belongs[frame, c]]
        frames = [own] + [scores[f, column[frame]] for f in range(5) if not belongs[f, column[frame]]]
        total += (math.log(sum(map(math.exp, captions))) + math.log(sum(map(math.exp, frames))) - 2 * own) / 2
    got = info_nce(torch.from_numpy(scores), torch.from_numpy(column), torch.from_numpy(belongs))
    assert float(got) == pytest.approx(total / 5)


def test_frames_are_spread_evenly_and_never_repeated() -> None:
    times = np.arange(32) / 16
    assert (evenly_spaced(times, 4) * 16).tolist() == [4, 12, 20, 28]
    assert evenly_spaced(times[:3], 4).tolist() == times[:3].tolist()


# From a corpus


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Twelve videos of many shapes, three of them held out, one unreadable, captions in two sources."""
    folder = tmp_path_factory.mktemp("corpus")
    rng = np.random.default_rng(0)
    videos, captions = [], []
    for number in range(12):
        name = f"clip {number}"
        colour, other = list(COLOURS)[number % 4], list(COLOURS)[(number + 1) % 4]
        frame = np.repeat(np.repeat(picture(rng, colour, other)[0], 2, 0), 1 + number % 3, 1)
        write_video(folder / f"{name}.mp4", np.stack([frame] * 6), fps=8)
        if number == 5:
            (folder / f"{name}.mp4").write_bytes(b"nothing")
        split = "test" if number >= 9 else "train"
        videos.append({"id": name, "path": f"{name}.mp4", "end": 0.75, "split": split, "fps": 8.0, "frames": 6})
        captions += [
            {"video": name, "text": f"A {colour} square.", "source": "subject"},
            {"video": name, "text": f"something {number}", "source": "other"},
        ]
    return write_corpus(folder, "squares", videos, captions)


def test_only_the_asked_split_and_sources_are_read_and_failures_are_named(corpus: Corpus) -> None:
    examples = read_examples(corpus, "train", chz.replace(SMALL, sources=("subject",), frames=2))
    assert [video.id for video in examples.videos] == [f"clip {n}" for n in range(9) if n != 5]
    assert set(examples.texts) == {f"a {name} square" for name in COLOURS}
    assert list(examples.failed) == ["clip 5"]
    assert {frame.shape[:2] for frame in examples.frames} == {(96, 48), (48, 48), (48, 72)}
    both = read_examples(corpus, "train", SMALL)
    assert sum("something" in text for text in both.texts) == 8


def test_the_command_trains_once_says_so_and_replaces_nothing_unasked(corpus: Corpus, capsys, tmp_path: Path) -> None:
    from tubelet.cli import main

    command = ["align", str(corpus.folder), "sources=subject", "steps=2", "batch=4"]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "test split, 3 videos and 3 captions, recall at 1" in said
    assert "left out: clip 5: " in said
    about = json.loads((corpus.folder / "aligner" / "aligner.json").read_text())
    assert about["corpus"] == {"name": "squares", "fingerprint": corpus.fingerprint(), "splits": ["train"]}
    assert about["settings"]["sources"] == ["subject"]
    assert main(command) == 0
    assert "holds this aligner already" in capsys.readouterr().out
    assert main([*command, "seed=1"]) == 2
    assert "holds another aligner (different seed): keep it and give --out NEW" in capsys.readouterr().err
    assert json.loads((corpus.folder / "aligner" / "aligner.json").read_text()) == about
    assert main([*command, "seed=1", "--out", str(tmp_path / "second")]) == 0
    assert main([*command, "seed=1", "--force"]) == 0
    second, first = SmallAligner.load(tmp_path / "second"), SmallAligner.load(corpus.folder / "aligner")
    assert second.identity == first.identity != about["identity"]


def test_a_number_of_seconds_becomes_a_number_of_steps(corpus: Corpus, tmp_path: Path, capsys) -> None:
    from tubelet.cli import main

    command = ["align", str(corpus.folder), "--seconds", "1", "batch=4", "--out", str(tmp_path / "a")]
    command += ["frames=2", "max_frames=12"]
    assert main(command) == 0
    assert "3 captioned train videos were dropped at random: max_frames=12" in capsys.readouterr().out
    about = json.loads((tmp_path / "a" / "aligner.json").read_text())
    assert about["settings"]["steps"] >= 1
    assert about["seconds"] < 30
    assert main(command) == 0


def test_what_cannot_be_aligned_is_said_with_the_remedy(corpus: Corpus, capsys, tmp_path: Path) -> None:
    from tubelet.cli import main

    assert main(["align", str(corpus.folder), "sources=subjects"]) == 2
    assert "has no captions of source 'subjects'; it has: other, subject" in capsys.readouterr().err
    assert main(["align", str(tmp_path)]) == 2
    assert "no corpus" in capsys.readouterr().err
    silent = write_corpus(
        tmp_path / "silent", "silent", [{"id": "x", "path": str(corpus.videos[0].path), "split": "train", "end": 0.75}]
    )
    assert main(["align", str(silent.folder)]) == 2
    assert "needs at least 2 captioned train videos" in capsys.readouterr().err
    with pytest.raises(RecipeError, match="steps must be at least 1"):
        replace_steps(0)


def replace_steps(steps: int) -> SmallAlignerTraining:
    return chz.replace(SMALL, steps=steps)


def test_real_captioned_clips_train_an_aligner_that_maps_their_frames(real_data: Path, tmp_path: Path) -> None:
    import csv

    folder = real_data / "captioned"
    rows = list(csv.DictReader((folder / "captions.csv").read_text().splitlines()))
    names = sorted({row["path"] for row in rows})
    videos = [
        {"id": name, "path": str(folder / name), "end": 600.0, "split": "test" if n > 6 else "train"}
        for n, name in enumerate(names)
    ]
    captions = [{"video": row["path"], "text": row["caption"], "source": row["source"]} for row in rows]
    corpus = write_corpus(tmp_path, "msvd", videos, captions)
    settings = chz.replace(SMALL, shape=Shape(width=16, depth=1, joint=16), steps=12, frames=2)
    examples = read_examples(corpus, "train", settings)
    assert not examples.failed
    assert len(examples.videos) == 7
    aligner = train_small_aligner(examples, settings)[0]
    frame = examples.frames[0]
    patches = aligner.patches(frame[None])
    assert patches.shape[1] == 12
    assert patches.shape[2] == round(12 * frame.shape[1] / frame.shape[0])
    maps = similarity(patches, aligner.texts(["a woman cuts an onion"]))
    assert torch.isfinite(maps).all()
    assert maps.std() > 1e-3
