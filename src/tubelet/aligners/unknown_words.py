"""Out-of-vocabulary words. The small aligner of `tubelet align` knows the words of the captions that it was trained on;
of any other word it sees the letters only, and its score says little. Of an aligner on a frozen text model those are
named for which its tokenizer has nothing. CLIP and SigLIP keep no list of words, so nothing is said about them, nor
about scripts without spaces, whose sentences come out as one word each."""

import difflib
import re
from collections.abc import Sequence

from tubelet.aligners.base import Aligner, WordPieces
from tubelet.aligners.vocabulary import Vocabulary
from tubelet.corpus.words import split
from tubelet.errors import CorpusError

STOP_WORDS = frozenset(split("a an and are at by for from in is it its of on or that the there this to with"))
UNSPACED = re.compile("[\u0e00-\u0eff\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]")  # Thai, Lao, Khmer, Japanese, Chinese


def unknown_words(aligner: Aligner, text: str) -> list[str]:
    """The words of a text that the aligner never saw, in their order, each once."""
    if isinstance(aligner, WordPieces):
        return [word for word in dict.fromkeys(split(text)) if aligner.unknown(word)]
    if (seen := vocabulary(aligner)) is None:
        return []
    return [word for word in dict.fromkeys(split(text)) if word not in seen and not UNSPACED.search(word)]


def vocabulary(aligner: Aligner) -> frozenset[str] | None:
    """The words that it learned; None where it keeps no list of them."""
    words = getattr(aligner, "words", None)
    return frozenset(words.seen) if isinstance(words, Vocabulary) else None


def all_unknown(aligner: Aligner, text: str) -> bool:
    """Whether every word of the text but stop words is out of vocabulary."""
    strange = unknown_words(aligner, text)
    return bool(strange) and set(split(text)) <= {*strange, *STOP_WORDS}


def check_text(aligner: Aligner, text: str) -> list[str]:
    """A sentence that names the words of a text that were never learned; refused where there is no other."""
    strange = unknown_words(aligner, text)
    if all_unknown(aligner, text):
        raise CorpusError(
            f"the aligner learned no word of {text!r}, so it cannot be compared with any clip{near(aligner, strange)}; "
            "ask in words of the captions that it was trained on"
        )
    return [f"the aligner never learned {quoted(strange)}{near(aligner, strange)}"] if strange else []


def check_classes(aligner: Aligner, names: Sequence[str]) -> list[str]:
    """The same of names of classes; refused where not one of them has a word that it learned."""
    empty = [name for name in names if all_unknown(aligner, name)]
    if len(empty) == len(names) and names:
        raise CorpusError(
            f"the aligner learned no word of any of the {len(names)} classes (first: {names[0]!r}); train one on "
            "captions that name them, or take a CLIP"
        )
    said = [f"the aligner learned no word of {quoted(empty)}: these classes are guessed"] if empty else []
    partly = [word for name in names if name not in empty for word in unknown_words(aligner, name)]
    if partly:
        said.append(f"of other classes the aligner never learned {quoted(list(dict.fromkeys(partly)))}")
    return said


def caption_notes(aligner: Aligner, texts: Sequence[str]) -> list[str]:
    """How many captions hold such words."""
    strange = {text: words for text in texts if (words := unknown_words(aligner, text))}
    if not strange:
        return []
    empty = sum(all_unknown(aligner, text) for text in strange)
    words = list(dict.fromkeys(word for some in strange.values() for word in some))
    return [
        f"{len(strange)} of {len(texts)} captions have words that the aligner never learned, {quoted(words)}"
        + (f"; of {empty} it learned no word, so their maps say nothing" if empty else "")
    ]


def quoted(words: Sequence[str], most: int = 6) -> str:
    more = f" and {len(words) - most} more" if len(words) > most else ""
    return ", ".join(map(repr, words[:most])) + more


def near(aligner: Aligner, strange: Sequence[str]) -> str:
    """A word that it learned and that is spelt like one of these; of words of two letters any is like any other."""
    seen = sorted(word for word in vocabulary(aligner) or () if len(word) > 2)
    asked = [word for word in strange if len(word) > 2]
    close = [found for word in asked for found in difflib.get_close_matches(word, seen, n=1, cutoff=0.75)]
    return f" (did you mean {close[0]!r}?)" if close else ""
