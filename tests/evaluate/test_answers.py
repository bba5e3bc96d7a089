"""Off-language and degenerate answers."""

import pytest

from xlharm.evaluate.answers import degenerate, off_language


@pytest.mark.parametrize(
    ("answer", "language", "off"),
    [
        ("красный", "en", True),
        ("red", "ru", True),
        ("سرخ", "ur", False),
        ("red", "ur", True),
        ("红色", "zh", False),
        ("կարմիր", "hy", False),
        ("piano", "de", False),
        ("Der Name des Mannes ist unbekannt und er spielt Geige", "en", True),
        ("The name of the man is known and he plays the violin", "en", False),
        ("Sunan mutumin shi ne Audu kuma yana zaune a gari", "ha", False),
        ("Jeneng wong iku yaiku Budi lan omahe adoh banget", "jv", False),
        ("12", "ur", False),
        ("", "en", False),
        ("北京是首都", "zh-Hans", False),
        ("Beijing", "zh-Hans", True),
        ("Москва", "ru-RU", False),
        ("Алматы", "kk", False),
        ("சென்னை", "ta", False),
        ("पुणे", "mr", False),
        ("Београд", "sr-Cyrl", False),
        ("Beograd", "sr-Cyrl", True),
        ("O nome do homem é conhecido e ele toca violino", "pt-BR", False),
        ("The name of the man is known and he plays the violin", "pt-BR", True),
        ("Београд", "sr", None),
        ("Beograd", "sr", None),
        ("東京です", "ja", None),
        ("", "ja", None),
    ],
)
@pytest.mark.slow
def test_off_language(answer: str, language: str, off: bool | None) -> None:
    assert off_language(answer, language=language) is off


@pytest.mark.parametrize(
    ("answer", "bad"),
    [
        ("", True),
        ("   ", True),
        ("?!", True),
        ("red red red red", True),
        ("红红红红红红", True),
        ("la la la la la and so on, which is a much longer sentence about other things", False),
        ("red", False),
        ("1984", False),
        ("banana", False),
        ("couscous", False),
        ("The answer is... Paris Paris Paris Paris Paris Paris Paris", True),
        ("Hmmm, piano piano piano piano piano piano", True),
        ("Mr. Arlo was born in the small town of Belsara, 1921. " * 3, True),
        ("111 km 111 km 111 km 111 km", True),
        ("Mr. Arlo was born in the small town of Belsara, 1921. " * 2, False),
        ("1000000", False),
        ("1 000 000", False),
        ("1000000 km", False),
    ],
)
def test_degenerate(answer: str, bad: bool) -> None:
    assert degenerate(answer) is bad
