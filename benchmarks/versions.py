"""Install the wheel with the newest and with the lowest versions that it allows, and run it from an empty directory.

    python benchmarks/versions.py --torch 2.13.0 --out docs/results/versions.md

Each environment is made anew from the wheel. `--torch` is the version of torch in both: on a machine without a GPU its
other versions may come with CUDA, some GB each.
"""

import argparse
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
EXTRAS = ("vl", "flow", "export", "track")
COMMANDS = (
    "synth --out corpora/synth --train 60 --test 30",
    "align corpora/synth sources=subject steps=20",
    "saliency corpora/synth Text sources=subject",
    "saliency corpora/synth Flow",
    "pretrain tiny steps=20 --on corpora/synth --out runs/tiny",
    "pretrain tiny_text_guided steps=20 --on corpora/synth --out runs/guided",
    "evaluate runs/tiny linear reconstruction --baselines",
    "evaluate runs/guided retrieval",
    "export runs/tiny --to transformers --out exported/transformers",
    "export runs/tiny --to onnx --out exported/onnx",
    "report runs/tiny runs/guided --out report.html",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--torch", required=True, metavar="VERSION")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the table there as Markdown")
    args = parser.parse_args()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    optional = project["optional-dependencies"]
    ranges = [*project["dependencies"], *(one for extra in EXTRAS for one in optional[extra])]
    names = sorted({re.split(r"[\[>=<]", one)[0] for one in ranges})
    with tempfile.TemporaryDirectory() as folder:
        run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--wheel-dir", folder, str(ROOT))
        (wheel,) = Path(folder).glob("tubelet-*.whl")
        found = {
            name: measure(Path(folder) / name, [f"{wheel}[{','.join(EXTRAS)}]", f"torch=={args.torch}", *pins], names)
            for name, pins in {"lowest": lowest(ranges), "newest": []}.items()
        }
    page = describe(found, names, args.torch)
    print(page)
    if args.out:
        args.out.write_text(page)


def lowest(ranges: list[str]) -> list[str]:
    """Every lower bound as the version itself, but torch's."""
    bounds = (one.replace(">=", "==") for one in ranges if ">=" in one)
    return sorted({bound for bound in bounds if not bound.startswith("torch==")})


def measure(folder: Path, requirements: list[str], names: list[str]) -> tuple[dict[str, str], dict[str, float]]:
    """Versions in a new environment, and the seconds of every command there."""
    run(sys.executable, "-m", "venv", str(folder))
    python = folder / "bin" / "python"
    run(str(python), "-m", "pip", "install", "-q", *requirements)
    script = "import importlib.metadata as m, sys; print(*map(m.version, sys.argv[1:]))"
    versions = run(str(python), "-c", script, *names).split()
    empty = folder / "empty"
    empty.mkdir()
    seconds = {}
    for command in COMMANDS:
        begin = time.monotonic()
        run(str(folder / "bin" / "tubelet"), *command.split(), cwd=empty)
        seconds[command] = time.monotonic() - begin
    return dict(zip(names, versions, strict=True)), seconds


def run(*words: str, cwd: Path | None = None) -> str:
    """What the command prints; with a failure, the end of what it says."""
    print("$", *words, file=sys.stderr, flush=True)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(words)} ended with {done.returncode}:\n{(done.stdout + done.stderr)[-4000:]}")
    return done.stdout


def describe(found: dict[str, tuple[dict[str, str], dict[str, float]]], names: list[str], torch: str) -> str:
    head = f"{' | '.join(found)} |\n|---|{'---|' * len(found)}"
    versions = "\n".join(f"| {name} | {' | '.join(one[name] for one, _ in found.values())} |" for name in names)
    seconds = "\n".join(
        f"| `{command}` | {' | '.join(f'{one[command]:.0f}' for _, one in found.values())} |" for command in COMMANDS
    )
    return f"""# Versions tried together

The wheel in two new environments, run from an empty directory: at the lowest versions that `pyproject.toml` allows, and
at the newest that the package index has. torch is {torch} in both. Python {platform.python_version()},
{platform.system()} {platform.machine()}, {os.cpu_count()} cores. Every command ended with exit code 0.

    python benchmarks/versions.py --torch {torch}

| package | {head}
{versions}

| seconds of `tubelet` | {head}
{seconds}
"""


if __name__ == "__main__":
    main()
