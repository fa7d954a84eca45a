"""Free answers against those that count as right: exact match and F1, as SQuAD or DROP has them.

SQuAD's rules (Rajpurkar et al. 2016) are those of ``fedtt.data.named.answer_matching``; here are
DROP's (Dua et al. 2019).
"""

import re
import string
from collections.abc import Callable, Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

from fedtt.data.named.answer_matching import exact_match, token_f1

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalize_drop(text: str) -> str:
    """DROP's normalization: split at spaces and hyphens, numbers as numbers, else as SQuAD's."""
    parts = re.split(r"[ -]", text)
    words = (_normalize_drop_word(part) for part in parts)
    return " ".join(word for word in words if word.strip()).strip()


def _normalize_drop_word(word: str) -> str:
    word = word.lower()
    number = _as_number(word)
    if number is None:
        word = word.translate(_PUNCTUATION)
        number = _as_number(word)
    if number is not None:
        return str(number)
    return " ".join(_ARTICLES.sub(" ", word).split())


def _as_number(word: str) -> float | None:
    try:
        return float(word)
    except ValueError:
        return None


def drop_exact_match(answer: str, references: Sequence[str]) -> float:
    """1.0 if the answer has the spans of one of the references, in any order, else 0.0.

    An answer, or a reference, of several spans has one a line; they are compared after DROP's
    normalization.
    """
    given = sorted(_drop_spans(answer))
    return float(any(given == sorted(_drop_spans(reference)) for reference in references))


def drop_f1(answer: str, references: Sequence[str]) -> float:
    """The best bag-of-words F1 over references after DROP's normalization; in [0, 1].

    Spans, one a line, are matched one to one so that the sum of their F1 is the largest; the mean
    is over the spans of whichever has more. A span with numbers counts only where the other shares
    one of them.
    """
    return max(_aligned_f1(_drop_spans(answer), _drop_spans(r)) for r in references)


def _drop_spans(text: str) -> list[str]:
    """Normalized spans; at least one, which may be empty."""
    return [normalize_drop(line) for line in text.split("\n") if line.strip()] or [""]


def _aligned_f1(given: Sequence[str], wanted: Sequence[str]) -> float:
    scores = np.array([[_drop_bag_f1(span, right) for span in given] for right in wanted])
    rows, columns = linear_sum_assignment(scores, maximize=True)
    return float(scores[rows, columns].sum()) / max(len(given), len(wanted))


def _drop_bag_f1(answer: str, reference: str) -> float:
    given, wanted = set(answer.split()), set(reference.split())
    numbers = {word for word in wanted if _as_number(word) is not None}
    if numbers and not numbers & given:
        return 0.0
    if not given or not wanted:
        return float(given == wanted)
    return 2 * len(given & wanted) / (len(given) + len(wanted))


Rule = Callable[[str, Sequence[str]], float]
# format of the answers -> (exact match, F1)
RULES: dict[str, tuple[Rule, Rule]] = {
    "squad": (exact_match, token_f1),
    "drop": (drop_exact_match, drop_f1),
}
