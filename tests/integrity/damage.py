"""Single bits flipped in every kind of file that commands write, each read as the next command reads it.

A flip is well where the reader refuses by name, or gives what it gave before, or says that there is nothing (then the
next command makes it again). `Flips.other` counts what was read as other content.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tubelet import checksums
from tubelet.aligners.base import open_aligner
from tubelet.aligners.base import read_aligner_about as read_aligner
from tubelet.checkpoint import read_checkpoint
from tubelet.checksums import Damaged
from tubelet.corpus.table import Corpus
from tubelet.errors import TubeletError
from tubelet.evaluations.heads import read_head
from tubelet.evaluations.trained_on import FILE, PROBES, TrainedOn
from tubelet.jobs.failures import Failures
from tubelet.jobs.shards import Series, chosen
from tubelet.loading.data import Data
from tubelet.loading.loader import eval_batches
from tubelet.log import read_log
from tubelet.reports.pictures import load_samples, load_thumbnails
from tubelet.results import read_results
from tubelet.run_record import RunRecord
from tubelet.runs.folder import read_run_config
from tubelet.runs.imported import imported_head, read_import_about
from tubelet.runs.tuned import tuned_model
from tubelet.stores.embeddings import Embeddings
from tubelet.stores.frame_cache import Frames
from tubelet.stores.maps import Maps
from tubelet.stores.tracks import Tracks
from tubelet.studies.run import Clock
from tubelet.studies.store import FinishedTrials
from tubelet.synthetic import truth
from tubelet.types import Clip
from tubelet.video.sampling import Sampling

FLIPS = 40


@dataclass
class Flips:
    """A row of the table."""

    kind: str
    flips: int = 0
    refused: int = 0  # or made again
    equal: int = 0
    other: int = 0
    faults: tuple[str, ...] = ()


def kinds(work: Path) -> dict[str, tuple[str, Callable[[], Any]]]:
    """By name, the pattern of a file and what reads it."""
    run, tuned, corpus = work / "run", work / "tuned", work / "c"

    def frames() -> Any:
        found = Frames.of(Corpus.open(corpus), 48)
        return [found.open(video).all.tobytes() for video in Corpus.open(corpus).select("all")]

    def series(folder: Path) -> Any:
        found = Series(folder)
        for shard, numbers in enumerate(found.numbers):
            for row in range(len(numbers.check)):
                found.verify(shard, row)
        return found.about, [batch.to_pydict() for batch in found.batches]

    def maps() -> Any:
        opened = Corpus.open(corpus)
        found = Maps.open(opened, "text")
        return found.about, [
            [part.tolist() for part in found.layers(video, caption)]
            for video in opened.select("all") for caption in opened.captions_of(video)
        ]  # fmt: skip

    def embeddings() -> Any:
        found = Embeddings.open(Corpus.open(corpus))
        return found.about, [found.vector(caption).tolist() for caption in Corpus.open(corpus).captions]

    def aligner() -> Any:
        found = open_aligner(corpus / "aligner")
        return found.identity, found.texts(["a red square"]).tolist(), read_aligner(corpus / "aligner")

    def tables() -> Any:
        opened = Corpus.open(corpus)
        return opened.about, opened.videos, opened.captions, opened.fingerprint()

    def weights(path: Path) -> Any:
        tensors, step = read_checkpoint(path)
        return step, {name: value.tolist() for name, value in tensors.items()}

    def classifier() -> Any:
        config, model, classes = tuned_model(tuned)
        return config, classes, {name: value.tolist() for name, value in model.state_dict().items()}

    def head() -> Any:
        kept = read_head(next((run / "classifiers").glob("*.safetensors")))
        return kept.pool, kept.classes, kept.step, kept.head.layer, kept.head.weight.tolist(), kept.head.bias.tolist()

    def imported() -> Any:
        return read_import_about(work / "imported"), imported_head(work / "imported")

    def parts(arrays: Any) -> Any:
        return {name: np.asarray(value).tolist() for name, value in vars(arrays).items()}

    def table(name: str) -> Any:
        found = checksums.read_parquet(work / name)
        return found.schema.metadata, found.to_pydict()

    def clips(name: str) -> Any:
        pack = Corpus.open(work / name)
        data, clip = Data(sampling=Sampling(stride=1)), Clip(frames=4, size=32)
        batches = list(eval_batches(pack, pack.select("all"), clip, data, batch=8))
        if failed := [reason for batch in batches for reason in batch.failed]:
            raise Damaged(failed[0])
        return [batch.video.tolist() for batch in batches]

    def track() -> Any:
        opened = Corpus.open(corpus)
        readers = [Tracks.open(opened, "vectors").reader(video) for video in opened.select("all")]
        return [reader.frames(reader.times).tolist() for reader in readers]

    def clock() -> Any:
        [path] = (work / "study").rglob("seconds.json")
        found = Clock.of(path.parent)
        return found.seconds, found.processor

    synth = Corpus.open(work / "synth")
    [features] = [path.parent for path in (run / "features").glob("*/about.json")][:1]
    text = chosen(corpus / "maps" / "text")
    vectors = chosen(corpus / "tracks" / "vectors")
    assert text is not None
    assert vectors is not None
    return {
        "checkpoint": ("run/checkpoint.safetensors", lambda: weights(run / "checkpoint.safetensors")),
        "fine-tuned classifier": ("tuned/classifier.safetensors", classifier),
        "probe's classifier": ("run/classifiers/*.safetensors", head),
        "aligner's weights": ("c/aligner/aligner.safetensors", aligner),
        "aligner.json": ("c/aligner/aligner.json", aligner),
        "saliency maps": (f"c/maps/text/{text.name}/shard-*.arrow", maps),
        "about.json of saliency maps": (f"c/maps/text/{text.name}/about.json", maps),
        "current": ("c/maps/text/current", maps),
        "caption embeddings": ("c/embeddings/*/shard-*.arrow", embeddings),
        "features of evaluation": (f"run/features/{features.name}/shard-*.arrow", lambda: series(features)),
        "videos table": ("c/videos.parquet", tables),
        "captions table": ("c/captions.parquet", tables),
        "corpus.json": ("c/corpus.json", tables),
        "recipe.json": ("run/recipe.json", lambda: read_run_config(run)),
        "log.jsonl": ("run/log.jsonl", lambda: (read_log(run / "log.jsonl"), RunRecord.read(run).steps)),
        "results.json": ("run/results.json", lambda: (read_results(run), RunRecord.read(run).results)),
        "failed.jsonl": ("c/failed.jsonl", lambda: Failures(corpus / "failed.jsonl").known),
        "trial of a study": ("study/finished/*.json", lambda: FinishedTrials(work / "study" / "finished").records),
        "seconds.json": ("study/**/seconds.json", clock),
        "cached frames": ("c/frames/*/*/frames.bin", frames),
        "index of cached frames": ("c/frames/*/*/index.npz", frames),
        "about.json of cached frames": ("c/frames/*/*/about.json", frames),
        "table of features": ("features.parquet", lambda: table("features.parquet")),
        "table of labels": ("labels.parquet", lambda: table("labels.parquet")),
        "pictures": ("run/pictures/samples.npz", lambda: parts(load_samples(run))),
        "thumbnails": ("run/pictures/thumbnails.npz", lambda: parts(load_thumbnails(run))),
        "training.json": ("c/aligner/training.json", lambda: aligner_page(corpus / "aligner")),
        "import.json": ("imported/import.json", imported),
        "trained_on.parquet": ("run/trained_on.parquet", lambda: TrainedOn.read(run / FILE)),
        "trained_on.parquet of an aligner": (
            "c/aligner/trained_on.parquet",
            lambda: TrainedOn.read(corpus / "aligner" / FILE),
        ),
        "trained_on of a probe": (
            "run/trained_on/*.parquet",
            lambda: TrainedOn.read(min((run / PROBES).glob("*.parquet"))),
        ),
        "track": (f"c/tracks/vectors/{vectors.name}/shard-*.arrow", track),
        "tar shard of a pack": ("packed/shard-*.tar", lambda: clips("packed")),
        "Parquet shard of a pack": ("parquet/shard-*.parquet", lambda: clips("parquet")),
        "table of a pack": ("packed/pack.parquet", lambda: table("packed/pack.parquet")),
        "truth of a clip": (f"synth/truth/{synth.videos[0].id}.npz", lambda: parts(truth(synth, synth.videos[0]))),
    }


def aligner_page(folder: Path) -> Any:
    from tubelet.reports.aligner import write_page

    return write_page(folder).read_bytes()


def flip(work: Path, kind: str, pattern: str, read: Callable[[], Any], flips: int = FLIPS) -> Flips:
    """Bits of the beginning, of the end and of all of the file."""
    found, path = Flips(kind), min(work.glob(pattern))
    content, wanted = path.read_bytes(), plain(read())
    kept = work.with_name("kept")
    shutil.copytree(path.parent, kept)
    rng = np.random.default_rng(len(content))
    size = len(content) * 8
    head, tail = rng.integers(0, min(size, 2000), flips // 4), size - 1 - rng.integers(0, min(size, 4000), flips // 4)
    try:
        for bit in [*head, *tail, *rng.integers(0, size, flips - 2 * (flips // 4))]:
            damaged = bytearray(content)
            damaged[bit // 8] ^= 1 << (bit % 8)
            path.write_bytes(damaged)
            found.flips += 1
            try:
                now = plain(read())
            except (TubeletError, Damaged) as error:
                found.refused += 1
                if "\n" in str(error) or (isinstance(error, TubeletError) and path.name not in str(error)):
                    found.faults += (f"{kind}: said {error}",)
            except Exception as error:
                found.other += 1
                found.faults += (f"{kind}: bit {bit}: {type(error).__name__}: {error}",)
            else:
                found.equal += now == wanted
                found.other += now != wanted
                if now != wanted:
                    found.faults += (f"{kind}: bit {bit} is read as other content",)
            shutil.rmtree(path.parent)
            shutil.copytree(kept, path.parent)
    finally:
        shutil.rmtree(kept)
    return found


def plain(value: Any) -> str:
    if isinstance(value, torch.nn.Module):
        return plain({name: tensor.tolist() for name, tensor in value.state_dict().items()})
    if isinstance(value, tuple | list):
        return "[" + ", ".join(map(plain, value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name!r}: {plain(part)}" for name, part in value.items()) + "}"
    return repr(value)
