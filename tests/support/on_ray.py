"""Work whose pieces kill what they are looked at by, in modules that the workers of Ray can import."""

import os
import signal
import time
from pathlib import Path
from typing import Any

from tubelet.errors import VideoError
from tubelet.jobs.runner import Work
from tubelet.jobs.tasks import Task


def look(piece: Any) -> Any:
    match piece:
        case "refuse":
            raise VideoError("no frame of it can be decoded")
        case "hang":
            time.sleep(60)
        case ("kills its worker once", Path() as once) if not once.exists():
            once.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        case "kills its worker":
            os.kill(os.getpid(), signal.SIGKILL)
    return piece, os.getpid()


def then(task: Task, found: tuple[Any, int]) -> Any:
    piece, _ = found
    match piece:
        case ("kills its actor once", Path() as once) if not once.exists():
            once.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        case "kills its actor":
            os.kill(os.getpid(), signal.SIGKILL)
        case "mistake":
            raise ZeroDivisionError("of the program")
    return found


def together(results: list[tuple[Task, list[Any]]]) -> list[Any]:
    return [(len(results), os.getpid(), found) for _, (found,) in results]


WORK = Work(look, then)
TOGETHER = Work(look, then, together=together)
