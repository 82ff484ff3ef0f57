"""The text of a file that a person or a spreadsheet wrote, in whatever encoding; what is no text is named.

Start reading at `text_of`.
"""

import codecs
import io
import json
import zipfile
from pathlib import Path

from tubelet.errors import CorpusError

MARKS = (  # byte order marks; that of UTF-32 begins as that of UTF-16 does
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
AS_CSV = "save it as CSV (UTF-8)"
PARQUET = b"PAR1"
FORMATS = {  # how files that are given as tables begin, and what to do about them
    PARQUET: ("a Parquet file", "write it as CSV, as with pandas.read_parquet(...).to_csv(..., index=False)"),
    b"ARROW1": ("an Arrow file", "write it as CSV, as with pandas.read_feather(...).to_csv(..., index=False)"),
    b"FEA1": ("an Arrow file", "write it as CSV, as with pandas.read_feather(...).to_csv(..., index=False)"),
    b"\xd0\xcf\x11\xe0": ("an Excel workbook", AS_CSV),
    b"SQLite format 3": ("a database", "export the table as CSV"),
    b"\x1f\x8b": ("compressed", "unpack it first"),
    b"BZh": ("compressed", "unpack it first"),
    b"\xfd7zXZ": ("compressed", "unpack it first"),
    b"(\xb5/\xfd": ("compressed", "unpack it first"),
    b"\x89HDF": ("an HDF5 file", "write the table as CSV"),
    b"\x93NUMPY": ("an array of NumPy", "write it as CSV"),
    b"\x80\x02": ("a pickle", "write it as CSV"),
    b"\x80\x03": ("a pickle", "write it as CSV"),
    b"\x80\x04": ("a pickle", "write it as CSV"),
    b"\x80\x05": ("a pickle", "write it as CSV"),
    b"%PDF": ("a PDF", "write the table as CSV"),
    b"{\\rtf": ("a document (RTF)", AS_CSV),
}
MARKUP = ("<!doctype html", "<html", "<?xml", "<table", "<head")


def text_of(path: Path) -> tuple[str, list[str]]:
    """The text, and what the user should know of how it was read."""
    content = bytes_of(path)
    name, remedy = other_format(content)
    if name:
        raise CorpusError(f"{path} is {name}, not a table of text; {remedy}")
    text, remarks = decoded(content, path)
    if "\0" in text:
        raise CorpusError(f"{path} is no text; {AS_CSV}")
    refuse_markup(text, path)
    return text, remarks


def bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise CorpusError(f"there is no file {path}") from None
    except IsADirectoryError:
        raise CorpusError(f"{path} is a folder; name the file that holds the table") from None
    except OSError as error:
        raise CorpusError(f"{path} cannot be read: {error.strerror}") from None


def other_format(content: bytes) -> tuple[str, str]:
    """What the file is where it is no text, and the remedy."""
    if content.startswith(b"PK\x03\x04"):
        return of_zip(content), AS_CSV
    return next((found for mark, found in FORMATS.items() if content.startswith(mark)), ("", ""))


def of_zip(content: bytes) -> str:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as file:
            names = file.namelist()
            kind = file.read("mimetype") if "mimetype" in names else b""
    except (zipfile.BadZipFile, OSError, RuntimeError):
        return "a damaged zip archive"
    if any(name.startswith("xl/") for name in names):
        return "an Excel workbook (xlsx)"
    if b"opendocument" in kind:
        return "an OpenDocument file (ods)"
    if any(name.startswith("Index/") for name in names):
        return "a Numbers sheet"
    return "a zip archive"


def decoded(content: bytes, path: Path) -> tuple[str, list[str]]:
    encoding = next((encoding for mark, encoding in MARKS if content.startswith(mark)), None) or without_mark(content)
    try:
        return content.decode(encoding), []
    except UnicodeDecodeError as error:
        if encoding != "utf-8":
            raise CorpusError(f"{path} is damaged: it is no {encoding.removesuffix('-sig')} ({error.reason})") from None
    remark = (
        f"{path.name} is no UTF-8 and is read as Windows-1252 (latin-1); where letters look wrong, save it as UTF-8"
    )
    try:
        return content.decode("cp1252"), [remark]
    except UnicodeDecodeError:
        return content.decode("latin-1"), [remark]


def without_mark(content: bytes) -> str:
    """UTF-16 without a byte order mark has a zero in every other byte of plain letters."""
    some = content[:2000]
    if some and len(content) % 2 == 0:
        for first, encoding in ((1, "utf-16-le"), (0, "utf-16-be")):
            if some[first::2].count(0) > 0.4 * len(some) and not some[1 - first :: 2].count(0):
                return encoding
    return "utf-8"


def refuse_markup(text: str, path: Path) -> None:
    """JSON and web pages are text too, but no tables."""
    start = text.lstrip()[:20].lower()
    if start.startswith(MARKUP):
        raise CorpusError(f"{path} is a web page or XML, not a table; download the file itself, or {AS_CSV}")
    if start.startswith(("{", "[")) and is_json(text):
        raise CorpusError(f"{path} is JSON, not a table; write it as CSV, one row a line")


def is_json(text: str) -> bool:
    """A JSON document, or one a line."""
    for part in (text, text.strip().partition("\n")[0]):
        try:
            if isinstance(json.loads(part), dict | list):
                return True
        except ValueError:
            continue
    return False
