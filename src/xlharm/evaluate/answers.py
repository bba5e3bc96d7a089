"""What is wrong with an answer beside its content: another language, nothing, a loop."""

from functools import lru_cache
from typing import Any

import regex

_SCRIPTS = {
    "ru": "Cyrillic", "uk": "Cyrillic", "be": "Cyrillic", "bg": "Cyrillic",
    "zh": "Han", "ur": "Arabic", "ar": "Arabic", "fa": "Arabic", "hy": "Armenian",
    "hi": "Devanagari", "bn": "Bengali", "ka": "Georgian", "el": "Greek", "he": "Hebrew", "th": "Thai",
    "am": "Ethiopic", "ko": "Hangul",
}  # fmt: skip
_LETTER = regex.compile(r"\p{L}")
_ENOUGH_WORDS = 6
_LATIN = ("en", "de", "fr", "es", "pt", "it", "nl", "pl", "tr", "vi", "id", "ms", "jv", "ha", "sw")


def off_language(answer: str, *, language: str) -> bool:
    """Whether an answer is in another language than it was asked in.

    The script decides where the languages differ in it. Latin-script answers of fewer than six words cannot be
    told apart (a name, "piano"), and count as on-language; longer ones are identified among
    the Latin-script languages below (a fixed list: growing a grid must not change its verdicts).
    """
    letters = _LETTER.findall(answer)
    if not letters:
        return False
    script = regex.compile(rf"\p{{{_SCRIPTS.get(language, 'Latin')}}}")
    if sum(bool(script.match(c)) for c in letters) * 2 < len(letters):
        return True
    if language in _SCRIPTS or len(answer.split()) < _ENOUGH_WORDS:
        return False
    return language in _LATIN and _identify(answer) != language


def degenerate(answer: str) -> bool:
    """Whether an answer is empty, or mostly one piece repeated three times or more in a row."""
    text = " ".join(answer.split())
    if not _LETTER.search(text) and not any(c.isdigit() for c in text):
        return True
    loop = regex.search(r"(.{1,40}?)(?:\s*\1){2,}", text)
    return bool(loop) and len(loop.group(0)) * 2 > len(text) and len(loop.group(0)) >= 6


@lru_cache(maxsize=1)
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE)
    identifier.set_languages(sorted(set(_LATIN) & set(identifier.nb_classes)))
    return identifier


def _identify(text: str) -> str:
    return str(_identifier().classify(text)[0])
