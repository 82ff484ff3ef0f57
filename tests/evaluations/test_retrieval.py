"""Ranks and precision against loops that anyone can check."""

from dataclasses import replace
from zlib import crc32

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tubelet.corpus.captions import CaptionChoice
from tubelet.corpus.table import normalise_text
from tubelet.corpus.write import write_corpus
from tubelet.errors import CorpusError
from tubelet.evaluations import Context, Retrieval
from tubelet.evaluations.intervals import of_mean
from tubelet.evaluations.retrieval import average_precision, hit, ranks
from tubelet.maskers import Tube
from tubelet.models.encoder import Vit
from tubelet.objectives import Contrast
from tubelet.stores.embeddings import Embeddings, EmbeddingsWriter
from tubelet.tasks import Pretraining


def loop(similarity: list[float], correct: list[bool]) -> tuple[int, float]:
    """The rank of the first right answer and the average precision; a wrong answer comes before its equals."""
    order = sorted(range(len(similarity)), key=lambda i: (-similarity[i], correct[i]))
    first, found, total = 0, 0, 0.0
    for index, i in enumerate(order, start=1):
        if correct[i]:
            first = first or index
            found += 1
            total += found / index
    return first, total / found


answers = st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=1, max_size=12).filter(
    lambda some: any(right for _, right in some)
)


@settings(deadline=None)
@given(answers)
def test_ranks_and_precision_are_those_of_a_ten_line_loop_ties_included(some):
    similarity, correct = [float(s) for s, _ in some], [right for _, right in some]
    rank, precision = loop(similarity, correct)
    assert ranks(torch.tensor([similarity]), torch.tensor([correct])).tolist() == [rank]
    assert average_precision(torch.tensor([similarity]), torch.tensor([correct])).item() == pytest.approx(precision)


def test_features_that_are_all_equal_score_nothing():
    correct = torch.eye(6, dtype=torch.bool)
    assert ranks(torch.zeros(6, 6), correct).tolist() == [6] * 6


@pytest.mark.parametrize(("right", "size", "draws"), [(1, 10, 1), (3, 10, 5), (2, 4, 10), (4, 7, 2)])
def test_chance_is_what_random_orders_score(right, size, draws):
    rng = torch.Generator().manual_seed(0)
    similarity = torch.rand(20_000, size, generator=rng)
    correct = torch.zeros(20_000, size, dtype=torch.bool)
    correct[:, :right] = True
    measured = (ranks(similarity, correct) <= draws).float().mean().item()
    assert hit(right, size, draws) == pytest.approx(measured, abs=0.015)


def test_the_interval_of_a_mean_holds_it_and_needs_two_groups():
    values = torch.tensor([0.0, 1.0] * 20, dtype=torch.float64)
    low, high = of_mean(values.numpy(), [str(i) for i in range(40)], seed=0, samples=500)
    assert 0.3 < low < 0.5 < high < 0.7
    assert of_mean(values.numpy(), ["one"] * 40, seed=0, samples=500) is None


@pytest.fixture(scope="module")
def embedded(small):
    """The small corpus with an embedding of every caption."""
    with EmbeddingsWriter(small, "random", 6) as writer:
        for text in sorted({normalise_text(caption.text) for caption in small.captions}):
            vector = np.random.default_rng(crc32(text.encode())).normal(size=6).astype(np.float32)
            writer.add(text, vector)
        writer.finish()
    return small


@pytest.fixture
def context(embedded, clip, data):
    torch.manual_seed(3)
    task = Pretraining(
        clip,
        Vit(width=32, depth=1, heads=2).build(clip),
        Tube(ratio=0.5),
        {"contrast": Contrast(width=5)},
        text_width=6,
    )
    return Context(task.encoder, embedded, clip, data, task=task)


@pytest.mark.parametrize("source", [None, "subject", "verb"])
def test_text_and_video_are_ranked_as_a_loop_over_pairs_ranks_them(context, source):
    result = Retrieval(source=source).run(context)
    corpus, head = context.corpus, context.task.objectives["contrast"]
    features, embeddings = context.features("test"), Embeddings.open(corpus)
    has = {
        name: {normalise_text(c.text) for c in corpus.captions if c.video == name and source in (None, c.source)}
        for name in features.ids
    }
    texts = sorted(set.union(*has.values()))
    score = {}
    with torch.no_grad():
        for row, name in enumerate(features.ids):
            video = head.embed_video(features.mean[row : row + 1, None])[0]
            for text in texts:
                vector = torch.from_numpy(embeddings.of_text(text).copy())
                score[name, text] = float(video.double() @ head.embed_text(vector[None])[0].double())
    by_text, by_video = [], []
    for text in texts:
        wrong = [score[name, text] for name in features.ids if text not in has[name]]
        best = max(score[name, text] for name in features.ids if text in has[name])
        by_text.append(1 + sum(w >= best for w in wrong))
    for name in features.ids:
        wrong = [score[name, text] for text in texts if text not in has[name]]
        best = max(score[name, text] for text in has[name])
        by_video.append(1 + sum(w >= best for w in wrong))
    for name, found in (("text_to_video", by_text), ("video_to_text", by_video)):
        assert result.metrics[f"{name}.median_rank"].value == float(np.median(found))
        for cut in (1, 5, 10):
            assert result.metrics[f"{name}.r@{cut}"].value == pytest.approx(np.mean([r <= cut for r in found]))
    group = dict(zip(features.ids, features.groups, strict=True))
    of_first = [next(group[name] for name in features.ids if text in has[name]) for text in texts]
    hits = torch.tensor([rank <= 5 for rank in by_text]).double()
    drawn = of_mean(hits.numpy(), of_first, seed=0, samples=1000)
    assert result.metrics["text_to_video.r@5"].interval == drawn
    counts = result.counts["text_and_video"]
    assert counts["distinct_captions"] == len(texts)
    assert counts["captions_per_video"] == (2 if source is None else 1)
    right = np.mean([sum(text in has[name] for name in features.ids) for text in texts])
    assert result.metrics["text_to_video.r@1"].chance == pytest.approx(right / len(features.ids))


def test_captions_are_those_of_pretraining_unless_said_otherwise(context):
    import chz

    data = chz.replace(context.data, captions=CaptionChoice(source="verb"))
    result = Retrieval().run(replace(context, data=data))
    assert result.counts["text_and_video"]["distinct_captions"] == 2
    assert "verb" in result.protocol["text_and_video"]


def test_the_head_sees_the_mean_of_the_tokens(context):
    tokens = torch.randn(3, 8, 32, generator=torch.Generator().manual_seed(0))
    head = context.task.objectives["contrast"]
    torch.testing.assert_close(head.embed_video(tokens), head.embed_video(tokens.mean(1, keepdim=True)))


def test_without_a_contrast_head_it_says_so_and_gives_video_to_video_alone(context):
    result = Retrieval().run(replace(context, task=None))
    assert any("no contrast head" in line for line in result.notes)
    assert all(name.startswith("video_to_video") for name in result.metrics)


def test_without_labels_and_head_nothing_can_be_measured_and_the_reasons_are_given(context):
    with pytest.raises(CorpusError, match=r"no labels; .*no contrast head"):
        Retrieval().run(replace(context, task=None, labels={}))


def test_a_single_video_with_captions_is_not_ranked_and_the_remedy_is_named(context, tmp_path):
    corpus = context.corpus
    rows = [{**vars(video), "split": "test" if index == 0 else "train"} for index, video in enumerate(corpus.videos)]
    for row in rows:
        del row["row"]
    lonely = write_corpus(tmp_path, "lonely", rows, [{"video": rows[0]["id"], "text": "a red square"}])
    with pytest.raises(CorpusError, match=r"split test holds one video with captions.*retrieval\.split=all"):
        Retrieval().run(replace(context, corpus=lonely, labels={}))


def test_embeddings_of_another_width_are_one_line(context, clip):
    task = Pretraining(clip, context.encoder, Tube(ratio=0.5), {"contrast": Contrast()}, text_width=9)
    with pytest.raises(CorpusError, match="6 wide"):
        Retrieval().run(replace(context, task=task))


def test_a_query_never_finds_its_own_group(context):
    """Gallery and queries from one split: the twin of every clip is in its group, and must not count."""
    result = Retrieval(split="train", gallery="train").run(replace(context, task=None))
    features = context.features("train")
    for example in result.examples["video to video"]:
        group = dict(zip(features.ids, features.groups, strict=True))
        assert all(group[a["answer"]] != group[example["query"]] for a in example["answers"])
    assert result.metrics["video_to_video.mean.r@1"].chance == pytest.approx(11 / 22)


def test_the_examples_leave_pictures_in_the_run_folder(context, tmp_path):
    Retrieval().run(replace(context, folder=tmp_path))
    assert (tmp_path / "pictures").is_dir()
    assert any((tmp_path / "pictures").iterdir())
