"""Files inside tar or Parquet files, read where they lie: `shard-000003.tar#1536+20480`, 20,480 bytes from 1,536 on.

A path of this form stands wherever that of a video file does, and so does one of a remote file (`tubelet.remote`) or of
a member of one. Nothing is unpacked, and no more is read than of a file of its own. Start reading at `Member`.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from tubelet.remote.address import Address
from tubelet.remote.file import RemoteFile

NAMED = re.compile(r"(.+\.(?:tar|parquet))#(\d+)\+(\d+)", re.DOTALL)


@dataclass(frozen=True)
class Member:
    """So many bytes of a file from an offset on."""

    container: Path
    offset: int
    size: int

    @classmethod
    def of(cls, path: str | Path) -> "Member | None":
        """None where the path is that of a file of its own."""
        found = NAMED.fullmatch(os.fspath(path))
        return None if found is None else cls(Path(found[1]), int(found[2]), int(found[3]))

    @property
    def path(self) -> Path:
        return Path(f"{self.container}#{self.offset}+{self.size}")


class MemberFile:
    """The bytes of a member as an open file that can only be read."""

    def __init__(self, member: Member) -> None:
        self.member, self.at = member, 0
        self.file = member.container.open("rb")

    def read(self, count: int = -1) -> bytes:
        left = max(self.member.size - self.at, 0)
        self.file.seek(self.member.offset + self.at)
        found = self.file.read(left if count < 0 else min(count, left))
        self.at += len(found)
        return found

    def seek(self, index: int) -> int:
        self.at = index
        return index

    def __enter__(self) -> "MemberFile":
        return self

    def __exit__(self, *stop: object) -> None:
        self.file.close()


def open_bytes(path: Path) -> "BinaryIO | MemberFile | RemoteFile":
    """The bytes of a file, or of a member."""
    if (remote := open_remote(path)) is not None:
        return remote
    member = Member.of(path)
    return path.open("rb") if member is None else MemberFile(member)


def open_remote(path: Path) -> RemoteFile | None:
    """None where the bytes lie on this machine."""
    member = Member.of(path)
    address = Address.of(path if member is None else member.container)
    if address is None:
        return None
    return RemoteFile(address) if member is None else RemoteFile(address, member.offset, member.size)


def address(path: Path) -> str:
    """The address by which FFmpeg opens a file of this machine."""
    member = Member.of(path)
    if member is None:
        return str(path)
    return f"subfile,,start,{member.offset},end,{member.offset + member.size},,:{member.container}"
