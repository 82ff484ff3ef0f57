"""A caution for videos unlike any that a classifier learned from."""

import numpy as np
import pytest
import torch

from tubelet.errors import WeightsError
from tubelet.evaluations.familiarity import (
    FOLDER,
    Familiarity,
    caution,
    familiar_with,
    read_familiarity,
    write_familiarity,
)
from tubelet.models.encoder import Vit


def clouds(seed: int, count: int, centres: torch.Tensor) -> torch.Tensor:
    rng = torch.Generator().manual_seed(seed)
    index = torch.arange(count) % len(centres)
    return centres[index] + 0.2 * torch.randn(count, centres.shape[1], generator=rng)


CENTRES = torch.eye(6)[:3] * 3 + 5
IDS = [f"clip {number}" for number in range(90)]
GROUPS = [f"group {number // 3 // 2}" for number in range(90)]


def test_clips_like_those_that_were_learned_from_are_familiar_and_others_are_not():
    known = Familiarity.of(clouds(0, 90, CENTRES), IDS, GROUPS)
    assert known is not None
    assert (known.distances(clouds(1, 300, CENTRES)) <= 1).float().mean() > 0.9
    assert (known.distances(clouds(2, 300, torch.eye(6)[3:] * 3 + 5)) > 1).all()


def test_the_distance_is_that_of_a_loop():
    features = clouds(0, 90, CENTRES)
    known = Familiarity.of(features, IDS, GROUPS)
    values = features.double().numpy()
    unit = values - values.mean(0)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    own = [sorted(np.linalg.norm(unit[i] - unit[j]) for j in range(90) if GROUPS[i] != GROUPS[j])[8] for i in range(90)]
    assert known.nearest == 9
    assert known.limit == pytest.approx(np.quantile(own, 0.99), abs=1e-3)
    asked = clouds(3, 1, CENTRES)
    one = asked[0].double().numpy() - values.mean(0)
    far = sorted(np.linalg.norm(one / np.linalg.norm(one) - row) for row in unit)[8]
    assert known.distances(asked).item() == pytest.approx(far / known.limit, rel=1e-3)


def test_clips_of_one_group_say_nothing_of_what_is_far():
    features = clouds(0, 90, CENTRES)
    assert Familiarity.of(features, IDS, ["one"] * 90) is None
    assert Familiarity.of(features[:10], IDS[:10], IDS[:10]) is None


def test_it_is_kept_beside_the_run_and_a_damaged_one_is_refused_by_name(tmp_path):
    known = Familiarity.of(clouds(0, 90, CENTRES), IDS, GROUPS)
    write_familiarity(tmp_path, "linear", known)
    again = read_familiarity(tmp_path, "linear")
    asked = clouds(1, 20, CENTRES)
    torch.testing.assert_close(again.distances(asked), known.distances(asked), rtol=0.01, atol=0.01)
    assert read_familiarity(tmp_path, "other") is None
    path = tmp_path / FOLDER / "linear.safetensors"
    content = bytearray(path.read_bytes())
    content[-9] ^= 4
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"linear\.safetensors is damaged"):
        read_familiarity(tmp_path, "linear")
    write_familiarity(tmp_path, "linear", None)
    assert read_familiarity(tmp_path, "linear") is None


def test_the_features_of_clips_that_can_be_read_are_kept(small, clip, data):
    torch.manual_seed(0)
    encoder = Vit(width=32, depth=1, heads=2).build(clip)
    known = familiar_with(
        lambda video: encoder.encode(video).mean(1), small, small.videos, clip, data, 8, torch.device("cpu")
    )
    assert known is not None
    assert len(known.known) == 35
    assert "unlike" in caution(1.2)
    assert caution(1.0) == ""
