"""A small corpus with text maps, a run on it, and pages over both."""

import json
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import tubelet
from support.inspected import WORDS
from support.small_runs import RECIPE, make_corpus
from tubelet.cli import main
from tubelet.inspector.inspect import Inspector


@pytest.fixture(scope="session")
def corpus(tmp_path_factory) -> Path:
    return make_corpus(tmp_path_factory.mktemp("inspected") / "small").folder


@pytest.fixture(scope="session")
def run(corpus, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("inspected run")
    (folder / "mine.py").write_text(RECIPE)
    words = ["pretrain", f"{folder / 'mine.py'}:both", "--on", str(corpus), "--out", str(folder / "both"), "steps=2"]
    assert main(words) == 0
    return folder / "both"


@pytest.fixture(scope="session")
def of_corpus(corpus) -> Iterator[Inspector]:
    with tubelet.inspect(corpus, words=WORDS) as inspector:
        yield inspector


@pytest.fixture(scope="session")
def of_run(run) -> Iterator[Inspector]:
    with tubelet.inspect(run) as inspector:
        yield inspector


Got = tuple[int, dict[str, str], bytes]


@pytest.fixture(scope="session")
def get() -> Callable[..., Got]:
    """Status, headers and content of an address, whatever the status."""

    def ask(address: str, method: str = "GET", **headers: str) -> Got:
        asked = urllib.request.Request(address, method=method, headers=headers)
        try:
            with urllib.request.urlopen(asked, timeout=60) as answer:
                return answer.status, dict(answer.headers), answer.read()
        except urllib.error.HTTPError as error:
            return error.code, dict(error.headers), error.read()

    return ask


@pytest.fixture(scope="session")
def api(get) -> Callable[..., Any]:
    """The answer of a page to a question."""

    def ask(inspector: Inspector, name: str, query: str = "") -> Any:
        status, _, content = get(f"{inspector.url}api/{name}?{query}")
        answer = json.loads(content)
        assert status == (400 if "error" in answer else 200)
        return answer

    return ask
