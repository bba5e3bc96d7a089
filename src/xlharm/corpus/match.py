"""Does an answer contain a detail? Normalised for each script, at word boundaries where there are words."""

import unicodedata
from collections.abc import Iterable
from functools import lru_cache

import regex

# Scripts that write no spaces between words: a form counts wherever it stands, numbers and Latin words aside.
_UNSPACED = {"zh", "ja", "th", "lo", "my", "km"}
_WORD = r"[\p{L}\p{M}\p{N}]"
_LATIN = r"[\p{Latin}\p{M}]"
_NUMERAL = r"[\p{N}零一二三四五六七八九十百千万亿]"
# Day and month, after which a year stands: the one place where a number follows another's full stop.
_DATE = r"(?<!\p{N})\p{N}{1,2}\.\p{N}{1,2}\."
# Letters that Arabic keyboards put where Urdu has its own, and the marks that writers may leave out.
_ARABIC = str.maketrans(
    {
        "ي": "ی",
        "ى": "ی",
        "ك": "ک",
        "ہ": "ه",
        "ۂ": "ه",
        "ة": "ه",
        "\u0640": None,
        "\u200c": None,
        "\u200d": None,
    }
)
_ARMENIAN = str.maketrans(dict.fromkeys("՛՜՞՚"))  # stress, exclamation and question marks stand inside words
_APOSTROPHES = str.maketrans(dict.fromkeys("’‘ʼʻ`´", "'"))


@lru_cache(maxsize=65536)
def normalise(text: str, language: str) -> str:
    """Fold what does not distinguish words: case, width, vowel points, letter variants, runs of space."""
    text = unicodedata.normalize("NFKC", text).casefold().translate(_APOSTROPHES)
    match language.split("-", maxsplit=1)[0]:
        case "ur" | "ar" | "fa" | "ps" | "sd":
            text = "".join(c for c in text.translate(_ARABIC) if unicodedata.category(c) != "Mn")
        case "hy":
            text = text.translate(_ARMENIAN).replace("և", "եւ")
        case "ru" | "uk" | "be":
            text = text.replace("ё", "е")
        case "jv":
            text = _bare(text)  # é and è are written or left out at will
    return " ".join(text.split())


def contains(answer: str, forms: Iterable[str], *, language: str) -> bool:
    """Whether an answer contains one of the forms of a detail in the query language."""
    text = normalise(answer, language)
    # most forms are not there at all, and compiling a pattern takes long
    return any(normalise(form, language) in text and _pattern(form, language).search(text) for form in forms)


@lru_cache(maxsize=65536)
def _pattern(form: str, language: str) -> regex.Pattern[str]:
    form, spaced = normalise(form, language), language.split("-", maxsplit=1)[0] not in _UNSPACED
    first, last = (_neighbours(edge, spaced=spaced) for edge in (form[:1], form[-1:]))
    before = f"(?<!{first})" if first else ""
    after = f"(?!{last})" if last else ""
    # 5 is no part of 2.5, nor 12 of 12,000
    if regex.match(r"\p{N}", form):
        before += rf"(?:(?<!\p{{N}}[.,])|(?<={_DATE}))"
    if regex.match(r"\p{N}", form[-1:]):
        after += r"(?![.,]\p{N})"
    return regex.compile(before + regex.escape(form) + after)


def _neighbours(edge: str, *, spaced: bool) -> str:
    """Return a pattern of what must not stand beside a form that begins or ends with ``edge``; "" for nothing."""
    if spaced:
        return _WORD
    # 一月 (January) stands inside 十一月 (November): a number is not part of a longer one
    return next((kind for kind in (_NUMERAL, _LATIN) if regex.match(kind, edge)), "")


def _bare(text: str) -> str:
    return "".join(c for c in unicodedata.normalize("NFD", text) if unicodedata.category(c) != "Mn")
