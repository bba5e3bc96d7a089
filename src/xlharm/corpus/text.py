"""How much of a reference an answer repeats: words, ROUGE-L, chrF."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import regex

from xlharm.corpus.match import normalise

# Unicode's word boundaries (UAX #29): a sign of a script without spaces stands alone, an apostrophe inside a
# word and a point or comma inside a number join.
_WORD = regex.compile(
    r"[\p{Han}\p{Hiragana}]\p{M}*"
    r"|[[\p{L}\p{M}\p{N}]--[\p{Han}\p{Hiragana}]]+"
    r"(?:(?:'|(?<=\p{N})[.,](?=\p{N}))[[\p{L}\p{M}\p{N}]--[\p{Han}\p{Hiragana}]]+)*",
    regex.V1,
)


class RougeL(NamedTuple):
    """ROUGE-L of one answer, as fractions of 1."""

    precision: float
    recall: float
    f1: float


def words(text: str, language: str) -> list[str]:
    """Split a text into normalised words (UAX #29); Chinese characters stand alone, Latin and number runs whole.

    Args:
        text: an answer or a reference.
        language: ISO 639 code; decides how letters are folded (see ``match.normalise``).
    """
    return [str(word) for word in _WORD.findall(normalise(text, language))]


def word_spans(text: str) -> list[tuple[int, int]]:
    """Return (begin, end) of every word of a text as it stands; words as in ``words``."""
    return [m.span() for m in _WORD.finditer(text)]


def rouge_l(answer: str, reference: str, *, language: str) -> RougeL:
    """ROUGE-L of an answer against one reference, over ``words`` (Lin 2004; F with β = 1).

    Without a word on either side all three are 0.
    """
    ours, theirs = words(answer, language), words(reference, language)
    common = _longest_common(ours, theirs)
    if not common:
        return RougeL(0.0, 0.0, 0.0)
    precision, recall = common / len(ours), common / len(theirs)
    return RougeL(precision, recall, 2 * precision * recall / (precision + recall))


def chrf(answer: str, reference: str, *, order: int = 6, beta: float = 2.0) -> float:
    """Sentence chrF, 0 to 100 (Popović 2015), as sacreBLEU computes it with its defaults.

    White space is removed, case is kept; precision and recall are averaged over the orders for which both
    sides have an n-gram. Computed here and not by sacreBLEU, whose results differ in the last bits from those that
    stores hold.

    Args:
        answer: the hypothesis.
        reference: one reference.
        order: longest character n-gram.
        beta: weight of recall over precision.
    """
    ours, theirs = "".join(answer.split()), "".join(reference.split())
    orders = range(1, min(order, len(ours), len(theirs)) + 1)
    if not orders:
        return 0.0
    matches = [sum((_ngrams(ours, n) & _ngrams(theirs, n)).values()) for n in orders]
    precision = sum(m / (len(ours) - n + 1) for n, m in zip(orders, matches, strict=True)) / len(orders)
    recall = sum(m / (len(theirs) - n + 1) for n, m in zip(orders, matches, strict=True)) / len(orders)
    if not any(matches):
        return 0.0
    return 100 * (1 + beta**2) * precision * recall / (beta**2 * precision + recall)


def _ngrams(text: str, n: int) -> Counter[str]:
    return Counter(text[i : i + n] for i in range(len(text) - n + 1))


def _longest_common(a: Sequence[str], b: Sequence[str]) -> int:
    """Length of the longest common subsequence."""
    row = [0] * (len(b) + 1)
    for x in a:
        diagonal = 0
        for j, y in enumerate(b, start=1):
            diagonal, row[j] = row[j], diagonal + 1 if x == y else max(row[j], row[j - 1])
    return row[-1]
