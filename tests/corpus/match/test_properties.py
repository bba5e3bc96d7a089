"""What holds of every text: folding twice is folding once, and no fold changes a verdict."""

from string import ascii_lowercase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xlharm.config.matching import Variant
from xlharm.corpus.match import contains, normalise
from xlharm.corpus.match.numbers import decimal_sign

pytestmark = pytest.mark.slow

LANGUAGES = (
    "en", "de", "fr", "ru", "uk", "bg", "mk", "tr", "az", "ha", "hy", "jv", "zh", "ja", "ko", "th", "km", "my", "lo",
    "hi", "ml", "bn", "ar", "ur", "fa", "ps", "sd", "ckb", "ug", "he", "yi", "el", "ro", "da", "is", "vi", "lt", "zz",
)  # fmt: skip
TRICKY = (
    "0123456789 .,'’،٫٬\u00a0\u202f\t\n²½①١۲३๔萬五百兩駱ıIiİ\u0307\u0301\u0300\u0308\u200b\u200c\u200d\u00ad\u200f"
    "\u094dकषهەھرڕيىكآأةگگ՞ևեվւœæäøåßſŒƴɗƙ'yгкеёйіїѝΑάςσאָ־‐–—－•・ﷺﬁ̈å낙타는ㅏᅡᄀ́"
)
texts = st.text() | st.text(alphabet=TRICKY, max_size=40)
languages = st.sampled_from(LANGUAGES)
wholes = st.integers(min_value=1000, max_value=10**12)


@given(texts, languages)
def test_folding_twice_is_folding_once(text: str, language: str) -> None:
    once = normalise(text, language)
    assert normalise(once, language) == once


@given(texts, st.sampled_from([("ha", ("plain_letters",)), ("ha", ()), ("de", ()), ("da", ("digraphs",)), ("nb", ())]))
def test_folding_twice_is_folding_once_with_variants(text: str, case: tuple[str, tuple[Variant, ...]]) -> None:
    once = normalise(text, *case)
    assert normalise(once, *case) == once


@given(st.text(alphabet=TRICKY + ascii_lowercase, min_size=1, max_size=12), languages)
def test_a_form_is_in_itself(form: str, language: str) -> None:
    assert contains(f"«{form}»", [form], language=language) is bool(normalise(form, language))


@given(texts, st.text(alphabet=TRICKY + ascii_lowercase, min_size=1, max_size=5), languages)
def test_verdicts_are_those_of_the_folded_texts(answer: str, form: str, language: str) -> None:
    verdict = contains(answer, [form], language=language)
    assert contains(normalise(answer, language), [normalise(form, language)], language=language) is verdict


@given(st.text(alphabet=ascii_lowercase, min_size=2), st.data(), languages)
def test_invisible_signs_change_nothing(word: str, data: st.DataObject, language: str) -> None:
    at = data.draw(st.integers(min_value=0, max_value=len(word)))
    sign = data.draw(st.sampled_from("\u200b\u200c\u200d\u00ad\u200e\u200f\u202a\u2060\u2067\ufeff\ufe0f"))
    assert normalise(word[:at] + sign + word[at:], language) == normalise(word, language)


def grouped(number: int, sign: str) -> str:
    return f"{number:,}".replace(",", sign)


@given(wholes, languages, st.sampled_from([" ", "\u00a0", "\u202f", "'", "’", "٬"]))
def test_groups_are_no_part_of_a_number(number: int, language: str, sign: str) -> None:
    assert normalise(grouped(number, sign), language) == str(number)


@given(wholes, languages)
def test_points_and_commas_group_as_the_language_has_it(number: int, language: str) -> None:
    own = "." if decimal_sign(language) == "," else ","
    assert normalise(grouped(number, own), language) == str(number)
    other = grouped(number, decimal_sign(language))
    assert normalise(other, language) == (other if number < 10**6 else str(number))


@given(wholes, st.sampled_from(["en", "hi", "bn", "ur"]))
def test_indian_groups(number: int, language: str) -> None:
    head, last = divmod(number, 1000)
    digits = str(head)
    pairs = [digits[max(0, i - 2) : i] for i in range(len(digits), 0, -2)][::-1]
    assert normalise(",".join([*pairs, f"{last:03}"]), language) == str(number)


@given(st.integers(0, 10**6), st.from_regex("[0-9]{1,2}|[0-9]{4,6}", fullmatch=True), languages)
def test_decimals_stay_decimals(whole: int, part: str, language: str) -> None:
    sign = decimal_sign(language)
    assert normalise(f"{whole}.{part}", language) == normalise(f"{whole},{part}", language) == f"{whole}{sign}{part}"


@given(wholes, st.data(), languages, st.sampled_from(["", " ", "\u202f", "'", "own"]))
def test_no_part_of_a_number_is_in_it(number: int, data: st.DataObject, language: str, sign: str) -> None:
    own = "." if decimal_sign(language) == "," else ","
    written, digits = grouped(number, own if sign == "own" else sign), str(number)
    begin = data.draw(st.integers(0, len(digits) - 1))
    end = data.draw(st.integers(begin + 1, len(digits)))
    part = digits[begin:end]
    assert contains(f"({written})", [part], language=language) is (part == digits)


@given(st.text(alphabet="абвгдежзиклмнопрстуфхцчшщ", min_size=3, max_size=9), st.data())
def test_no_part_of_a_word_is_in_it(word: str, data: st.DataObject) -> None:
    begin = data.draw(st.integers(0, len(word) - 1))
    end = data.draw(st.integers(begin + 1, len(word)))
    stressed = "".join(c + ("\u0301" if c in "аеиоу" else "") for c in word)
    assert contains(f"({stressed})", [word[begin:end]], language="ru") is (end - begin == len(word))


@given(st.text(alphabet="駱駝鋼琴萬億國學灣臺裡", min_size=1, max_size=8))
def test_traditional_characters_one_by_one(text: str) -> None:
    assert normalise(text, "zh") == "".join(normalise(sign, "zh") for sign in text)


HOSTILE = (
    "1 ", "12 ", "123 ", "1,", "1.", "1,00,", "12,34,", "1'", "٬1", "1.1.", "0 0", "1  ", "1\n", "a\u200d",
    "\u094d\u200d", "\u0301", "е\u0301", "낙타", "들", "으로", "낙타에에", "五", "ه", "ر ", "'y", "İ", "ﷺ", " ", "1-",
    "12.05.", "5½",
)  # fmt: skip


@pytest.mark.parametrize("unit", HOSTILE)
@pytest.mark.parametrize("language", ["de", "ko", "zh"])
def test_hostile_answers_take_no_longer_than_their_length(unit: str, language: str) -> None:
    """Ten thousand characters are judged; a pattern that backtracks would run into the suite's time limit."""
    answer = (unit * 10_000)[:10_000]
    for form in ("1", unit, answer[:5_000]):
        contains(f"{answer}x", [form], language=language)
