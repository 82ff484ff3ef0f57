"""Some of a corpus's videos, by what its table, or the truth beside the synthetic dataset, says of them."""

from collections.abc import Sequence
from dataclasses import fields

from tubelet.corpus.schema import Video
from tubelet.corpus.table import Corpus
from tubelet.errors import CorpusError, RecipeError
from tubelet.synthetic import truth_in_words


def filter_videos(corpus: Corpus, videos: Sequence[Video], where: str | None) -> Sequence[Video]:
    """The videos of which COLUMN=VALUE holds; all of them where nothing is asked."""
    if where is None:
        return videos
    column, sign, value = where.partition("=")
    if not sign or not column:
        raise RecipeError(f"data.where={where} must be COLUMN=VALUE, as camera=pan")
    said = column_of(corpus, column)
    found = [video for video in videos if said.get(video.id) == value]
    if not found:
        there = ", ".join(sorted({said[video.id] for video in videos if video.id in said})[:12]) or "nothing"
        raise CorpusError(
            f"no video of corpus {corpus.name} has {where} among those asked for; {column} is {there} there"
        )
    return found


def column_of(corpus: Corpus, column: str) -> dict[str, str]:
    """Video id -> what this column says of it, as text; videos of which it says nothing are not in it."""
    own = [field.name for field in fields(Video)]
    if column in own:
        return {video.id: str(value) for video in corpus.videos if (value := getattr(video, column)) is not None}
    truth = truth_in_words(corpus.folder) or {}
    if column not in truth:
        raise CorpusError(
            f"nothing says {column!r} of the videos of {corpus.folder}; known: {', '.join([*own, *truth])}"
        )
    pairs = zip(truth["video"], truth[column], strict=True)
    return {video: str(value) for video, value in pairs if value is not None}
