"""When two short answers are the same, and how much of one is in the other.

Normalization, exact match and F1 are those of SQuAD's evaluation script (Rajpurkar et al. 2016),
which ReCoRD (Zhang et al. 2018) takes over.
"""

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalize_answer(answer: str) -> str:
    """Lower case, without ASCII punctuation, then without articles; one space between words."""
    bare = answer.lower().translate(_PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", bare).split())


def exact_match(answer: str, expected: str) -> float:
    """1 if both are the same once normalized, else 0."""
    return float(normalize_answer(answer) == normalize_answer(expected))


def token_f1(answer: str, expected: str) -> float:
    """``2 * common / (words of answer + words of expected)`` of the normalized words, in [0, 1].

    A word counts as often as both have it; 0 where they share none.
    """
    given, wanted = normalize_answer(answer).split(), normalize_answer(expected).split()
    common = (Counter(given) & Counter(wanted)).total()
    return 2 * common / (len(given) + len(wanted)) if common else 0.0


def best(score: Callable[[str, str], float], answer: str, expected: Sequence[str]) -> float:
    """The highest score against any of the expected answers; there is at least one."""
    return max(score(answer, other) for other in expected)
