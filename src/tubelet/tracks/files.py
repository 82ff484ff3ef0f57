"""A user's files, each named after a video of the corpus; what tracks are made of them. Start at `files_of`."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from tubelet.corpus.names import Names
from tubelet.corpus.table import Corpus
from tubelet.errors import CorpusError, RecipeError


def files_of(corpus: Corpus, names: Sequence[str], endings: Sequence[str], kind: str) -> dict[str, Path]:
    """Video id -> its file. `CorpusError` where one is named after no video, or two after one."""
    videos = {video.id: video for video in corpus.select("all")}
    known = Names((name, None) for name in videos)
    found: dict[str, Path] = {}
    paths = below(names, endings, kind)
    root = os.path.commonpath([path.absolute().parent for path in paths])  # folders above all files name no video
    for path in paths:
        end = path.absolute().with_suffix("").relative_to(root).as_posix()
        meant = known.meant(end, path.parent)
        if len(meant) != 1:
            none = f"no usable video, whose ids are like {next(iter(videos), '')!r}"
            either = f"{meant[0]} or {meant[1]}" if len(meant) > 1 else none
            raise CorpusError(f"{path} is named after {either}; name each file after its video, in folders as theirs")
        if meant[0] in found:
            raise CorpusError(f"{path} and {found[meant[0]]} are both named after {meant[0]}")
        found[meant[0]] = path
    return found


def below(names: Sequence[str], endings: Sequence[str], kind: str) -> list[Path]:
    """The files, and those with these endings in folders."""
    if not names:
        raise RecipeError(f"name the files of the {kind} with files=FOLDER, of {', '.join(endings)}")
    found: list[Path] = []
    for path in (Path(name).expanduser() for name in names):
        if not path.is_dir():
            inside = [path]
        else:
            inside = sorted(file for file in path.rglob("*") if file.suffix.lower() in endings and file.is_file())
        if not inside or not path.exists():
            raise CorpusError(f"{path} has no {' or '.join(endings)} file")
        found += inside
    return found


def digest_of(files: Mapping[str, Path]) -> str:
    """Of what the files hold: other files make another track."""
    digest = hashlib.blake2b(digest_size=8)
    for name, path in sorted(files.items()):
        digest.update(name.encode() + b"\0" + hashlib.blake2b(path.read_bytes(), digest_size=16).digest())
    return digest.hexdigest()
