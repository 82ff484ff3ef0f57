"""The README's commands on your own videos, typed: from a folder and a tenth of the labels to the rest."""

import csv
import re
import shlex
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from tubelet.cli import main
from tubelet.corpus.table import Corpus
from tubelet.runs.record import of_run
from tubelet.video.writer import write_video

README = Path(__file__).resolve().parents[2] / "README.md"
VERBS = ["index", "align", "saliency", "pretrain", "evaluate", "report", "finetune", "predict", "search", "export"]
SMALLER = {  # what keeps it short; the words of the README stand
    "align": ["steps=30", "frames=2", "batch=16"],
    "pretrain": ["clip.frames=4", "clip.size=32", "encoder.width=32", "encoder.depth=2", "encoder.heads=2", "steps=20",
                 "objectives.pixels.decoder.width=18", "objectives.pixels.decoder.heads=2", "batch=8",
                 "evaluate_every=0", "data.cache=False", "data.sampling.stride=1"],
    "finetune": ["steps=24", "rates=0.3", "batch=4", "mix.mixup=0"],
}  # fmt: skip


def make_videos(folder: Path) -> None:
    """60 short videos, dark or light; labels and captions as tables."""
    (folder / "videos").mkdir(parents=True)
    labels, captions = [("path", "label")], [("path", "caption")]
    for number in range(60):
        light = number % 2
        rng = np.random.default_rng(number)
        frames = rng.integers(0, 60, (8, 2, 2, 3)).repeat(16, 1).repeat(16, 2).astype(np.uint8) + np.uint8(190 * light)
        write_video(folder / "videos" / f"{number:02}.mp4", frames, 8.0)
        labels.append((f"{number:02}.mp4", ("night", "day")[light]))
        captions.append((f"{number:02}.mp4", ("a dog at night", "a bright ball")[light]))
    for name, rows in (("labels.csv", labels), ("captions.csv", captions)):
        with (folder / name).open("w", newline="") as file:
            csv.writer(file).writerows(rows)


def commands() -> list[list[str]]:
    """Those of the README's section on your own videos."""
    section = README.read_text().partition("## Your own videos")[2].partition("## ")[0]
    return [shlex.split(line, comments=True) for line in re.findall(r"^    (tubelet .*)$", section, flags=re.MULTILINE)]


def test_the_commands_of_the_readme_work_on_a_folder_of_your_own_videos(tmp_path, monkeypatch, capsys):
    make_videos(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert [line[1] for line in commands()] == VERBS
    for line in commands():
        words = [word.replace("~", str(tmp_path)) for word in line[1:]]
        given = {word.partition("=")[0] for word in SMALLER.get(words[0], [])}
        words = [word for word in words if word.partition("=")[0] not in given] + SMALLER.get(words[0], [])
        assert main(words) == 0, capsys.readouterr().err

    corpus = Corpus.open("corpora/mine")
    learned = {clip.id for clip in of_run(Path("runs/tuned")).of("classifier").clips}
    train = len(corpus.select("train"))
    assert 0.07 * train < len(learned) < 0.13 * train + 2
    rows = pq.read_table("labels.parquet").to_pylist()
    assert {row["id"] for row in rows} == {video.id for video in corpus.videos} - learned
    truth = {video.id: video.label for video in corpus.videos}
    right = [row["label"] == truth[row["id"]] for row in rows]
    assert np.mean(right) > 0.9  # of two classes that differ in brightness

    said = capsys.readouterr().out
    hits = re.findall(r"^ +\d+ +[+-]\d\.\d+ +\w+ +(\S+)", said, flags=re.MULTILINE)
    assert len(hits) == 12
    with Image.open(next(Path("runs/mine/pictures").glob("search *.png"))) as sheet:
        assert sheet.width > 800
    assert main(["report", "runs/mine", "runs/tuned"]) == 0
    page = Path("report.html").read_text()
    for said in ("<p>a dog catches a ball</p>", *(f"<p>{name}</p>" for name in hits), "<h3>finetune</h3>"):
        assert said in page, said
