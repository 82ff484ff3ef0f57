"""Remote files give the bytes that they hold, or one line that says why not; nobody learns a secret of their names."""

import random
from collections import Counter
from pathlib import Path

import fsspec
import pytest

from support.web import FAULTS, Served, serving
from tubelet.errors import RemoteError
from tubelet.remote import ask, blocks
from tubelet.remote.address import Address, as_text, cleaned
from tubelet.remote.file import RemoteFile

SIZE = 3 * blocks.SIZE + 1000


@pytest.fixture
def content(tmp_path: Path) -> bytes:
    content = random.Random(0).randbytes(SIZE)
    (tmp_path / "big.bin").write_bytes(content)
    return content


def address(served: Served, name: str = "big.bin") -> Address:
    found = Address.of(f"{served.url}/{name}")
    assert found is not None
    return found


def test_reads_are_those_of_a_local_file(tmp_path: Path, content: bytes) -> None:
    chance = random.Random(1)
    with serving(tmp_path) as served, RemoteFile(address(served)) as file:
        assert file.size == SIZE
        for _ in range(50):
            at, count = chance.randrange(SIZE + 10), chance.randrange(2 * blocks.SIZE)
            assert file.seek(at) == file.tell() == at
            assert file.read(count) == content[at : at + count]
        file.seek(-5, 2)
        assert file.read() == content[-5:]
        assert len(served.requests) < 6


def test_a_part_is_a_file_of_its_own(tmp_path: Path, content: bytes) -> None:
    with serving(tmp_path) as served:
        assert RemoteFile(address(served), 1000, 5000).read() == content[1000:6000]
        assert served.requests == [("GET", "/big.bin", "bytes=1000-5999")]


def test_reading_from_the_beginning_to_the_end_asks_for_growing_pieces(tmp_path: Path) -> None:
    content = bytes(40 * blocks.SIZE)
    (tmp_path / "long.bin").write_bytes(content)
    with serving(tmp_path) as served, RemoteFile(address(served, "long.bin")) as file:
        read = b"".join(iter(lambda: file.read(1 << 16), b""))
        assert read == content
        assert served.sent == len(content)
        assert len(served.requests) == 5  # of 2, 4, 8, 16 blocks, and what is left


def test_blocks_that_were_read_are_not_asked_for_again_while_the_version_is_the_same(
    tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(tmp_path) as served:
        assert RemoteFile(address(served)).read() == content
        served.clear()
        monkeypatch.setattr(ask, "STATES", {})
        assert RemoteFile(address(served)).read() == content
        assert [verb for verb, *_ in served.requests] == ["HEAD"]
        (tmp_path / "big.bin").write_bytes(changed := content[::-1])
        monkeypatch.setattr(ask, "STATES", {})
        assert RemoteFile(address(served)).read() == changed


def test_a_damaged_block_is_asked_for_again(tmp_path: Path, content: bytes) -> None:
    with serving(tmp_path) as served:
        assert RemoteFile(address(served)).read() == content
        for path in (tmp_path / "cache").rglob("*-1"):
            path.write_bytes(path.read_bytes()[:-9] + b"123456789")
        assert RemoteFile(address(served)).read() == content


def test_the_cache_keeps_its_limit_and_what_was_read_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUBELET_CACHE_LIMIT", "0.002")
    (tmp_path / "long.bin").write_bytes(bytes(40 * blocks.SIZE))
    with serving(tmp_path) as served:
        RemoteFile(address(served, "long.bin")).read()
    kept = {int(path.name.rpartition("-")[2]) for path in (tmp_path / "cache").rglob("*-*") if path.is_file()}
    assert 39 in kept
    assert 0 not in kept
    assert len(kept) * blocks.SIZE <= 0.002e9


def test_without_a_cache_nothing_is_written(tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUBELET_CACHE_LIMIT", "0")
    with serving(tmp_path) as served:
        assert RemoteFile(address(served)).read() == content
    assert not (tmp_path / "cache").exists()


def test_a_disk_that_is_full_costs_requests_and_nothing_else(
    tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Path, content: bytes) -> int:
        raise OSError(28, "No space left on device")

    with serving(tmp_path) as served, monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        assert RemoteFile(address(served)).read() == content
    assert not list((tmp_path / "cache").rglob(".*"))


def test_seeded_faults_of_a_server_cost_time_and_no_byte(
    tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of 60 reads is right, or says in one line what could not be read."""
    monkeypatch.setattr(ask, "TIMEOUT", 0.25)
    monkeypatch.setattr(ask, "LONGEST_WAIT", 0.01)
    right, refused, met = 0, list[RemoteError](), Counter[str]()
    with serving(tmp_path) as served:
        for seed in range(60):
            chance = random.Random(seed)
            lasting = chance.random() < 0.1
            plan = {number: chance.choice(FAULTS) for number in range(99) if lasting or chance.random() < 0.35}
            served.clear()
            served.fault = lambda number, plan=plan: plan.get(number, "")  # type: ignore[misc]
            monkeypatch.setattr(ask, "PATIENCE", 0.3 if lasting else 60.0)
            monkeypatch.setattr(ask, "STATES", {})
            monkeypatch.setenv("TUBELET_CACHE", str(tmp_path / f"cache {seed}"))
            at = chance.randrange(SIZE)
            try:
                with RemoteFile(address(served)) as file:
                    file.seek(at)
                    assert file.read() == content[at:]
                right += 1
            except RemoteError as error:
                refused.append(error)
            met.update(plan[number] for number in range(len(served.requests)) if number in plan)
    assert met.keys() == set(FAULTS)
    assert met.total() >= 50
    assert right >= 30
    assert {error.status for error in refused} == {"unreachable", "changed"}
    assert all(served.url in str(error) and "\n" not in str(error) for error in refused)


@pytest.mark.parametrize(
    ("fault", "status", "words"),
    [
        ("status 500", "unreachable", "status 500"),
        ("status 429", "unreachable", "status 429"),
        ("half", "unreachable", "bytes came"),
        ("silence", "unreachable", "no answer in time"),
        ("status 403", "denied", "status 403"),
        ("status 404", "missing", "there is no"),
        ("status 400", "unreadable", "status 400"),
    ],
)
def test_what_does_not_pass_is_said_in_a_line_with_the_remedy(
    web: Served, fault: str, status: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ask, "PATIENCE", 0.5)
    monkeypatch.setattr(ask, "TIMEOUT", 0.25)
    web.fault = lambda number: fault
    with pytest.raises(RemoteError, match=words) as error:
        RemoteFile(address(web, "run/clip 0.mp4")).read()
    assert error.value.status == status
    assert web.url in str(error.value)
    assert "; " in str(error.value)
    assert "\n" not in str(error.value)


def test_an_object_that_changes_between_two_reads_is_refused(tmp_path: Path, content: bytes) -> None:
    with serving(tmp_path) as served, RemoteFile(address(served)) as file:
        assert file.read(10) == content[:10]
        (tmp_path / "big.bin").write_bytes(content[::-1])
        file.seek(SIZE - 10)
        with pytest.raises(RemoteError, match="changed while it was read"):
            file.read(10)


def test_a_server_without_ranges_is_refused_for_what_is_larger_than_was_asked_for(web: Served, tmp_path: Path) -> None:
    (tmp_path / "small.bin").write_bytes(b"small")
    (tmp_path / "big.bin").write_bytes(bytes(SIZE))
    with serving(tmp_path) as served:
        served.ranges = False
        assert RemoteFile(address(served, "small.bin")).read() == b"small"
        with pytest.raises(RemoteError, match="not read by ranges"):
            RemoteFile(address(served)).read()


def test_a_server_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ask, "PATIENCE", 0.3)
    with pytest.raises(RemoteError, match=r"http://127\.0\.0\.1:9/a\.mp4 cannot be read \(Connection refused"):
        RemoteFile(Address("http", "127.0.0.1:9/a.mp4")).read()


def test_a_redirect_is_followed_on_the_web_and_nowhere_else_and_not_repeated(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "other.bin").write_bytes(b"other")
    with serving(tmp_path) as served:
        begin = address(served)
        served.fault = lambda number: f"to {served.url}/other.bin?sig=hunter2" if number == 0 else ""
        assert RemoteFile(begin).read() == b"other"
        served.clear()
        ask.STATES.clear()
        served.fault = lambda number: f"to {served.url}/none.bin?sig=hunter2" if number == 0 else ""
        with pytest.raises(RemoteError, match=r"there is no http.*/big\.bin;") as error:
            RemoteFile(address(served), 0, 10).read()
        assert "hunter2" not in str(error.value)
        served.fault = lambda number: f"to file://{tmp_path}/other.bin"
        with pytest.raises(RemoteError, match="status 302") as error:
            RemoteFile(address(served), 0, 9).read()
        assert "other.bin" not in str(error.value)


@pytest.mark.parametrize("name", ["empty.bin"])
def test_an_empty_object_is_an_empty_file(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    with serving(tmp_path) as served:
        assert RemoteFile(address(served, name)).read() == b""


SECRETS = [
    "https://user:hunter2@host/a.mp4",
    "https://host/a.mp4?X-Amz-Signature=hunter2&x=1",
    "https://host/a.mp4?x=1&X-Amz-Credential=hunter2",
    "https://host/a.mp4?sig=hunter2",
    "https://host/a.mp4?access_token=hunter2",
    "https://host/a.mp4?key=hunter2",
    "s3://hunter2@bucket/a.mp4",
]


@pytest.mark.parametrize("url", SECRETS)
def test_a_name_with_a_secret_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(RemoteError, match="environment") as error:
        Address.of(Path(url))
    assert "hunter2" not in str(error.value)
    assert "hunter2" not in cleaned(f"Error: cannot read {url}, see {url}")


def test_other_names_are_kept_as_they_are() -> None:
    for url in (
        "s3://bucket/a b/ü.mp4",
        "https://host:8/a.mp4?download=1&author=x&design=2",
        "hf://datasets/owner/name@main/a.mp4",
        "gs://bucket/a@b.mp4",
    ):
        address = Address.of(url)
        assert address is not None
        assert address.url == as_text(Path(url)) == as_text(address.path) == cleaned(url) == url
    assert Address.of("videos/a.mp4") is None
    assert Address.of("/s3/a.mp4") is None


@pytest.mark.parametrize("url", ["s3://bucket/a//b.mp4", "s3://bucket/./b.mp4"])
def test_a_name_that_a_path_would_change_is_refused(url: str) -> None:
    with pytest.raises(RemoteError, match="plain name"):
        Address.of(url)


@pytest.mark.parametrize(("scheme", "package"), [("s3", "s3fs"), ("gs", "gcsfs")])
def test_a_store_whose_package_is_missing_says_what_to_install(
    scheme: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lacking(*given: object, **options: object) -> None:
        raise ImportError(f"install {package}")

    monkeypatch.setattr(fsspec, "filesystem", lacking)
    with pytest.raises(RemoteError, match=rf"{scheme}:// needs {package}: pip install 'tubelet\[{scheme}\]'"):
        RemoteFile(Address(scheme, "bucket/a.mp4")).read()
