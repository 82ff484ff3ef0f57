"""What the captions of a corpus are like: coverage, lengths, words, faults, and samples beside their frames."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from tubelet import contact_sheet as sheets
from tubelet.captioning.quality import Faults, faults, words
from tubelet.checksums import write_json
from tubelet.contact_sheet import Picture, Row, fitted, wrapped
from tubelet.corpus.schema import Caption, Video
from tubelet.corpus.table import Corpus, normalise_text
from tubelet.errors import CorpusError, VideoError
from tubelet.escape import one_line
from tubelet.seeds import generator
from tubelet.video.reader import glance
from tubelet.wording import plural

FUNCTION_WORDS = frozenset((
    "a", "an", "and", "are", "as", "at", "be", "being", "by", "for", "from", "has", "have", "he", "her", "his", "in",
    "into", "is", "it", "its", "of", "off", "on", "or", "she", "some", "something", "that", "the", "their", "them",
    "then", "there", "they", "this", "to", "up", "was", "were", "while", "who", "with",
))  # fmt: skip
SAMPLES = 12
TALL, WIDEST = 180, 320  # pixels of a sample's frame


@dataclass(frozen=True)
class SourceSummary:
    """The captions of one source."""

    name: str
    model: str | None
    captions: int
    videos: int
    distinct: int  # texts
    shortest: int  # words
    middle: float
    longest: int
    faults: Faults


@dataclass(frozen=True)
class SheetFiles:
    """The files of an overview, and the samples of which no frame could be read, with the reason."""

    files: list[Path]
    failed: list[str]


@dataclass(frozen=True)
class Overview:
    """All of it. `coverage` is (videos with a caption, usable videos) of every split."""

    corpus: Corpus
    captions: Sequence[Caption]
    coverage: dict[str, tuple[int, int]]
    sources: list[SourceSummary]
    common: list[tuple[str, int]]  # word, captions that hold it
    without: list[str]  # ids of usable videos that have none

    def lines(self) -> list[str]:
        """In words, for the command line."""
        videos = [sum(numbers) for numbers in zip(*self.coverage.values(), strict=True)]
        splits = ", ".join(f"{name} {share(*numbers)}" for name, numbers in sorted(self.coverage.items()))
        lines = [
            f"{self.corpus.name}: {plural(len(self.captions), 'caption')} of {videos[0]} of {videos[1]} usable videos "
            f"({splits})"
        ]
        for source in self.sources:
            by = f", by {source.model}" if source.model else ""
            lines.append(
                f"  {source.name}{by}: {plural(source.captions, 'caption')} of {plural(source.videos, 'video')}, "
                f"{source.distinct} different; {source.middle:g} words ({source.shortest} to {source.longest})"
            )
            lines += [f"    {line}" for line in source.faults.lines()]
        if self.common:
            lines.append("  most common words: " + ", ".join(f"{word} {count}" for word, count in self.common))
        if self.without:
            lines.append(f"  without any: {plural(len(self.without), 'video')} (first: {self.without[0]})")
        return lines

    def __repr__(self) -> str:
        return "\n".join(map(one_line, self.lines()))

    def as_json(self) -> dict[str, Any]:
        return {
            "corpus": {"name": self.corpus.name, "fingerprint": self.corpus.fingerprint()},
            "coverage": {name: dict(zip(("with", "usable"), n, strict=True)) for name, n in self.coverage.items()},
            "sources": [asdict(source) for source in self.sources],
            "common": dict(self.common),
            "without": self.without,
        }


def captions(corpus: Corpus | str | Path, source: str | None = None) -> Overview:
    """What the captions of a corpus are like, all of them or those of one source: coverage, lengths, words, faults."""
    corpus = Corpus.of(corpus)
    if not corpus.captions:
        raise CorpusError(
            f"{corpus.folder} has no captions; write some with `tubelet caption {corpus.folder} captioner=...`"
        )
    return overview(corpus, source)


def write_overview(found: Overview, out: Path | None = None, count: int = SAMPLES, seed: int = 0) -> SheetFiles:
    """Writes captions.json and, of so many samples, captions.png into a folder (that of the corpus's captions)."""
    if count < 0:
        raise CorpusError(f"--samples must be 0 or more, not {count}")
    out = out or found.corpus.folder / "captions"
    out.mkdir(parents=True, exist_ok=True)
    files, failed = [out / "captions.json"], []
    write_json(files[0], found.as_json())
    if count and found.captions:
        failed = draw_samples(samples(found, count, seed), out / "captions.png")
        files.append(out / "captions.png")
    return SheetFiles(files, failed)


def overview(corpus: Corpus, source: str | None = None, common: int = 15) -> Overview:
    """Of all captions, or of those of one source."""
    if source is not None and source not in corpus.sources:
        there = ", ".join(corpus.sources) or "none at all"
        raise CorpusError(f"{corpus.folder} has no captions of source {source!r}; it has: {there}")
    usable = corpus.select("all")
    ids = {video.id for video in usable}
    captions = [c for c in corpus.captions if source in (None, c.source) and c.video in ids]
    described = {caption.video for caption in captions}
    splits = Counter(video.split for video in usable)
    covered = Counter(video.split for video in usable if video.id in described)
    counts = Counter(word for caption in captions for word in set(words(caption.text)) - FUNCTION_WORDS)
    groups: dict[tuple[str, str | None], list[Caption]] = {}
    for caption in captions:
        groups.setdefault((caption.source, caption.model), []).append(caption)
    return Overview(
        corpus=corpus,
        captions=captions,
        coverage={split: (covered[split], splits[split]) for split in splits} or {"train": (0, 0)},
        sources=[about(name, model, some) for (name, model), some in sorted(groups.items(), key=lambda i: str(i[0]))],
        common=sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:common],
        without=[video.id for video in usable if video.id not in described],
    )


def about(name: str, model: str | None, captions: Sequence[Caption]) -> SourceSummary:
    lengths = [len(words(caption.text)) for caption in captions]
    return SourceSummary(
        name=name,
        model=model,
        captions=len(captions),
        videos=len({caption.video for caption in captions}),
        distinct=len({normalise_text(caption.text) for caption in captions}),
        shortest=min(lengths),
        middle=float(median(lengths)),
        longest=max(lengths),
        faults=faults([{"video": caption.video, "text": caption.text} for caption in captions]),
    )


def share(part: int, whole: int) -> str:
    return f"{part / whole:.0%}" if whole else "none"


def samples(found: Overview, count: int = SAMPLES, seed: int = 0) -> list[tuple[Video, Caption]]:
    """Some captions with their videos, the same ones every time, of as many videos as there are."""
    videos = {video.id: video for video in found.corpus.select("all")}
    mixed = [found.captions[index] for index in generator(seed, "sample captions").permutation(len(found.captions))]
    first = {caption.video: caption for caption in reversed(mixed)}
    rest = [caption for caption in mixed if first[caption.video] is not caption]
    return [(videos[caption.video], caption) for caption in [*first.values(), *rest][:count]]


def draw_samples(chosen: Sequence[tuple[Video, Caption]], path: Path, columns: int = 4) -> list[str]:
    """The samples as a picture: the frame that a caption speaks of, the caption below. Returns what fails."""
    seen, failed = [], []
    for video, caption in chosen:
        moment = (video.start + video.end) / 2 if caption.time is None else caption.time
        try:
            seen.append((fitted(glance(video.path, moment, video.reading), TALL, WIDEST), video, caption))
        except VideoError as error:
            failed.append(f"{video.id}: {error}")
    starts = range(0, len(seen), columns)
    if seen:
        sheets.draw([sheet_row(seen[start : start + columns]) for start in starts], path)
    return failed


def sheet_row(some: Sequence[tuple[Picture, Video, Caption]]) -> Row:
    """Frames with their videos and captions below."""
    width = max(frame.shape[1] for frame, _, _ in some)
    below = []
    for _, video, caption in some:
        said = wrapped(caption.text, width)
        below.append([*said[:4], *(["…"] if len(said) > 4 else []), f"{video.id}  [{caption.source}]"])
    return Row([frame for frame, _, _ in some], below=below)
