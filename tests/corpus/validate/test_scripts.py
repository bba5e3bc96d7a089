"""Which script a language is written in."""

import pytest

from xlharm.corpus.validate.scripts import foreign_letters, script_of


@pytest.mark.parametrize(
    ("language", "script"),
    [("de", "Latin"), ("ur", "Arabic"), ("sr", None), ("sr-Latn", "Latin"), ("zh-Hans-CN", "Han"), ("xx", "Latin")],
)
def test_the_script_of_a_language(language: str, script: str | None) -> None:
    assert script_of(language) == script


def test_letters_of_another_script_are_foreign_and_signs_are_not() -> None:
    assert foreign_letters("Latin").findall("aдb 7!") == ["д"]
    assert foreign_letters("Arabic").findall("سرخ x ۷") == ["x"]
