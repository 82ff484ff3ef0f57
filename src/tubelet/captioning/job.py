"""One captioner over one corpus: what it says goes into the captions table, with source, model, time and prompt."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import chz

from tubelet.captioning.base import Captioner, Looking, Row
from tubelet.captioning.looking import Blip2
from tubelet.captioning.quality import Faults, Filters, faults
from tubelet.corpus.table import Corpus
from tubelet.corpus.write import write_captions
from tubelet.errors import CorpusError
from tubelet.files import lock
from tubelet.jobs.runner import Running, refuse_parts
from tubelet.progress import Progress, silent


@chz.chz
class Captioning:
    """Where captions come from, what they are called, and which of them stay out."""

    captioner: Captioner = chz.field(default_factory=Blip2, doc="where captions come from")
    source: str | None = chz.field(default=None, doc="what they are called in the table (None: by the captioner)")
    replace: bool = chz.field(default=False, doc="leave out the captions that have this source now")
    filters: Filters = chz.field(default_factory=Filters, doc="which captions stay out of the table")


@dataclass(frozen=True)
class Captioned:
    """What a call did. `faults` are of all that the captioner said, before the filters."""

    corpus: Corpus
    computed: int  # videos that a model read now
    captions: int  # of this captioner, in the table
    videos: int  # that have one
    left_out: int  # by the filters
    failed: Mapping[str, str]  # id: why a video has none
    faults: Faults
    remarks: tuple[str, ...]


def caption(
    corpus: Corpus | str | Path,
    captioner: Captioner | Captioning | None = None,
    *,
    source: str | None = None,
    replace: bool = False,
    filters: Filters | None = None,
    running: Running | None = None,
    progress: Progress = silent,
) -> Captioned:
    """Writes a caption for every video of a corpus, by a model that looks at it, from a file, or from its label
    (`tubelet.captioning.CAPTIONERS`; the default is BLIP-2).

    What it says goes into the captions table in place of what it said before. `source` is what the captions are called
    there, `replace` leaves out those that have this source now, `filters` say which captions stay out. A `Captioning`
    holds all of it. A video that gets none is in `failed`, with the reason.
    """
    corpus = Corpus.of(corpus)
    job = (
        captioner
        if isinstance(captioner, Captioning)
        else Captioning(captioner=captioner or Blip2(), source=source, replace=replace, filters=filters or Filters())
    )
    refuse_others(corpus, job)
    if not isinstance(job.captioner, Looking):
        refuse_parts(running, "captions that no model writes")
    own = {"source": job.source} if job.source else {}
    written = job.captioner.write(corpus, progress, running)
    rows = [{"source": job.captioner.source, **row, **own} for row in written.rows]
    kept = job.filters.keep(rows)
    folder = corpus.folder / "captions"
    folder.mkdir(exist_ok=True)
    with lock(folder / ".lock", CorpusError(f"another command is writing to {folder}: wait until it ends")):
        old = [asdict(caption) for caption in Corpus.open(corpus.folder).captions]
        corpus = write_captions(corpus, with_new_captions(old, rows, kept, job.replace))
    return Captioned(
        corpus=corpus,
        computed=written.computed,
        captions=len(kept),
        videos=len({row["video"] for row in kept}),
        left_out=len(rows) - len(kept),
        failed=written.failed or {},
        faults=faults(rows),
        remarks=written.remarks,
    )


def refuse_others(corpus: Corpus, job: Captioning) -> None:
    """Raises for a model whose captions would mix with those of another one, before it reads a video."""
    how = job.captioner
    if not isinstance(how, Looking) or job.replace:
        return
    title = f"{Path(how.model).name} ("
    for old in corpus.captions:
        if old.source == (job.source or how.source):
            if not (old.model or "").startswith(title):
                raise in_the_way(old.source, old.model)
            if (old.prompt or "") != how.prompt:
                raise in_the_way(old.source, old.model, another_prompt=True)


def in_the_way(source: str, model: str | None, another_prompt: bool = False) -> CorpusError:
    return CorpusError(
        f"captions of source {source!r} are there already, by {model or 'people'}"
        f"{' with another prompt' if another_prompt else ''}; name the new ones with source=NAME, or drop the old ones "
        "with replace=True"
    )


def with_new_captions(old: Sequence[Row], said: Sequence[Row], kept: Sequence[Row], replace: bool) -> list[Row]:
    """The old rows without those that are said anew, and behind them what is kept.

    A model's captions are replaced by those of the same model and prompt; those of another one in the same source are
    in the way, because nobody could tell them apart. What people wrote is only ever added to.
    """
    sources = {row["source"] for row in said}
    again = {(row["source"], row["model"], row["prompt"]) for row in said if row["model"] is not None}
    written = {(row["video"], row["source"], row["text"], row["time"]) for row in said}
    stay = []
    for row in old:
        if row["source"] not in sources:
            stay.append(row)
        elif replace or (row["source"], row["model"], row["prompt"]) in again:
            continue
        elif again and row["source"] in {source for source, _, _ in again}:
            models = {model for _, model, _ in again}
            raise in_the_way(row["source"], row["model"], another_prompt=row["model"] in models)
        elif (row["video"], row["source"], row["text"], row["time"]) not in written:
            stay.append(row)
    return [{name: value for name, value in row.items() if name != "row"} for row in [*stay, *kept]]
