"""`tubelet embed`: a row a video, whatever its state."""

import numpy as np
import pandas as pd
import pytest
import torch

from tubelet import cli
from tubelet.corpus.write import write_corpus
from tubelet.errors import CorpusError, RunError, VideoError
from tubelet.inference.embed import embed, embed_at
from tubelet.inference.features import write_features
from tubelet.jobs.runner import Running
from tubelet.loading.data import Data
from tubelet.models.encoder import Vit
from tubelet.types import Clip
from tubelet.video.sampling import Sampling
from tubelet.video.writer import write_video

DATA = Data(sampling=Sampling(stride=1))


@pytest.fixture(scope="module")
def encoder():
    torch.manual_seed(0)
    encoder = Vit(width=32, depth=1, heads=2).build(Clip(frames=4, size=32, tubelet_frames=2, tubelet_size=16))
    vars(encoder)["sampling"] = DATA.sampling
    return encoder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three videos, one of them in a folder with a space, and one file that is none."""
    folder = tmp_path_factory.mktemp("videos")
    (folder / "a b").mkdir()
    for index, name in enumerate(["0.mp4", "1.mp4", "a b/2.MP4"]):
        frames = np.random.default_rng(index).integers(0, 256, (8, 32, 40, 3)).astype(np.uint8)
        write_video(folder / name, frames, 8.0)
    (folder / "bad.mp4").write_bytes(b"no video")
    (folder / "notes.txt").write_text("no video either")
    return folder


def test_a_folder_gives_a_row_a_video_with_the_feature_of_embed(encoder, folder, tmp_path):
    out = tmp_path / "deep" / "features.parquet"
    rows, failed, _ = write_features(encoder, [folder], out, DATA, batch=2)
    table = pd.read_parquet(out)
    assert rows == len(table) == 4
    assert list(table.columns) == [
        "id", "path", "start", "end", "feature", "status", "reason", "size", "modified",
    ]  # fmt: skip
    assert list(table.id) == ["0.mp4", "1.mp4", "a b/2.MP4", "bad.mp4"]
    assert list(table.status) == ["ok", "ok", "ok", "unreadable"]
    assert [row.id for row in failed] == ["bad.mp4"]
    assert table.feature[3] is None
    assert table.reason[3]
    assert not table.reason[3].startswith(str(folder))
    expected = embed(encoder, [folder / name for name in table.id[:3]]).numpy()
    np.testing.assert_allclose(np.stack(table.feature[:3].tolist()), expected, atol=1e-5)


def test_a_corpus_gives_its_rows_in_order_segments_and_bad_files_too(encoder, folder, tmp_path):
    size = {"fps": 8.0, "frames": 8, "width": 40, "height": 32}
    corpus = write_corpus(
        tmp_path / "corpus",
        "mixed",
        [
            {"id": "0#0.5", "path": folder / "0.mp4", "start": 0.5, "end": 1.0, **size, "frames": 4},
            {"id": "gone", "path": folder / "gone.mp4", "status": "missing", "reason": "no such file"},
            {"id": "0", "path": folder / "0.mp4", "end": 1.0, **size},
            {"id": "bad", "path": folder / "bad.mp4", "end": 1.0, **size},
            {"id": "1", "path": folder / "1.mp4", "end": 1.0, **size},
        ],
    )
    rows, failed, _ = write_features(encoder, [corpus.folder, folder / "1.mp4"], tmp_path / "f.parquet", DATA, batch=2)
    table = pd.read_parquet(tmp_path / "f.parquet")
    assert list(table.id) == ["0#0.5", "gone", "0", "bad", "1", "1.mp4"]
    assert list(table.status) == ["ok", "missing", "ok", "unreadable", "ok", "ok"]
    assert list(table.start) == [0.5, 0, 0, 0, 0, 0]
    assert table.reason[1] == "no such file"
    assert (rows, len(failed)) == (6, 2)
    np.testing.assert_allclose(table.feature[4], table.feature[5], atol=1e-5)
    assert not np.allclose(table.feature[0], table.feature[2])


def test_a_list_gives_its_segments(encoder, folder, tmp_path):
    (tmp_path / "list.csv").write_text(f"path,start,end\n{folder}/0.mp4,0.5,1.0\n{folder}/0.mp4,0,1\n")
    write_features(encoder, [tmp_path / "list.csv"], tmp_path / "f.parquet", DATA)
    table = pd.read_parquet(tmp_path / "f.parquet")
    assert list(table.start) == [0.5, 0.0]
    assert list(table.status) == ["ok", "ok"]
    assert not np.allclose(table.feature[0], table.feature[1])
    np.testing.assert_allclose(table.feature[1], embed(encoder, folder / "0.mp4")[0], atol=1e-5)


def test_a_source_that_holds_nothing_is_one_line_and_leaves_no_file(encoder, tmp_path):
    (tmp_path / "empty").mkdir()
    for source, match in ((tmp_path / "empty", "no videos in"), (tmp_path / "none", "there is no file")):
        with pytest.raises(CorpusError, match=match):
            write_features(encoder, [source], tmp_path / "f.parquet", DATA)
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


def test_an_existing_table_is_not_overwritten(tmp_path, capsys):
    out = tmp_path / "f.parquet"
    out.write_text("precious")
    assert cli.main(["embed", str(tmp_path), str(tmp_path), "--out", str(out)]) == 2
    assert "--force" in capsys.readouterr().err
    assert out.read_text() == "precious"


def test_a_file_of_a_name_that_is_there_already_is_embedded_and_told_apart(encoder, folder, tmp_path):
    """What is missing is known by the file, not by its name."""
    for number in range(2):
        (tmp_path / f"cam_{number}").mkdir()
        (tmp_path / f"cam_{number}" / "clip.mp4").write_bytes((folder / f"{number}.mp4").read_bytes())
    one, other = (tmp_path / f"cam_{number}" / "clip.mp4" for number in range(2))
    out = tmp_path / "f.parquet"
    write_features(encoder, [one], out, DATA)
    done = write_features(encoder, [other, one], out, DATA, only_missing=True)[2]
    assert (done.total, done.made) == (1, 1)
    table = pd.read_parquet(out)
    assert list(table.id) == ["cam_1/clip.mp4", "cam_0/clip.mp4"]
    assert list(table.path) == [str(other), str(one)]
    np.testing.assert_allclose(np.stack(table.feature.tolist()), embed(encoder, [other, one]).numpy(), atol=1e-5)


def test_only_what_is_missing_is_added_and_the_rest_stays(encoder, folder, tmp_path):
    out = tmp_path / "f.parquet"
    write_features(encoder, [folder / "0.mp4"], out, DATA)
    first = pd.read_parquet(out)
    rows, failed, done = write_features(encoder, [folder], out, DATA, only_missing=True)
    assert (rows, done.total, done.made, len(failed)) == (4, 3, 2, 1)
    table = pd.read_parquet(out)
    assert table.feature[0].tolist() == first.feature[0].tolist()
    whole = tmp_path / "whole.parquet"
    write_features(encoder, [folder], whole, DATA)
    assert table.status.tolist() == pd.read_parquet(whole).status.tolist()
    assert write_features(encoder, [folder], out, DATA, only_missing=True)[2].total == 0, "the bad one stays as it is"
    again = write_features(encoder, [folder], out, DATA, only_missing=True, running=Running(retry_failed=True))[2]
    assert (again.total, len(again.failed)) == (1, 1)
    torch.manual_seed(1)
    other = Vit(width=32, depth=1, heads=2).build(encoder.clip)
    with pytest.raises(RunError, match="made by another encoder"):
        write_features(other, [folder], out, DATA, only_missing=True)
    (tmp_path / "text.parquet").write_text("no table")
    with pytest.raises(RunError, match="cannot be read as a table of features"):
        write_features(encoder, [folder], tmp_path / "text.parquet", DATA, only_missing=True)
    assert not list(tmp_path.glob(".*"))


def test_a_table_cannot_be_both_replaced_and_completed(tmp_path, capsys):
    words = ["embed", "run", str(tmp_path), "--out", str(tmp_path / "t.parquet"), "--force", "--only-missing"]
    assert cli.main(words) == 2
    assert "--force replaces the table and --only-missing keeps its rows; give one of them" in capsys.readouterr().err


def test_a_moment_past_the_end_of_a_video_is_told_where_the_end_is(encoder, folder):
    with pytest.raises(VideoError, match=r"0.mp4: no frame from 99 s on; the last one is at 0.88 s"):
        embed_at(encoder, folder / "0.mp4", 99.0, DATA.sampling)
