"""What every listed evaluation promises. An evaluation is tested by being listed in `tubelet.evaluations.EVALUATIONS`.

Those that read features are given features whose answer is known; all are given a corpus with a corrupt clip.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from support.aligners import JOINT, aligned
from tubelet.corpus.table import Corpus
from tubelet.corpus.write import write_corpus
from tubelet.evaluations import (
    EVALUATIONS,
    Attentive,
    Captioning,
    Completion,
    Context,
    CrossRetrieval,
    Energy,
    Evaluation,
    Features,
    FewShot,
    LowLabel,
    Missing,
    Multiview,
    Propagation,
    Reconstruction,
    Segmentation,
    Streaming,
    ZeroShot,
)
from tubelet.evaluations.baselines import MeanImage
from tubelet.evaluations.features import Tokens
from tubelet.evaluations.propagation import MASKS
from tubelet.loading.data import Data
from tubelet.loading.pairings import Still
from tubelet.maskers import Tube
from tubelet.models.decoder import Decoder
from tubelet.models.encoder import Vit
from tubelet.objectives import Captioning as SayCaptions
from tubelet.objectives import Contrast, InstanceContrast, Pixels
from tubelet.results import Result
from tubelet.streams import Bare, Joint, Stream
from tubelet.tasks import Pretraining
from tubelet.types import Clip, Words
from tubelet.video.sampling import Sampling
from tubelet.video.writer import write_video

every_evaluation = pytest.mark.parametrize("evaluation_class", EVALUATIONS, ids=lambda c: c.name)
every_probe = pytest.mark.parametrize(
    "evaluation_class", [cls for cls in EVALUATIONS if cls.reads_features], ids=lambda c: c.name
)
CLIP = Clip(frames=4, size=32, tubelet_frames=2, tubelet_size=16)
CLASSES = 4
HEADLINES = ("accuracy", "r@1")
UNLABELLED = (CrossRetrieval, Captioning, Propagation, Reconstruction, Completion, Energy, Segmentation)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Corpus:
    """16 train and 8 test clips, dark and light in turn, all of test readable."""
    folder = tmp_path_factory.mktemp("corpus")
    rows = []
    for index in range(24):
        frames = (np.random.default_rng(index).integers(0, 200, (4, 32, 32, 3)) + 55 * (index % 2)).astype(np.uint8)
        write_video(folder / f"{index}.mp4", frames, 8.0)
        rows.append(
            {"id": f"clip {index}", "path": folder / f"{index}.mp4", "end": 0.5, "fps": 8.0, "frames": 4, "width": 32,
             "height": 32, "label": f"class {index % 2}", "split": "train" if index < 16 else "test"}
        )  # fmt: skip
    return whole(folder, rows)


def whole(folder: Path, rows: list[dict]) -> Corpus:
    """With captions and their embeddings, moments, an aligner, and masks: whatever an evaluation asks for."""
    captions = [{"video": row["id"], "text": f"grey number {row['id'][-1]}"} for row in rows]
    moments = [{"video": row["id"], "start": 0.0, "end": 0.25, "label": row["label"]} for row in rows]
    corpus = write_corpus(folder, "contract", rows, captions, moments=moments)
    aligned(corpus)
    (folder / MASKS).mkdir(exist_ok=True)
    for row in rows:
        mask = np.zeros((4, 32, 32), np.uint8)
        mask[:, :20, :14] = 1
        np.save(folder / MASKS / f"{row['id']}.npy", mask)
    return corpus


def context_of(corpus: Corpus, **changes) -> Context:
    torch.manual_seed(0)
    objectives = {
        "pixels": Pixels(decoder=Decoder(width=16, depth=1, heads=2)),
        "contrast": Contrast(),
        "frames": InstanceContrast(of=("clip", "frame"), hidden=16, width=8),
        "caption": SayCaptions(width=16, heads=2),
    }
    streams = {
        "frame": Stream(pairing=Still(), frames=1, tubelet_frames=1, tower=Joint()),
        "words": Stream(signal=Words(frames=4), tower=Bare()),
    }
    encoder = Vit(width=32, depth=1, heads=2).build(CLIP)
    task = Pretraining(CLIP, encoder, Tube(ratio=0.5), objectives, JOINT, streams=streams)
    return replace(Context(task.encoder, corpus, CLIP, Data(sampling=Sampling(stride=1)), task=task), **changes)


def made_up(split: str, count: int, apart: float, seed: int) -> Features:
    """Clips of four classes in pairs of one group; `apart` is how far the classes are from each other."""
    rng = torch.Generator().manual_seed(2 * seed + (split == "test"))
    centres = torch.randn(CLASSES, 16, generator=torch.Generator().manual_seed(99))
    label = torch.arange(count) // 2 % CLASSES
    mean = torch.randn(count, 16, generator=rng) + apart * centres[label]
    return Features(
        mean=mean,
        temporal_concat=torch.cat([mean, torch.randn(count, 16, generator=rng)], 1),
        label=label,
        ids=tuple(f"{split}-{i}" for i in range(count)),
        groups=tuple(f"{split}-group-{i // 2}" for i in range(count)),
        tokens=Tokens(tuple(torch.cat([mean, mean], 1).half().numpy()), 16),
    )


def measured(evaluation: Evaluation, corpus: Corpus, train: Features, test: Features, labels=None) -> dict:
    if labels is None:
        labels = {i: f"class {n}" for part in (train, test) for i, n in zip(part.ids, part.label.tolist(), strict=True)}
    context = context_of(corpus, task=None, labels=labels, computed={"train": train, "test": test})
    return evaluation.run(context)


QUICKER = {
    FewShot: {"episodes": 60},
    LowLabel: {"shares": (0.05, 1.0), "draws": 1},
    Attentive: {"rates": (1e-3, 3e-3), "epochs": 12, "batch": 32},
    Multiview: {"views": "2x1"},
}


def quick(cls: type[Evaluation], **settings) -> Evaluation:
    """With less of what only takes time."""
    return cls(samples=200, **QUICKER.get(cls, {}), **settings)


@pytest.fixture(scope="module")
def plainly(corpus) -> Callable[[type[Evaluation]], Result]:
    """What an evaluation says of the corpus, asked once."""
    return cache(lambda cls: quick(cls).run(context_of(corpus)))


def headlines(result: Result) -> dict[str, float]:
    found = {name: one.value for name, one in result.metrics.items() if name.rpartition(".")[2] in HEADLINES}
    assert found
    return found


@every_probe
def test_features_that_tell_the_classes_apart_score_one(evaluation_class, corpus):
    result = measured(quick(evaluation_class), corpus, made_up("train", 160, 8.0, 0), made_up("test", 80, 8.0, 0))
    assert min(headlines(result).values()) >= 0.99


@every_probe
def test_noise_is_at_chance_within_the_interval(evaluation_class, corpus):
    inside = total = 0
    for seed in range(6):
        result = measured(
            quick(evaluation_class), corpus, made_up("train", 160, 0.0, seed), made_up("test", 160, 0.0, seed)
        )
        for name in headlines(result):
            low, high = result.metrics[name].interval
            inside, total = inside + (low <= 1 / CLASSES <= high), total + 1
            assert abs(result.metrics[name].value - 1 / CLASSES) < 0.15
    assert inside >= 0.75 * total  # of 95 % intervals; 12 or so draws


@every_probe
def test_shuffled_labels_fall_to_chance(evaluation_class, corpus):
    train, test = made_up("train", 160, 8.0, 0), made_up("test", 160, 8.0, 0)
    order = torch.randperm(160, generator=torch.Generator().manual_seed(1)).tolist()
    labels = {i: f"class {n}" for i, n in zip(test.ids, test.label.tolist(), strict=True)}
    labels |= {i: f"class {int(train.label[order[position]])}" for position, i in enumerate(train.ids)}
    for value in headlines(measured(quick(evaluation_class), corpus, train, test, labels)).values():
        assert value < 1 / CLASSES + 0.2


@every_probe
def test_nothing_is_selected_on_test(evaluation_class, corpus):
    train, test = made_up("train", 160, 0.7, 0), made_up("test", 80, 0.7, 0)
    result = measured(quick(evaluation_class), corpus, train, test)
    order = torch.randperm(80, generator=torch.Generator().manual_seed(1))
    other = measured(quick(evaluation_class), corpus, train, replace(test, label=test.label[order]))
    assert headlines(other) != headlines(result)
    for part in ("selected", "held_out_accuracy"):
        assert result.protocol.get(part) == other.protocol.get(part)
    for pool, part in result.details.items():
        assert part.get("predicted") == other.details[pool].get("predicted")


@every_probe
def test_a_group_is_never_on_both_sides_of_the_selection(evaluation_class, corpus):
    """Pairs of equal clips with random labels: whoever looks at the twin in selection believes in one neighbour."""
    train = made_up("train", 160, 0.0, 0)
    twin = torch.arange(160) // 2 * 2
    train = replace(
        train, mean=train.mean[twin], temporal_concat=train.temporal_concat[twin], tokens=train.tokens.rows(twin)
    )
    result = measured(quick(evaluation_class), corpus, train, made_up("test", 80, 0.0, 0))
    for scores in result.protocol.get("held_out_accuracy", {}).values():
        assert max(scores.values()) < 0.6


@every_evaluation
def test_labels_of_test_decide_nothing_but_what_counts_as_right(evaluation_class, corpus, plainly):
    """All of them, on files: what is selected and every answer stay, and where no label is read every number."""
    train = {video.id: str(video.label) for video in corpus.select("train")}
    shifted = {video.id: f"class {(index + index // 3) % 2}" for index, video in enumerate(corpus.select("test"))}
    one, other = plainly(evaluation_class), quick(evaluation_class).run(context_of(corpus, labels=train | shifted))
    for part in ("selected", "held_out_accuracy", "grid", "selection"):
        assert one.protocol.get(part) == other.protocol.get(part)
    for name, ours in one.details.items():
        assert ours.get("predicted") == other.details[name].get("predicted")
    assert (one.metrics == other.metrics) == (evaluation_class in UNLABELLED)


BY_TEXT_OR_WITHOUT_LABELS = (ZeroShot, *UNLABELLED)


@pytest.mark.parametrize(
    "evaluation_class",
    [
        cls
        for cls in EVALUATIONS
        if not cls.reads_features and cls not in (*BY_TEXT_OR_WITHOUT_LABELS, Missing, Streaming)
    ],
    ids=lambda c: c.name,
)
def test_files_are_told_apart_and_by_shuffled_labels_no_better_than_by_chance(evaluation_class, corpus):
    context = context_of(corpus, encoder=MeanImage(CLIP), task=None)
    assert min(headlines(quick(evaluation_class).run(context)).values()) == 1.0
    names, labels = [video.id for video in corpus.videos], [str(video.label) for video in corpus.videos]
    inside, values = [], []
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(len(labels))
        shuffled = {name: labels[position] for name, position in zip(names, order, strict=True)}
        result = quick(evaluation_class).run(replace(context, labels=shuffled))
        for name in headlines(result):
            if result.metrics[name].interval is None:
                continue
            low, high = result.metrics[name].interval
            inside.append(low <= 0.5 <= high)
            values.append(result.metrics[name].value)
    assert np.mean(inside) >= 0.75
    assert abs(np.mean(values) - 0.5) < 0.2


@every_evaluation
def test_the_same_context_gives_the_same_result_as_plain_values(evaluation_class, corpus, plainly):
    one, other = plainly(evaluation_class), quick(evaluation_class).run(context_of(corpus))
    assert one == other
    assert json.loads(json.dumps(one.to_json())) == json.loads(json.dumps(other.to_json()))
    assert Result.from_json(json.loads(json.dumps(one.to_json()))).to_json() == one.to_json()
    assert one.protocol
    assert one.counts
    for name, metric in one.metrics.items():
        assert type(metric.value) is float
        if metric.interval is not None:
            low, high = metric.interval
            assert low <= metric.value <= high, name


@every_evaluation
def test_a_corrupt_clip_of_test_lowers_used_is_named_and_is_never_replaced(evaluation_class, corpus, plainly, tmp_path):
    before = plainly(evaluation_class)
    broken = tmp_path / "broken"
    rows = []
    for video in corpus.videos:
        path = video.path
        if video.id == "clip 20":
            path = tmp_path / "20.mp4"
            path.write_bytes(Path(video.path).read_bytes()[:40] + b"nothing that decodes")
        same = ("id", "end", "fps", "frames", "width", "height", "label", "split")
        rows.append({"path": path, **{name: getattr(video, name) for name in same}})
    after = quick(evaluation_class).run(context_of(whole(broken, rows)))
    used = [counts.get("test", counts)["used"] for counts in (before.counts, after.counts)]
    failed = [counts.get("test", counts)["failed"] for counts in (before.counts, after.counts)]
    assert used == [8, 7]
    assert failed == [0, 1]
    names = after.failed["test"]
    assert len(names) == 1
    assert names[0].startswith("clip 20: ")
    for part in [part for part in after.details.values() if "predicted" in part]:
        assert sorted(part["predicted"]) == sorted(f"clip {i}" for i in range(16, 24) if i != 20)


def test_names_are_those_of_the_command_line():
    names = [cls.name for cls in EVALUATIONS]
    assert len(set(names)) == len(names)
    assert all(name.islower() for name in names)
