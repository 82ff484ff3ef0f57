"""An object, or a part of one, as an open file. What is read is asked for by blocks, several in one request.

The first request brings the beginning, and with it the size and the version of the object; all later ones must be of
the same version. Who knows what comes next says so (`expect`); else a file that is read in sequence is asked for in
pieces that grow.
"""

import os
from collections import OrderedDict

from tubelet.remote import ask
from tubelet.remote.address import Address
from tubelet.remote.ask import State
from tubelet.remote.blocks import SIZE, Blocks

HEAD = 2  # blocks that are asked for first
WHOLE = 8  # blocks: a part of at most so many is asked for at once
AHEAD = 16  # blocks that are asked for at most where nobody says what comes next
AT_ONCE = 64  # in one request where somebody does
HELD = 256  # in memory


class RemoteFile:
    """Can only be read. Nothing is asked before the first byte is."""

    def __init__(self, address: Address, offset: int = 0, size: int | None = None) -> None:
        """`offset` and `size` of a part; None: to the end."""
        self.address, self.offset, self.at = address, offset, 0
        self.part, self.state = size, None if size is None else ask.known_state(address)
        self.blocks = Blocks(f"{address.url} {offset} {size}")
        self.held: OrderedDict[int, bytes] = OrderedDict()
        self.next, self.ahead = 0, HEAD  # the block that reading in sequence comes to, and how many are asked for then

    @property
    def size(self) -> int:
        state = self.opened()
        return max(state.size - self.offset, 0) if self.part is None else self.part

    def opened(self) -> State:
        """The version that is read; asked for with the beginning where nothing is known."""
        if self.state is None:
            if self.blocks.some:
                self.state = ask.state(self.address)
            else:
                last = HEAD * SIZE
                if self.part is not None:
                    last = self.part if self.part <= WHOLE * SIZE else min(self.part, last)
                content, self.state = ask.fetch(self.address, self.offset, self.offset + last)
                self.keep(0, content)
                self.next = -(-last // SIZE)
        return self.state

    def read(self, count: int = -1) -> bytes:
        left = max(self.size - self.at, 0)
        count = left if count < 0 else min(count, left)
        pieces = []
        while count:
            number, begin = divmod(self.at, SIZE)
            piece = self.block(number, -(-(begin + count) // SIZE))[begin : begin + count]
            if not piece:
                break
            pieces.append(piece)
            self.at += len(piece)
            count -= len(piece)
        return b"".join(pieces)

    def block(self, number: int, wanted: int) -> bytes:
        """One block; `wanted` say how many from it on are needed now."""
        if (found := self.there(number)) is None:
            self.ahead = min(2 * self.ahead, AHEAD) if number == self.next > 0 else HEAD
            if self.part is not None and self.part <= WHOLE * SIZE:
                self.ahead = WHOLE
            self.ask(number, number + max(self.ahead, min(wanted, AT_ONCE)))
            found = self.held.get(number, b"")  # nothing of a part that its object ends before
        self.next = max(self.next, number + 1)
        return found

    def there(self, number: int) -> bytes | None:
        """What is in memory or on disk."""
        if (found := self.held.get(number)) is None:
            found = self.blocks.get(self.opened().tag, number)
            if found is not None and len(found) == self.length(number):
                self.hold(number, found)
            else:
                found = None
        return found

    def length(self, number: int) -> int:
        return max(min(SIZE, self.size - number * SIZE), 0)

    def ask(self, first: int, last: int) -> None:
        """Blocks `first` to `last` (excluded), as far as the first of them that is there."""
        last = min(last, -(-self.size // SIZE))
        for number in range(first + 1, last):
            if self.there(number) is not None:
                last = number
                break
        end = self.offset + min(last * SIZE, self.size)
        content, _ = ask.fetch(self.address, self.offset + first * SIZE, end, self.opened())
        self.keep(first, content)
        self.next = last

    def keep(self, first: int, content: bytes) -> None:
        assert self.state is not None
        for begin in range(0, len(content), SIZE):
            number, piece = first + begin // SIZE, content[begin : begin + SIZE]
            self.hold(number, piece)
            if len(piece) == self.length(number):
                self.blocks.put(self.state.tag, number, piece)

    def hold(self, number: int, piece: bytes) -> None:
        self.held[number] = piece
        while len(self.held) > HELD:
            self.held.popitem(last=False)

    def expect(self, first: int, last: int) -> None:
        """Bytes `first` to `last` (excluded) are read next: what of them is not there is asked for at once."""
        number, end = first // SIZE, -(-min(last, self.size) // SIZE)
        end = min(end, number + AT_ONCE)
        while number < end and self.there(number) is not None:
            number += 1
        while end > number and self.there(end - 1) is not None:
            end -= 1
        if number < end:
            self.ask(number, end)

    def seek(self, index: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self.at}.get(whence)
        self.at = index + (self.size if base is None else base)
        return self.at

    def tell(self) -> int:
        return self.at

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return False

    @property
    def closed(self) -> bool:
        return False

    def close(self) -> None:
        self.held.clear()

    def __enter__(self) -> "RemoteFile":
        return self

    def __exit__(self, *stop: object) -> None:
        self.close()


def read_bytes(address: Address) -> bytes:
    with RemoteFile(address) as file:
        return file.read()
