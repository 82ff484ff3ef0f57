"""Image sequences: folders of frames and patterns are videos, wherever a video file is one."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Literal

import av
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from jaxtyping import UInt8

from support.bars import moving
from tubelet import cli
from tubelet.corpus.probe import moments
from tubelet.corpus.table import Corpus
from tubelet.errors import VideoError
from tubelet.inference.features import write_features
from tubelet.inference.windows import Windows
from tubelet.loading.data import Data
from tubelet.models.encoder import Vit
from tubelet.types import Clip
from tubelet.video.crop import Crop, crop_frames
from tubelet.video.reader import open_reader, read_frames, read_span
from tubelet.video.sampling import Sampling
from tubelet.video.writer import write_video

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
    assert "2 image sequences (first: run/b); frames per second: 12" in out
    with open_reader(walk.path, 0.5, walk.end, reading=walk.reading) as reader:
        np.testing.assert_array_equal(reader.frames(reader.times), moving(*SHAPE)[6:])
    assert "frames per second: 25, the default" in indexed(run, tmp_path / "all", "--out", tmp_path / "d")[1]
    assert walk.content
    assert walk.content != rows["run/b"].content


def test_lists_name_folders_and_patterns_also_in_the_form_of_rawframes(
    tmp_path: Path, run: Callable[..., tuple[int, str, str]]
) -> None:
    sequence(tmp_path / "frames" / "v1")
    sequence(tmp_path / "frames" / "v2", "flow_x_{:05}.png")
    for position, pixels in enumerate(moving(*SHAPE)[:4]):
        save(tmp_path / "frames" / "v2" / f"img_{position:05}.png", pixels)
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


@pytest.mark.parametrize("order", ["little", "big"])
def test_pictures_are_shown_as_their_camera_was_held_mirrored_too(
    tmp_path: Path, order: Literal["little", "big"]
) -> None:
    pixels = moving(12, 40, 48)[5]
    pixels[:8, :16] = 255
    save(tmp_path / "plain.jpg", pixels)
    (plain,) = by_ffmpeg([tmp_path / "plain.jpg"])
    content = (tmp_path / "plain.jpg").read_bytes()
    turned = [
        plain, plain[:, ::-1], plain[::-1, ::-1], plain[::-1], plain.transpose(1, 0, 2), np.rot90(plain, -1),
        plain[::-1, ::-1].transpose(1, 0, 2), np.rot90(plain),
    ]  # fmt: skip
    for value, expected in enumerate(turned, 1):
        tiff = (b"II" if order == "little" else b"MM") + b"".join(
            number.to_bytes(size, order)
            for number, size in ((42, 2), (8, 4), (1, 2), (0x112, 2), (3, 2), (1, 4), (value, 2), (0, 2), (0, 4))
        )
        exif = b"\xff\xe1" + (8 + len(tiff)).to_bytes(2, "big") + b"Exif\0\0" + tiff
        folder = tmp_path / f"held{value}"
        folder.mkdir()
        (folder / "img_1.jpg").write_bytes(content[:2] + exif + content[2:])
        np.testing.assert_array_equal(read_span(folder)[0][0], expected)


def mixed(folder: Path) -> Path:
    sequence(folder)
    sequence(folder, "mask_{:05}.png")
    return folder


def test_windows_of_sequences_and_of_corrected_files_hold_what_the_reader_of_rows_gives(tmp_path: Path) -> None:
    encoder = Vit(width=16, depth=1, heads=1).build(Clip(frames=2, size=32, tubelet_size=16)).eval()
    folder = sequence(tmp_path / "all" / "clip")
    write_video(tmp_path / "all" / "wide.mp4", moving(*SHAPE), 10.0, options={"aspect": "2:1"})
    corpus = str(tmp_path / "c")
    words = ["index", str(tmp_path / "all"), "--out", corpus, "--frame-rate", "10", "--square-pixels"]
    assert cli.main(words) == 0
    data = Data(sampling=Sampling(stride=1))
    table = tmp_path / "features.parquet"
    for _ in range(2):  # the second time, all stay
        write_features(encoder, [corpus], table, data, windows=Windows.of(0.6), only_missing=True)
        rows = pq.read_table(table).to_pylist()
        assert [(row["start"], row["status"]) for row in rows] == [(0.0, "ok"), (0.6, "ok")] * 2
    frames = read_frames(folder, [0.8, 0.9], "fps=10.0")
    shown = crop_frames(frames, Crop.centre(*frames.shape[1:3]), 32)
    with torch.no_grad():
        np.testing.assert_allclose(rows[1]["feature"], encoder.encode(shown[None])[0].mean(0), atol=1e-5)
    wide = next(video for video in Corpus.open(tmp_path / "c").videos if video.id == "wide.mp4")
    assert rows[2]["reading"] == wide.reading == "square-pixels"
    assert moments(folder, 0.0, 9.0, "fps=10.0")[0].tolist() == pytest.approx(np.arange(12) / 10)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_sequences_are_trained_on_embedded_mapped_and_labelled(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    captions = ["path,caption"]
    for number in range(8):
        label = ("walk", "run")[number % 2]
        sequence(tmp_path / "all" / label / f"clip{number}")
        captions.append(f"{label}/clip{number},somebody likes to {label}")
    (tmp_path / "captions.csv").write_text("\n".join(captions))
    corpus, run, tuned = (str(tmp_path / name) for name in ("c", "run", "tuned"))
    plain = str(tmp_path / "all" / "run" / "clip1")

    def works(*words: str) -> None:
        assert cli.main(list(words)) == 0, (words, capsys.readouterr().err)

    told = ["--captions", str(tmp_path / "captions.csv"), "--labels-from-folders"]
    works("index", str(tmp_path / "all"), "--out", corpus, *told)
    works("saliency", corpus, "Flow")
    works("align", corpus, "steps=2")
    works("saliency", corpus, "Text")
    few = ["--on", corpus, "data.cache=False"]
    works("pretrain", "tiny", "--out", run, "steps=2", "data.split=all", *few)
    works("embed", run, plain, "--out", str(tmp_path / "e.parquet"))
    works("embed", run, corpus, "--windows", "0.2", "--out", str(tmp_path / "w.parquet"))
    works("finetune", run, "tiny", "batch=2", "steps=2", "rates=0.1", "views=1x1", "--out", tuned, *few)
    works("predict", tuned, corpus, plain, "--out", str(tmp_path / "p.parquet"))
    rows = pq.read_table(tmp_path / "p.parquet").to_pylist()
    assert [row["status"] for row in rows] == ["ok"] * 9
    assert {row["label"] for row in rows} <= {"walk", "run"}
    assert set(pq.read_table(tmp_path / "w.parquet").column("status").to_pylist()) == {"ok"}
    capsys.readouterr()
    cli.main(["saliency", corpus, "Motion"])
    assert "an image sequence holds no motion vectors" in capsys.readouterr().out.replace("\n", " ")
