"""Search: the clips that lie nearest to a sentence in the joint space of a run's contrast head, or to another clip by
the encoder's own features."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from tubelet.aligners.unknown_words import check_text
from tubelet.corpus.rows import seconds
from tubelet.corpus.table import Corpus, Video, normalise_text
from tubelet.errors import CorpusError, RunError, WeightsError
from tubelet.escape import one_line
from tubelet.evaluations.features import Features
from tubelet.evaluations.knn import neighbours
from tubelet.evaluations.pictures import middle_frame
from tubelet.files import writing
from tubelet.objectives.base import TextHead
from tubelet.stores.embeddings import Embeddings, same_texts
from tubelet.tasks import Pretraining

COLUMNS, TILE, MARGIN, LINE = 4, 224, 12, 17
INK, GREY = (20, 20, 20), (110, 110, 110)


@dataclass(frozen=True)
class Hit:
    """One clip, the nearest first."""

    video: Video
    score: float  # cosine


def head_of(task: Pretraining, run: Path) -> TextHead:
    """The head that compares clips with texts."""
    head = task.text_head
    if head is None:
        raise RunError(
            f"{run} cannot be searched by text: it was trained without captions; train one with the objective "
            "Contrast, as the recipes text_guided and tiny_text_guided do"
        )
    return head


def text_vector(
    text: str, aligner: Any | None, trained_with: str, *known: Corpus, series: str | None = None
) -> Float[Tensor, "e"]:
    """The embedding of a text by the model that the run was trained with: kept ones of these corpora, else made now.

    `trained_with` is that model's identity, `series` where it left the embeddings that the run was trained with.
    """
    if not (said := normalise_text(text)):
        raise CorpusError('a search needs words, as in `tubelet search RUN "a red star" --on CORPUS`')
    for corpus in known:
        try:
            embeddings = Embeddings.open(corpus, series)
            if same_texts(str(embeddings.about["model"]), trained_with):
                return torch.from_numpy(np.array(embeddings.of_text(said)))
        except CorpusError:
            continue  # this text, or any, is not there
    if aligner is None:
        raise WeightsError(
            f"{text!r} is no caption that has an embedding already, and the model that makes one ({trained_with}) is "
            "not beside the corpus; name it with --aligner FOLDER-OR-NAME"
        )
    if not same_texts(aligner.identity, trained_with):
        raise WeightsError(
            f"the run was trained with texts of {trained_with}, and this aligner is {aligner.identity}; name the one "
            "that the run was trained with, with --aligner"
        )
    return aligner.texts([said])[0].float()


def words_unlearned(text: str, aligner: Any | None, trained_with: str) -> list[str]:
    """A sentence about words of the text that the run's aligner never learned; refused where it learned none."""
    if aligner is None or not same_texts(aligner.identity, trained_with):
        return []
    return check_text(aligner, text)


def nearest(
    head: Any, features: Features, vector: Float[Tensor, "e"], videos: Mapping[str, Video], most: int
) -> list[Hit]:
    """The clips by falling cosine; equal ones in the order of the table."""
    device = next(head.parameters()).device
    with torch.inference_mode():
        clips = head.embed_video(features.mean[:, None].to(device)).cpu()
        score = clips @ head.embed_text(vector[None].to(device)).cpu()[0]
    order = score.argsort(descending=True, stable=True)[:most].tolist()
    return [Hit(videos[features.ids[place]], float(score[place])) for place in order]


@dataclass(frozen=True)
class Asked:
    """The clip that others are to be like."""

    path: Path
    start: float | None  # seconds of the video; None: its middle
    video: str | None  # its id, where it is one of the corpus


def clip_named(name: str, corpus: Corpus) -> Asked:
    """`FILE` or `ID`, or either with `@SECONDS`; a file or an id that has an @ in its own name is taken first."""
    videos = {video.id: video for video in corpus.videos}
    whole, _, after = name.rpartition("@")
    for text, start in ((name, None), (whole, after)):
        if text in videos or (text and Path(text).expanduser().exists()):
            moment = None if start is None else seconds(start, "--like", "start")
            if text not in videos:
                return Asked(Path(text).expanduser(), moment, None)
            video = videos[text]
            if video.status != "ok":
                raise CorpusError(f"{text} cannot be read ({video.reason or video.status}); name another clip")
            return Asked(video.path, moment, text)
    raise CorpusError(
        f"--like {name}: there is no such file, and corpus {corpus.name} has no video of this id; "
        "its ids stand in videos.parquet"
    )


def alike(
    features: Features, vector: Float[Tensor, "d"], corpus: Corpus, most: int, asked: str | None = None
) -> list[Hit]:
    """The clips whose features lie nearest to this one, by cosine after subtracting the mean of all that are searched,
    as kNN does; the clip that was asked for is not its own answer."""
    videos = {video.id: video for video in corpus.videos}
    bank = features.mean.double()
    shift = bank.mean(0) if len(bank) > 1 else torch.zeros_like(bank[0])
    score, order = (found[0] for found in neighbours(bank - shift, vector[None].double() - shift, len(bank)))
    hits = [
        Hit(videos[features.ids[place]], value) for value, place in zip(score.tolist(), order.tolist(), strict=True)
    ]
    return [hit for hit in hits if hit.video.id != asked][:most]


def told(text: str, hits: Sequence[Hit], corpus: Corpus) -> dict[str, Any]:
    """The search as an example of a result: right is a clip that has the text as a caption, of others nobody knows."""
    said = normalise_text(text)
    right = {caption.video for caption in corpus.captions if normalise_text(caption.text) == said}
    answers = [{"answer": hit.video.id, "score": hit.score, "right": hit.video.id in right or None} for hit in hits]
    return {"query": text, "answers": answers}


def draw(text: str, hits: Sequence[Hit], path: Path) -> None:
    """The middle frames of the hits, four a row, each with its score and its name, as a PNG."""
    title, small = ImageFont.load_default(18), ImageFont.load_default(13)
    rows = -(-len(hits) // COLUMNS)
    top, cell = MARGIN + 34, TILE + 2 * LINE + MARGIN
    sheet = Image.new("RGB", (MARGIN + COLUMNS * (TILE + MARGIN), top + rows * cell + MARGIN), (255, 255, 255))
    pen = ImageDraw.Draw(sheet)
    pen.text((MARGIN, MARGIN), one_line(text), INK, title)
    for place, hit in enumerate(hits):
        left, high = MARGIN + place % COLUMNS * (TILE + MARGIN), top + place // COLUMNS * cell
        frame = middle_frame(hit.video)
        if frame is not None:
            sheet.paste(Image.fromarray(frame).resize((TILE, TILE), Image.Resampling.BICUBIC), (left, high))
        label = "".join(f"   {one_line(word)}" for word in (hit.video.split, hit.video.label) if word)
        said = f"{place + 1}   {hit.score:.3f}{label}"
        while small.getlength(said) > TILE:
            said = f"{said[:-2]}…"
        pen.text((left, high + TILE + 3), said, INK, small)
        pen.text((left, high + TILE + 3 + LINE), shortened(one_line(hit.video.id), small), GREY, small)
    with writing(path) as part:
        sheet.save(part, format="PNG", optimize=True)


def shortened(name: str, font: Any) -> str:
    """The end of a name that is too long for a tile."""
    if font.getlength(name) <= TILE:
        return name
    while name and font.getlength("..." + name) > TILE:
        name = name[1:]
    return "..." + name
