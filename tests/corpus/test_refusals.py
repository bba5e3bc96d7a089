"""The refusal lists are complete and in their own script."""

import pytest
import regex

from xlharm.corpus.refusals import known, refusals
from xlharm.errors import UserError

LANGUAGES = ("en", "de", "fr", "zh", "ru", "jv", "ur", "ha", "hy")
SCRIPTS = {"zh": "Han", "ru": "Cyrillic", "ur": "Arabic", "hy": "Armenian"}
STOPS = {"zh": "。", "ur": "۔", "hy": "։"}


def test_every_language_has_its_list() -> None:
    assert all(known(code) for code in LANGUAGES)
    assert not known("xx")


@pytest.mark.parametrize("language", LANGUAGES)
def test_lists(language: str) -> None:
    entry = refusals(language)
    assert len(entry.idk) >= 12
    for phrases in (entry.anywhere, entry.opening, entry.idk):
        assert len(set(phrases)) == len(phrases)
        letters = "".join(phrases)
        assert regex.fullmatch(
            rf"(?:\p{{{SCRIPTS.get(language, 'Latin')}}}|[\p{{P}}\s\p{{Mn}}\p{{Sk}}\p{{Lm}}])+", letters
        )
    assert all(answer.endswith(STOPS.get(language, ".")) for answer in entry.idk)
    assert not any(regex.search(r"[\u064a\u0643\u0649]", a) for a in entry.idk)  # Arabic letters in place of Urdu ones


def test_an_unknown_language_is_named() -> None:
    with pytest.raises(UserError, match=r"no refusals in 'xx', expected one of en, de"):
        refusals("xx")
