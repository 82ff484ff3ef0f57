"""Visible tubelets that follow the flow."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tubelet.errors import RecipeError
from tubelet.maskers import Flow
from tubelet.seeds import uniform
from tubelet.types import Batch, Clip


def visible(masker: Flow, vectors: torch.Tensor, clip: Clip) -> torch.Tensor:
    """`vectors` in positions a frame."""
    count = len(vectors)
    shares = vectors / torch.tensor([clip.grid[2], clip.grid[1]])
    video = torch.zeros(count, 3, clip.frames, clip.size, clip.size, dtype=torch.uint8)
    batch = Batch(video, torch.arange(count), ("clip",) * count, maps={"flow": shares})
    mask = masker(batch, clip, batch.key)
    return torch.zeros(count, clip.num_tubelets).scatter(1, mask.visible, 1.0).unflatten(1, clip.grid)


def test_160_of_1568_tubelets_are_visible_and_by_the_official_count_152() -> None:
    vectors = torch.randn(2, 16, 14, 14, 2)
    for masker, count in ((Flow(), 20), (Flow(official_count=True), 19)):
        assert (visible(masker, vectors, Clip()).sum((2, 3)) == count).all()


@given(ratio=st.floats(0.5, 0.95), side=st.integers(4, 14))
@settings(max_examples=20, deadline=None)
def test_without_motion_the_mask_is_a_tube_of_the_drawn_places(ratio: float, side: int) -> None:
    clip = Clip(size=16 * side)
    got = visible(Flow(ratio=ratio), torch.zeros(3, 16, side, side, 2), clip)
    assert (got == got[:, :1]).all()
    count = int(got[0, 0].sum())
    drawn = uniform(torch.arange(3), side * side).argsort(1)[:, :count].sort(1).values
    assert torch.equal(got[:, 0].flatten(1).nonzero()[:, 1].unflatten(0, (3, count)), drawn)


@pytest.mark.parametrize(("dx", "dy"), [(1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1)])
def test_visible_tubelets_follow_an_object_that_moves_by_whole_places_over_a_still_ground(dx: int, dy: int) -> None:
    clip = Clip(frames=8, tubelet_frames=1)
    vectors, covered = torch.zeros(8, 14, 14, 2), torch.zeros(8, 14, 14)
    for frame in range(8):
        top, left = 4 + dy * (frame - 4) + (dy > 0), 4 + dx * (frame - 4) + (dx > 0)
        rows, columns = slice(top, top + 6), slice(left, left + 6)
        vectors[frame, rows, columns] = torch.tensor([float(dx), float(dy)])
        covered[frame, rows, columns] = 1
    got = visible(Flow(), vectors.expand(16, -1, -1, -1, -1), clip) * covered
    same = union = 0.0
    for frame in range(7):
        moved = torch.roll(got[:, frame], (dy, dx), (1, 2))
        same += float((moved * got[:, frame + 1]).sum())
        union += float(torch.maximum(moved, got[:, frame + 1]).sum())
    assert union > 100
    assert same / union > 0.95


def one_clip(flow: list, gaussians: list[tuple[float, float]], middle: int, side: int) -> list:
    """The carried map of every frame, position by position: integer flow, no ties in what comes to a position. What
    fills a hole is worth a thousandth less."""

    def value(x: float, y: float, share: float) -> float:
        return share * max(math.exp(-((x - a) ** 2) - (y - b) ** 2) for a, b in gaussians)

    origins = {middle: {(x, y): (x, y, 1.0) for x in range(side) for y in range(side)}}
    for frame in range(middle, len(flow) - 1):
        origins[frame + 1] = {(x, y): (x, y, 0.999) for x, y in origins[middle]}
        for (x, y), origin in origins[frame].items():
            dx, dy = flow[frame][y][x]
            if (x + dx, y + dy) in origins[middle]:
                origins[frame + 1][x + dx, y + dy] = origin
    for frame in range(middle - 1, -1, -1):
        origins[frame] = {}
        for x, y in origins[middle]:
            dx, dy = flow[frame][y][x]
            origins[frame][x, y] = origins[frame + 1].get((x + dx, y + dy), (x, y, 0.999))
    return [[[value(*origins[f][x, y]) for x in range(side)] for y in range(side)] for f in range(len(flow))]


@pytest.mark.parametrize(("dx", "dy"), [(1, 0), (-1, 1), (0, -1), (2, -1)])
def test_a_translated_picture_has_the_scores_of_a_loop_over_places_holes_and_all(dx: int, dy: int) -> None:
    side = 7
    clip = Clip(frames=6, size=16 * side)
    masker = Flow(ratio=0.8)
    vectors = torch.tensor([dx, dy]).expand(1, 6, side, side, 2)
    key = torch.tensor([5])
    shares = vectors / side
    batch = Batch(torch.zeros(1, 3, 6, 112, 112, dtype=torch.uint8), key, ("clip",), maps={"flow": shares})
    got = masker.scores(batch, clip, key).unflatten(1, clip.grid)[0]
    centres = [(x - 0.5, y - 0.5) for x, y in masker.gaussians(clip, key)[0].tolist()]
    frames = torch.tensor(one_clip(vectors[0].tolist(), centres, 3, side))
    torch.testing.assert_close(got, -frames.unflatten(0, (3, 2)).sum(1), atol=1e-5, rtol=1e-4)


def test_nonsense_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"masker\.centres=0 must be at least 1"):
        Flow(centres=0)
    with pytest.raises(RecipeError, match=r"masker\.width=0 must be positive"):
        Flow(width=0.0)
