"""LeRobot v3 episodes and the video Parquet of Hugging Face are indexed where they lie, and packs are written so."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from support.bars import FPS, FRAMES, moving
from tubelet.corpus.index import index
from tubelet.corpus.listing import Listing, list_sources
from tubelet.corpus.pack import pack
from tubelet.corpus.pack_shards import FEATURES
from tubelet.corpus.table import Corpus
from tubelet.errors import CorpusError, RecipeError
from tubelet.loading.data import Data
from tubelet.loading.loader import train_batches
from tubelet.types import Clip
from tubelet.video.content import digest_of_file
from tubelet.video.members import Member, open_bytes
from tubelet.video.reader import read_span
from tubelet.video.sampling import Sampling
from tubelet.video.writer import write_video

CAMERAS = ("observation.images.top", "observation.images.wrist")
VIDEO_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
EPISODES = ((0.0, 0.8, "push the bar"), (0.8, 2.0, "pull the bar"))


def write_info(folder: Path, **changes: Any) -> None:
    features = {**{camera: {"dtype": "video"} for camera in CAMERAS}, "action": {"dtype": "float32"}}
    info = {"codebase_version": "v3.0", "features": features, "video_path": VIDEO_PATH, "splits": {"train": "0:2"}}
    (folder / "meta").mkdir(parents=True, exist_ok=True)
    (folder / "meta/info.json").write_text(json.dumps({**info, **changes}))


@pytest.fixture
def lerobot(tmp_path: Path) -> Path:
    """Two episodes of two cameras, of each camera in one file."""
    folder = tmp_path / "robot"
    write_info(folder)
    for number, camera in enumerate(CAMERAS):
        path = folder / VIDEO_PATH.format(video_key=camera, chunk_index=0, file_index=0)
        path.parent.mkdir(parents=True)
        write_video(path, moving(FRAMES, 40, 48, 20 * number), FPS, gop=4)
    rows = []
    for number, (start, end, task) in enumerate(EPISODES):
        row: dict[str, Any] = {"episode_index": number, "tasks": [task], "length": 8, "stats/action/max": [1.0]}
        for camera in CAMERAS:
            row |= {f"videos/{camera}/chunk_index": 0, f"videos/{camera}/file_index": 0}
            row |= {f"videos/{camera}/from_timestamp": start, f"videos/{camera}/to_timestamp": end}
        rows.append(row)
    table = folder / "meta/episodes/chunk-000/file-000.parquet"
    table.parent.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows), table)
    return folder


def test_each_camera_of_an_episode_is_a_row_and_its_task_a_caption(lerobot: Path, tmp_path: Path) -> None:
    corpus = index(lerobot, tmp_path / "corpus")
    assert [video.id for video in corpus.videos] == [f"episode_00000{n}/{key}" for key in CAMERAS for n in (0, 1)]
    spans = [(video.start, video.end, video.frames, video.group) for video in corpus.videos]
    assert spans == [(0.0, 0.8, 8, "robot/episode_000000"), (0.8, 2.0, 12, "robot/episode_000001")] * 2
    assert [caption.text for caption in corpus.captions] == ["push the bar", "pull the bar"] * 2
    assert {caption.source for caption in corpus.captions} == {"task"}
    again = index([], corpus.folder, update=True)
    assert again.looked_again == "4 unchanged, 0 changed, 0 moved, 0 missing, 0 new"


def test_splits_of_episodes_are_kept_where_there_are_several(lerobot: Path) -> None:
    assert {entry.split for entry in list_sources([lerobot]).entries} == {None}
    write_info(lerobot, splits={"train": "0:1", "test": "1:2"})
    assert [entry.split for entry in list_sources([lerobot]).entries] == ["train"] * 2 + ["test"] * 2


def test_two_data_sets_of_equal_names_keep_their_episodes_apart(lerobot: Path, tmp_path: Path) -> None:
    other = tmp_path / "other/robot"
    other.parent.mkdir()
    lerobot.rename(other)
    (tmp_path / "robot").symlink_to(other)
    entries = list_sources([other, tmp_path / "robot"]).entries
    assert len({entry.id for entry in entries}) == len(entries) == 8


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"codebase_version": "v2.1"}, "version v2.1, and v3.0 is read; convert it"),
        ({"video_path": "../{video_key}.mp4"}, "leads out of the data set"),
        ({"video_path": "/etc/passwd"}, "leads out of the data set"),
        ({"video_path": 3}, "is not that of a LeRobot data set"),
        ({"features": []}, "is not that of a LeRobot data set"),
        ({"features": {}}, "without videos"),
    ],
)
def test_what_is_wrong_with_a_lerobot_data_set_is_said_in_a_line(
    lerobot: Path, changes: dict[str, Any], message: str
) -> None:
    write_info(lerobot, **changes)
    with pytest.raises(CorpusError, match=message) as error:
        list_sources([lerobot])
    assert "\n" not in str(error.value)


def test_a_name_in_a_template_is_filled_in_and_nothing_else_of_it_is_looked_up(lerobot: Path) -> None:
    write_info(lerobot, video_path="{video_key.__class__}/{chunk_index:03d}.mp4")
    assert list_sources([lerobot]).entries[0].video == "{video_key.__class__}/000.mp4"


@pytest.fixture(scope="module")
def contents(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    folder = tmp_path_factory.mktemp("contents")
    for number in range(4):
        write_video(folder / f"{number}.mp4", moving(FRAMES, 40, 48, 10 * number), FPS, gop=6)
    return [(folder / f"{number}.mp4").read_bytes() for number in range(4)]


def write_rows(path: Path, contents: list[bytes | None], names: list[str], **how: Any) -> None:
    features = {
        "video": {"_type": "Video"},
        "label": {"names": ["walk", "run"], "_type": "ClassLabel"},
        "caption": {"dtype": "string", "_type": "Value"},
    }
    kinds = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    schema = pa.schema(
        [("video", kinds), ("label", pa.int64()), ("caption", pa.string())],
        metadata={"huggingface": json.dumps({"info": {"features": features}})},
    )
    rows = [
        {"video": {"bytes": content, "path": name}, "label": number % 2, "caption": f"bar {number}"}
        for number, (content, name) in enumerate(zip(contents, names, strict=True))
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path, row_group_size=3, **how)


@pytest.mark.parametrize("dictionary", [True, False])
def test_videos_in_parquet_are_read_by_their_place(contents: list[bytes], tmp_path: Path, dictionary: bool) -> None:
    path = tmp_path / "data/train-00000-of-00001.parquet"
    doubled = [contents[0], contents[0], *contents[1:]]
    names = ["a.mp4", "a.mp4", "b.mp4", "", "d"]
    write_rows(path, list(doubled), names, compression="none", use_dictionary=dictionary)
    entries = list_sources([tmp_path / "data"]).entries
    assert entries[0].video == "train-00000-of-00001/a.mp4"
    assert entries[-1].video == "train-00000-of-00001/000004"
    assert {entry.split for entry in entries} == {"train"}
    for entry in entries:
        with open_bytes(entry.path) as file:
            content = file.read()
        assert content in contents
    if not dictionary:
        assert len(entries) == len(doubled)


def test_a_corpus_of_parquet_reads_as_one_of_files(contents: list[bytes], tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.parquet", list(contents), ["0.mp4", "1.mp4", "2.mp4", "3.mp4"], compression="none")
    corpus = index(tmp_path / "rows.parquet", tmp_path / "corpus")
    assert [caption.text for caption in corpus.captions] == [f"bar {number}" for number in range(4)]
    assert [video.label for video in corpus.videos] == ["walk", "run"] * 2
    for video, content in zip(corpus.videos, contents, strict=True):
        (tmp_path / "one.mp4").write_bytes(content)
        assert np.array_equal(read_span(video.path)[0], read_span(tmp_path / "one.mp4")[0])
        assert video.content == digest_of_file(tmp_path / "one.mp4").hex()


def test_a_row_without_bytes_names_a_file(contents: list[bytes], tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips/a.mp4").write_bytes(contents[0])
    write_rows(tmp_path / "rows.parquet", [None, None], ["clips/a.mp4", "https://host/b.mp4"])
    listing: Listing = list_sources([tmp_path / "rows.parquet"])
    assert [str(entry.path) for entry in listing.entries] == [str(tmp_path / "clips/a.mp4"), "https:/host/b.mp4"]


def test_compressed_videos_are_refused_with_the_remedy(contents: list[bytes], tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.parquet", [content * 2 for content in contents], ["a.mp4"] * 4, compression="zstd")
    with pytest.raises(CorpusError, match=r"compressed \(ZSTD\).*write it anew"):
        list_sources([tmp_path / "rows.parquet"])


def test_what_is_no_parquet_of_videos_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1 this is none")
    with pytest.raises(CorpusError, match="cannot be read as Parquet"):
        list_sources([tmp_path / "a.parquet"])
    pq.write_table(pa.table({"label": [1, 2]}), tmp_path / "b.parquet")
    with pytest.raises(CorpusError, match="has no column of videos"):
        list_sources([tmp_path / "b.parquet"])


@pytest.fixture(scope="module")
def packed(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return pack(corpus, tmp_path_factory.mktemp("packs") / "parquet", copy=True, to="parquet").corpus


def test_a_pack_of_parquet_holds_what_its_corpus_holds(corpus: Corpus, packed: Corpus) -> None:
    assert packed.fingerprint() == corpus.fingerprint()
    assert [video.content for video in packed.videos] == [digest_of_file(v.path).hex() for v in corpus.videos]
    assert {Member.of(video.path).container.name for video in packed.videos} == {  # type: ignore[union-attr]
        path.name for path in packed.folder.glob("shard-*.parquet")
    }
    clips = [
        next(
            train_batches(
                some, Clip(frames=4, size=32), Data(sampling=Sampling(stride=1)),
                batch=4, seed=3, first_step=0, last_step=1,
            )
        )
        for some in (corpus, packed)
    ]  # fmt: skip
    assert np.array_equal(clips[0].video, clips[1].video)


def test_a_pack_of_parquet_is_a_table_of_videos_for_other_readers(corpus: Corpus, packed: Corpus) -> None:
    table = pa.concat_tables(pq.read_table(path) for path in sorted(packed.folder.glob("shard-*.parquet")))
    assert json.loads(table.schema.metadata[b"huggingface"])["info"]["features"] == FEATURES
    for row, video in zip(table.to_pylist(), corpus.videos, strict=True):
        assert row["video"]["bytes"] == video.path.read_bytes()
        assert row["id"] == video.id
        assert row["captions"] == [caption.text for caption in corpus.captions_of(video)]
    again = list_sources([packed.folder])
    assert [entry.label for entry in again.entries] == [video.label for video in corpus.videos]
    assert [len(said) for said in again.captions.values()] == [2] * len(corpus.videos)


def test_duckdb_reads_the_bytes_of_a_pack_of_parquet(corpus: Corpus, packed: Corpus) -> None:
    duckdb = pytest.importorskip("duckdb")
    found = duckdb.sql(f"select id, video.bytes from '{packed.folder}/shard-*.parquet' order by id").fetchall()
    assert found == sorted((video.id, video.path.read_bytes()) for video in corpus.videos)


def test_hugging_face_datasets_reads_a_pack_of_parquet_as_videos(
    corpus: Corpus, packed: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path))
    datasets = pytest.importorskip("datasets")
    files = sorted(map(str, packed.folder.glob("shard-*.parquet")))
    found = datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=str(tmp_path))
    assert isinstance(found.features["video"], datasets.Video)
    rows = found.cast_column("video", datasets.Video(decode=False))
    assert [row["video"]["bytes"] for row in rows] == [video.path.read_bytes() for video in corpus.videos]


def test_what_datasets_writes_is_read(contents: list[bytes], tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    rows = {"video": [{"bytes": content, "path": None} for content in contents], "text": ["a bar"] * 4}
    features = datasets.Features({"video": datasets.Video(decode=False), "text": datasets.Value("string")})
    datasets.Dataset.from_dict(rows, features=features).to_parquet(str(tmp_path / "rows.parquet"))
    for entry, content in zip(list_sources([tmp_path / "rows.parquet"]).entries, contents, strict=True):
        with open_bytes(entry.path) as file:
            assert file.read() == content


def test_another_form_of_shards_is_refused(corpus: Corpus, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="--to zip is none of tar, parquet"):
        pack(corpus, tmp_path / "pack", to="zip")
