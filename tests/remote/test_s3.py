"""Videos in S3 (moto's server on loopback): a bucket is indexed as a folder is, and faults cost time and no byte.

Skips where s3fs or moto is not installed (`pip install 'tubelet[s3]' 'moto[server]'`).
"""

import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from support.s3 import s3_client, s3_server, upload
from support.web import FAULTS, Served
from tubelet.corpus.index import Indexed, index
from tubelet.corpus.pack import pack
from tubelet.errors import RemoteError
from tubelet.remote import ask
from tubelet.remote.address import Address
from tubelet.remote.file import RemoteFile
from tubelet.video.reader import read_span

pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # of connections that were cut
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
BUCKET = "bucket"
SIZE = 1_000_000


@pytest.fixture(scope="module")
def s3(files: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with s3_server() as served:
        upload(files, BUCKET, "videos/")
        other = tmp_path_factory.mktemp("other")
        (other / "big.bin").write_bytes(random.Random(0).randbytes(SIZE))
        upload(other, BUCKET)
        yield served


@pytest.fixture(autouse=True)
def sound(s3: Served) -> None:
    s3.fault = lambda number: ""
    s3.clear()


@pytest.fixture(scope="module")
def remote(s3: Served, tmp_path_factory: pytest.TempPathFactory) -> Indexed:
    return index("s3://bucket/videos", tmp_path_factory.mktemp("s3") / "corpus", labels_from_folders=True)


def test_a_bucket_is_indexed_as_a_folder_is(remote: Indexed, files: Path, tmp_path: Path) -> None:
    local = index(files, tmp_path / "local", labels_from_folders=True)
    assert remote.fingerprint() == local.fingerprint()
    assert [video.content for video in remote.videos] == [video.content for video in local.videos]
    assert list(remote.to_pandas()["path"]) == [f"s3://bucket/videos/{video.id}" for video in local.videos]
    for one, other in zip(remote.videos, local.videos, strict=True):
        assert np.array_equal(read_span(one.path)[0], read_span(other.path)[0])


def test_one_listing_checks_a_whole_bucket(s3: Served, remote: Indexed, files: Path) -> None:
    again = index("s3://bucket/videos", remote.folder, update=True)
    assert again.looked_again == "4 unchanged, 0 changed, 0 moved, 0 missing, 0 new"
    assert len(s3.requests) == 1


def test_no_file_of_a_corpus_holds_a_credential(remote: Indexed) -> None:
    for path in remote.folder.rglob("*"):
        assert path.is_dir() or b"hunter2" not in path.read_bytes()


def test_seeded_faults_of_s3_cost_time_and_no_byte(s3: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ask, "LONGEST_WAIT", 0.01)
    content = random.Random(0).randbytes(SIZE)
    address = Address("s3", f"{BUCKET}/big.bin")
    right, refused, met = 0, list[RemoteError](), Counter[str]()
    for seed in range(30):
        chance = random.Random(seed)
        lasting = chance.random() < 0.1
        faults = [fault for fault in FAULTS if fault != "silence"]
        plan = {number: chance.choice(faults) for number in range(99) if lasting or chance.random() < 0.35}
        s3.clear()
        s3.fault = lambda number, plan=plan: plan.get(number, "")  # type: ignore[misc]
        monkeypatch.setattr(ask, "PATIENCE", 0.3 if lasting else 60.0)
        monkeypatch.setattr(ask, "STATES", {})
        monkeypatch.setenv("TUBELET_CACHE", str(tmp_path / f"cache {seed}"))
        at = chance.randrange(SIZE)
        try:
            with RemoteFile(address) as file:
                file.seek(at)
                assert file.read() == content[at:]
            right += 1
        except RemoteError as error:
            refused.append(error)
        met.update(plan[number] for number in range(len(s3.requests)) if number in plan)
    assert met.total() >= 15
    assert right >= 15
    assert {error.status for error in refused} <= {"unreachable", "changed"}
    assert refused
    assert all(address.url in str(error) and "\n" not in str(error) for error in refused)


@pytest.mark.parametrize(
    ("name", "status", "words"),
    [("bucket/none.mp4", "missing", "there is no s3://bucket/none.mp4"), ("none/a.mp4", "missing", "there is no")],
)
def test_what_is_not_there_is_said_in_a_line(s3: Served, name: str, status: str, words: str) -> None:
    with pytest.raises(RemoteError, match=words) as error:
        RemoteFile(Address("s3", name)).read()
    assert error.value.status == status


def test_a_refusal_names_the_variables_to_set(s3: Served) -> None:
    s3.fault = lambda number: "status 403"
    with pytest.raises(RemoteError, match=r"may not be read.*AWS_ACCESS_KEY_ID") as error:
        RemoteFile(Address("s3", "bucket/big.bin")).read()
    assert error.value.status == "denied"


def test_a_changed_object_is_refused(s3: Served) -> None:
    with RemoteFile(Address("s3", "bucket/twice.bin")) as file:
        s3_client().put_object(Bucket=BUCKET, Key="twice.bin", Body=bytes(SIZE))
        file.read(10)
        s3_client().put_object(Bucket=BUCKET, Key="twice.bin", Body=bytes([1]) * SIZE)
        file.seek(-10, 2)
        with pytest.raises(RemoteError, match="changed while it was read"):
            file.read()


def test_a_copy_of_a_bucket_is_a_pack(remote: Indexed, tmp_path: Path) -> None:
    packed = pack(remote, tmp_path / "pack", copy=True).corpus
    assert [video.content for video in packed.videos] == [video.content for video in remote.videos]
