"""tubelet: pretrain video encoders by hiding what the caption names.

    import tubelet
    from tubelet.saliency_maps import Text

    corpus = tubelet.index("~/videos", "corpora/mine", labels="labels.csv", captions="captions.csv")
    tubelet.align(corpus)                                     # a small image-text aligner of your own captions
    tubelet.saliency(corpus, Text())                          # what each caption names, in every frame
    run = tubelet.pretrain("tiny_text_guided", on=corpus, out="runs/mine")
    result = run.evaluate("linear", baselines=True)           # metrics with intervals, chance and baselines
    page = tubelet.report(run)                                # pictures, curves, results, recipe, as one page of HTML

    encoder = tubelet.load_encoder(run)                       # a torch.nn.Module
    features = tubelet.embed(encoder, "clip.mp4")             # 1 x width
    tuned = tubelet.finetune(run, out="runs/tuned")           # a classifier
    labels = tubelet.predict(tuned, "clips/").to_pandas()     # a row per video

Of the data: `track` (sound and other signals beside the frames), `captions`, `caption`, `maps` (how well saliency maps
find what captions name) and `masks` (what maskers hide). Of many runs: `phases` (one training after another), `compare`
and `study` (a declared grid of trainings, and what is significant). Weights in and out: `import_weights`, `export`,
`push`. `search` finds clips; `synth` renders datasets whose truth is known. `inspect` shows a corpus or runs in the
browser.

Functions return values and print nothing; long ones take `progress=`, for which `tubelet.Bar()` draws a bar. The
command line (`tubelet --help`) has the same words. Names are imported when they are first used (PEP 562), so that
`import tubelet` costs nothing.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # what editors and type checkers see of the table below
    from tubelet.captioning.job import caption as caption
    from tubelet.captioning.overview import captions as captions
    from tubelet.corpus.index import index as index
    from tubelet.corpus.pack import pack as pack
    from tubelet.corpus.table import Corpus as Corpus
    from tubelet.curation.curate import curate as curate
    from tubelet.diagnostics.maps import maps as maps
    from tubelet.diagnostics.masks import masks as masks
    from tubelet.errors import TubeletError as TubeletError
    from tubelet.formats.export import export as export
    from tubelet.formats.hub import push as push
    from tubelet.inference.embed import embed as embed
    from tubelet.inference.embed import load_encoder as load_encoder
    from tubelet.inference.predict import predict as predict
    from tubelet.inference.search import search as search
    from tubelet.inspector.inspect import inspect as inspect
    from tubelet.prepare import align as align
    from tubelet.prepare import saliency as saliency
    from tubelet.prepare import track as track
    from tubelet.progress import Bar as Bar
    from tubelet.reports.compare import compare as compare
    from tubelet.reports.page import report as report
    from tubelet.results import Metric as Metric
    from tubelet.results import Result as Result
    from tubelet.runs.evaluate import evaluate as evaluate
    from tubelet.runs.finetune import finetune as finetune
    from tubelet.runs.imported import import_weights as import_weights
    from tubelet.runs.phases import phases as phases
    from tubelet.runs.pretrain import pretrain as pretrain
    from tubelet.runs.run import Run as Run
    from tubelet.studies.study import study as study
    from tubelet.synthetic.corpus import synth as synth
    from tubelet.types import Batch as Batch
    from tubelet.types import Budget as Budget
    from tubelet.types import Clip as Clip
    from tubelet.types import Mask as Mask

    __version__: str

WHERE = {
    "Bar": "tubelet.progress",
    "Batch": "tubelet.types",
    "Budget": "tubelet.types",
    "Clip": "tubelet.types",
    "Corpus": "tubelet.corpus.table",
    "Mask": "tubelet.types",
    "Metric": "tubelet.results",
    "Result": "tubelet.results",
    "Run": "tubelet.runs.run",
    "TubeletError": "tubelet.errors",
    "align": "tubelet.prepare",
    "caption": "tubelet.captioning.job",
    "captions": "tubelet.captioning.overview",
    "compare": "tubelet.reports.compare",
    "curate": "tubelet.curation.curate",
    "embed": "tubelet.inference.embed",
    "evaluate": "tubelet.runs.evaluate",
    "export": "tubelet.formats.export",
    "push": "tubelet.formats.hub",
    "finetune": "tubelet.runs.finetune",
    "import_weights": "tubelet.runs.imported",
    "index": "tubelet.corpus.index",
    "inspect": "tubelet.inspector.inspect",
    "load_encoder": "tubelet.inference.embed",
    "maps": "tubelet.diagnostics.maps",
    "masks": "tubelet.diagnostics.masks",
    "pack": "tubelet.corpus.pack",
    "phases": "tubelet.runs.phases",
    "predict": "tubelet.inference.predict",
    "pretrain": "tubelet.runs.pretrain",
    "report": "tubelet.reports.page",
    "saliency": "tubelet.prepare",
    "search": "tubelet.inference.search",
    "study": "tubelet.studies.study",
    "synth": "tubelet.synthetic.corpus",
    "track": "tubelet.prepare",
}

__all__ = list(WHERE)


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version

        return version("tubelet")
    if name not in WHERE:
        raise AttributeError(f"module 'tubelet' has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(WHERE[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
