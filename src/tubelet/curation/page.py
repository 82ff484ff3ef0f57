"""The page of a curation: counts, coverage, and a picture of every video with a finding."""

import base64
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from tubelet.curation.curate import DUPLICATE, FINDINGS, SHOTS, Curation
from tubelet.errors import RunError
from tubelet.evaluations.pictures import middle_frame
from tubelet.files import write_atomically
from tubelet.reports.document import document, is_another

GENERATOR = "tubelet curate"
SHOWN = 60  # videos of a finding that are drawn


@dataclass(frozen=True)
class Shown:
    name: str
    note: str
    image: str


@dataclass(frozen=True)
class Section:
    name: str
    about: str
    count: int
    videos: list[Shown]


def write_page(found: Curation, path: Path) -> Path:
    """Writes the page; another file of this name stays."""
    if is_another(path, GENERATOR):
        raise RunError(f"{path} exists and is not a page of `tubelet curate`; choose another --out")
    sections = [section(found, name) for name in FINDINGS if found.counts[name]]
    facts = [
        *found.coverage.items(),
        ("without a finding", len(found.looks) - len(set(found.looks) & set(found.findings))),
    ]
    facts.append(("not kept", len(found.dropped)))
    page = document("curation.html", GENERATOR, corpus=found.corpus.name, facts=facts, sections=sections)
    write_atomically(path, page.encode())
    return path


def section(found: Curation, name: str) -> Section:
    having = [video for video in found.corpus.videos if name in found.findings.get(video.id, ())]
    videos = []
    for video in having[:SHOWN]:
        frame = middle_frame(video)
        note = f"like {found.duplicate_of[video.id]}" if name == DUPLICATE else ""
        if name == SHOTS:
            note = "cuts at " + ", ".join(f"{cut:.2f} s" for cut in found.looks[video.id].cuts[:4])
        videos.append(Shown(video.id, note, "" if frame is None else data_uri(frame)))
    return Section(name, FINDINGS[name], len(having), videos)


def data_uri(frame: UInt8[np.ndarray, "h w 3"]) -> str:
    file = io.BytesIO()
    Image.fromarray(frame).save(file, format="JPEG", quality=82)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode("ascii")
