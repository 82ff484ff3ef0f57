import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from tubelet import seeds

words = st.integers(-(2**63), 2**63 - 1)


def splitmix(word: int) -> int:
    """SplitMix64's finaliser on plain integers."""
    mask = (1 << 64) - 1
    word &= mask
    word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & mask
    word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & mask
    return word ^ (word >> 31)


@given(st.lists(words, min_size=1, max_size=8))
def test_the_tensor_arithmetic_is_splitmix64_on_unsigned_integers(numbers):
    mixed = seeds.mix(torch.tensor(numbers, dtype=torch.int64))
    assert [int(m) & ((1 << 64) - 1) for m in mixed] == [splitmix(n) for n in numbers]


def test_uniform_numbers_are_uniform_and_uncorrelated_across_keys_and_columns():
    draws = seeds.uniform(torch.arange(2000), 512)
    assert draws.min() > 0
    assert draws.max() < 1
    assert abs(float(draws.mean()) - 0.5) < 2e-3
    assert abs(float(draws.var()) - 1 / 12) < 1e-3
    correlation = np.corrcoef(draws[:, :20].T.numpy()) - np.eye(20)
    assert np.abs(correlation).max() < 0.1


def test_the_largest_draw_is_less_than_1_and_its_gumbel_noise_finite():
    key = torch.tensor([299])
    assert seeds.uniform(key, 4514)[0, 4513] == 1 - 2.0**-24
    assert seeds.gumbel(key, 4514).isfinite().all()


def test_normal_noise_is_normal_and_a_function_of_the_key():
    draws = seeds.normal(torch.arange(2000), 512)
    assert abs(float(draws.mean())) < 5e-3
    assert abs(float(draws.var()) - 1) < 5e-3
    assert abs(float(draws.pow(4).mean()) - 3) < 0.05
    below = torch.stack([(draws < bound).float().mean() for bound in (-1.0, 0.0, 1.0)])
    torch.testing.assert_close(below, torch.special.ndtr(torch.tensor([-1.0, 0.0, 1.0])), atol=2e-3, rtol=0)
    assert torch.equal(seeds.normal(torch.arange(2000)[7:8], 512), draws[7:8])


def test_a_clips_draw_does_not_depend_on_its_neighbours():
    keys = torch.tensor([seeds.key(1, "clip", 0, row) for row in range(5)])
    assert torch.equal(seeds.uniform(keys, 9)[3:4], seeds.uniform(keys[3:4], 9))


def test_purposes_and_numbers_give_different_keys():
    keys = {seeds.key(s, p, e, r) for s in range(3) for p in ("clip", "mask") for e in range(5) for r in range(50)}
    assert len(keys) == 3 * 2 * 5 * 50
    assert all(0 <= key < 2**63 for key in keys)


def test_gumbel_top_is_sampling_without_replacement_by_probability():
    logits = torch.tensor([2.0, 1.0, 0.0, -1.0])
    first = (logits + seeds.gumbel(torch.arange(20000), 4)).argmax(1)
    share = torch.bincount(first, minlength=4) / 20000
    assert (share - logits.softmax(0)).abs().max() < 0.02
