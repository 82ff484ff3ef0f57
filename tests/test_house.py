"""The rules of the house that a machine can keep."""

import ast
from pathlib import Path

import tubelet

SOURCE = Path(tubelet.__file__).parent
# A module may import from its own room and from the floors before it: neither from its neighbours nor from above.
FLOORS = (
    ("errors", "escape", "heap", "interrupt", "seeds", "sharded", "stats", "trust", "wording"),
    ("launchers", "plugins", "terminal", "threads", "types"),
    ("console", "files"),
    ("contact_sheet", "progress", "remote"),
    ("checksums", "config", "distributed"),
    ("loggers", "results"),
    ("run_record",),
    ("reports", "video"),
    ("jobs",),
    ("corpus",),
    ("synthetic", "stores"),
    ("loading",),
    ("models", "optim"),
    ("maskers",),
    ("flops", "objectives", "aligners", "log", "checkpoint"),
    ("step_log", "streams"),
    ("teachers",),
    ("tasks", "tracks", "train", "saliency_maps", "weights"),
    ("captioning",),
    ("evaluations",),
    ("recipes",),
    ("runs",),
    ("inference", "diagnostics"),
    ("prepare",),
    ("studies", "formats", "inspector", "curation"),
    ("cli",),
    ("__main__",),
)
FLOOR = {room: level for level, rooms in enumerate(FLOORS) for room in rooms}


def imports(path: Path) -> set[str]:
    """The rooms of tubelet that a file imports, wherever the import stands."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
        elif isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
    return {name.split(".")[1] for name in names if name.startswith("tubelet.")}


def room(path: Path) -> str:
    part = path.relative_to(SOURCE).parts[0]
    return part.removesuffix(".py")


def test_imports_run_one_way():
    wrong = [
        f"{path.relative_to(SOURCE)} imports {other}"
        for path in SOURCE.rglob("*.py")
        if (here := room(path)) != "__init__"
        for other in imports(path)
        if other != here and FLOOR[other] >= FLOOR[here]
    ]
    assert not wrong


def test_maskers_know_no_objective_objectives_no_masker_and_the_loop_neither():
    for here, strangers in (
        ("maskers", {"objectives"}),
        ("objectives", {"maskers"}),
        ("train", {"maskers", "objectives"}),
    ):
        for path in SOURCE.rglob("*.py"):
            if room(path) == here:
                assert not imports(path) & strangers, path


def test_the_report_imports_no_torch_and_no_room_that_does():
    for path in (SOURCE / "reports").rglob("*.py"):
        assert imports(path) <= {
            "checksums", "errors", "escape", "files", "reports", "results", "run_record", "stats",
        }, path  # fmt: skip
        assert "import torch" not in path.read_text()


def test_the_public_face_is_exactly_what_it_says():
    assert sorted(tubelet.__all__) == sorted(tubelet.WHERE)
    assert dir(tubelet) == sorted([*tubelet.__all__, "__version__"])
    for name in tubelet.__all__:
        assert getattr(tubelet, name).__name__ == name


def test_editors_see_the_same_public_face_as_users():
    (seen,) = (node for node in ast.parse(Path(tubelet.__file__).read_text()).body if isinstance(node, ast.If))
    imported = {a.name: node.module for node in seen.body if isinstance(node, ast.ImportFrom) for a in node.names}
    assert imported == tubelet.WHERE


def test_no_module_is_a_drawer_for_anything():
    names = {path.stem for path in SOURCE.rglob("*.py")}
    assert not names & {"utils", "util", "helpers", "common", "misc"}
