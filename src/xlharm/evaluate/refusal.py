"""Recognises answers that refuse, or that say "I don't know"."""

from functools import lru_cache

from xlharm.corpus.refusals import known, refusals
from xlharm.corpus.text import words


def refuses(answer: str, language: str) -> bool:
    """Whether an answer says "I don't know" or "I cannot", in its query language or in English.

    Words are compared after folding (see ``text.words``), so punctuation and case do not matter. An answer that refuses
    and then states the detail is still a refusal; look at the text match as well.

    Args:
        answer: the generated answer.
        language: ISO 639 code of the query language. For a language without a list of refusals, only the English list
            is used.
    """
    return any(_refuses_in(code, answer) for code in {language, "en"} if known(code))


def _refuses_in(language: str, answer: str) -> bool:
    text = _spaced(answer, language)
    anywhere, opening = _phrases(language)
    return text.startswith(opening) or any(phrase in text for phrase in anywhere)


@lru_cache(maxsize=64)
def _phrases(language: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    listed = refusals(language)
    anywhere, opening = ([_spaced(p, language) for p in phrases] for phrases in (listed.anywhere, listed.opening))
    return tuple(anywhere), tuple(opening)


def _spaced(text: str, language: str) -> str:
    """Return the folded words with a space before and after each, so that phrases match at word boundaries only."""
    return f" {' '.join(words(text, language))} "
