"""A pack, and any corpus, is opened from a server as from a folder; tables are copied, videos are read there."""

import dataclasses
import multiprocessing
import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from support.bars import moving
from support.web import Served, serving
from tubelet.corpus.pack import pack
from tubelet.corpus.probe import probe
from tubelet.corpus.schema import Video
from tubelet.corpus.table import Corpus
from tubelet.corpus.write import write_corpus
from tubelet.errors import CorpusError, RemoteError, VideoError
from tubelet.loading.data import Data
from tubelet.loading.loader import train_batches
from tubelet.loading.reader import ClipReader
from tubelet.remote import ask
from tubelet.remote.mirror import is_plain
from tubelet.types import Clip
from tubelet.video.writer import write_video

CLIP = Clip(frames=4, size=32)
COUNT = 6


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    folder = tmp_path_factory.mktemp("packed")
    rows = []
    for number in range(COUNT):
        path = folder / f"{number}.mp4"
        write_video(path, moving(20, 40, 48, 10 * number), 10, gop=6)
        found = probe(path)
        rows.append({"id": path.name, "path": path, "split": "train", "frames": found.frames, "fps": found.fps})
        rows[-1] |= {"start": found.start, "end": found.end, "width": found.width, "height": found.height}
    corpus = write_corpus(folder / "corpus", "bars", rows, [{"video": "0.mp4", "text": "a bar"}])
    return pack(corpus, folder / "pack", copy=True).corpus


@pytest.fixture
def served(packed: Corpus, tmp_path: Path) -> Iterator[Served]:
    shutil.copytree(packed.folder, tmp_path / "served/pack")
    with serving(tmp_path / "served") as served:
        yield served


def said(video: Video) -> Video:
    return dataclasses.replace(video, path=Path(), modified=None)


def batches(corpus: Corpus) -> list[np.ndarray]:
    found = train_batches(corpus, CLIP, Data(), batch=3, seed=3, first_step=0, last_step=4)
    return [batch.video.numpy() for batch in found]


def test_a_pack_on_a_server_is_the_pack(packed: Corpus, served: Served) -> None:
    remote = Corpus.open(f"{served.url}/pack")
    assert list(map(said, remote.videos)) == list(map(said, packed.videos))
    assert remote.captions == packed.captions
    assert remote.fingerprint() == packed.fingerprint()
    assert remote.place == f"{served.url}/pack"
    assert remote.to_pandas()["path"].iloc[0].startswith(f"{served.url}/pack/shard-000000.tar#")
    again = pickle.loads(pickle.dumps(remote))
    assert again.videos == remote.videos
    for one, other in zip(batches(remote), batches(packed), strict=True):
        assert np.array_equal(one, other)


def test_a_video_of_a_pack_costs_one_request_once(served: Served) -> None:
    remote = Corpus.open(f"{served.url}/pack")
    served.clear()
    batches(remote)
    assert served.asked() == ["/pack/shard-000000.tar"] * COUNT
    assert served.sent == sum(video.size or 0 for video in remote.videos)
    served.clear()
    batches(Corpus.open(f"{served.url}/pack"))
    assert not [asked for asked in served.asked() if asked.endswith(".tar")]


def test_tables_are_fetched_again_only_where_they_changed(served: Served, tmp_path: Path) -> None:
    url = f"{served.url}/pack"
    Corpus.open(url)
    served.clear()
    ask.STATES.clear()
    assert len(Corpus.open(url).videos) == COUNT
    assert not served.asked()
    other = Corpus.open(tmp_path / "served/pack")
    rows = [{**vars(video), "path": video.path} for video in other.videos[:2]]
    write_corpus(other.folder, "bars", [{key: value for key, value in row.items() if key != "row"} for row in rows])
    ask.STATES.clear()
    assert len(Corpus.open(url).videos) == 2


def test_a_shard_that_is_another_one_than_when_training_began_is_not_read(served: Served, tmp_path: Path) -> None:
    remote = Corpus.open(f"{served.url}/pack")
    reader = ClipReader.make(remote, remote.select("all"), CLIP, Data(), (), False)
    reader.open(remote.videos[0], 0.0)
    reader = reader.as_it_is()
    shard = tmp_path / "served/pack/shard-000000.tar"
    content = shard.read_bytes()
    shard.write_bytes(content[:-2000] + bytes(2000))
    shutil.rmtree(tmp_path / "cache/blocks")
    with pytest.raises(RemoteError, match="changed while it was read"):
        reader.open(remote.videos[1], 0.0)
    first = remote.videos[0]
    shard.write_bytes(content.replace(content[600:700], bytes(100)))
    ask.STATES.clear()
    with pytest.raises(VideoError):
        reader.open(first, 0.0)


def forked(corpus: Corpus, found: "multiprocessing.SimpleQueue[bytes]") -> None:
    found.put(batches(corpus)[0].tobytes())


def test_a_process_that_is_forked_reads_on(served: Served) -> None:
    remote = Corpus.open(f"{served.url}/pack")
    expected = batches(remote)[0].tobytes()
    context = multiprocessing.get_context("fork")
    found = context.SimpleQueue()
    process = context.Process(target=forked, args=(remote, found))
    process.start()
    assert found.get() == expected
    process.join()


def test_what_is_no_corpus_is_named(served: Served) -> None:
    with pytest.raises(RemoteError, match=r"there is no http://.*/nothing"):
        Corpus.open(f"{served.url}/nothing")
    (Path(served.folder or "") / "half").mkdir()
    shutil.copy(Path(served.folder or "") / "pack/videos.parquet", Path(served.folder or "") / "half")
    with pytest.raises(CorpusError, match=r"/half holds no corpus\.json"):
        Corpus.open(f"{served.url}/half")


@pytest.mark.parametrize("name", ["../a", "/a", "a/../../b", ".hidden", "a//b", "a/.b/c"])
def test_an_object_whose_name_leads_elsewhere_is_not_copied(name: str) -> None:
    assert not is_plain(name)
    assert is_plain("maps/text/about.json")
