"""The laws of a codebook, each against a plain loop."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from tubelet.models.codebook import Codebook


def codebook(size=12, width=4):
    torch.manual_seed(0)
    return Codebook(6, size, width)


def tokens_of(count=5, seed=0):
    return torch.randn(count, 7, 6, generator=torch.Generator().manual_seed(seed))


def counted(book, tokens, spare=1):
    rows, numbers = book(tokens)
    rows, numbers = rows.detach().flatten(0, 1), numbers.flatten()
    book.count(rows, numbers, F.normalize(torch.ones(spare, rows.shape[1]), dim=-1))
    return rows.double().numpy(), numbers.numpy()


def test_a_tokens_number_is_that_of_the_nearest_code():
    book = codebook()
    rows, numbers = book(tokens_of())
    torch.testing.assert_close(rows.norm(dim=-1), torch.ones(5, 7))
    torch.testing.assert_close(book.codes.norm(dim=-1), torch.ones(12))
    codes = book.codes.numpy()
    for row, number in zip(rows.detach().numpy().reshape(-1, 4), numbers.flatten().tolist(), strict=True):
        assert number == min(range(12), key=lambda code: ((row - codes[code]) ** 2).sum())
    assert len(numbers.unique()) > 3


def test_numbers_are_the_same_whatever_else_is_in_the_batch():
    book, tokens = codebook(), tokens_of()
    whole = book(tokens)[1]
    for some in ([3], [4, 0], [1, 2, 3]):
        assert torch.equal(book(tokens[some])[1], whole[some])
    assert torch.equal(book(tokens[:, 2:5])[1], whole[:, 2:5])


def test_codes_follow_the_mean_of_their_tokens_and_the_others_stay():
    book = codebook()
    for step in range(3):
        before = book.codes.double().numpy()
        rows, numbers = counted(book, tokens_of(seed=step))
        book.follow(decay=0.8, patience=1000)
        for code in range(12):
            own = rows[numbers == code]
            if not len(own):
                np.testing.assert_array_equal(book.codes[code], before[code])
                continue
            mean = own.mean(0)
            moved = 0.8 * before[code] + 0.2 * mean / np.linalg.norm(mean)
            np.testing.assert_allclose(book.codes[code], moved / np.linalg.norm(moved), atol=1e-6)


def test_codes_are_the_same_bit_for_bit_in_whatever_order_and_parts_tokens_were_counted():
    rows, numbers = (part.detach().flatten(0, 1) for part in codebook()(tokens_of(count=6)))
    found = []
    for parts in ([slice(0, 42)], [torch.randperm(42)], [slice(0, 5), slice(5, 42)], [slice(20, 42), slice(0, 20)]):
        book = codebook()
        for part in parts:
            book.count(rows[part], numbers[part], rows[:1])
        book.follow(decay=0.5, patience=1000)
        found.append(book.codes)
    assert all(torch.equal(one, found[0]) for one in found)


def test_an_idle_code_becomes_a_spare_token_once_its_patience_is_over_and_no_sooner():
    book = codebook()
    for _ in range(2):
        _, numbers = counted(book, tokens_of(count=1), spare=3)
        before = book.codes
        book.follow(decay=1.0, patience=3)
        torch.testing.assert_close(book.codes, before)
    unused = sorted({*range(12)} - {*numbers.tolist()})
    assert len(unused) > 3
    counted(book, tokens_of(count=1), spare=3)
    book.follow(decay=1.0, patience=3)
    changed = [code for code in range(12) if not torch.allclose(book.codes[code], before[code])]
    assert changed == unused[:3]  # as many as there are spare tokens
    assert torch.equal(book.codes[changed], torch.full((3, 4), 0.5))
    assert book.idle.tolist() == [0 if code in {*numbers.tolist(), *changed} else 3 for code in range(12)]


def test_where_nothing_was_counted_nothing_moves():
    book = codebook()
    before = {name: value.clone() for name, value in book.state_dict().items()}
    book.follow(decay=0.5, patience=1)
    assert all(torch.equal(value, before[name]) for name, value in book.state_dict().items())
    assert set(before) == {"codes", "idle", "into.weight", "into.bias"}


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_the_nearest_code_is_found_in_fp32_whatever_the_model_computes_in(precision):
    book, tokens = codebook(), tokens_of().to(precision)
    with torch.autocast("cpu", enabled=precision is torch.bfloat16):
        rows, numbers = book(tokens)
    assert rows.dtype is torch.float32
    assert torch.equal(numbers, book(tokens.float())[1])
