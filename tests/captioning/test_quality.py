"""Faults of captions are found, filters leave out what they say, and the overview tells it with a picture."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tubelet.captioning import Captioning, Files, Filters, caption, faults
from tubelet.captioning.overview import overview, samples
from tubelet.captioning.quality import degenerate, words
from tubelet.corpus.index import index
from tubelet.corpus.table import Corpus, normalise_text
from tubelet.corpus.write import write_captions

Run = Callable[..., tuple[int, str, str]]
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "video": st.sampled_from("xyz"),
            "text": st.one_of(
                st.sampled_from(["", " ", "a a a a", "A dog.", "a dog", "the dog runs the dog runs the dog runs"]),
                st.lists(st.sampled_from(["red", "dog", "runs", "a"]), max_size=12).map(" ".join),
            ),
        }
    ),
    max_size=12,
)
FILTERS = st.builds(
    Filters,
    degenerate=st.booleans(),
    doubled=st.booleans(),
    shortest=st.integers(1, 4),
    longest=st.none() | st.integers(1, 8),
    shared=st.none() | st.integers(1, 3),
)


@pytest.mark.parametrize(
    "text", ["a a a a", "dog dog dog", "the dog runs the dog runs the dog runs", "...", "7", "x y x y x y x y"]
)
def test_texts_that_repeat_themselves_or_hold_no_word_are_degenerate(text: str) -> None:
    assert degenerate(text)


@pytest.mark.parametrize(
    "text",
    [
        "a man is riding a horse and a dog is running beside a horse",
        "Ein Hund läuft über die Wiese.",
        "猫在睡觉",
        "a very very good boy",
        "the red bar and the blue bar and the green bar stand beside the white bar",
    ],
)
def test_sentences_are_not(text: str) -> None:
    assert not degenerate(text)


@settings(deadline=None)
@given(ROWS)
def test_faults_count_what_a_plain_loop_counts(rows: list[dict[str, str]]) -> None:
    found = faults(rows)
    texts = [normalise_text(row["text"]) for row in rows]
    seen: set[tuple[str, str]] = set()
    doubled = 0
    for row, text in zip(rows, texts, strict=True):
        doubled += text != "" and (row["video"], text) in seen
        seen.add((row["video"], text))
    videos = {text: {row["video"] for row, other in zip(rows, texts, strict=True) if other == text} for text in texts}
    assert (found.captions, found.empty, found.doubled) == (len(rows), texts.count(""), doubled)
    assert found.shared == sum(text != "" and len(videos[text]) > 1 for text in texts)
    assert found.degenerate == sum(text != "" and degenerate(text) for text in texts)


@settings(deadline=None)
@given(ROWS, FILTERS)
def test_filters_keep_what_passes_in_its_order_and_passing_twice_changes_nothing(
    rows: list[dict[str, str]], filters: Filters
) -> None:
    kept = filters.keep(rows)
    positions = iter(rows)
    assert all(any(row is other for other in positions) for row in kept)
    assert filters.keep(kept) == kept
    for row in kept:
        assert row["text"].strip()
        assert filters.shortest <= len(words(row["text"])) <= (filters.longest or 99)
        assert not (filters.degenerate and degenerate(row["text"]))
    if filters.doubled:
        pairs = [(row["video"], normalise_text(row["text"])) for row in kept]
        assert len(pairs) == len(set(pairs))


def test_faults_are_told_and_left_out_where_a_filter_says_so(corpus: Corpus, tmp_path: Path, run: Run) -> None:
    lines = [f"clip {n},a video" for n in range(4)] + ["clip 0,a a a a", "clip 0,A video.", "clip 1,the red bar walks"]
    (tmp_path / "c.csv").write_text("\n".join(["video,caption", *lines]))
    job = ("caption", corpus.folder, "captioner=Files", f"captioner.path={tmp_path / 'c.csv'}")
    code, out, _ = run(*job)
    assert code == 0
    for said in (
        "7 captions of 4 videos", "1 degenerate (first: 'a a a a')", "1 that their video has twice",
        "5 whose text several videos have (commonest: 'a video', 4 videos)",
    ):  # fmt: skip
        assert said in out
    code, out, _ = run(*job, "replace=True", "filters.degenerate=True", "filters.doubled=True", "filters.shared=3")
    assert "1 caption of 1 video" in out
    assert "6 left out" in out
    assert [c.text for c in Corpus.open(corpus.folder).captions] == ["the red bar walks"]


def test_the_overview_counts_coverage_lengths_and_words_and_shows_frames(corpus: Corpus, run: Run) -> None:
    said = [("clip 0", "a red bar walks"), ("clip 0", "a bar"), ("clip 1", "the blue bar"), ("clip 2", "a a a a")]
    rows = [{"video": v, "text": t, "source": "human", "time": 0.5, "model": None, "prompt": None} for v, t in said]
    write_captions(corpus, [*rows, {**rows[0], "source": "blip2", "model": "m", "text": "red red"}])
    code, out, _ = run("captions", corpus.folder)
    assert code == 0
    table = pandas.read_parquet(corpus.folder / "captions.parquet")
    human = table[table["source"] == "human"]["text"].str.split().str.len()
    for part in (
        f"{len(table)} captions of {table['video'].nunique()} of 5 usable videos (test 0%, train 75%)",
        f"human: 4 captions of 3 videos, 4 different; {human.median():g} words ({human.min()} to {human.max()})",
        "blip2, by m: 1 caption of 1 video", "1 degenerate (first: 'a a a a')",
        "most common words: bar 3, red 2, blue 1, walks 1", "without any: 2 videos (first: clip 3)",
    ):  # fmt: skip
        assert part in out, out
    found = json.loads((corpus.folder / "captions" / "captions.json").read_text())
    assert found["coverage"] == {"train": {"with": 3, "usable": 4}, "test": {"with": 0, "usable": 1}}
    picture = np.asarray(Image.open(corpus.folder / "captions" / "captions.png").convert("RGB"))
    assert picture.shape[0] > 200
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 50, "frames, not an empty page"
    code, out, _ = run("captions", corpus.folder, "--source", "blip2", "--out", corpus.folder / "o", "--samples", 0)
    assert "1 caption of 1 of 5" in out
    assert not (corpus.folder / "o" / "captions.png").exists()
    assert "no captions of source 'x'; it has: blip2, human" in run("captions", corpus.folder, "--source", "x")[2]


def test_samples_are_spread_over_videos_and_the_same_every_time(corpus: Corpus) -> None:
    rows = [{"video": f"clip {n % 3}", "text": f"text {n}", "source": "s", "time": None} for n in range(30)]
    found = overview(write_captions(corpus, rows))
    chosen = samples(found, 5)
    assert [c.text for _, c in samples(found, 5)] == [c.text for _, c in chosen]
    assert {video.id for video, _ in chosen[:3]} == {"clip 0", "clip 1", "clip 2"}
    assert len({c.text for _, c in chosen}) == 5


def test_captions_of_real_clips_are_all_there(real_data: Path, tmp_path: Path, run: Run) -> None:
    made = index([real_data / "captioned"], tmp_path / "c")
    path = real_data / "captioned" / "captions.csv"
    done = caption(made, Captioning(captioner=Files(path=str(path))))
    table = pandas.read_csv(path)
    assert (done.captions, done.videos, done.failed) == (len(table), 9, {})
    found = overview(done.corpus)
    assert [sum(numbers) for numbers in zip(*found.coverage.values(), strict=True)] == [9, 9]
    assert sum(source.captions for source in found.sources) == len(table)
