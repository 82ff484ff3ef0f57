"""What must not change while names do: losses, weights, metrics and the numbers of pages, of two small runs.

`python tests/golden/record.py` writes golden.json anew. Do that only where other numbers are meant, and say in the
commit why. What a change of names touches stands in the table of names below, and nowhere else here.
"""

import hashlib
import json
import platform
import re
import sys
import tempfile
from html.parser import HTMLParser
from importlib.metadata import version
from pathlib import Path
from typing import Any
from unittest import mock

import av
import numpy as np
import torch
from safetensors.numpy import load_file

from tubelet.cli import main

GOLDEN = Path(__file__).with_name("golden.json")

# --- the table of names: commands, fields, files and keys as they are called today ---
# Left stands what golden.json calls it, which stays; right what tubelet calls it. Words in capitals are filled in.

INDEX = "index VIDEOS --labels LABELS --captions CAPTIONS --out CORPUS --name golden --workers 1 --threads 1"
ALIGN = "align CORPUS sources=subject steps=12 batch=16 seed=0 --threads 1"
MAPS = "saliency CORPUS Text sources=subject --workers 1 --threads 1"
SHORT = "steps=20 batch=6 log_every=1 precision=fp32 seed=0 --on CORPUS --out RUN --threads 1"
PRETRAIN = {
    "miniature": f"pretrain miniature {SHORT}",
    "tiny_text_guided": f"pretrain tiny_text_guided {SHORT}",
}
EVALUATE = (  # of the run miniature
    "evaluate RUN --on CORPUS knn linear --baseline random --baseline mean_image --baseline raw_pixels --threads 1"
)
REPORT = "report RUN --out PAGE"  # of the run miniature, after it was measured
SYNTH = "synth --out CORPUS --train 1 --test 1 --size 32 --frames 4 --workers 1 --threads 1"
STUDIES = {
    name: f"study {name} --on CORPUS --trials TRIALS --out OUT --tables --threads 1" for name in ("budget", "ratio")
}
TRIALS = Path(__file__).parents[2] / "docs" / "results" / "data"
# The committed trials are of a corpus of 1600 clips, which is not rendered here: a small one passes for it.
FINGERPRINT = "tubelet.corpus.table.Corpus.fingerprint"
FINGERPRINT_OF_TRIALS = "e92e3b4b222850423daaf78c84f8af7b"

LOG = "log.jsonl"
KIND, STEP = "kind", "step"  # a record of a step is one whose kind is "step"
LOGGED = {"loss": "loss", "learning rate": "lr", "pixels": "pixels", "pixels, trivial": "pixels.baseline"}
LOGGED_OF = {
    "miniature": LOGGED,
    "tiny_text_guided": {**LOGGED, "contrast": "contrast", "contrast, trivial": "contrast.baseline"},
}
CHECKPOINT = "checkpoint.safetensors"
WEIGHTS = "task."  # what the names of weights begin with; the others are the optimizer's
HEADS = "classifiers/*.safetensors"

RESULTS = "results.json"
EVALUATIONS = {"knn": "knn", "linear": "linear"}
METRICS, BASELINES, VALUE, INTERVAL, CHANCE = "metrics", "baselines", "value", "interval", "chance"
MEASURED = {
    "accuracy of the mean": "mean.accuracy",
    "balanced accuracy of the mean": "mean.balanced_accuracy",
    "accuracy of slots": "temporal_concat.accuracy",
    "balanced accuracy of slots": "temporal_concat.balanced_accuracy",
}
LEVELS = {"chance": "mean.balanced_accuracy", "majority": "mean.accuracy"}  # whose chance they are
COMPARED = {"random weights": "random", "mean image": "mean_image", "raw pixels": "raw_pixels"}

TABLES_IN, CURVES_IN = ("glance", "results"), ("training",)  # ids of the sections of a report
TIMED = ("Clips a second", "Throughput")  # rows and figures that no other machine repeats

# --- the end of the table ---

COLOURS = {"red": (220, 30, 40), "green": (40, 200, 60), "blue": (50, 70, 230), "white": (240, 240, 240)}
SHAPES = ("square", "bar", "cross")
MOTIONS = ("right", "down", "still")
SPLITS = {"train": 24, "test": 12}
SIZE, FRAMES, RATE = 96, 32, 15


def frames_of(index: int, colour: str, shape: str, motion: str) -> np.ndarray:
    """A shape that moves over a pattern, in whole numbers: the same on every machine."""
    y, x = np.mgrid[:SIZE, :SIZE]
    pattern = (x * (3 + index % 5) + y * (7 + index % 3) + (x * y) // (5 + index % 4)) % 97
    frames = np.repeat(np.stack([pattern + 40, pattern + 60, 150 - pattern], -1)[None], FRAMES, 0).astype(np.uint8)
    for time, frame in enumerate(frames):
        step = 2 * time
        across = (10 + 5 * index + step * (motion == "right")) % (SIZE - 24)
        below = (14 + 7 * index + step * (motion == "down")) % (SIZE - 24)
        inside = frame[below : below + 24, across : across + 24]
        if shape == "square":
            inside[:] = COLOURS[colour]
        else:
            inside[8:16] = COLOURS[colour]
        if shape == "cross":
            inside[:, 8:16] = COLOURS[colour]
    return frames


def write_lossless(path: Path, frames: np.ndarray) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = SIZE, SIZE, "bgr0"
        for values in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(values, format="rgb24")))
        container.mux(stream.encode(None))


def write_videos(folder: Path) -> None:
    """Videos, labels and captions, as a user has them."""
    (folder / "videos").mkdir(parents=True)
    labels, captions = ["path,label,split"], ["path,caption,source"]
    index = 0
    for split, count in SPLITS.items():
        for number in range(count):
            colour, shape, motion = list(COLOURS)[index % 4], SHAPES[(index // 2) % 3], MOTIONS[index % 3]
            name = f"{split}-{number:02}.mkv"
            write_lossless(folder / "videos" / name, frames_of(index, colour, shape, motion))
            labels.append(f"{name},{motion},{split}")
            captions.append(f"{name},a {colour} {shape},subject")
            captions.append(f"{name},it goes {motion},verb")
            index += 1
    (folder / "labels.csv").write_text("\n".join(labels) + "\n")
    (folder / "captions.csv").write_text("\n".join(captions) + "\n")


def tubelet(command: str, **filled: object) -> None:
    words = [str(filled.get(word, word)) for word in command.split()]
    assert main(words) == 0, f"tubelet {' '.join(words)} failed"


def make_corpus(folder: Path) -> Path:
    """With an aligner of a few steps, and its text maps and embeddings of the captions."""
    write_videos(folder)
    corpus = folder / "corpus"
    files = {"VIDEOS": folder / "videos", "LABELS": folder / "labels.csv", "CAPTIONS": folder / "captions.csv"}
    tubelet(INDEX, CORPUS=corpus, **files)
    tubelet(ALIGN, CORPUS=corpus)
    tubelet(MAPS, CORPUS=corpus)
    return corpus


def read_log(run: Path, keys: dict[str, str]) -> dict[str, list[float]]:
    """The series of every key, a number a step."""
    lines = [json.loads(line) for line in (run / LOG).read_text().splitlines()]
    steps = [line for line in lines if line[KIND] == STEP]
    return {name: [line[key] for line in steps] for name, key in keys.items()}


def read_weights(path: Path, prefix: str = "") -> dict[str, Any]:
    """Digest and norms, whatever the tensors are called: sorted by shape and norm."""
    tensors = [value for name, value in load_file(path).items() if name.startswith(prefix)]
    each = sorted(hashlib.sha256(f"{t.shape} {t.dtype}".encode() + t.tobytes()).hexdigest() for t in tensors)
    norms = sorted((list(t.shape), float(np.linalg.norm(t.astype(np.float64)))) for t in tensors)
    return {"digest": hashlib.sha256("".join(each).encode()).hexdigest(), "norms": [list(norm) for norm in norms]}


def read_metrics(run: Path) -> dict[str, Any]:
    results = json.loads((run / RESULTS).read_text())
    found: dict[str, Any] = {}
    for evaluation, entry in EVALUATIONS.items():
        result = results[entry]
        sources = {"run": result, **{name: result[BASELINES][key] for name, key in COMPARED.items()}}
        found[evaluation] = {
            source: {name: [content[METRICS][key][CHANCE]] for name, key in LEVELS.items()}
            | {
                name: [content[METRICS][key][VALUE], *content[METRICS][key].get(INTERVAL, ())]
                for name, key in MEASURED.items()
            }
            for source, content in sources.items()
        }
    return found


NUMBER = re.compile(r"(?<![\w.-])[-+−]?\d+(?:\.\d+)?(?![\w.]*\w)")  # of no word, name, hash or version


def numbers(text: str) -> list[float]:
    return [float(found.replace("−", "-")) for found in NUMBER.findall(text)]


class Page(HTMLParser):
    """The numbers of a report: of every row of its tables, and of its curves."""

    def __init__(self) -> None:
        super().__init__()
        self.section, self.name, self.inside, self.text = "", "", "", ""
        self.rows: list[list[float]] = []
        self.curves: list[list[list[float]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = dict(attrs)
        if tag == "section":
            self.section = said.get("id") or ""
        elif tag in ("tr", "figure"):
            self.name = self.text = ""
        elif tag in ("td", "th", "figcaption"):
            self.inside = tag
        elif tag in ("span", "small"):
            self.text += " "
        elif tag == "path" and "clip-path" in said and self.section in CURVES_IN and not self.timed:
            points = np.array(re.findall(r"[ML] (\S+) (\S+)", said.get("d") or ""), float)
            if len(points) > 4:  # fewer are the lines of the grid
                extent = np.ptp(points, axis=0)
                self.curves.append(((points - points.min(0)) / np.where(extent > 0, extent, 1)).round(4).tolist())

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th", "figcaption"):
            self.inside, self.text = "", self.text + " "
        elif tag == "tr" and self.section in TABLES_IN and not self.timed and (row := numbers(self.text)):
            self.rows.append(row)

    def handle_data(self, data: str) -> None:
        if self.inside in ("th", "figcaption"):
            self.name += data
        elif self.inside == "td":
            self.text += data

    @property
    def timed(self) -> bool:
        return self.name.startswith(TIMED)


def read_report(path: Path) -> dict[str, Any]:
    page = Page()
    page.feed(path.read_text())
    return {"rows": sorted(page.rows), "curves": page.curves}  # rows stand in the order of names, which may change


def study_numbers(folder: Path) -> dict[str, list[float]]:
    corpus = folder / "passing"
    tubelet(SYNTH, CORPUS=corpus)
    with mock.patch(FINGERPRINT, return_value=FINGERPRINT_OF_TRIALS):
        for command in STUDIES.values():
            tubelet(command, CORPUS=corpus, TRIALS=TRIALS, OUT=folder / "studies")
    return {
        name: numbers((folder / "studies" / f"{command.split()[1]}.md").read_text())
        for name, command in STUDIES.items()
    }


def machine() -> dict[str, str]:
    """Where these are the same, so is every bit. Processors of several generations share one name."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().partition("\n\n")[0].splitlines() if path.exists() else []
    said = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    processor = [said[name] for name in ("model name", "cpu family", "model") if name in said]
    return {
        "processor": ", ".join(processor) or platform.processor(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "torch": version("torch"),
    }


def measure(folder: Path) -> dict[str, Any]:
    """All that golden.json records, by today's code."""
    corpus = make_corpus(folder)
    runs = {}
    for name, command in PRETRAIN.items():
        run = folder / name
        tubelet(command, CORPUS=corpus, RUN=run)
        runs[name] = {"log": read_log(run, LOGGED_OF[name]), "weights": read_weights(run / CHECKPOINT, WEIGHTS)}
    measured = folder / "miniature"
    tubelet(EVALUATE, CORPUS=corpus, RUN=measured)
    tubelet(REPORT, RUN=measured, PAGE=folder / "report.html")
    heads = [read_weights(path)["norms"] for path in sorted(measured.glob(HEADS))]
    return {
        "machine": machine(),
        "runs": runs,
        "metrics": read_metrics(measured),
        "heads": heads,
        "report": read_report(folder / "report.html"),
        "studies": study_numbers(folder),
    }


def write_record() -> None:
    with tempfile.TemporaryDirectory() as folder:
        measured = measure(Path(folder))
    lines = json.dumps(measured, indent=1, ensure_ascii=False)
    short = re.sub(r"\[[^\[\]{}]*\]", lambda found: " ".join(found[0].split()), lines)  # a list of numbers, a line
    GOLDEN.write_text(short + "\n")
    print(f"written to {GOLDEN}", file=sys.stderr)


if __name__ == "__main__":
    write_record()
