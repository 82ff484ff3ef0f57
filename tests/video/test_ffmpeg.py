"""Every awkward file and the real clips against the ffmpeg command: as many frames, the same pixels, or a reason."""

import shutil
import subprocess
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from tubelet.corpus.listing import LISTS
from tubelet.corpus.probe import probe
from tubelet.errors import VideoError
from tubelet.video.reader import read_span

FFMPEG = shutil.which("ffmpeg")
CLOSE = 2.0  # grey levels, the mean over a frame
LARGEST = 20_000_000  # pixels of a file that the quick suite compares

pytestmark = pytest.mark.skipif(FFMPEG is None, reason="no ffmpeg command")


def of_ffmpeg(path: Path, height: int, width: int) -> np.ndarray:
    """What the command decodes, every frame once, upright.

    Versions before 7.1 do not look where a file says that its colour samples lie, so they are told: on the left.
    """
    left = ["-vf", "scale=in_h_chr_pos=0"] if sited_left(path) else []
    words = [*left, "-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    shown = subprocess.run([str(FFMPEG), "-v", "error", "-i", str(path), *words], capture_output=True, check=False)
    return np.frombuffer(shown.stdout, np.uint8).reshape(-1, height, width, 3)


def sited_left(path: Path) -> bool:
    words = ["-v", "error", "-select_streams", "v", "-show_entries", "stream=chroma_location", "-of", "csv", str(path)]
    return "left" in subprocess.run(["ffprobe", *words], capture_output=True, text=True, check=False).stdout


@dataclass(frozen=True)
class Compared:
    """A file beside what the command says of it."""

    path: Path
    reason: str = ""  # why it is not decoded
    frames: int = 0
    expected: int = 0  # frames, by the command
    listed: int = 0  # frames, in the table
    cut: bool = False
    worst: float = 0.0  # mean difference of the frame that differs most, in grey levels

    @property
    def wrong(self) -> bool:
        alike = self.frames == self.expected == self.listed > 0 and self.worst < CLOSE
        return not alike and not self.reason


def compare(path: Path) -> Compared:
    try:
        found = probe(path)
    except VideoError as error:
        return Compared(path, f"{getattr(error, 'status', 'unreadable')}: {error}" if str(error) else "")
    frames = read_span(path, found.start, found.end)[0]
    expected = of_ffmpeg(path, *frames.shape[1:3])
    cut = bool(found.note) and len(frames) <= len(expected)  # ffmpeg goes on with what it makes up
    if cut:
        expected = expected[: len(frames)]
    worst = [float(np.abs(ours.astype(np.int16) - theirs).mean()) for ours, theirs in zip(frames, expected)]  # noqa: B905
    return Compared(path, "", len(frames), len(expected), found.frames, cut, max(worst, default=0.0))


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix not in LISTS)


def small(path: Path) -> bool:
    try:
        found = probe(path)
    except VideoError:
        return True
    return found.frames * found.height * found.width <= LARGEST


def test_awkward_files_decode_as_by_ffmpeg_or_carry_a_reason(real_data: Path) -> None:
    small_files = [path for path in files(real_data / "awkward") if small(path)]
    assert len(small_files) > 70
    assert not [found for path in small_files if (found := compare(path)).wrong]


def test_real_clips_decode_as_by_ffmpeg(real_data: Path) -> None:
    some = files(real_data / "real-clips")[::60] + files(real_data / "captioned")[:1]
    assert not [found for path in some if (found := compare(path)).wrong]


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_every_file_decodes_as_by_ffmpeg_or_carries_a_reason(real_data: Path) -> None:
    every = files(real_data)
    every = [path for path in every if path.suffix in (".mp4", ".avi", ".mov", ".mkv", ".webm", ".gif")]
    assert len(every) > 380
    compared = [compare(path) for path in every]
    for folder in ("awkward", "captioned", "real-clips"):
        some = [found for found in compared if folder in found.path.parts]
        reasons = Counter(found.reason.partition(":")[0] for found in some if found.reason)
        decoded = [found for found in some if not found.reason]
        print(
            f"{folder}: {len(some)} files, {len(decoded)} decode, {sum(found.cut for found in decoded)} with a remark, "
            f"{sum(found.frames for found in decoded)} frames, at most {max(found.worst for found in decoded):.3f} "
            f"grey levels off in a frame's mean; {dict(reasons)}"
        )
    assert not [found for found in compared if found.wrong]
