"""Faults of an answer beside its content: it is in another language, empty, or repeats itself."""

from functools import lru_cache
from typing import Any

import regex

from xlharm.corpus.validate.scripts import script_of

_LETTER = regex.compile(r"\p{L}")
# A piece of up to about 200 characters, repeated three times or more. It has a letter, so that 1,000,000 is no loop.
_LOOP = regex.compile(r"(\P{L}{0,200}+\p{L}.{0,200}?)(?:\s*\1){2,}")
_ENOUGH_WORDS = 6
_LATIN = ("en", "de", "fr", "es", "pt", "it", "nl", "pl", "tr", "vi", "id", "ms", "jv", "ha", "sw")


def off_language(answer: str, *, language: str) -> bool | None:
    """Whether an answer is in another language than its question; None if the script of ``language`` is not known.

    An answer is off-language if fewer than half of its letters are in the script of ``language``. If ``language`` is in
    a fixed list of Latin-script languages, answers of six words or more are also identified among these. The list is
    fixed so that adding a language to a grid does not change verdicts. Shorter Latin-script answers, such as a name or
    "piano", cannot be identified and count as on-language.

    Args:
        answer: the generated answer.
        language: code of the query language.
    """
    script = script_of(language)
    if script is None:
        return None
    letters = _LETTER.findall(answer)
    if not letters:
        return False
    own = regex.compile(rf"\p{{{script}}}")
    if sum(bool(own.match(c)) for c in letters) * 2 < len(letters):
        return True
    code = language.split("-", maxsplit=1)[0]
    if script != "Latin" or code not in _LATIN or len(answer.split()) < _ENOUGH_WORDS:
        return False
    return _identify(answer) != code


def degenerate(answer: str) -> bool:
    """Whether an answer is empty, or consists mostly of one piece that is repeated three times or more in a row."""
    text = " ".join(answer.split())
    if not _LETTER.search(text) and not any(c.isdigit() for c in text):
        return True
    # Overlapping matches: the longest loop may begin inside a shorter one, as in "Hmmm, piano piano piano".
    longest = max((len(loop.group(0)) for loop in _LOOP.finditer(text, overlapped=True)), default=0)
    return longest * 2 > len(text) and longest >= 6


@lru_cache(maxsize=1)
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE)
    identifier.set_languages(sorted(set(_LATIN) & set(identifier.nb_classes)))
    return identifier


def _identify(text: str) -> str:
    return str(_identifier().classify(text)[0])
