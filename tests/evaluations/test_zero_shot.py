"""Zero-shot by prompts: the arithmetic, the doors, and that no label decides anything."""

from dataclasses import replace

import pytest
import torch
from torch.nn.functional import normalize

from support.aligners import JOINT, aligned
from tubelet.aligners.config import Shape
from tubelet.aligners.small import SmallAligner, Towers
from tubelet.aligners.vocabulary import Vocabulary
from tubelet.corpus.write import write_corpus
from tubelet.errors import CorpusError, RecipeError
from tubelet.evaluations import Context, Features, ZeroShot
from tubelet.evaluations.zero_shot import prompts
from tubelet.maskers import Tube
from tubelet.models.encoder import Vit
from tubelet.objectives import Contrast
from tubelet.tasks import Pretraining


@pytest.fixture
def context(small, clip, data, tmp_path) -> Context:
    same = ("id", "path", "end", "fps", "frames", "width", "height", "label", "split", "group", "status", "reason")
    rows = [{name: getattr(video, name) for name in same} for video in small.videos]
    captions = [{"video": c.video, "text": c.text, "source": c.source} for c in small.captions]
    corpus = write_corpus(tmp_path / "aligned", "aligned", rows, captions)
    aligned(corpus)
    torch.manual_seed(1)
    task = Pretraining(clip, Vit(width=32, depth=1, heads=2).build(clip), Tube(ratio=0.5), {"c": Contrast()}, JOINT)
    return Context(task.encoder, corpus, clip, data, task=task)


class Counted:
    """Says a new vector for every text."""

    identity, width = "counted", 3

    def __init__(self) -> None:
        self.said: list[str] = []

    def patches(self, frames):
        raise NotImplementedError

    def texts(self, texts):
        self.said += texts
        return torch.arange(1.0, len(texts) * 3 + 1).view(-1, 3)


def test_the_vector_of_a_class_is_the_mean_of_its_prompts():
    aligner = Counted()
    vectors = prompts(aligner, ["jump rope", "Run"], ("{}", "a video of {}!"))
    assert aligner.said == ["jump rope", "a video of jump rope", "run", "a video of run"]
    rows = normalize(torch.arange(1.0, 13.0).view(4, 3), dim=1)
    torch.testing.assert_close(vectors, torch.stack([rows[:2].mean(0), rows[2:].mean(0)]))


def test_a_clip_gets_the_class_that_is_nearest_through_the_head(context):
    result = ZeroShot(samples=50).run(context)
    head, aligner = context.task.objectives["c"], SmallAligner.load(context.corpus.folder / "aligner")
    vectors = prompts(aligner, ["falls", "rises"], ZeroShot().templates)
    features = context.features("test").with_label()
    with torch.no_grad():
        nearest = (head.embed_video(features.mean[:, None]) @ head.embed_text(vectors).T).argmax(1)
    said = {name: ("falls", "rises")[c] for name, c in zip(features.ids, nearest.tolist(), strict=True)}
    assert result.details["contrast"]["predicted"] == said
    assert result.metrics["accuracy"].chance == 0.5
    assert result.counts["test"]["failed"] == 2


def test_features_that_point_at_their_prompt_are_all_right_and_labels_change_no_answer(context):
    head = context.task.objectives["c"]
    vectors = prompts(SmallAligner.load(context.corpus.folder / "aligner"), ["falls", "rises"], ZeroShot().templates)
    with torch.no_grad():
        mean = head.embed_text(vectors)[[0, 1, 0, 1, 1, 0]] @ torch.linalg.pinv(head.video.weight).T
    made = Features(mean, mean, torch.zeros(6).long(), tuple("abcdef"), tuple("abcdef"))
    right = {name: ("falls", "rises")[c] for name, c in zip("abcdef", [0, 1, 0, 1, 1, 0], strict=True)}
    result = ZeroShot(samples=50).run(replace(context, labels=right, computed={"test": made}))
    assert result.metrics["accuracy"].value == 1.0
    wrong = {name: {"falls": "rises", "rises": "falls"}[label] for name, label in right.items()}
    other = ZeroShot(samples=50).run(replace(context, labels=wrong, computed={"test": made}))
    assert other.metrics["accuracy"].value == 0.0
    assert other.details["contrast"]["predicted"] == result.details["contrast"]["predicted"]


def test_clips_that_say_nothing_are_at_chance_within_the_interval(context):
    inside = []
    for seed in range(8):
        rng = torch.Generator().manual_seed(seed)
        noise = torch.randn(120, 32, generator=rng)
        names = tuple(f"clip {i}" for i in range(120))
        labels = {name: ("falls", "rises")[i % 2] for i, name in enumerate(names)}
        made = Features(noise, noise, torch.zeros(120).long(), names, tuple(f"group {i // 2}" for i in range(120)))
        result = ZeroShot(samples=200).run(replace(context, labels=labels, computed={"test": made}))
        low, high = result.metrics["accuracy"].interval
        inside.append(low <= 0.5 <= high)
    assert sum(inside) >= 6  # of 95 % intervals


def test_of_many_classes_the_first_five_count_too(context):
    labels = {video.id: f"way {video.row % 7}" for video in context.corpus.videos}
    metrics = ZeroShot(samples=50).run(replace(context, labels=labels)).metrics
    assert metrics["accuracy"].value <= metrics["top5_accuracy"].value <= 1
    assert metrics["accuracy"].chance == pytest.approx(1 / 7)


def test_the_doors_say_what_to_do(context, tmp_path):
    with pytest.raises(RecipeError, match="a run with a contrast head"):
        ZeroShot().run(replace(context, task=None))
    with pytest.raises(RecipeError, match="where the class goes"):
        ZeroShot(templates=("a video",))
    with pytest.raises(CorpusError, match="needs labels"):
        ZeroShot().run(replace(context, labels={"nobody": "x"}))
    torch.manual_seed(5)
    words, shape = Vocabulary.of(["one two"]), Shape(side=16, width=8, depth=1, text_width=8, joint=6)
    SmallAligner(shape, words, Towers(shape, words.size)).save(tmp_path / "other")
    with pytest.raises(CorpusError, match="name the same model"):
        ZeroShot(aligner=str(tmp_path / "other")).run(context)
