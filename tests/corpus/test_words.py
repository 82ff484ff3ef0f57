"""Words as numbers: the same everywhere, by an independent hash; a vocabulary that is too small is refused."""

import numpy as np
import pytest

from tubelet.corpus.words import check_vocabulary, number_of, numbers_of, shared, split
from tubelet.errors import CorpusError

TEXT = "A red square spins, as the red star does."


def crc32(data: bytes) -> int:
    """Bit by bit, as the polynomial says."""
    rest = 0xFFFFFFFF
    for byte in data:
        rest ^= byte
        for _ in range(8):
            rest = (rest >> 1) ^ (0xEDB88320 if rest & 1 else 0)
    return rest ^ 0xFFFFFFFF


def test_a_word_has_the_number_of_its_hash_wherever_it_stands():
    for word in ("red", "square", "été", "x1"):
        assert number_of(word, 4096) == 1 + crc32(word.encode()) % 4095
    found = numbers_of(TEXT, 12, 4096)
    words = ["a", "red", "square", "spins", "as", "the", "red", "star", "does"]
    assert split(TEXT) == words
    assert found.tolist() == [1 + crc32(word.encode()) % 4095 for word in words] + [0, 0, 0]
    assert found[1] == found[6]
    assert numbers_of("Red", 1, 4096)[0] == found[1]


def test_a_long_caption_is_cut_and_one_without_words_is_empty():
    assert numbers_of(TEXT, 3, 4096).tolist() == numbers_of("a red square", 3, 4096).tolist()
    assert not numbers_of("?!", 4, 4096).any()


def test_no_word_has_the_number_of_none():
    assert all(1 <= number_of(str(word), 8) < 8 for word in range(200))


def test_a_vocabulary_in_which_words_are_taken_for_one_another_is_refused_with_one_that_would_do():
    texts = [f"word{number} of many" for number in range(300)]
    words = {word for text in texts for word in split(text)}
    distinct = len({crc32(word.encode()) % 255 for word in words})
    assert shared(words, 256) == pytest.approx(1 - distinct / 302)
    with pytest.raises(CorpusError, match=r"of the 302 words .* number of another word; set x\.vocabulary=\d+") as said:
        check_vocabulary(texts, 256, "x.vocabulary")
    enough = int(str(said.value).rpartition("=")[2])
    check_vocabulary(texts, enough, "x.vocabulary")
    assert shared(words, enough // 2) > 0.01 >= shared(words, enough)
    assert np.log2(enough) % 1 == 0
