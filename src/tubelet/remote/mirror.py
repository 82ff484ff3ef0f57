"""The tables of a remote corpus, or a remote run, copied into a folder of this machine, where all else reads them.

What is there in the same version is not fetched again. What is written into the copy (results, maps) stays on this
machine. Start reading at `mirrored`.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

from tubelet.errors import RemoteError, TubeletError
from tubelet.files import lock, within, write_atomically
from tubelet.remote import ask
from tubelet.remote.address import Address
from tubelet.remote.ask import State
from tubelet.remote.blocks import home, private

PIECE = 1 << 24


def mirrored(address: Address, wanted: Callable[[str], bool], known: Sequence[str]) -> tuple[Path, dict[str, State]]:
    """The folder of this machine with the files below a name that are `wanted`, and the state of all that lie there.

    Web servers list nothing: they are asked for the files that are `known` by name.
    """
    there = listed(address, known) if address.is_web else ask.find(address)
    if not there:
        raise ask.missing(address)
    folder = home() / "mirrors" / hashlib.blake2b(address.url.encode(), digest_size=16).hexdigest()
    try:
        private(folder)
    except OSError as error:
        raise RemoteError(
            "unreadable",
            f"{folder} cannot be made for a copy of {address.url} ({error.strerror}); set TUBELET_CACHE to a folder",
        ) from None
    record = folder.with_suffix(".json")
    busy = TubeletError(f"another command is fetching {address.url}: wait until it ends")
    with lock(folder.with_suffix(".lock"), busy, patience=None):
        have = json.loads(record.read_text()) if record.exists() else {}
        for name in [name for name in have if name not in there]:
            within(folder, name).unlink(missing_ok=True)
            del have[name]
        for name, state in there.items():
            if wanted(name) and is_plain(name):
                path = within(folder, name)
                if have.get(name) != [state.size, state.tag] or not path.exists():
                    copy(address / name, path, state)
                    have[name] = [state.size, state.tag]
                    write_atomically(record, json.dumps(have).encode())
    return folder, there


def listed(address: Address, known: Sequence[str]) -> dict[str, State]:
    return {name: ask.state(address / name) for name in known if ask.exists(address / name)}


def is_plain(name: str) -> bool:
    """Whether an object's name is that of a file below a folder; a store allows any."""
    parts = PurePosixPath(name).parts
    return str(PurePosixPath(name)) == name and not any(part.startswith((".", "/")) for part in parts)


def copy(address: Address, path: Path, of: State) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.fetched")
    with part.open("wb") as file:
        for first in range(0, of.size, PIECE):
            file.write(ask.fetch(address, first, min(first + PIECE, of.size), of)[0])
    part.replace(path)
