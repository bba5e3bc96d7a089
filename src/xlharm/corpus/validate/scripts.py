"""Which script a language is written in."""

from functools import lru_cache

import regex

_SCRIPTS = {
    "ru": "Cyrillic", "uk": "Cyrillic", "be": "Cyrillic", "bg": "Cyrillic", "kk": "Cyrillic",
    "zh": "Han", "ur": "Arabic", "ar": "Arabic", "fa": "Arabic", "ps": "Arabic", "sd": "Arabic", "hy": "Armenian",
    "hi": "Devanagari", "mr": "Devanagari", "ne": "Devanagari", "bn": "Bengali", "ka": "Georgian", "el": "Greek",
    "he": "Hebrew", "th": "Thai", "am": "Ethiopic", "ko": "Hangul", "ta": "Tamil", "te": "Telugu",
}  # fmt: skip
# Script subtags of language codes, as in sr-Latn.
_SUBTAGS = {"latn": "Latin", "cyrl": "Cyrillic", "arab": "Arabic", "deva": "Devanagari", "hans": "Han", "hant": "Han"}
# Languages of several scripts, or of one that xlharm knows too little of to judge.
_UNKNOWN = {"sr", "ja", "ti", "my", "km", "lo", "si", "gu", "pa", "kn", "ml", "or", "mn", "tg", "ky", "mk", "ug", "ckb"}


@lru_cache(maxsize=256)
def script_of(language: str) -> str | None:
    """Return a language's script by its Unicode name; None where xlharm does not know it."""
    code, *subtags = language.lower().split("-")
    named = next((_SUBTAGS[tag] for tag in subtags if tag in _SUBTAGS), None)
    return named or (None if code in _UNKNOWN else _SCRIPTS.get(code, "Latin"))


@lru_cache(maxsize=32)
def foreign_letters(script: str) -> regex.Pattern[str]:
    """Return a pattern of one letter that belongs to another script."""
    return regex.compile(rf"[\p{{L}}--[\p{{{script}}}\p{{Script=Common}}]]", regex.VERSION1)
