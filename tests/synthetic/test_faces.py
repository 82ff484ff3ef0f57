"""`synth-2`: what it promises of faces, sound and sensors."""

import hashlib
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from tubelet import cli
from tubelet.corpus.table import Corpus
from tubelet.errors import CorpusError
from tubelet.saliency_maps import Parts
from tubelet.stores.maps import Maps
from tubelet.synthetic import Size, synth, truth, truth_in_words, write_synth
from tubelet.synthetic.faces import DEVICES, GRAVITY, HERTZ, MOVED, PARTS, RATE, SHAPES, draw_face, render_face
from tubelet.video.reader import read_span
from tubelet.video.sound import read_sound

GOLDEN = "63c3548376fbd5a895fa281522fe9efae56aea7f3c7ac0e22c9890d0634ab7b0"
SMALL = Size(train=6, test=4, pixels=48, frames=8, faces=True)
PLAIN = Size(train=6, test=4, pixels=48, frames=8)


def clip(index: int, seed: int = 0, split: str = "train", size: int = 64, frames: int = 16):
    return render_face(index, seed, split, size, frames, 15)


def test_what_synth_2_shows_never_changes() -> None:
    digest = hashlib.sha256()
    for index, seed, split in [(0, 0, "train"), (9, 0, "train"), (18, 1, "test"), (27, 0, "test"), (4, 2, "train")]:
        seen = clip(index, seed, split)
        digest.update(seen.frames.tobytes() + seen.truth.owner.tobytes() + seen.truth.parts.tobytes())
        digest.update(np.rint(seen.sound * 32767).astype(np.int16)[::100].tobytes())
        digest.update(np.rint(seen.sensors * 100).astype(np.int32)[::10].tobytes())
        digest.update(repr((seen.face.forged, seen.face.dead)).encode())
    assert digest.hexdigest() == GOLDEN, "that is another version of the corpus"


def test_every_part_is_seen_and_lies_on_the_face() -> None:
    for index in range(24):
        seen = clip(index, size=96)
        assert seen.scene.subject.shape in SHAPES
        parts, owner = seen.truth.parts, seen.truth.owner
        assert (owner[parts >= 3] == 1).mean() > 0.97, "a corner of a brow may reach beyond a triangle"
        assert ((parts == 0) == (owner == 0))[parts < 3].all()
        for number in range(3, len(PARTS)):
            assert (parts == number).any(axis=(1, 2)).all(), PARTS[number]


def test_forged_faces_move_in_themselves_and_genuine_ones_do_not() -> None:
    faces = [draw_face(index) for index in range(60)]
    assert 18 < sum(face.forged for face in faces) < 42
    for face in faces:
        subject = face.scene.subject
        for part in face.features:
            away = (part.centre - subject.centre) / subject.radius[:, None]
            cosine, sine = np.cos(subject.angle), np.sin(subject.angle)
            own = np.stack([cosine * away[:, 0] + sine * away[:, 1], cosine * away[:, 1] - sine * away[:, 0]], 1)
            moved = np.abs(np.diff(own, axis=0)).max()
            assert (moved > MOVED / 10) == face.forged
            assert moved < 2 * MOVED


def test_one_frame_of_a_forged_face_is_drawn_as_one_of_a_genuine_one() -> None:
    """Where parts stand in the first frame has the same mean and spread in both."""
    places: dict[bool, list[np.ndarray]] = {True: [], False: []}
    for index in range(600):
        face = draw_face(index, frames=2)
        subject, eye = face.scene.subject, face.features[0]
        away = (eye.centre[0] - subject.centre[0]) / subject.radius[0]
        cosine, sine = np.cos(subject.angle[0]), np.sin(subject.angle[0])
        places[face.forged].append(np.array([cosine * away[0] + sine * away[1], cosine * away[1] - sine * away[0]]))
    one, other = (np.stack(some) for some in places.values())
    np.testing.assert_allclose(one.mean(0), other.mean(0), atol=0.015)
    np.testing.assert_allclose(one.std(0), other.std(0), atol=0.01)


def test_pitch_is_how_high_the_subject_is_and_loudness_its_size_and_brightness() -> None:
    for index in range(16):
        seen = clip(index, frames=32)
        spectrum = np.abs(np.fft.rfft(seen.sound[8000:12000] * np.hanning(4000)))
        heard = spectrum.argmax() * RATE / 4000
        frame = round(10000 / RATE * 15)
        height = 0.5 - (seen.scene.subject.centre[frame] - seen.scene.look[frame])[1] * seen.scene.zoom[frame]
        assert heard == pytest.approx(250 * 2 ** (2.5 * height), rel=0.2)
    verbs = (index for index in range(64) if draw_face(index).scene.subject.motion == "shrinks")
    shrinking = clip(next(verbs), frames=32)
    first, last = np.abs(shrinking.sound[:4000]).max(), np.abs(shrinking.sound[-4000:]).max()
    assert first > 1.15 * last


def test_sensors_feel_gravity_and_motion_and_a_dead_one_nothing() -> None:
    deaths = []
    for index in range(48):
        seen = clip(index, frames=32)
        assert seen.sensors.shape == (round(32 / 15 * HERTZ), DEVICES, 3)
        dead = seen.face.dead
        deaths.append(dead is not None)
        alive = [device for device in range(DEVICES) if device != dead]
        if dead is not None:
            assert (seen.sensors[:, dead] == 0).all()
        felt = np.linalg.norm(seen.sensors[:, alive, :2], axis=-1)
        if seen.label in ("flashes", "grows"):
            assert felt.mean() == pytest.approx(GRAVITY, rel=0.1), "what stands still feels the ground alone"
        if seen.label == "circles":
            assert felt.std() > 0.5
    assert 6 < sum(deaths) < 28


def test_as_a_corpus_it_is_read_heard_and_resumed(tmp_path: Path, capsys) -> None:
    words = ["synth", "--kind", "synth-2", "--out", str(tmp_path / "two"), "--train", "6", "--test", "4"]
    assert cli.main([*words, "--size", "48", "--frames", "8", "--workers", "1"]) == 0
    assert "synth-2 in" in capsys.readouterr().out
    corpus = Corpus.open(tmp_path / "two")
    assert corpus.name == "synth-2"
    assert write_synth(corpus.folder, SMALL) == 0, "all of it is there"
    for number, video in enumerate(corpus.select("train")):
        expected = render_face(number, 0, "train", 48, 8, 15)
        frames, _ = read_span(video.path)
        assert np.abs(frames.astype(int) - expected.frames).mean() < 6
        heard = read_sound(video.path, 0.0, 8 / 15)
        np.testing.assert_allclose(heard.samples[:8000], expected.sound[:8000], atol=1e-4)
        known = truth(corpus, video)
        np.testing.assert_array_equal(known.parts, expected.truth.parts)
        table = pq.read_table(corpus.folder / "sensors" / f"{video.id}.parquet").to_pandas()
        assert list(table) == ["time", "device", "x", "y", "z"]
        np.testing.assert_array_equal(table["x"].to_numpy().reshape(-1, DEVICES), expected.sensors[..., 0])
    said = truth_in_words(corpus.folder)
    assert set(said["forged"]) <= {"forged", "genuine"}
    with pytest.raises(CorpusError, match="holds synth-2 with version=synth-2, not synth-1"):
        write_synth(corpus.folder, PLAIN)
    with pytest.raises(CorpusError, match="no synthetic dataset 'synth-3'; one of: synth-1, synth-2"):
        synth(tmp_path / "three", kind="synth-3")


def test_its_parts_as_maps_are_the_truth_of_seven(tmp_path: Path) -> None:
    write_synth(tmp_path / "two", SMALL)
    corpus = Corpus.open(tmp_path / "two")
    filled = Parts(cells=6).fill(corpus)
    assert filled.videos == 10
    values, _ = Maps.open(corpus, "parts").layers(corpus.videos[0])
    assert values.shape == (8, 6, 6, 7)
    np.testing.assert_allclose(values.sum(-1), 1, atol=2e-3)
    known = truth(corpus, corpus.videos[0]).parts
    shares = np.stack([(known == part).reshape(8, 6, 8, 6, 8).mean((2, 4)) for part in range(7)], -1)
    np.testing.assert_allclose(values, shares, atol=2e-3)
