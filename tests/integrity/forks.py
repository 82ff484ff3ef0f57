"""Commands in forks of one warm process, each killed where it is asked to be; run as a program it takes jobs as lines.

A point is a moment at which what stands on disk changes for good: a commit of `tubelet.files`, and the removal of what
is no longer needed. Of each a fork writes the name down, and at one of them it kills itself, before or after.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


class Forks:
    """The warm process. `run` gives the exit code of a command, negative where a signal ended it."""

    def __init__(self, home: Path) -> None:
        self.said, self.points = home / "said.txt", home / "points.txt"
        self.process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"},
        )  # fmt: skip
        self.answer()

    def run(self, words: list[str], folder: Path, kill: tuple[int, str] | None = None) -> int:
        assert self.process.stdin is not None
        job = {"words": words, "folder": str(folder), "kill": kill, "said": str(self.said), "points": str(self.points)}
        self.points.write_text("")
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        return int(self.answer())

    def answer(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "the warm process ended"
        return line

    def close(self) -> None:
        self.process.communicate()


def serve() -> None:
    import matplotlib.pyplot  # noqa: F401
    import pandas  # noqa: F401
    import torch
    import torch._dynamo  # an optimizer imports it at its first step, for seconds in every fork

    import tubelet.aligners.training
    import tubelet.captioning
    import tubelet.corpus.index
    import tubelet.diagnostics.maps
    import tubelet.formats.card
    import tubelet.inference.features
    import tubelet.inference.search
    import tubelet.reports.study
    import tubelet.runs.classifier
    import tubelet.studies.run  # noqa: F401

    torch.set_num_threads(1)
    print("warm", flush=True)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            do(**json.loads(line))
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def do(words: list[str], folder: str, kill: tuple[int, str] | None, said: str, points: str) -> None:
    os.chdir(folder)
    for number, position, flags in ((0, os.devnull, os.O_RDONLY), (1, said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)):
        os.dup2(os.open(position, flags), number)
    os.dup2(1, 2)
    watch(Path(points), kill)
    code = 1
    try:
        from tubelet.cli import main

        code = main(words)
    except SystemExit as error:
        code = int(error.code or 0)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def watch(points: Path, kill: tuple[int, str] | None) -> None:
    from tubelet import files

    here, left = os.getpid(), [-1 if kill is None else kill[0]]
    real_commit, real_rmtree, real_unlink = files.commit, shutil.rmtree, Path.unlink

    def passing(what: str, act: Callable[[], Any]) -> Any:
        if os.getpid() != here or what.startswith("tubelet.files"):
            return act()
        with points.open("a") as file:
            file.write(f"{what}\n")
        left[0] -= 1
        if left[0] == -1 and kill is not None and kill[1] == "before":
            os.kill(here, signal.SIGKILL)
        result = act()
        if left[0] == -1 and kill is not None and kill[1] == "after":
            os.kill(here, signal.SIGKILL)
        return result

    def caller() -> str:
        return str(sys._getframe(2).f_globals.get("__name__", ""))

    def commit(part: Path, path: Path) -> None:
        passing(f"commit {path.name}", lambda: real_commit(part, path))

    def rmtree(path: Any, *rest: Any, **more: Any) -> None:
        name = caller()
        ours = name.startswith("tubelet.") and name != "tubelet.files"
        passing(f"remove {Path(path).name}" if ours else "tubelet.files", lambda: real_rmtree(path, *rest, **more))

    def unlink(path: Path, missing_ok: bool = False) -> None:
        name = caller()
        ours = name.startswith("tubelet.") and name != "tubelet.files" and path.exists()
        passing(f"remove {path.name}" if ours else "tubelet.files", lambda: real_unlink(path, missing_ok=missing_ok))

    for module in [module for name, module in sys.modules.items() if name.startswith("tubelet.")]:
        if getattr(module, "commit", None) is real_commit:  # also where it was imported by name
            module.commit = commit  # type: ignore[attr-defined]
    shutil.rmtree = rmtree
    Path.unlink = unlink  # type: ignore[method-assign]


if __name__ == "__main__":
    serve()
