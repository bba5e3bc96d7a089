import unicodedata
from itertools import product

import pytest
import regex

from xlharm.corpus.tinyworld import LANGUAGES
from xlharm.corpus.tinyworld.names import SYLLABLES, is_latin, latin, spell
from xlharm.corpus.tinyworld.world import entities

SCRIPT = {"zh": "Han", "ru": "Cyrillic", "hy": "Armenian", "ur": "Arabic"}


@pytest.mark.parametrize("code", LANGUAGES)
def test_two_names_never_share_a_spelling(code: str) -> None:
    pairs = list(product(range(len(SYLLABLES)), repeat=2))
    assert len({spell((pair,), code) for pair in pairs}) == len(pairs)


@pytest.mark.parametrize("code", LANGUAGES)
def test_word_boundaries_of_names_are_visible(code: str) -> None:
    assert spell(((0, 1), (2,)), code) != spell(((0,), (1, 2)), code)


@pytest.mark.parametrize("code", LANGUAGES)
def test_names_are_in_the_script_of_their_language(code: str) -> None:
    pattern = regex.compile(rf"[\p{{Script={SCRIPT.get(code, 'Latin')}}}\p{{Mn}} ·]+")
    for entity in entities("report"):
        written = spell(entity.name, code)
        assert pattern.fullmatch(written), written
        assert unicodedata.is_normalized("NFC", written)


def test_latin_languages_share_spellings() -> None:
    name = ((0, 6), (12,))
    assert {spell(name, code) for code in LANGUAGES if is_latin(code)} == {latin(name)}
    assert {code for code in LANGUAGES if not is_latin(code)} == set(SCRIPT)
