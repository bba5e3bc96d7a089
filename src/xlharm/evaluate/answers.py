"""What is wrong with an answer beside its content: another language, nothing, a loop."""

from functools import lru_cache
from typing import Any

import regex

from xlharm.corpus.validate.scripts import script_of

_LETTER = regex.compile(r"\p{L}")
# A piece with a letter, three times or more: zeros of a number are no loop. Sentences are seldom longer than 200.
_LOOP = regex.compile(r"(\P{L}{0,200}+\p{L}.{0,200}?)(?:\s*\1){2,}")
_ENOUGH_WORDS = 6
_LATIN = ("en", "de", "fr", "es", "pt", "it", "nl", "pl", "tr", "vi", "id", "ms", "jv", "ha", "sw")


def off_language(answer: str, *, language: str) -> bool | None:
    """Whether an answer is in another language than it was asked in; None where that cannot be judged.

    The script decides where the languages differ in it; a language whose script is not known is not judged at all, not
    even an empty answer. Latin-script answers of fewer than six words cannot be told apart (a name, "piano"), and count
    as on-language; longer ones are identified among the Latin-script languages below (a fixed list: growing a grid must
    not change its verdicts).
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
    """Whether an answer is empty, or mostly one piece repeated three times or more in a row."""
    text = " ".join(answer.split())
    if not _LETTER.search(text) and not any(c.isdigit() for c in text):
        return True
    # the longest loop may begin inside a shorter one, as in "Hmmm, piano piano piano"
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
