"""What docs/tables.md says of forty files is what the command line gives."""

import io
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tubelet import cli
from tubelet.corpus.table import Corpus
from tubelet.corpus.write import assign_split
from tubelet.video.writer import write_video

PAGE = Path(__file__).resolve().parents[2] / "docs" / "tables.md"
EXAMPLES = re.findall(
    r'^### \d+\. (.+)\n\n```text title="(.+)"\n((?:.*\n)*?)```\n\n```text\n\$ tubelet (.+)\n((?:.*\n)*?)```$',
    PAGE.read_text(encoding="utf-8"),
    flags=re.MULTILINE,
)
VIDEOS = ("c00.mp4", "c01.mp4", "c02.mp4", "run/001.mp4", "jump/002.mp4", "my, clip.mp4")


@pytest.fixture(scope="module")
def write_clips(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], None]:
    clip = tmp_path_factory.mktemp("page") / "clip.mp4"
    write_video(clip, np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3)).astype(np.uint8), 8.0)

    def write(folder: Path) -> None:
        for name in VIDEOS:
            (folder / "clips" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "clips" / name).write_bytes(clip.read_bytes())

    return write


def content_of(text: str, form: str) -> bytes:
    """The file as its title says that it was saved."""
    if form == "workbook":
        book = io.BytesIO()
        with zipfile.ZipFile(book, "w") as file:
            file.writestr("xl/worksheets/sheet1.xml", text)
        return book.getvalue()
    return text.encode(form or "utf-8")


def outcome(code: int, out: str, err: str) -> str:
    """The error, or what the tables gave to each video and the notes on them."""
    if code:
        assert (code, out.strip(), Path("corpus").exists()) == (2, "", False)
        return err
    corpus = Corpus.open("corpus")
    lines = []
    for video in corpus.videos:
        said = [f"label {video.label}"] if video.label is not None else []
        said += [f"group {video.group}"] if video.group != video.id.partition("#")[0] else []
        said += [f"split {video.split}"] if video.split != assign_split(video.group) else []
        said += [f'caption "{caption.text}" ({caption.source})' for caption in corpus.captions_of(video)]
        lines += [f"{video.id}: {', '.join(said)}\n"] if said else []
    lines = lines or [f"{len(corpus.videos)} videos: {', '.join(video.id for video in corpus.videos)}\n"]
    return "".join(
        [*lines, *(f"{line.strip()}\n" for line in out.splitlines() if re.search(r"note: \S+\.\w{3,4}\b", line))]
    )


@pytest.mark.parametrize(("title", "file", "text", "command", "said"), EXAMPLES, ids=[one[0] for one in EXAMPLES])
def test_every_file_of_the_page_gives_what_stands_there(
    title: str, file: str, text: str, command: str, said: str,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_clips: Callable[[Path], None],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    write_clips(tmp_path)
    name, _, form = file.partition(" (")
    Path(name).write_bytes(content_of(text, form.removesuffix(")")))
    code = cli.main(command.split())
    shown = capsys.readouterr()
    assert outcome(code, shown.out, shown.err) == said


def test_the_page_holds_forty_files() -> None:
    assert len(EXAMPLES) == PAGE.read_text().count("\n### ") == 40
