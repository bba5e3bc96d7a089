"""Matching in every script, and what must not match."""

import pytest

from xlharm.corpus.match import contains


@pytest.mark.parametrize(
    ("answer", "form", "language", "hit"),
    [
        ("It is RED.", "red", "en", True),
        ("a blackred thing", "red", "en", False),
        ("reddish", "red", "en", False),
        ("Die Straße ist WEISS", "weiß", "de", True),
        ("C'est l’école", "école", "fr", True),
        ("жёлтый цвет", "желтый", "ru", True),
        ("最喜欢红色的东西", "红色", "zh", True),
        ("十一月", "一月", "zh", False),
        ("一月", "一月", "zh", True),
        ("在十一月", "十一月", "zh", True),
        ("11月", "1月", "zh", False),
        ("رنگ كتا ہے", "کتا", "ur", True),
        ("نِیلا", "نیلا", "ur", True),
        ("نیلاہٹ", "نیلا", "ur", False),
        ("Կարմիր է։", "կարմիր", "hy", True),
        ("Ո՞ր կարմի՞րը", "կարմիրը", "hy", True),
        ("սև գույն", "սեւ", "hy", True),
        ("shuɗi ne", "shuɗi", "ha", True),
        ("'ya'yan itace", "’ya’yan", "ha", True),
        ("abang mbranang", "abang", "jv", True),
        ("kéthék", "kethek", "jv", True),
        ("", "red", "en", False),
        ("It cost 5.5 million euros.", "5 million", "en", False),
        ("It cost 5 million euros.", "5 million", "en", True),
        ("2.5", "5", "en", False),
        ("2,5", "2", "de", False),
        ("12,000", "12", "en", False),
        ("It was 5.", "5", "en", True),
        ("5, no more", "5", "en", True),
        ("am 12.05.1984 geboren", "1984", "de", True),
        ("1.000.250", "250", "de", False),
        ("二十五人", "二十", "zh", False),
        ("二十五人", "五", "zh", False),
        ("二十人", "二十", "zh", True),
        ("200人", "20", "zh", False),
        ("120人", "２０", "zh", False),
        ("12,000人", "12", "zh", False),
        ("20人", "20", "zh", True),
        ("20人", "２０", "zh-Hans", True),
        ("她叫Anna", "Ann", "zh", False),
        ("她叫Joann", "Ann", "zh", False),
        ("她叫Ann吗", "Ann", "zh", True),
        ("Anna20岁", "Anna", "zh", True),
        ("رنگ كتا ہے", "کتا", "ur-PK", True),
        ("жёлтый цвет", "желтый", "ru-RU", True),
        ("full width ＲＥＤ", "red", "en", True),
    ],
)
def test_contains(answer: str, form: str, language: str, hit: bool) -> None:
    assert contains(answer, [form], language=language) is hit


def test_any_alias_counts_and_regex_characters_are_plain() -> None:
    assert contains("the colour is grey", ["gray", "grey"], language="en")
    assert not contains("aXb", ["a.b"], language="en")
    assert contains("price (USD)", ["(USD)"], language="en")
