"""Videos of a web server or a store are indexed and read as those of a folder are, in few requests."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest

from support.bars import moving
from support.web import Served, serving
from tubelet.corpus.index import index
from tubelet.corpus.schema import Video
from tubelet.corpus.table import Corpus
from tubelet.errors import CorpusError, RemoteError, VideoError
from tubelet.evaluations.duplicates import same_files
from tubelet.evaluations.trained_on import clips_of
from tubelet.loading.data import Data
from tubelet.loading.loader import train_batches
from tubelet.loading.reader import ClipReader, changed
from tubelet.remote import ask
from tubelet.remote.file import RemoteFile
from tubelet.types import Clip
from tubelet.video import spans
from tubelet.video.content import state_of
from tubelet.video.reader import Reader, open_reader, read_frames, read_span
from tubelet.video.spans import indexed, open_spans
from tubelet.video.writer import write_video

NAMES = ("run/clip 0.mp4", "run/clip 1.mp4", "walk/clip 2.mp4", "walk/clip 3.mp4")
CLIP = Clip(frames=4, size=32)


@pytest.fixture(scope="module")
def web_of_module(files: Path) -> Iterator[Served]:
    with serving(files) as served:
        yield served


@pytest.fixture
def web(web_of_module: Served) -> Served:
    web_of_module.fault = lambda number: ""
    web_of_module.clear()
    return web_of_module


def write_list(path: Path, base: str) -> Path:
    path.write_text("\n".join(["path,label", *(f"{base}/{name},{name.split('/')[0]}" for name in NAMES)]))
    return path


@pytest.fixture(scope="module")
def remote(web_of_module: Served, tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    folder = tmp_path_factory.mktemp("remote")
    return index(write_list(folder / "urls.csv", web_of_module.url), folder / "corpus")


@pytest.fixture(scope="module")
def local(files: Path, tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    folder = tmp_path_factory.mktemp("local")
    return index(write_list(folder / "paths.csv", str(files)), folder / "corpus")


def what(video: Video) -> tuple[object, ...]:
    found = (video.start, video.end, video.frames, video.width, video.height, video.codec, video.status, video.content)
    return (video.label, *found)


def test_a_list_of_urls_is_a_corpus_like_that_of_the_files(web: Served, remote: Corpus, local: Corpus) -> None:
    assert list(map(what, remote.videos)) == list(map(what, local.videos))
    assert [video.id for video in remote.videos] == [video.id for video in local.videos] == list(NAMES)
    assert list(remote.to_pandas()["path"]) == [f"{web.url}/{name}" for name in NAMES]
    for one, other in zip(remote.videos, local.videos, strict=True):
        for mine, theirs in zip(read_span(one.path), read_span(other.path), strict=True):
            assert np.array_equal(mine, theirs)


def test_an_unchanged_corpus_is_checked_without_reading_a_video(web: Served, remote: Corpus) -> None:
    again = index([], remote.folder, update=True)
    assert again.looked_again == "4 unchanged, 0 changed, 0 moved, 0 missing, 0 new"
    assert {verb for verb, *_ in web.requests} == {"HEAD"}


def test_what_the_table_says_of_remote_files_is_not_asked_for_before_training(web: Served, remote: Corpus) -> None:
    trained = clips_of(remote, remote.videos, "encoder")
    assert [(clip.content, clip.size) for clip in trained] == [(video.content, video.size) for video in remote.videos]
    assert same_files(remote.videos[:2], remote.videos[2:]) == []
    assert ClipReader.make(remote, remote.select("all"), CLIP, Data(), (), False).as_it_is().states is not None
    assert not web.requests


def test_a_video_that_changed_is_read_anew_and_one_that_is_gone_is_missing(tmp_path: Path) -> None:
    folder = tmp_path / "served"
    folder.mkdir()
    for number in range(3):
        write_video(folder / f"{number}.mp4", moving(12, 40, 48, number), 10, gop=6)
    with serving(folder) as served:
        (tmp_path / "urls.txt").write_text("\n".join(f"{served.url}/{number}.mp4" for number in range(3)))
        index(tmp_path / "urls.txt", tmp_path / "corpus")
        ask.STATES.clear()
        write_video(folder / "1.mp4", moving(18, 40, 48, 7), 10, gop=6)
        (folder / "2.mp4").unlink()
        again = index([], tmp_path / "corpus", update=True)
    assert again.looked_again == "1 unchanged, 1 changed, 0 moved, 1 missing, 0 new"
    assert [video.status for video in again.videos] == ["ok", "ok", "missing"]
    assert again.videos[1].frames == 18


def test_a_server_that_does_not_answer_makes_no_video_missing(
    web: Served, remote: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ask, "PATIENCE", 0.3)
    web.fault = lambda number: "status 503"
    with pytest.raises(RemoteError, match=r"cannot be read \(status 503"):
        index([], remote.folder, update=True)
    assert [video.status for video in Corpus.open(remote.folder).videos] == ["ok"] * 4


def test_training_reads_the_clips_that_it_reads_from_files(web: Served, remote: Corpus, local: Corpus) -> None:
    clips = [
        list(train_batches(corpus, CLIP, Data(split="all"), batch=4, seed=3, first_step=0, last_step=3))
        for corpus in (remote, local)
    ]
    for one, other in zip(*clips, strict=True):
        assert np.array_equal(one.video, other.video)
        assert not one.failed
    assert len(web.requests) == len(NAMES)  # the whole file each, and then it is kept


@pytest.fixture(scope="module")
def minute(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A minute of noise with B-frames, 8 MB, a key frame every 25 or sooner, the index in front or behind."""
    folder = tmp_path_factory.mktemp("minute")
    chance = np.random.default_rng(0)
    frames = [chance.integers(0, 255, (96, 128, 3), np.uint8) for _ in range(4)]
    write_video(folder / "behind.mp4", np.stack(frames * 150), 10, crf=10, gop=25, options={"preset": "superfast"})
    moved = {"movflags": "faststart"}
    with (
        av.open(str(folder / "behind.mp4")) as read,
        av.open(str(folder / "front.mp4"), "w", options=moved) as written,
    ):
        stream = written.add_stream_from_template(read.streams.video[0])
        for packet in read.demux(video=0):
            if packet.size:
                packet.stream = stream
                written.mux(packet)
    return folder


@pytest.mark.parametrize(("name", "most"), [("front.mp4", 2), ("behind.mp4", 3)])
def test_a_clip_out_of_a_minute_costs_two_requests_and_a_small_part_of_the_bytes(
    minute: Path, name: str, most: int
) -> None:
    times = 31.0 + np.arange(16) / 10
    with serving(minute) as served:
        found = read_frames(ask.Address.of(f"{served.url}/{name}").path, times)  # type: ignore[union-attr]
        requests, sent = list(served.requests), served.sent
    assert np.array_equal(found, read_frames(minute / name, times))
    assert len(requests) <= most, requests
    assert sent < 0.2 * (minute / name).stat().st_size


def test_a_file_that_is_another_one_than_when_training_began_is_not_read(tmp_path: Path) -> None:
    folder = tmp_path / "served"
    folder.mkdir()
    write_video(folder / "a.mp4", moving(20, 40, 48, 0), 10, gop=6)
    with serving(folder) as served:
        (tmp_path / "urls.txt").write_text(f"{served.url}/a.mp4\n")
        corpus = index(tmp_path / "urls.txt", tmp_path / "corpus")
        reader = ClipReader.make(corpus, corpus.select("all"), CLIP, Data(), (), False).as_it_is()
        write_video(folder / "a.mp4", moving(20, 40, 48, 5), 10, gop=6)
        ask.STATES.clear()
        with pytest.raises(VideoError, match="changed since the run began"):
            reader.open(corpus.videos[0], 0.0)
        assert changed(corpus.videos[0], reader.states.of(corpus.videos[0]))  # type: ignore[union-attr]


def test_a_folder_of_a_web_server_is_refused_with_the_remedy(web: Served, tmp_path: Path) -> None:
    with pytest.raises(RemoteError, match="give a list of URLs"):
        index(f"{web.url}/run", tmp_path / "corpus")
    assert not (tmp_path / "corpus").exists()


def test_a_list_that_lies_on_a_server_is_fetched_by_the_user(web: Served, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="is a list; fetch it"):
        index(f"{web.url}/notes.txt", tmp_path / "corpus")


def test_no_table_holds_the_secret_of_a_url(web: Served, tmp_path: Path) -> None:
    (tmp_path / "urls.txt").write_text(f"{web.url}/run/clip%200.mp4?X-Amz-Signature=hunter2\n")
    with pytest.raises(RemoteError, match="carried a password or a signature") as error:
        index(tmp_path / "urls.txt", tmp_path / "corpus")
    assert "hunter2" not in str(error.value)
    assert not web.requests


def test_the_state_of_a_remote_file_is_its_size_and_version(web: Served, files: Path) -> None:
    address = ask.Address.of(f"{web.url}/run/clip 0.mp4")
    assert address is not None
    size, version = state_of(address.path)
    assert size == os.path.getsize(files / "run/clip 0.mp4")
    ask.STATES.clear()
    web.version = "2"
    assert state_of(address.path) == (size, state_of(address.path)[1])
    assert state_of(address.path)[1] != version


@pytest.mark.parametrize("name", ["front.mp4", "behind.mp4"])
def test_training_reads_of_a_minute_the_packets_of_its_clip_alone(minute: Path, name: str, tmp_path: Path) -> None:
    with serving(minute) as served:
        (tmp_path / "urls.txt").write_text(f"{served.url}/{name}\n")
        (tmp_path / "paths.txt").write_text(f"{minute / name}\n")
        corpora = [index(tmp_path / f"{kind}.txt", tmp_path / kind) for kind in ("urls", "paths")]
        shutil.rmtree(tmp_path / "cache", ignore_errors=True)
        served.clear()
        clips = [
            list(train_batches(corpus, CLIP, Data(split="all"), batch=1, seed=3, first_step=0, last_step=1))
            for corpus in corpora
        ]
        assert np.array_equal(clips[0][0].video, clips[1][0].video)
        assert len(served.requests) <= 3
        assert served.sent < 0.25 * (minute / name).stat().st_size


def test_times_of_a_file_whose_frames_are_not_evenly_apart_come_from_its_packets(tmp_path: Path) -> None:
    times = [0.0, 0.1, 0.3, 0.4, 0.9, 1.0, 1.1, 1.5]
    write_video(tmp_path / "uneven.mp4", moving(8, 40, 48), 10, times=times, gop=4)
    write_video(tmp_path / "other.mkv", moving(8, 40, 48), 10, gop=4)
    with serving(tmp_path) as served:
        for name in ("uneven.mp4", "other.mkv"):
            path = Path(f"{served.url}/{name}")
            with open_spans(path, -1.0, 9.0) as remote, open_reader(tmp_path / name) as local:
                assert isinstance(remote, Reader)
                assert np.array_equal(remote.times, local.times)
                assert np.array_equal(remote.frames(local.times), local.frames(local.times))


def test_an_index_that_lies_about_times_changes_no_frame(web: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    path = Path(f"{web.url}/{NAMES[0]}")
    right = indexed

    def wrong(path: Path, remote: RemoteFile) -> tuple[np.ndarray, np.ndarray] | None:
        found = right(path, remote)
        return None if found is None else (found[0] + 0.03, found[1])

    monkeypatch.setattr(spans, "indexed", wrong)
    with open_spans(path, -1.0, 9.0) as remote:
        asked = remote.times[3:7]
        assert np.array_equal(remote.frames(asked), read_frames(path, asked))
