"""Any start of reading gives what FFmpeg decodes in sequence, whatever the packets say of themselves."""

import re
import zlib
from collections.abc import Sequence
from pathlib import Path

import av
import av.error
import numpy as np
import pytest
from av.stream import Disposition
from av.video.reformatter import Interpolation, VideoReformatter

from support.made import Kind, kinds, make
from tubelet import cli
from tubelet.corpus.probe import probe
from tubelet.corpus.table import Corpus
from tubelet.errors import VideoError
from tubelet.video.reader import Reader, read_frames, read_span, turn_of


def in_sequence(path: Path) -> list[int]:
    """A checksum of every frame that PyAV yields from the first packet to the last, or to the first damage."""
    found: list[int] = []
    rgb = VideoReformatter()
    with av.open(str(path), metadata_errors="ignore") as container:
        moving = [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]
        best = container.streams.best("video")
        stream = best if best in moving else moving[0]
        stream.codec_context.thread_count = 1
        packets = container.demux(stream)
        while (packet := next(packets, None)) is not None:
            try:
                frames = stream.codec_context.decode(packet if packet.size else None)
            except EOFError:
                break
            except av.error.FFmpegError:
                if found:
                    break
                continue
            for frame in frames:
                if not found:
                    size, (transpose, mirror, upside) = (frame.width, frame.height), turn_of(frame)
                picture = rgb.reformat(frame, *size, "rgb24", interpolation=Interpolation.BICUBIC, threads=1)
                shown = picture.to_ndarray()
                shown = shown.transpose(1, 0, 2) if transpose else shown
                found.append(checksum(shown[:: -1 if upside else 1, :: -1 if mirror else 1]))
    return found


def checksum(frame: np.ndarray) -> int:
    return zlib.crc32(np.ascontiguousarray(frame).data)


def disagreements(path: Path, spans: int = 20) -> list[str]:
    """Random spans whose frames or times are not those of the sequence, and beside every fifth span, moments."""
    found = probe(path)
    times, expected = found.times, in_sequence(path)
    assert len(times) == len(expected) or found.note, f"{path.name}: {len(times)} frames for {len(expected)}"
    assert (np.diff(times) > 0).all(), path.name
    rng = np.random.default_rng(0)
    wrong = []
    for number in range(spans):
        first = int(rng.integers(len(times)))
        last = min(first + 1 + int(rng.integers(24)), len(times))
        end = float(times[last]) if last < len(times) else found.end
        moments = rng.integers(len(times), size=3)
        try:
            frames, when = read_span(path, float(times[first]), end, found.reading)
            picked = read_frames(path, times[moments], found.reading) if number % 5 == 0 else None
        except VideoError as error:
            wrong.append(f"{path.name} {first}:{last}: {error}")
            continue
        if list(map(checksum, frames)) != expected[first:last] or np.abs(when - times[first:last]).max() > 1e-6:
            wrong.append(f"{path.name} {first}:{last}")
        if picked is not None and list(map(checksum, picked)) != [expected[index] for index in moments]:
            wrong.append(f"{path.name} {moments}")
    return wrong


def test_packed_b_frames_are_read_from_any_start(real_data: Path) -> None:
    path = real_data / "trials" / "packed-b-frames.avi"
    assert not disagreements(path)
    assert probe(path).frames == len(in_sequence(path)) == 72


@pytest.mark.parametrize("gop", [5, 300])
def test_made_packed_b_frames_are_read_from_any_start(tmp_path: Path, gop: int) -> None:
    path = make(tmp_path, Kind("mpeg4", "avi", 1, gop, packed=True))
    assert not disagreements(path)


def test_what_index_calls_ok_of_packed_b_frames_is_embedded_from_its_middle(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "clips").mkdir()
    path = make(tmp_path / "clips", Kind("mpeg4", "avi", 1, 12, packed=True))
    path.rename(tmp_path / "clips" / "packed.avi")
    for left in (tmp_path / "clips").glob("mpeg4*"):
        left.unlink()
    words = ["index", str(tmp_path / "clips"), "--out", str(tmp_path / "corpus"), "--segment", "0.4"]
    assert cli.main(words) == 0, capsys.readouterr().err
    videos = Corpus.open(tmp_path / "corpus").videos
    assert len(videos) == 4
    expected = in_sequence(tmp_path / "clips" / "packed.avi")
    read: list[int] = []
    for video in videos:
        assert video.status == "ok"
        with Reader(video.path, video.start, video.end) as reader:
            read += map(checksum, reader.frames(reader.times))
    assert read == expected


def test_key_frames_that_are_none_are_found_out_and_the_file_is_read_from_its_beginning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = make(tmp_path, Kind("rpza", "mov", 0, 6))  # every packet is flagged, and its decoder does not tell
    assert cli.main(["index", str(path), "--out", str(tmp_path / "corpus")]) == 0, capsys.readouterr().err
    video = Corpus.open(tmp_path / "corpus").videos[0]
    assert (video.status, video.reading) == ("ok", "sequential")
    assert "decoded from its beginning" in video.reason
    assert not disagreements(path)


@pytest.mark.parametrize("altered", ["joined", "holed"])
def test_streams_joined_or_with_holes_are_read_from_their_beginning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], altered: str
) -> None:
    path = make(tmp_path, Kind("libx264", "ts", 3, 12, altered=altered))
    assert cli.main(["index", str(path), "--out", str(tmp_path / "corpus")]) == 0, capsys.readouterr().err
    video = Corpus.open(tmp_path / "corpus").videos[0]
    assert (video.status, video.reading) == ("ok", "sequential")
    told = {"joined": "several recordings or edits follow each other in it", "holed": "a part of it is damaged"}
    assert told[altered] in video.reason
    assert not disagreements(path)
    assert video.end == pytest.approx(3.2 if altered == "joined" else 1.6)


def sample(every: Sequence[Kind]) -> list[Kind]:
    """One kind of each codec in each container, with all that its group varies in turn."""
    groups: dict[tuple[str | bool, ...], list[Kind]] = {}
    for kind in every:
        particular = (bool(kind.options), kind.uneven, bool(kind.muxer), kind.altered, kind.start < 0)
        groups.setdefault((kind.codec, kind.container, *particular), []).append(kind)
    return [group[-1 - number % min(len(group), 2)] for number, group in enumerate(groups.values())]


def test_a_sample_of_made_files_is_read_alike_from_any_start(tmp_path: Path) -> None:
    some = [kind for kind in sample(list(kinds())) if kind.codec not in ("libsvtav1", "libx265")]
    assert len(some) > 50
    assert not [wrong for kind in some for wrong in disagreements(make(tmp_path, kind), spans=4)]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_two_hundred_made_files_are_read_alike_from_any_start(tmp_path: Path) -> None:
    every = list(kinds())
    assert len(every) >= 200
    assert len({kind.name for kind in every}) == len(every)
    assert not [wrong for kind in every for wrong in disagreements(make(tmp_path, kind))]


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_every_real_file_is_read_alike_from_any_start(real_data: Path) -> None:
    wrong = []
    read = 0
    for path in sorted(path for path in real_data.rglob("*") if re.search(r"\.(mp4|avi|mov|mkv|webm|gif)$", path.name)):
        try:
            probe(path)
        except VideoError:
            continue
        read += 1
        wrong += disagreements(path)
    assert read > 900
    assert not wrong
