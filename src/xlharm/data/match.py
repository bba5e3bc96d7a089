"""Does an answer contain a detail? Normalised for each script, at word boundaries where there are words."""

import unicodedata
from collections.abc import Iterable
from functools import lru_cache

import regex

# Scripts that write no spaces between words: a form counts wherever it stands.
_UNSPACED = {"zh", "ja", "th", "lo", "my", "km"}
_NUMERALS = "〇零一二三四五六七八九十百千万0123456789"
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
    escaped = regex.escape(normalise(form, language))
    if language.split("-", maxsplit=1)[0] in _UNSPACED:
        # 一月 (January) stands inside 十一月 (November): a number is not part of a longer one
        before = rf"(?<![{_NUMERALS}])" if form[:1] in _NUMERALS else ""
        return regex.compile(before + escaped)
    return regex.compile(rf"(?<![\p{{L}}\p{{M}}\p{{N}}]){escaped}(?![\p{{L}}\p{{M}}\p{{N}}])")


def _bare(text: str) -> str:
    return "".join(c for c in unicodedata.normalize("NFD", text) if unicodedata.category(c) != "Mn")
