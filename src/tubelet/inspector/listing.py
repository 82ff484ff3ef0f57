"""The rows of the page: filtered by what the table says of them, fifty at a time."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from tubelet.corpus.schema import Video
from tubelet.corpus.table import Corpus, normalise_text
from tubelet.escape import visible
from tubelet.inspector.subject import Settings

PAGE = 50
LABELS = 1000  # that the page offers to filter by
LEFT_OUT = "left out"  # by `tubelet curate`: offered beside the states of files


@dataclass(frozen=True)
class Filter:
    """Which rows; an empty text asks for nothing. `words` must all stand in the id, the label or a caption."""

    split: str = ""
    label: str = ""
    status: str = ""
    words: str = ""


@dataclass(frozen=True)
class Listing:
    """The rows of a corpus."""

    corpus: Corpus
    found: dict[Filter, list[int]] = field(default_factory=dict)
    shown: list[int] = field(default_factory=list)  # every row that was written out, in order

    def page(self, wanted: Filter, number: int, settings: tuple[Settings, ...]) -> dict[str, Any]:
        """One page of the rows that pass a filter, and how many pages there are."""
        rows = self.rows(wanted)
        pages = max(-(-len(rows) // PAGE), 1)
        number = min(max(number, 0), pages - 1)
        videos = [self.corpus.videos[row] for row in rows[number * PAGE : (number + 1) * PAGE]]
        self.shown.extend(video.row for video in videos)
        trained = trained_on(settings, videos)
        return {
            "rows": [self.row(video, trained) for video in videos],
            "total": len(rows), "page": number, "pages": pages,
        }  # fmt: skip

    def rows(self, wanted: Filter) -> list[int]:
        """Their numbers in the table, in its order; the last few filters are kept."""
        if wanted not in self.found:
            if len(self.found) > 8:
                self.found.clear()
            words = normalise_text(wanted.words).split()
            self.found[wanted] = [
                video.row
                for video in self.corpus.videos
                if wanted.split in ("", video.split)
                and wanted.label in ("", video.label)
                and (wanted.status in ("", video.status) or (wanted.status == LEFT_OUT and video.keep is False))
                and (not words or self.says(video, words))
            ]
        return self.found[wanted]

    def says(self, video: Video, words: list[str]) -> bool:
        texts = (video.id, video.label or "", *(caption.text for caption in self.corpus.captions_of(video)))
        said = normalise_text(" ".join(texts))
        return all(word in said for word in words)

    def row(self, video: Video, trained: Mapping[str, str]) -> dict[str, Any]:
        captions = self.corpus.captions_of(video)
        return {
            "row": video.row, "id": visible(video.id), "label": visible(video.label or ""),
            "split": visible(video.split), "status": visible(video.status), "reason": visible(video.reason),
            "caption": visible(captions[0].text) if captions else "", "trained_on": trained.get(video.id, ""),
            "left_out": video.keep is False,
        }  # fmt: skip

    @cached_property
    def choices(self) -> dict[str, dict[str, int]]:
        """What rows can be filtered by, with how many have it."""
        videos, out = self.corpus.videos, self.corpus.count_left_out()
        return {
            "split": dict(sorted(Counter(video.split for video in videos).items())),
            "label": dict(sorted(Counter(video.label for video in videos if video.label).items())[:LABELS]),
            "status": dict(Counter(video.status for video in videos).most_common()) | ({LEFT_OUT: out} if out else {}),
        }


def trained_on(settings: tuple[Settings, ...], videos: list[Video]) -> dict[str, str]:
    """By id: which runs were trained on a video, and in which roles."""
    found: dict[str, list[str]] = {}
    for one in settings:
        for name, roles in one.trained_on(videos).items():
            found.setdefault(name, []).append(roles if len(settings) == 1 else f"{one.name}: {roles}")
    return {name: "; ".join(said) for name, said in found.items()}
