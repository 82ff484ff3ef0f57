"""Retrieval on frozen features: video to video by label; text to video and video to text through the contrast head.

The protocol, whole. Video to video: the queries are the clips of `split`, the gallery those of `gallery`, cosine of the
features less the gallery's mean; a clip with the query's label is right, one of the query's own group is left out. Text
and video: both from `split`; a query is a distinct normalised caption or a video; every video that has the caption is
right, and every caption of the video. The rank is that of the first right answer, from 1; a wrong answer with the same
score counts as before it, so that equal features score nothing.
"""

from collections.abc import Iterable, Mapping, Sequence
from math import comb
from typing import Any, ClassVar

import chz
import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn.functional import normalize

from tubelet.corpus.schema import Caption
from tubelet.corpus.table import Corpus, normalise_text
from tubelet.errors import CorpusError
from tubelet.evaluations.base import Context, Evaluation
from tubelet.evaluations.features import POOLED, POOLS, Features
from tubelet.evaluations.intervals import METHOD, of_mean
from tubelet.evaluations.pictures import keep_thumbnails, named_videos
from tubelet.results import RANK, Metric, QueryExample, Result

CUTS = (1, 5, 10)


@chz.chz
class Retrieval(Evaluation):
    name: ClassVar[str] = "retrieval"
    reads_features: ClassVar[bool] = True
    compares_text: ClassVar[bool] = True

    pools: tuple[str, ...] = chz.field(default=POOLS, doc="features of video to video")
    split: str = chz.field(default="test", doc="queries; of text and video also the gallery")
    gallery: str = chz.field(default="train", doc="gallery of video to video")
    source: str | None = chz.field(default=None, doc="captions of this source; as in pretraining where not given")
    samples: int = chz.field(default=1000, doc="bootstrap samples of the intervals")

    def run(self, context: Context) -> Result:
        queries = context.features(self.split)
        found, notes = [], []
        for part in (self.video_to_video, self.text_and_video):
            try:
                found.append(part(context, queries))
            except NotMeasured as reason:
                notes.append(str(reason))
        if not found:
            raise CorpusError("retrieval has nothing to measure: " + "; ".join(notes))
        examples = merge_mappings(part.examples for part in found)
        if context.pictures is not None:
            keep_thumbnails(context.corpus, named_videos(examples), context.pictures)
        return Result(
            metrics=merge_mappings(part.metrics for part in found),
            protocol={
                "features": f"frozen encoder, one centre clip a video; {POOLED}",
                "rank": "of the first right answer, from 1; wrong answers of equal score come before it",
                "intervals": f"95 %, {self.samples} bootstrap samples of whole groups of query videos; a caption "
                f"is of the group of the first video that has it; {METHOD}",
                "seed": context.seed,
                **merge_mappings(part.protocol for part in found),
            },
            counts={self.split: with_or_without_label(queries)} | merge_mappings(part.counts for part in found),
            failed={self.split: list(queries.failed)} | merge_mappings(part.failed for part in found),
            examples=examples,
            notes=notes,
        )

    def video_to_video(self, context: Context, queries: Features) -> Result:
        every = context.features(self.gallery)
        queries, gallery = queries.with_label(), every.with_label()
        if not len(queries) or not len(gallery):
            raise NotMeasured("video to video is not measured: the videos have no labels")
        own = torch.from_numpy(np.array(queries.groups)[:, None] == np.array(gallery.groups))
        correct = (queries.label[:, None] == gallery.label) & ~own
        asked = correct.any(1)
        if not asked.any():
            raise NotMeasured("video to video is not measured: no query has its label in the gallery")
        groups = [group for group, ask in zip(queries.groups, asked.tolist(), strict=True) if ask]
        levels = recall_by_chance(correct[asked], (~own)[asked])
        metrics: dict[str, Metric] = {}
        for pool in self.pools:
            shift = gallery.pooled(pool).double().mean(0)
            similarity = cosine(queries.pooled(pool) - shift, gallery.pooled(pool) - shift)
            similarity = similarity.masked_fill(own, -2.0)[asked]
            name = f"video_to_video.{pool}"
            metrics |= self.recalls(name, similarity, correct[asked], groups, levels, context.seed)
            precision = average_precision(similarity, correct[asked])
            bounds = of_mean(precision.numpy(), groups, seed=context.seed, samples=self.samples)
            metrics[f"{name}.map"] = Metric(float(precision.mean()), bounds)
        ids = [i for i, ask in zip(queries.ids, asked.tolist(), strict=True) if ask]
        return Result(
            metrics=metrics,
            protocol={
                "video_to_video": f"{int(asked.sum())} queries of {self.split}, gallery of {len(gallery)} in "
                f"{self.gallery}; right: the same label"
            },
            counts={
                self.gallery: every.counts(),
                "video_to_video": {"queries": int(asked.sum()), "without_answer": int((~asked).sum())},
            },
            failed={self.gallery: list(every.failed)},
            examples={"video to video": examples(similarity, correct[asked], ids, gallery.ids)},
        )

    def text_and_video(self, context: Context, features: Features) -> Result:
        head = None if context.task is None else context.task.text_head
        if head is None:
            raise NotMeasured("text and video are not measured: the encoder has no contrast head")
        source = self.source or context.data.captions.source
        captions = captions_of(context.corpus, features, source)
        texts = sorted({normalise_text(caption.text) for some in captions for caption in some})
        if not texts:
            raise NotMeasured(
                f"text and video are not measured: no video of split {self.split} has a caption"
                + (f" of source {source}" if source else "")
            )
        if sum(map(bool, captions)) < 2:
            raise NotMeasured(
                f"text and video are not measured: split {self.split} holds one video with captions, and there is no "
                "other to tell it from; give a split column when indexing, or take all with retrieval.split=all "
                "(and --allow-seen, since the encoder was trained on some of them)"
            )
        vectors = embedded(context, captions, texts, head.text_width)
        device = next(head.parameters()).device
        with torch.inference_mode():
            video = head.embed_video(features.mean[:, None].to(device)).cpu()
            similarity = cosine(head.embed_text(vectors.to(device)).cpu(), video)  # c v
        number = {name: i for i, name in enumerate(texts)}
        has = torch.zeros(len(features), len(texts), dtype=torch.bool)
        for row, some in enumerate(captions):
            has[row, [number[normalise_text(caption.text)] for caption in some]] = True
        captioned = has.any(1)
        groups = [group for group, ask in zip(features.groups, captioned.tolist(), strict=True) if ask]
        first = has.double().argmax(0).tolist()  # of every caption the first video that has it, whose group it is of
        text_groups = [features.groups[row] for row in first]
        to_text, has_text, seed = similarity.T[captioned], has[captioned], context.seed
        ids = [i for i, ask in zip(features.ids, captioned.tolist(), strict=True) if ask]
        return Result(
            metrics=self.recalls("text_to_video", similarity, has.T, text_groups, recall_by_chance(has.T), seed)
            | self.recalls("video_to_text", to_text, has_text, groups, recall_by_chance(has_text), seed),
            protocol={
                "text_and_video": f"contrast head; {len(texts)} distinct captions"
                + (f" of source {source}" if source else "")
                + f", {has.sum() / captioned.sum():.2f} a video; {int(captioned.sum())} of {len(features)} videos of "
                f"{self.split} have captions; right: every video that has the caption"
            },
            counts={
                "text_and_video": {
                    "videos": len(features),
                    "captioned": int(captioned.sum()),
                    "captions": sum(map(len, captions)),
                    "distinct_captions": len(texts),
                    "captions_per_video": float(sum(map(len, captions)) / captioned.sum()),
                }
            },
            examples={
                "text to video": examples(similarity, has.T, texts, features.ids),
                "video to text": examples(to_text, has_text, ids, texts),
            },
        )

    def recalls(
        self,
        name: str,
        similarity: Float[Tensor, "q g"],
        correct: Bool[Tensor, "q g"],
        groups: Sequence[str],
        levels: Mapping[int, float],
        seed: int,
    ) -> dict[str, Metric]:
        """The share of the queries with a right answer among the first 1, 5 and 10, and the median rank of it."""
        rank = ranks(similarity, correct)
        found = {}
        for cut, level in levels.items():
            hits = (rank <= cut).double()
            bounds = of_mean(hits.numpy(), groups, seed=seed, samples=self.samples)
            found[f"{name}.r@{cut}"] = Metric(float(hits.mean()), bounds, level)
        return found | {f"{name}.median_rank": Metric(float(np.median(rank.numpy())), unit=RANK)}


class NotMeasured(Exception):
    """Why one half of the evaluation has nothing to measure."""


def embedded(
    context: Context, captions: Sequence[Sequence[Caption]], texts: Sequence[str], expected: int
) -> Float[Tensor, "c e"]:
    """The embeddings of these texts; `CorpusError` where one is missing, or they are not of the width expected."""
    embeddings = context.texts.embeddings(context.corpus)
    if missing := embeddings.missing([caption for some in captions for caption in some]):
        raise CorpusError(
            f"captions of {len(missing)} of {len(captions)} videos have no embedding (first: {missing[0]}); "
            f"make them with `tubelet saliency {context.corpus.folder} Text`"
        )
    if embeddings.width != expected:
        raise CorpusError(
            f"the caption embeddings of {context.corpus.folder} are {embeddings.width} wide and the contrast head "
            f"expects {expected}; make them with the model that the run was trained with"
        )
    return torch.from_numpy(np.stack([embeddings.of_text(name) for name in texts]))


def merge_mappings(parts: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    return {name: value for part in parts for name, value in part.items()}


def with_or_without_label(features: Features) -> dict[str, int]:
    """Texts and videos find each other without labels, so that every clip is used."""
    counts = features.counts()
    return {name: value for name, value in counts.items() if name != "unlabelled"} | {"used": len(features)}


def captions_of(corpus: Corpus, features: Features, source: str | None) -> list[list[Caption]]:
    """The captions of each video, in the order of the features."""
    videos = corpus.by_id
    return [corpus.captions_of(videos[i], source) for i in features.ids]


def cosine(queries: Float[Tensor, "q d"], gallery: Float[Tensor, "g d"]) -> Float[Tensor, "q g"]:
    return normalize(queries.double(), dim=1) @ normalize(gallery.double(), dim=1).T


def ranks(similarity: Float[Tensor, "q g"], correct: Bool[Tensor, "q g"]) -> Int64[Tensor, "q"]:
    """The rank of the best right answer; wrong answers of the same score come before it."""
    best = similarity.masked_fill(~correct, -torch.inf).amax(1, keepdim=True)
    return 1 + ((similarity >= best) & ~correct).sum(1)


def average_precision(similarity: Float[Tensor, "q g"], correct: Bool[Tensor, "q g"]) -> Float[Tensor, "q"]:
    """The mean, over the right answers, of the precision at their ranks; ties as in `ranks`."""
    wrong_first = correct.double().argsort(dim=1, stable=True)
    order = similarity.gather(1, wrong_first).argsort(dim=1, descending=True, stable=True)
    right = correct.gather(1, wrong_first.gather(1, order)).double()
    precision = right.cumsum(1) / torch.arange(1, right.shape[1] + 1)
    return (precision * right).sum(1) / right.sum(1)


def recall_by_chance(correct: Bool[Tensor, "q g"], allowed: Bool[Tensor, "q g"] | None = None) -> dict[int, float]:
    """What a random order of the gallery (of its allowed part) scores at each cut, exactly."""
    sizes = torch.full((len(correct),), correct.shape[1]) if allowed is None else allowed.sum(1)
    pairs = list(zip(correct.sum(1).tolist(), sizes.tolist(), strict=True))
    return {cut: float(np.mean([hit(right, size, cut) for right, size in pairs])) for cut in CUTS}


def hit(right: int, size: int, draws: int) -> float:
    """The probability that one of `right` among `size` is in `draws` drawn without replacement."""
    draws = min(draws, size)
    return 1 - comb(size - right, draws) / comb(size, draws)


def examples(
    similarity: Float[Tensor, "q g"], correct: Bool[Tensor, "q g"], queries: Sequence[str], gallery: Sequence[str]
) -> list[QueryExample]:
    """A few queries, evenly chosen, with their first five answers."""
    rank = ranks(similarity, correct).tolist()
    order = similarity.argsort(dim=1, descending=True, stable=True)[:, :5].tolist()
    chosen = sorted({round(i) for i in np.linspace(0, len(queries) - 1, 4)})
    return [
        {
            "query": queries[q],
            "rank": rank[q],
            "answers": [
                {"answer": gallery[g], "score": float(similarity[q, g]), "right": bool(correct[q, g])} for g in order[q]
            ],
        }
        for q in chosen
    ]
