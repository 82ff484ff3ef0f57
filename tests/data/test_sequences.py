"""Image sequences: folders of frames and patterns are videos, wherever a video file is one."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from bars import moving
from jaxtyping import UInt8

from tubelet import cli
from tubelet.data.table import Corpus
from tubelet.data.video import open_reader, read_frames, read_span
from tubelet.errors import VideoError

CODECS = {".jpg": ("mjpeg", "yuvj420p"), ".png": ("png", "rgb24"), ".bmp": ("bmp", "bgr24"), ".tif": ("tiff", "rgb24")}
SHAPE = (12, 40, 48)


def save(path: Path, pixels: UInt8[np.ndarray, "h w 3"]) -> None:
    codec, form = CODECS[path.suffix]
    encoder = av.CodecContext.create(codec, "w")
    encoder.height, encoder.width = pixels.shape[:2]
    encoder.pix_fmt, encoder.time_base = form, Fraction(1, 25)
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24").reformat(format=form)
    frame.pts = 0
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)]))


def sequence(folder: Path, name: str = "img_{:05}.png", first: int = 1, skip: tuple[int, ...] = ()) -> Path:
    for number, pixels in enumerate(moving(*SHAPE), first):
        if number not in skip:
            save(folder / name.format(number), pixels)
    return folder


def by_ffmpeg(files: list[Path]) -> UInt8[np.ndarray, "t h w 3"]:
    """Each file decoded for itself."""
    shown = []
    for file in files:
        with av.open(str(file)) as container:
            shown.append(next(container.decode(video=0)).to_ndarray(format="rgb24", interpolation="BICUBIC"))
    return np.stack(shown)


@pytest.mark.parametrize("suffix", list(CODECS))
def test_a_folder_of_frames_is_read_as_a_video_from_any_start(tmp_path: Path, suffix: str) -> None:
    folder = sequence(tmp_path / "clip", "img_{:05}" + suffix)
    expected = by_ffmpeg(sorted(folder.iterdir()))
    frames, times = read_span(folder)
    np.testing.assert_array_equal(frames, expected)
    np.testing.assert_allclose(times, np.arange(12) / 25, atol=1e-9)
    np.testing.assert_array_equal(read_frames(folder, times[[7, 3, 3]]), expected[[7, 3, 3]])
    part, when = read_span(folder, 0.5, 1.0, "fps=10.0")
    np.testing.assert_array_equal(part, expected[5:10])
    np.testing.assert_allclose(when, np.arange(5, 10) / 10, atol=1e-9)


def test_numbers_are_times_so_that_a_gap_shows_the_frame_before_it(tmp_path: Path) -> None:
    folder = sequence(tmp_path / "clip", "{}.png", first=0, skip=(4, 5))  # 10 comes after 9, not after 1
    frames, times = read_span(folder, reading="fps=10.0")
    np.testing.assert_allclose(times, [0.0, 0.1, 0.2, 0.3, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1], atol=1e-9)
    np.testing.assert_array_equal(frames, moving(*SHAPE)[[0, 1, 2, 3, 6, 7, 8, 9, 10, 11]])
    np.testing.assert_array_equal(read_frames(folder, [0.55], "fps=10.0")[0], moving(*SHAPE)[3])


def indexed(run: Callable[..., tuple[int, str, str]], *words: object) -> tuple[Corpus, str]:
    code, out, error = run(*words)
    assert code == 0, error
    return Corpus.open(Path(str(words[list(words).index("--out") + 1]))), out


def test_index_finds_folders_of_frames_and_says_their_rate(
    tmp_path: Path, run: Callable[..., tuple[int, str, str]]
) -> None:
    sequence(tmp_path / "all" / "walk" / "a")
    sequence(tmp_path / "all" / "run" / "b", "{:03}.jpg", skip=(3, 7, 8))
    save(tmp_path / "all" / "cover" / "one.png", moving(*SHAPE)[0])
    corpus, out = indexed(run, tmp_path / "all", "--out", tmp_path / "c", "--frame-rate", "12")
    rows = {video.id: video for video in corpus.videos}
    assert set(rows) == {"run/b", "walk/a"}
    walk = rows["walk/a"]
    assert (walk.status, walk.frames, walk.fps, walk.width, walk.height) == ("ok", 12, pytest.approx(12.0), 48, 40)
    assert walk.end == pytest.approx(1.0)
    assert rows["run/b"].reason == "3 of its numbers are missing (3, 7 to 8); the frame before each is shown on"
    assert "2 image sequences (first: run/b); frames a second: 12" in out
    with open_reader(walk.path, 0.5, walk.end, reading=walk.reading) as reader:
        np.testing.assert_array_equal(reader.frames(reader.times), moving(*SHAPE)[6:])
    assert "frames a second: 25, as nothing else is said" in indexed(run, tmp_path / "all", "--out", tmp_path / "d")[1]
    assert walk.content
    assert walk.content != rows["run/b"].content


def test_lists_name_folders_and_patterns_also_in_the_form_of_rawframes(
    tmp_path: Path, run: Callable[..., tuple[int, str, str]]
) -> None:
    sequence(tmp_path / "frames" / "v1")
    sequence(tmp_path / "frames" / "v2", "flow_x_{:05}.png")
    for place, pixels in enumerate(moving(*SHAPE)[:4]):
        save(tmp_path / "frames" / "v2" / f"img_{place:05}.png", pixels)
    (tmp_path / "list.csv").write_text("path,label\nframes/v1,walk\nframes/v2/img_%05d.png,run\n")
    corpus, _ = indexed(run, tmp_path / "list.csv", "--out", tmp_path / "c")
    assert [(video.label, video.frames, video.status) for video in corpus.videos] == [
        ("walk", 12, "ok"),
        ("run", 4, "ok"),
    ]
    (tmp_path / "raw.txt").write_text("frames/v1 1 12 3\n")
    corpus, _ = indexed(run, tmp_path / "raw.txt", "--out", tmp_path / "d")
    assert [(video.id, video.label, video.frames) for video in corpus.videos] == [("frames/v1", "3", 12)]


def test_what_is_wrong_with_a_sequence_is_the_reason_of_its_row(
    tmp_path: Path, run: Callable[..., tuple[int, str, str]]
) -> None:
    sequence(tmp_path / "all" / "sizes")
    save(tmp_path / "all" / "sizes" / "img_00005.png", moving(1, 20, 24)[0])
    sequence(tmp_path / "all" / "damaged")
    (tmp_path / "all" / "damaged" / "img_00004.png").write_bytes(b"no picture")
    corpus, _ = indexed(run, tmp_path / "all", "--out", tmp_path / "c")
    reasons = {video.id: (video.status, video.reason) for video in corpus.videos}
    assert reasons["sizes"] == ("unreadable", "img_00005.png is 24x20, and the first frame of sizes 48x40")
    assert reasons["damaged"][0] == "unreadable"
    assert reasons["damaged"][1].startswith("img_00004.png")
    with pytest.raises(VideoError, match="are not named alike"):
        read_frames(mixed(tmp_path / "mixed"), [0.0])


def mixed(folder: Path) -> Path:
    sequence(folder)
    sequence(folder, "mask_{:05}.png")
    return folder


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_sequences_are_trained_on_embedded_and_mapped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(4):
        sequence(tmp_path / "all" / f"clip{number}")
    corpus = str(tmp_path / "c")
    assert cli.main(["index", str(tmp_path / "all"), "--out", corpus]) == 0
    assert cli.main(["saliency", "flow", corpus]) == 0, capsys.readouterr().err
    run = str(tmp_path / "run")
    words = ["pretrain", "tiny", "--on", corpus, "--out", run, "steps=2", "data.cache=False", "data.split=all"]
    assert cli.main(words) == 0, capsys.readouterr().err
    assert cli.main(["embed", run, str(tmp_path / "all" / "clip1"), "--out", str(tmp_path / "e.parquet")]) == 0
    capsys.readouterr()
    cli.main(["saliency", "motion", corpus])
    assert "an image sequence holds no motion vectors" in capsys.readouterr().out.replace("\n", " ")
