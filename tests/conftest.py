"""Shapes in signatures are checked in every test: the import hook comes before the first import of tubelet.

One thread a process: `make test` runs a process a core, and threads that wait for each other's cores are slower.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["TUBELET_SHARE"] = "no"  # the corpora of other tests lie beside those of a test

from jaxtyping import install_import_hook

install_import_hook("tubelet", "beartype.beartype")

from pathlib import Path  # noqa: E402

import pytest  # noqa: E402


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real clips: TUBELET_TEST_DATA, else ../shared/data; skips where neither exists."""
    here = Path(__file__).resolve().parents[1]
    folder = Path(os.environ.get("TUBELET_TEST_DATA") or here.parent / "shared" / "data")
    if not folder.is_dir():
        message = f"no real clips: {folder} is not a folder (set TUBELET_TEST_DATA)"
        if os.environ.get("REQUIRE_DATA") == "1":
            pytest.fail(message)
        pytest.skip(message)
    return folder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whole runs take longest: they begin first, so that no process waits for one of them at the end."""
    items.sort(key=lambda item: "runs" not in item.path.parts)
