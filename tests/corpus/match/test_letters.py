"""What counts as the same letter, by script and language, and what stays another."""

import pytest

from xlharm.config.matching import Variant
from xlharm.corpus.match import contains, other_spelling


@pytest.mark.parametrize(
    ("one", "other", "language"),
    [
        # Turkish and Azeri capitals
        ("KIRMIZI", "kırmızı", "tr"),
        ("İSTANBUL", "istanbul", "tr"),
        ("I\u0307stanbul", "istanbul", "tr"),
        ("QIRMIZI", "qırmızı", "az"),
        ("İstanbul", "istanbul", "en"),
        # invisible signs
        ("ca\u200bmel", "camel", "en"),
        ("ca\u00admel", "camel", "en"),
        ("ca\u200cmel", "camel", "en"),
        ("ca\u200dmel", "camel", "de"),
        ("camel\u200f", "camel", "en"),
        ("\u2067جمل\u2069", "جمل", "ar"),
        ("جمل\u200f كبير", "جمل كبير", "ar"),
        ("גמל\u200f גדול", "גמל גדול", "he"),
        ("کتاب\u200cها", "کتابها", "fa"),
        ("❤\ufe0f", "❤", "en"),
        # hyphens and dashes
        ("pur\u2010sang", "pur-sang", "fr"),
        ("pur\u2011sang", "pur-sang", "fr"),
        ("pur–sang", "pur-sang", "fr"),
        ("בית־ספר", "בית-ספר", "he"),
        # Armenian
        ("ՍԵՎ", "սև", "hy"),
        ("ԵՎ", "և", "hy"),
        ("ԵՒ", "և", "hy"),
        ("և", "եւ", "hy"),
        # stress in Cyrillic
        ("верблю\u0301д", "верблюд", "ru"),
        ("за\u0301мок", "замок", "uk"),
        ("Верблю\u0300д", "верблюд", "bg"),
        ("ѝ", "и", "bg"),
        ("жёлтый", "желтый", "ru"),
        # Hebrew points
        ("גָּמָל", "גמל", "he"),
        ("צ׳יפס", "צ'יפס", "he"),
        # Hausa: tone marks; Niger's letter
        ("ràƙúmī", "raƙumi", "ha"),
        ("ƴar kasuwa", "'yar kasuwa", "ha"),
        ("ƴar kasuwa", "’yar kasuwa", "ha"),
        # ligatures and digraphs
        ("cœur", "coeur", "fr"),
        ("ŒUF", "oeuf", "fr"),
        ("Cæsar", "Caesar", "en"),
        ("Jäger", "Jaeger", "de"),
        ("GRÜN", "gruen", "de"),
        ("Öl", "Oel", "de-AT"),
        ("rød", "roed", "da"),
        ("Ålesund", "Aalesund", "nb"),
        # Chinese characters
        ("駱駝", "骆驼", "zh"),
        ("鋼琴", "钢琴", "zh-Hant"),
        ("裡", "里", "zh-TW"),
        ("裏", "里", "zh-HK"),
        ("駱駝", "骆驼", "yue"),
        ("萨米尔•奥丹", "萨米尔·奥丹", "zh"),
        ("サミル･オダン", "サミル・オダン", "ja"),
        # Arabic script
        ("أحمد", "احمد", "ar"),
        ("إبراهيم", "ابراهيم", "ar"),
        ("آسيا", "اسيا", "ar"),
        ("مدرسة", "مدرسه", "ar"),
        ("مستشفى", "مستشفي", "ar"),
        ("جَمَل", "جمل", "ar"),
        ("جمـــل", "جمل", "ar"),
        ("كتاب", "کتاب", "fa"),
        ("علي", "علی", "fa"),
        ("خانۀ", "خانه", "fa"),
        ("جرأت", "جرات", "ur"),
        ("كتا", "کتا", "ur"),
        ("ہاتھی", "هاتھی", "ur"),
        ("گل", "ګل", "ps"),
        # Sorani
        ("كتێب", "کتێب", "ckb"),
        ("يار", "یار", "ckb"),
        ("ره\u200cش", "ڕەش", "ckb"),
        ("وشتره", "وشترە", "ckb"),
        ("ھەولێر", "هەولێر", "ckb"),
        # old and new ways to write a letter
        ("അവന്\u200d", "അവൻ", "ml"),
        ("উত্\u200dসব", "উৎসব", "bn"),
        ("Bucureşti", "București", "ro"),
        ("ΚΑΜΗΛΑ", "καμήλα", "el"),
        ("ΟΔΟΣ", "οδός", "el"),
    ],
)
def test_the_same(one: str, other: str, language: str) -> None:
    assert contains(f"( {one} )", [other], language=language)
    assert contains(f"( {other} )", [one], language=language)


@pytest.mark.parametrize(
    ("one", "other", "language"),
    [
        ("kız", "kiz", "tr"),
        ("SIR", "sir", "tr"),
        ("йод", "иод", "ru"),
        ("їжа", "іжа", "uk"),
        ("ќе", "ке", "mk"),
        ("ѓон", "гон", "mk"),
        ("ƙasa", "kasa", "ha"),
        ("آم", "ام", "ur"),
        ("گھوڑا", "گھوڑے", "ur"),
        ("ڪ", "ک", "sd"),
        ("ى", "ي", "ug"),
        ("für", "fur", "de"),
        ("Schwan", "Schwän", "de"),
        ("æ", "ae", "is"),
        ("öl", "oel", "sv"),
        ("pêcher", "pécher", "fr"),
        ("क्\u200dष", "क्ष", "hi"),  # a half letter, not a conjunct
        ("国", "國", "ja"),
        ("un-do", "undo", "en"),
    ],
)
def test_not_the_same(one: str, other: str, language: str) -> None:
    assert not contains(f"( {one} )", [other], language=language)
    assert not contains(f"( {other} )", [one], language=language)


@pytest.mark.parametrize(
    ("one", "other", "language", "variant"),
    [
        ("raƙumi", "rakumi", "ha", "plain_letters"),
        ("ɓauna", "bauna", "ha", "plain_letters"),
        ("ɗaki", "daki", "ha-NE", "plain_letters"),
        ("ƴar", "yar", "ha", "plain_letters"),
        ("'yar", "yar", "ha", "plain_letters"),
        ("Jäger", "Jaeger", "de", "digraphs"),
        ("rød", "roed", "da", "digraphs"),
    ],
)
def test_variants_count_where_they_are_named(one: str, other: str, language: str, variant: Variant) -> None:
    for answer, form in ((one, other), (other, one)):
        assert contains(f"( {answer} )", [form], language=language, variants=(variant,))
        # "yar" stands in "'yar" as a word of its own, as école does in l'école
        assert not contains(f"( {answer} )", [form], language=language, variants=()) or form == "yar"


def test_the_spelling_that_a_grid_may_count() -> None:
    assert other_spelling("Raƙumi", "ha") == "rakumi"
    assert other_spelling("’Yar", "ha") == "yar"
    assert other_spelling("doki", "ha") is None
    assert other_spelling("Jäger", "de") is None  # counts by default
    assert other_spelling("chèvre", "fr") is None


@pytest.mark.parametrize(
    ("answer", "form", "hit"),
    [
        ("낙타", "낙타", True),
        ("낙타는 빠르다", "낙타", True),
        ("낙타가", "낙타", True),
        ("낙타를 탔다", "낙타", True),
        ("낙타에게서", "낙타", True),
        ("낙타만은", "낙타", True),
        ("낙타들이", "낙타", True),
        ("낙타입니다.", "낙타", True),
        ("낙타였다", "낙타", True),
        ("낙타다", "낙타", True),
        ("서울로 갔다", "서울", True),
        ("펭귄으로", "펭귄", True),
        ("펭귄이었습니다", "펭귄", True),
        ("Anna는", "Anna", True),
        ("쌍봉낙타", "낙타", False),
        ("낙타털", "낙타", False),
        ("사이에", "사", False),  # 이 follows consonants
        ("사과", "사", False),
        ("바다", "바", False),
        ("낙타은", "낙타", False),
        ("낙타는데요", "낙타", False),
        ("Annabel", "Anna", False),
    ],
)
def test_korean_particles(answer: str, form: str, hit: bool) -> None:
    assert contains(answer, [form], language="ko") is hit


@pytest.mark.parametrize(
    ("answer", "form", "language"),
    [("กบี่", "กบ", "th"), ("កិ", "ក", "km"), ("がく", "か\u3099"[:1], "ja")],
)
def test_a_detail_never_ends_inside_a_letter(answer: str, form: str, language: str) -> None:
    assert not contains(answer, [form], language=language)


@pytest.mark.parametrize("form", ["", " ", "\u200b", "\u0640"])
def test_a_form_of_nothing_is_nowhere(form: str) -> None:
    assert not contains("a b", [form], language="ar")
