"""The page of troubleshooting quotes messages that the code says, and the pages for newcomers are complete."""

import re
from pathlib import Path

import tubelet

DOCS = Path(__file__).resolve().parents[1] / "docs"


def test_every_message_that_the_page_quotes_is_said_by_the_code():
    source = "\n".join(path.read_text() for path in Path(tubelet.__file__).parent.rglob("*.py"))
    source = re.sub(r'"\s*\n\s*f?"', "", source)  # literals that go on in the next line
    page = (DOCS / "troubleshooting.md").read_text()
    quoted = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]
    messages = [message for cell in quoted for message in re.findall(r"`([^`]+)`", cell)]
    assert len(messages) > 20
    assert not [message for message in messages if message not in source]


def test_every_status_of_the_code_is_explained():
    source = "\n".join(path.read_text() for path in Path(tubelet.__file__).parent.rglob("*.py"))
    said = set(re.findall(r'Undecodable\(\s*"([a-z ]+)"', source)) | {"crashed", "too slow", "too large", "not a file"}
    page = (DOCS / "jobs.md").read_text()
    assert said >= {"missing", "unreadable", "no video", "empty"}
    assert not [word for word in said if f"`{word}`" not in page]
