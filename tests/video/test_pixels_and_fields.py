"""Interlaced files and files whose pixels are not square: noted always, corrected where that is asked for."""

from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import av.filter
import numpy as np
import pytest
from jaxtyping import UInt8

from support.bars import moving
from tubelet.corpus.schema import Video
from tubelet.corpus.table import Corpus
from tubelet.video.reader import read_span

COUNT, HEIGHT, WIDTH = 30, 64, 80


def write(path: Path, codec: str, options: dict[str, str], aspect: Fraction = Fraction(1)) -> None:
    """25 frames a second; interlaced ones show another moment in every second row."""
    frames = moving(2 * COUNT, HEIGHT, WIDTH)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width, stream.pix_fmt = HEIGHT, WIDTH, "yuv420p"
        stream.codec_context.gop_size = 10
        stream.sample_aspect_ratio = aspect
        stream.options = {"threads": "1", **options}
        for number in range(COUNT):
            pixels = frames[2 * number].copy()
            if options:
                pixels[1::2] = frames[2 * number + 1][1::2]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))


def filtered(path: Path, filters: list[tuple[str, str]]) -> UInt8[np.ndarray, "t h w 3"]:
    """What a chain of FFmpeg's filters makes of the whole file, decoded in sequence."""
    shown = []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        graph = av.filter.Graph()
        nodes = [graph.add_buffer(template=stream)]
        nodes += [graph.add(name, words) for name, words in filters] + [graph.add("buffersink")]
        for one, other in pairwise(nodes):
            one.link_to(other)
        graph.configure()
        for frame in [*container.decode(stream), None]:
            graph.push(frame)
            while True:
                try:
                    shown.append(graph.pull())
                except (BlockingIOError, EOFError):
                    break
    return np.stack([frame.to_ndarray(format="rgb24", interpolation="BICUBIC") for frame in shown])


def only_row(run: Callable[..., tuple[int, str, str]], *words: object) -> tuple[Video, str]:
    code, out, error = run(*words)
    assert code == 0, error
    return Corpus.open(Path(str(words[list(words).index("--out") + 1]))).videos[0], out


@pytest.mark.parametrize(
    ("suffix", "codec", "options"),
    [
        (".mpg", "mpeg2video", {"flags": "+ildct+ilme", "top": "1"}),
        (".mkv", "mpeg2video", {"flags": "+ildct+ilme"}),
        (".mp4", "libx264", {"x264-params": "tff=1"}),
    ],
)
def test_interlaced_frames_are_noted_and_made_whole_from_any_start(
    tmp_path: Path, run: Callable[..., tuple[int, str, str]], suffix: str, codec: str, options: dict[str, str]
) -> None:
    path = tmp_path / f"fields{suffix}"
    write(path, codec, options)
    plain, out = only_row(run, path, "--out", tmp_path / "plain")
    assert plain.field_order
    assert plain.reading is None
    assert "1 row interlaced" in out
    assert "--deinterlace" in out
    video, _ = only_row(run, path, "--out", tmp_path / "whole", "--deinterlace")
    assert video.reading == "deinterlace"
    assert (video.start, video.end, video.frames) == (plain.start, plain.end, plain.frames)
    expected = filtered(path, [("bwdif", "mode=send_frame:deint=interlaced")])
    frames, times = read_span(path, reading=video.reading)
    np.testing.assert_array_equal(frames, expected)
    assert (frames != read_span(path)[0]).any()
    for first, last in ((0, 3), (7, 12), (10, 11), (19, 30)):
        end = float(times[last]) if last < COUNT else video.end
        part, _ = read_span(path, float(times[first]), end, video.reading)
        np.testing.assert_array_equal(part, expected[first:last])


@pytest.mark.parametrize(("aspect", "size"), [(Fraction(64, 45), (114, 64)), (Fraction(8, 9), (80, 72))])
def test_pixels_that_are_not_square_are_noted_and_stretched(
    tmp_path: Path, run: Callable[..., tuple[int, str, str]], aspect: Fraction, size: tuple[int, int]
) -> None:
    path = tmp_path / "wide.mp4"
    write(path, "libx264", {}, aspect)
    plain, out = only_row(run, path, "--out", tmp_path / "plain")
    assert plain.pixel_aspect == f"{aspect.numerator}:{aspect.denominator}"
    assert (plain.width, plain.height, plain.reading) == (WIDTH, HEIGHT, None)
    assert "pixels that are not square" in out
    video, _ = only_row(run, path, "--out", tmp_path / "square", "--square-pixels")
    assert (video.width, video.height, video.reading) == (*size, "square-pixels")
    frames, _ = read_span(path, reading=video.reading)
    scaled = filtered(path, [("scale", f"{size[0]}:{size[1]}:flags=bicubic"), ("format", "rgb24")])
    assert frames.shape[1:3] == (video.height, video.width)
    with av.open(str(path)) as container:
        shown = [frame.reformat(*size, "rgb24", interpolation="BICUBIC") for frame in container.decode(video=0)]
    np.testing.assert_array_equal(frames, np.stack([frame.to_ndarray() for frame in shown]))
    assert np.abs(frames.astype(int) - scaled).mean() < 1, "the filter spreads colour in another way"


def test_what_a_corpus_was_told_holds_for_what_is_added_to_it(
    tmp_path: Path, run: Callable[..., tuple[int, str, str]]
) -> None:
    write(tmp_path / "a.mp4", "libx264", {}, Fraction(64, 45))
    only_row(run, tmp_path / "a.mp4", "--out", tmp_path / "c", "--square-pixels")
    write(tmp_path / "b.mp4", "libx264", {}, Fraction(64, 45))
    code, _, _ = run(tmp_path / "b.mp4", "--out", tmp_path / "c", "--update")
    assert code == 0
    assert [video.width for video in Corpus.open(tmp_path / "c").videos] == [114, 114]


def test_rows_that_are_there_are_not_read_in_another_way_silently(
    tmp_path: Path, run: Callable[..., tuple[int, str, str]]
) -> None:
    write(tmp_path / "a.mp4", "libx264", {}, Fraction(64, 45))
    only_row(run, tmp_path / "a.mp4", "--out", tmp_path / "c")
    code, _, error = run("--update", "--out", tmp_path / "c", "--square-pixels")
    assert code == 2
    told = "reads frames so: as they are decoded; for frames read so: square-pixels, give another --out"
    assert told in " ".join(error.split())
    assert run("--update", "--out", tmp_path / "c", "--no-square-pixels", "--frame-rate", "12")[0] == 0
    assert Corpus.open(tmp_path / "c").videos[0].width == WIDTH
