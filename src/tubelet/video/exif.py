"""How a picture file says that its camera was held (EXIF), mirrored or not. Start reading at `turn_by_exif`."""

import re
from typing import Literal

from tubelet.video.decoding import Turn

TIFF = re.compile(rb"(?:Exif\0\0|eXIf|EXIF....)(II\*\0|MM\0\*)", re.DOTALL)  # in JPEG, PNG and WebP
ORIENTATION, SHORT = 0x112, 3
TURNS: dict[int, Turn] = {  # by the tag's value
    1: (False, False, False),
    2: (False, True, False),
    3: (False, True, True),
    4: (False, False, True),
    5: (True, False, False),
    6: (True, True, False),
    7: (True, True, True),
    8: (True, False, True),
}


def turn_by_exif(content: bytes) -> Turn | None:
    """(transpose, mirror left-right, mirror top-bottom) that bring the picture upright; None where it does not say."""
    found = TIFF.search(content)
    if found is None:
        return None
    at = found.start(1)
    order: Literal["little", "big"] = "little" if found[1][:1] == b"I" else "big"

    def number(index: int, size: int) -> int:
        return int.from_bytes(content[at + index : at + index + size], order)

    table = number(4, 4)
    for index in range(table + 2, table + 2 + 12 * number(table, 2), 12):
        if (number(index, 2), number(index + 2, 2)) == (ORIENTATION, SHORT):
            return TURNS.get(number(index + 8, 2))
    return None
