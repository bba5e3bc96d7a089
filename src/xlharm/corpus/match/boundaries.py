"""Where a detail may stand in an answer: as words of its own, not inside a longer word or number."""

from collections.abc import Iterable
from functools import lru_cache

import regex

from xlharm.config.matching import Variant
from xlharm.corpus.match.fold import normalise
from xlharm.corpus.match.korean import NUMERALS, particles
from xlharm.corpus.match.languages import CHINESE, primary

# Scripts that write no spaces between words: a form counts wherever it stands, numbers and Latin words aside.
_UNSPACED = CHINESE | {"ja", "th", "lo", "my", "km"}
_WORD = r"[\p{L}\p{M}\p{N}\u200c\u200d]"
_LATIN = r"[\p{Latin}\p{M}]"
_NUMERAL = r"[\p{N}零一二三四五六七八九十百千万亿两兆廿卅億萬]"
_MARK = r"\p{M}"
_DIGIT = r"\p{N}"
# Inside a number: decimal and other signs, as in 2.5, 5'11, 10^2 and 1⁄2.
_INSIDE = r"[.,'^\u2044]"
# Day and month, after which a year stands: the one place where a number follows another's full stop.
_DATE = r"(?<!\p{N})\p{N}{1,2}\.\p{N}{1,2}\."


def contains(answer: str, forms: Iterable[str], *, language: str, variants: tuple[Variant, ...] | None = None) -> bool:
    """Whether an answer contains one of the forms of a detail in the query language.

    Args:
        answer: any text; time grows with its length, whatever it says.
        forms: the detail's.
        language: ISO 639 code, with or without subtags.
        variants: see ``config.matching``; the language's default where None.
    """
    text, code = normalise(answer, language, variants), primary(language)
    return any(_stands_in(text, normalise(form, language, variants), code) for form in forms)


def _stands_in(text: str, form: str, code: str) -> bool:
    """Whether a folded form stands somewhere in a folded text with nothing beside it that continues it."""
    at = text.find(form) if form else -1  # by str.find: a pattern of a long form takes its square and more
    while at >= 0:
        before, after = _edges(form, code)
        if before.match(text, at) and after.match(text, at + len(form)):
            return True
        at = text.find(form, at + 1)
    return False


@lru_cache(maxsize=65536)
def _edges(form: str, code: str) -> tuple[regex.Pattern[str], regex.Pattern[str]]:
    """Return what a text must match where the form begins, and where it ends."""
    before, after = _before(form, code), _after(form, code)
    if regex.match(_DIGIT, form):
        before += rf"(?:(?<!{_DIGIT}{_INSIDE})|(?<={_DATE}))"
    if regex.match(_DIGIT, form[-1:]):
        after += rf"(?!{_INSIDE}{_DIGIT})"
    return _compiled(before), _compiled(after)


@lru_cache(maxsize=4096)
def _compiled(pattern: str) -> regex.Pattern[str]:
    return regex.compile(pattern)


def _before(form: str, code: str) -> str:
    if code not in _UNSPACED:
        return f"(?<!{_WORD})"
    kind = _kind(form[:1])
    return f"(?<!{kind})" if kind else ""


def _after(form: str, code: str) -> str:
    last = form[-1:]
    if code in _UNSPACED:
        # a mark belongs to the letter before it, so the form would end inside a letter
        return rf"(?!{_kind(last) or _MARK})(?!{_MARK})"
    if code == "ko":
        if regex.match(_DIGIT, last):
            return rf"(?![{NUMERALS}]|(?!\p{{Hangul}}){_WORD})"
        return rf"{particles(form)}(?!{_WORD})"
    return f"(?!{_WORD})"


def _kind(edge: str) -> str:
    """Return a pattern of what continues the number or Latin word that ``edge`` belongs to; "" for other letters.

    一月 (January) stands inside 十一月 (November): a number is not part of a longer one.
    """
    return next((kind for kind in (_NUMERAL, _LATIN) if regex.match(kind, edge)), "")
