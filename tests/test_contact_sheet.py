"""Contact sheets: every picture whole at its place, every text inside its column."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tubelet.contact_sheet import LINE, MARGIN, Row, draw, fitted, heat, sheet, shorten, text_font, wrapped

texts = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), max_size=80)


def picture(value: int, height: int = 20, width: int = 30) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


def test_every_picture_stands_whole_in_its_row_and_column() -> None:
    rows = [
        Row([picture(10), None, picture(30)], "a title"),
        Row([picture(40), picture(50)], below=[["one", "two"], []]),
    ]
    page = np.asarray(sheet(rows, header=[["first"]], gap=5))
    top = MARGIN + LINE + LINE
    for value, column in ((10, 0), (30, 2)):
        left = MARGIN + column * 35
        assert (page[top : top + 20, left : left + 30] == value).all()
    second = top + 20 + 5
    for value, column in ((40, 0), (50, 1)):
        left = MARGIN + column * 35
        assert (page[second : second + 20, left : left + 30] == value).all()
    assert page.shape[:2] == (second + 20 + 2 * LINE + MARGIN, 2 * MARGIN + 3 * 30 + 2 * 5)
    assert (page[top : top + 20, MARGIN + 35 : MARGIN + 65] == 255).all(), "nothing stands where there is no picture"


@given(texts, st.integers(20, 300))
@settings(deadline=None, max_examples=60)
def test_a_shortened_text_fits_and_a_short_one_is_unchanged(text: str, most: int) -> None:
    got = shorten(text, text_font(), most)
    assert text_font().getlength(got) <= max(most, text_font().getlength(text[:1] + "…"))
    assert got == text or text_font().getlength(text) > most


@given(texts, st.integers(40, 300))
@settings(deadline=None, max_examples=60)
def test_wrapped_lines_hold_all_words_in_order_and_only_single_words_are_too_long(text: str, most: int) -> None:
    lines = wrapped(text, most)
    assert [word for line in lines for word in line.split()] == " ".join(lines).split()
    assert all(text_font().getlength(line) <= most or " " not in line for line in lines)


def test_a_map_is_brightest_where_it_is_highest() -> None:
    layer = np.zeros((4, 6), np.float32)
    layer[1, 4] = 1.0
    got = heat(picture(120, 40, 60), layer, 0.0, 1.0).sum(-1)
    assert np.unravel_index(got.argmax(), got.shape) == pytest.approx((15, 45), abs=5)
    assert fitted(picture(0, 10, 90), 20, 100).shape == (20, 100, 3)


@pytest.mark.parametrize(("name", "kind"), [("a.png", "PNG"), ("a.jpg", "JPEG")])
def test_the_ending_of_the_file_says_its_format(name: str, kind: str, tmp_path: Path) -> None:
    draw([Row([picture(10)], "\x1b[31m a title with a control sequence")], tmp_path / name)
    with Image.open(tmp_path / name) as image:
        assert image.format == kind
