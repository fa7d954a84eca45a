"""When two short answers are the same, and how much of one is in the other.

Normalization, exact match and F1 are those of SQuAD's evaluation script (Rajpurkar et al. 2016),
which ReCoRD (Zhang et al. 2018) takes over.
"""

import re
import string
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


@lru_cache(maxsize=2**12)  # every candidate of a query meets the same answers
def normalize_answer(text: str) -> str:
    """Lower case, without ASCII punctuation, then without articles; one space between words."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(answer: str, references: Sequence[str]) -> float:
    """1.0 if the normalized answer is one of the normalized references, else 0.0."""
    return float(normalize_answer(answer) in {normalize_answer(r) for r in references})


def token_f1(answer: str, references: Sequence[str]) -> float:
    """The best F1, over references, of the bags of normalized words; in [0, 1].

    Where either bag is empty the two must be equal, as for SQuAD 2's questions without an answer.
    There is at least one reference.
    """
    words = normalize_answer(answer).split()
    return max(_bag_f1(words, normalize_answer(r).split()) for r in references)


def _bag_f1(given: Sequence[str], wanted: Sequence[str]) -> float:
    """``2 * common / (given + wanted)``; a word counts as often as both have it."""
    if not given or not wanted:
        return float(list(given) == list(wanted))
    common = (Counter(given) & Counter(wanted)).total()
    return 2 * common / (len(given) + len(wanted))
