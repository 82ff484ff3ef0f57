"""Small real files that every test of the data room shares."""

from collections.abc import Callable
from pathlib import Path

import pytest

from support.bars import FPS, FRAMES, HEIGHT, WIDTH, moving
from tubelet import cli
from tubelet.corpus.probe import probe
from tubelet.corpus.table import Corpus
from tubelet.corpus.write import write_corpus
from tubelet.video.writer import write_video


@pytest.fixture(scope="session")
def video_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 frames of 48x40 at 10 a second, a key frame every 6."""
    path = tmp_path_factory.mktemp("video") / "plain.mp4"
    write_video(path, moving(FRAMES, HEIGHT, WIDTH), FPS, gop=6)
    return path


@pytest.fixture(scope="session")
def clips_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten good files in two folders, equal names in both, one of them short; one damaged, one empty, one of text."""
    folder = tmp_path_factory.mktemp("clips")
    for number in range(10):
        index = folder / ("up" if number % 2 else "down")
        index.mkdir(exist_ok=True)
        count = 9 if number == 4 else FRAMES
        write_video(index / f"clip {number // 2}.mp4", moving(count, HEIGHT, WIDTH, 10 * number), FPS, gop=6)
    (folder / "broken").mkdir()
    whole = (folder / "up" / "clip 0.mp4").read_bytes()
    (folder / "broken" / "cut.mp4").write_bytes(whole[: len(whole) // 3])
    (folder / "broken" / "empty.mp4").touch()
    (folder / "broken" / "text.avi").write_text("this is no video")
    (folder / "notes.md").write_text("neither is this")
    return folder


@pytest.fixture(scope="session")
def make_corpus(clips_folder: Path) -> Callable[..., Corpus]:
    """A corpus of the ten good files, all in train, with two captions each."""

    def make(folder: Path, **changes: object) -> Corpus:
        rows, captions = [], []
        for path in sorted(clips_folder.glob("[ud]*/*.mp4")):
            found = probe(path)
            name = path.relative_to(clips_folder).as_posix()
            row = {"id": name, "path": path, "label": path.parent.name, "split": "train", "codec": found.codec}
            row |= {"start": found.start, "end": found.end, "fps": found.fps, "frames": found.frames}
            row |= {"width": found.width, "height": found.height, **changes}
            rows.append(row)
            captions.append({"video": name, "text": f"A bar walks {name}.", "source": "early", "time": 0.2})
            captions.append({"video": name, "text": "a bar walks", "source": "late", "time": 1.8})
        return write_corpus(folder, "bars", rows, captions)

    return make


@pytest.fixture(scope="session")
def corpus(make_corpus: Callable[..., Corpus], tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return make_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """`tubelet index`: (exit code, stdout, stderr)."""

    def command(*words: object) -> tuple[int, str, str]:
        code = cli.main(["index", *map(str, words)])
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return command
