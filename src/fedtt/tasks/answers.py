"""Free answers against those that count as right: exact match and F1, normalized as SQuAD does.

Rajpurkar et al. 2016 (SQuAD), with the number and multi-span rules of DROP (Dua et al. 2019) left
to :func:`drop_f1`.
"""

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalize_answer(text: str) -> str:
    """Lower case, without punctuation and articles, white space collapsed: SQuAD's order."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(answer: str, references: Sequence[str]) -> float:
    """1.0 if the normalized answer is one of the normalized references, else 0.0."""
    return float(normalize_answer(answer) in {normalize_answer(r) for r in references})


def token_f1(answer: str, references: Sequence[str]) -> float:
    """The best F1, over references, of the bags of normalized words; in [0, 1].

    Where either bag is empty the two must be equal, as for SQuAD 2's questions without an answer.
    """
    return max(
        (_bag_f1(normalize_answer(answer).split(), normalize_answer(r).split())) for r in references
    )


def _bag_f1(answer: Sequence[str], reference: Sequence[str]) -> float:
    if not answer or not reference:
        return float(list(answer) == list(reference))
    common = (Counter(answer) & Counter(reference)).total()
    if common == 0:
        return 0.0
    precision, recall = common / len(answer), common / len(reference)
    return 2 * precision * recall / (precision + recall)


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
    """1.0 if the answer is one of the references after DROP's normalization, else 0.0."""
    return float(normalize_drop(answer) in {normalize_drop(r) for r in references})


def drop_f1(answer: str, references: Sequence[str]) -> float:
    """The best bag-of-words F1 over references after DROP's normalization; in [0, 1].

    A reference with numbers counts only where the answer shares one of them. A reference of
    several spans is given as one text, its spans joined by spaces.
    """
    return max(_drop_bag_f1(normalize_drop(answer), normalize_drop(r)) for r in references)


def _drop_bag_f1(answer: str, reference: str) -> float:
    given, wanted = set(answer.split()), set(reference.split())
    numbers = {word for word in wanted if _as_number(word) is not None}
    if numbers and not numbers & given:
        return 0.0
    return _bag_f1(sorted(given), sorted(wanted))


Rule = Callable[[str, Sequence[str]], float]
# format of the answers -> (exact match, F1)
RULES: dict[str, tuple[Rule, Rule]] = {
    "squad": (exact_match, token_f1),
    "drop": (drop_exact_match, drop_f1),
}
