"""Aligners side by side: where their maps find what captions name, next to controls, and how well they retrieve."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tubelet.aligners.config import SmallAlignerTraining
from tubelet.aligners.examples import read_examples
from tubelet.aligners.matching import Retrieval, retrieval
from tubelet.corpus.table import Corpus
from tubelet.diagnostics.maps import MapMeasures, measure_aligner
from tubelet.diagnostics.truth import AGAINST
from tubelet.errors import CorpusError
from tubelet.progress import Progress, named, silent
from tubelet.reports.tables import TextTable
from tubelet.saliency_maps.text import aligner_of
from tubelet.synthetic import has_truth

CONTROLS = ("colour word", "centre")  # the same for every aligner


@dataclass(frozen=True)
class ComparedAligners:
    """By the name that each was given; `maps` only where the ground truth is known."""

    maps: Mapping[str, MapMeasures]
    retrieval: Mapping[str, Retrieval]

    @property
    def table(self) -> TextTable:
        """A row an aligner, one for the captions of other clips under it; then the controls."""
        rows: list[list[str]] = []
        for name, found in self.retrieval.items():
            recall = [f"{found.text_to_frame:.3f}", f"{found.frame_to_text:.3f}"]
            rows.append([name, *self.areas(name, "text map"), *recall])
            if name in self.maps:
                rows.append(["  captions of other clips", *self.areas(name, "shuffled caption"), "", ""])
        first = next(iter(self.maps), "")
        rows += [[control, *self.areas(first, control), "", ""] for control in CONTROLS if first]
        one = next(iter(self.retrieval.values()))
        rows.append(["chance", *(["0.500", "0.500"] if self.maps else []), *chances(one)])
        areas = ["ROC area,\nall patches", "distractors\nonly"] if self.maps else []
        header = ["", *areas, "caption to\nframe R@1", "frame to\ncaption R@1"]
        return TextTable(f"{one.videos} test videos, {one.texts} captions", header, rows)

    def areas(self, aligner: str, row: str) -> list[str]:
        if aligner not in self.maps:
            return []
        found = self.maps[aligner].table()[row]
        return [f"{found[side]['overall']['mean']:.3f} ± {found[side]['overall']['error']:.3f}" for side in AGAINST]


def chances(found: Retrieval) -> list[str]:
    return [f"{found.chance_text_to_frame:.3f}", f"{found.chance_frame_to_text:.3f}"]


def compare_aligners(
    corpus: Corpus | str | Path,
    aligners: Sequence[str] = (),
    *,
    sources: tuple[str, ...] = (),
    every: int = 8,
    clips: int | None = None,
    progress: Progress = silent,
) -> ComparedAligners:
    """Measures aligners (folders of `tubelet align`, CLIPs or SigLIPs; none named: that of the corpus) on the test
    split: recall at 1 of captions of these sources and, on a synthetic dataset, the ROC area of `every` n-th frame.

    `CorpusError` where fewer than two captioned test videos can be read.
    """
    corpus = Corpus.of(corpus)
    settings = SmallAlignerTraining(sources=sources)
    examples = read_examples(corpus, "test", settings, named(progress, "decoding test videos"))
    if len(examples.videos) < 2:
        raise CorpusError(f"{corpus.folder} has fewer than 2 captioned test videos to compare aligners on")
    source = sources[0] if sources else "subject" if "subject" in corpus.sources else None
    maps, recalls = {}, {}
    for name in aligners or [str(corpus.folder / "aligner")]:
        aligner = aligner_of(corpus, name)
        recalls[name] = retrieval(aligner, examples, settings)
        if has_truth(corpus):
            maps[name] = measure_aligner(
                corpus, aligner, source, "test", every, clips, pictures=0, progress=named(progress, name)
            )
    return ComparedAligners(maps, recalls)
