"""What the documentation tells a user to type is typed here."""

import ast
import json
import pkgutil
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

import tubelet
from tubelet.captioning import Captioning
from tubelet.cli import VERBS, Parser, main, module_of
from tubelet.config import override
from tubelet.corpus.table import Corpus
from tubelet.corpus.write import write_corpus
from tubelet.recipes import RECIPES
from tubelet.recipes.finetune import FINETUNES
from tubelet.recipes.phases import resolve_phases
from tubelet.runs.phases import check
from tubelet.video.writer import write_video

DOCS = Path(__file__).resolve().parents[1] / "docs"
README = DOCS.parent / "README.md"
HOW_TOS = sorted((DOCS / "how-to").glob("*.md"))
SMALL = [
    "clip.frames=4", "clip.size=32", "encoder.width=32", "encoder.depth=1", "encoder.heads=2",
    "objectives.pixels.decoder.width=16", "objectives.pixels.decoder.depth=1", "objectives.pixels.decoder.heads=2",
    "data.cache=False", "steps=2", "batch=4", "evaluate_every=1",
]  # fmt: skip


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Corpus:
    folder = tmp_path_factory.mktemp("corpus")
    rows = []
    for index in range(8):
        frames = np.random.default_rng(index).integers(0, 256, (6, 32, 32, 3)).astype(np.uint8)
        write_video(folder / f"{index}.mp4", frames, 8.0)
        rows.append(
            {"id": f"clip {index}", "path": folder / f"{index}.mp4", "end": 0.75, "fps": 8.0, "frames": 6,
             "width": 32, "height": 32, "label": f"class {index % 2}", "split": "train" if index < 4 else "test"}
        )  # fmt: skip
    return write_corpus(folder, "docs", rows)


def blocks(page: Path, language: str) -> list[tuple[str, str]]:
    """(title, content) of the code blocks of this language."""
    found = re.findall(rf'```{language}(?: title="([^"]+)")?\n(.*?)```', page.read_text(), flags=re.DOTALL)
    assert found or language != "sh", page
    return found


@pytest.mark.parametrize("page", HOW_TOS, ids=lambda page: page.stem)
def test_the_example_of_every_how_to_trains_with_the_command_beside_it(page, corpus, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ((title, source),) = [block for block in blocks(page, "python") if block[0]]
    Path(title).write_text(source)
    lines = [line for _, text in blocks(page, "sh") for line in text.splitlines()]
    (line,) = [line for line in lines if title in line and "--on" in line]
    words = shlex.split(line, comments=True)
    words[words.index("--on") + 1] = str(corpus.folder)
    out = Path(words[words.index("--out") + 1])
    given = {word.partition("=")[0] for word in words}
    assert main([*words[1:], *(word for word in SMALL if word.partition("=")[0] not in given)]) == 0
    runs = {path.parent.name: path.parent for path in out.rglob("recipe.json")}  # of phases, several
    for word in words:
        if "=" in word:
            name, _, value = word.partition("=")
            phase, _, field = name.partition(".")
            run, name = (runs[phase], field) if phase in runs else (out, name)
            assert str(json.loads((run / "recipe.json").read_text())["values"][name]) == value
    assert main(["report", *map(str, runs.values()), "--out", "report.html"]) == 0


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=lambda page: page.stem)
def test_every_command_and_every_piece_of_python_is_well_formed(page):
    for _, source in blocks(page, "python") if "```python" in page.read_text() else []:
        ast.parse(source)
    for _, lines in blocks(page, "sh") if "```sh" in page.read_text() else []:
        for line in lines.splitlines():
            understood(line)


def test_every_command_of_the_readme_is_understood():
    lines = [line for line in README.read_text().splitlines() if line.startswith("    tubelet ")]
    assert len(lines) > 10
    for line in lines:
        understood(line)


def understood(line: str) -> None:
    """The words of a command are options that it has, and its overrides fields of the recipe."""
    words = shlex.split(line, comments=True)
    if words[:1] != ["tubelet"] or "--help" in words:
        return
    assert words[1] in VERBS, line
    command = module_of(words[1])
    parser = Parser(prog=line)
    command.add_arguments(parser)
    args = parser.parse_intermixed_args(words[2:])
    known = {recipe.__name__: recipe for recipe in RECIPES}
    if words[1] == "pretrain" and args.recipe in known:
        override(known[args.recipe](), args.overrides)
    if words[1] == "finetune":
        tunings = {recipe.__name__: recipe for recipe in FINETUNES}
        fields = [word for word in args.words if "=" in word]
        for name in {word for word in args.words if "=" not in word and ".py:" not in word}:
            override(tunings[name](known["tiny"]()), fields)
    if words[1] == "phases" and ".py:" not in args.phases:
        check(resolve_phases(args.phases, args.words, args.on, args.out))
    if words[1] == "caption":
        override(Captioning(), args.overrides)


def test_every_page_of_results_is_in_the_navigation_and_every_one_that_is_named_is_there():
    pages = {page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md")}
    navigation = set(re.findall(r"^ +- .*: (\S+\.md)$", (DOCS.parent / "mkdocs.yml").read_text(), flags=re.MULTILINE))
    studies = {page for page in pages if page.startswith("results/studies/")}  # which have an index of their own
    assert navigation == pages - studies | {"results/studies/index.md"}
    index = (DOCS / "results" / "studies" / "index.md").read_text()
    linked = {f"results/studies/{name}" for name in re.findall(r"\]\(([\w-]+\.md)\)", index)}
    assert linked == studies - {"results/studies/index.md"}
    sources = [*DOCS.parent.glob("*.md"), *DOCS.rglob("*.md"), *(DOCS.parent / "src").rglob("*.py")]
    named = {name for path in sources for name in re.findall(r"\bdocs/([\w/.-]+\.md)\b", path.read_text())}
    assert {"results/demo.md", "results/real-input.md"} <= named <= pages


def test_the_reference_names_modules_and_functions_that_exist():
    names = re.findall(r"^::: (\S+)", (DOCS / "reference.md").read_text(), flags=re.MULTILINE)
    assert len(names) > 10
    for name in names:
        pkgutil.resolve_name(name)


def test_the_reference_names_every_command_and_every_function():
    page = (DOCS / "reference.md").read_text()
    for verb, meaning in VERBS.items():
        assert f"| `{verb}` | {meaning} |" in page, verb
    for name, module in tubelet.WHERE.items():
        listed = re.search(
            rf"^::: {re.escape(module)}\n    options:\n      members: \[(.*)\]", page, flags=re.MULTILINE
        )
        assert f"::: {module}.{name}\n" in page or f"::: {module}\n\n" in page or name in listed[1].split(", "), name


def test_the_page_of_masks_names_every_one_and_its_pictures_are_there():
    from tubelet.maskers import DECODES, MASKERS

    page = (DOCS / "maskers.md").read_text()
    pictures = re.findall(r"\]\(([^)]+\.png)\)", page)
    for part in (*MASKERS, *DECODES):
        assert f"`{part.__name__}`" in page
    for masker in MASKERS:
        assert any(Path(picture).stem.startswith(masker.__name__) for picture in pictures), masker
    for picture in pictures:
        assert 0 < (DOCS / picture).stat().st_size < 20_000, picture


def test_the_page_on_python_runs_from_top_to_bottom(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for _, source in blocks(DOCS / "python.md", "python"):
        exec(compile(source, "docs/python.md", "exec"), names)
    shown = capsys.readouterr().out
    assert "videos: 32, usable: test 8, train 24" in shown
    assert len(names["features"]) == 1
    assert set(names["labels"]["status"]) == {"ok"}
    assert list(names["found"]["score"]) == sorted(names["found"]["score"], reverse=True)
    assert {path.name for path in names["files"]} >= {"encoder.safetensors", "README.md"}
