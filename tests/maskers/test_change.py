"""Change and Unit against loops of LV-MAE's own rule."""

import itertools
from dataclasses import replace

import numpy as np
import torch

from support.small_tasks import batch_of, recipe_of, small, task_of
from tubelet.maskers import Change
from tubelet.objectives import Predict
from tubelet.objectives.targets import Unit
from tubelet.types import Batch, Vectors

CLIP = Vectors(frames=9, width=6)


def vectors(seed: int = 0, count: int = 4) -> Batch:
    values = torch.randn(count, 6, 9, 1, 1, generator=torch.Generator().manual_seed(seed))
    return Batch(video=values, key=torch.arange(count), ids=("",) * count)


def lv_mae_keeps(values: np.ndarray, ratio: float) -> list[int]:
    """Their code: cosines of neighbours, the first 0, sorted from the lowest, of which the first are kept."""
    cosines = [0.0]
    for before, now in itertools.pairwise(values):
        cosines.append(float(before @ now / (np.linalg.norm(before) * np.linalg.norm(now))))
    order = np.argsort(cosines, kind="stable")
    return sorted(order[: int(len(values) * (1 - ratio) + 1e-9)].tolist())


def test_what_stays_visible_is_what_the_code_of_lv_mae_keeps() -> None:
    batch = vectors()
    for ratio in (0.3, 0.5, 0.7):
        mask = Change(ratio=ratio)(batch, CLIP, batch.key)
        for row, values in enumerate(batch.video.flatten(2).transpose(1, 2).numpy()):
            assert mask.visible[row].tolist() == lv_mae_keeps(values, ratio)


def test_a_cut_stays_visible_and_a_vector_that_repeats_is_hidden() -> None:
    scenes = torch.randn(3, 6)
    video = scenes.repeat_interleave(3, 0).T[None, :, :, None, None]  # cuts at 3 and 6
    mask = Change(ratio=2 / 3)(
        Batch(video=video, key=torch.zeros(1, dtype=torch.int64), ids=("",)), CLIP, torch.zeros(1, dtype=torch.int64)
    )
    assert {3, 6} <= {*mask.visible[0].tolist()}, "but the first, whose score of 0 may lie above those of cuts"


def test_hiding_by_change_hides_nothing_else_in_another_batch() -> None:
    batch = vectors()
    alone = replace(batch, video=batch.video[2:3], key=batch.key[2:3], ids=("",))
    whole, one = (Change()(some, CLIP, some.key) for some in (batch, alone))
    assert torch.equal(whole.hidden[2:3], one.hidden)


def test_unit_is_one_less_the_cosine_with_the_vector_whatever_its_length() -> None:
    config = recipe_of({"mine": small(Predict, target=Unit())})
    task, batch = task_of(config), batch_of(config)
    seen = task.look(batch)
    truth = torch.randn(*seen.tubelets.shape)
    prediction = torch.randn(*seen.mask.decode.shape, truth.shape[-1])

    def score(values: torch.Tensor, said: torch.Tensor) -> torch.Tensor:
        of_track = replace(seen, clip=Vectors(frames=seen.clip.num_tubelets, width=values.shape[-1]), tubelets=values)
        return Unit().score(said, of_track)

    found = score(truth, prediction)
    for row, where in enumerate(seen.mask.decode.tolist()):
        for column, place in enumerate(where):
            a, b = prediction[row, column].double().numpy(), truth[row, place].double().numpy()
            cosine = a @ b / (np.linalg.norm(a) * np.linalg.norm(b))
            np.testing.assert_allclose(float(found.per_token[row, column]), 1 - cosine, atol=1e-5)
    torch.testing.assert_close(score(3 * truth, 0.5 * prediction).per_token, found.per_token)
    exact = truth.gather(1, seen.mask.decode[..., None].expand(-1, -1, truth.shape[-1]))
    assert score(truth, exact).per_token.max() < 1e-5
