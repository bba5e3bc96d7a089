"""Ways to write a number: 1200 is 1,200 and 1 200, and by a language's convention 1.200; 1.5 is never 15."""

from functools import lru_cache

import regex
from babel import Locale, UnknownLocaleError

_RUN = regex.compile("[0-9]+(?:[.,،٫٬' ][0-9]+)+")
# Space that is wider than one between words, or a line's end, keeps numbers apart.
_APART = regex.compile(r"(?<=[0-9])(?:\s{2,}|[^\S ])(?=[0-9])")
_THOUSANDS = regex.compile(
    r"(?P<whole>[1-9][0-9]{0,2}(?P<sign>[.,،٬'])[0-9]{3}(?:(?P=sign)[0-9]{3})*)(?:(?!(?P=sign))[.,٫](?P<part>[0-9]+))?"
)
_LAKHS = regex.compile(
    r"(?P<whole>[1-9][0-9]?(?P<sign>[,٬])[0-9]{2}(?:(?P=sign)[0-9]{2})*(?P=sign)[0-9]{3})(?:[.٫](?P<part>[0-9]+))?"
)
_DECIMAL = regex.compile(r"(?P<whole>[0-9]+)[.,٫](?P<part>[0-9]+)")
_SPACED = {
    sign: regex.compile(
        r"(?<!\S)[1-9][0-9]{0,2}(?!\S)(?: [0-9]{3}(?!\S))*+"  # 1 200 000
        rf"(?: [0-9]{{3}}{regex.escape(sign)}[0-9]+(?!\S))?"  # 1 200.50
    )
    for sign in ".,"
}


def fold_numbers(text: str, *, decimal: str) -> str:
    """Write every number without grouping and with one decimal sign.

    A single point or comma before three digits is the decimal sign where it is the language's own, and else groups;
    before another number of digits it is decimal in every language. Several of one kind group, if all groups but the
    first have three digits (or two, but for the last, in the Indian way). One space, or an apostrophe, groups in every
    language. What fits none of this (dates, versions) stays as it is.

    Args:
        text: with ASCII digits and plain spaces.
        decimal: see ``decimal_sign``.
    """
    return str(_RUN.sub(lambda run: _run(run.group(), decimal), _APART.sub(", ", text)))


@lru_cache(maxsize=256)
def decimal_sign(language: str) -> str:
    """Return a language's decimal sign beside ASCII digits, "." or ",", as the CLDR has it; "." where it has none."""
    try:
        symbols = Locale.parse(language, sep="-").number_symbols
    except (UnknownLocaleError, ValueError):
        return "."
    return "," if symbols["latn"].get("decimal") == "," else "."


def _run(run: str, decimal: str) -> str:
    words = " ".join(_number(word, decimal) for word in run.split(" "))
    return str(_SPACED[decimal].sub(lambda found: found.group().replace(" ", ""), words))


def _number(word: str, decimal: str) -> str:
    if word.isdigit():
        return word
    found = _THOUSANDS.fullmatch(word)
    if found and not (found["part"] is None and found["whole"].count(decimal) == 1):
        return _plain(found, decimal)
    found = _LAKHS.fullmatch(word) or _DECIMAL.fullmatch(word)
    return _plain(found, decimal) if found else word


def _plain(found: regex.Match[str], decimal: str) -> str:
    whole = regex.sub("[^0-9]", "", found["whole"])
    return whole if found["part"] is None else f"{whole}{decimal}{found['part']}"
