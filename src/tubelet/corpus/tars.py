"""Videos inside uncompressed tar files named as WebDataset names them: one sample is what has one name before the dot.

`000017.mp4` lies beside `000017.txt` (a caption), `000017.cls` (a label) and `000017.json` (`caption` or `captions`,
`label`). Nothing is unpacked: an entry says where in the tar its bytes are (`tubelet.video.members`).
"""

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from tubelet.corpus.rows import SaidCaption
from tubelet.corpus.tables import EXTENSIONS
from tubelet.errors import CorpusError
from tubelet.remote.address import absolute, as_text
from tubelet.video.members import Member, open_bytes

TEXTS = (".txt", ".caption", ".cls", ".json")
LONGEST = 1 << 20  # bytes of a text that are read


def samples_of(path: Path) -> Iterator[tuple[str, Path, str | None, list[SaidCaption]]]:
    """(name, path, label, captions) of each video in a tar file, in its order."""
    videos: dict[str, tuple[str, Path]] = {}
    texts: dict[str, dict[str, str]] = {}
    try:
        source: Any = open_bytes(path)
        with source, tarfile.open(fileobj=source, mode="r:") as tar:
            for member in tar:
                name = PurePosixPath(member.name)
                sample = str(name.parent / name.name.partition(".")[0])
                if not member.isreg() or member.issparse():
                    continue
                if name.suffix.lower() in EXTENSIONS:
                    place = Member(absolute(path), member.offset_data, member.size).path
                    videos[sample] = name.as_posix(), place
                elif name.suffix.lower() in TEXTS and (text_file := tar.extractfile(member)) is not None:
                    text = text_file.read(LONGEST).decode("utf-8", "replace")
                    texts.setdefault(sample, {})[name.suffix.lower()] = text
    except (tarfile.TarError, OSError, EOFError) as error:
        raise CorpusError(
            f"{as_text(path)} cannot be read as an uncompressed tar file ({error}); unpack it, or leave it out"
        ) from None
    for sample, (video, place) in videos.items():
        yield video, place, *said_of(path, sample, texts.get(sample, {}))


def said_of(path: Path, sample: str, texts: dict[str, str]) -> tuple[str | None, list[SaidCaption]]:
    """The label and the captions of a sample."""
    said: dict[str, Any] = {}
    if ".json" in texts:
        try:
            found = json.loads(texts[".json"])
        except ValueError:
            raise CorpusError(
                f"{as_text(path)} holds no JSON in {sample}.json; repair it, or leave the tar file out"
            ) from None
        said = found if isinstance(found, dict) else {}
    label = said.get("label", texts.get(".cls", "").strip())
    captions = said.get("captions") or said.get("caption") or texts.get(".txt") or texts.get(".caption") or []
    found = [captions] if isinstance(captions, str) else list(captions)
    lines = [text.strip() for text in found if isinstance(text, str) and text.strip()]
    return (None if label in (None, "") else str(label)), [
        SaidCaption(text=t, source="caption", time=None) for t in lines
    ]
