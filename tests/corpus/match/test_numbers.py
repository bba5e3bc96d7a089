"""Numbers in every script and grouping; what stands inside a longer number is none."""

import pytest

from xlharm.corpus.match import contains, normalise


def zero_to_nine(zero: str) -> str:
    return "".join(chr(ord(zero) + i) for i in range(10))


SCRIPTS = {
    "arabic": zero_to_nine("٠"),
    "persian": zero_to_nine("۰"),
    "devanagari": zero_to_nine("०"),
    "bengali": zero_to_nine("০"),
    "thai": zero_to_nine("๐"),
    "lao": zero_to_nine("໐"),
    "khmer": zero_to_nine("០"),
    "burmese": zero_to_nine("၀"),
    "tamil": zero_to_nine("௦"),
    "full width": zero_to_nine("０"),
    "mathematical": zero_to_nine("𝟎"),
}


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("language", ["en", "ur", "ar", "fa", "hi", "bn", "th", "km", "lo", "my", "zh"])
def test_digits_of_every_script_are_one(script: str, language: str) -> None:
    written = "1205".translate(str.maketrans("0123456789", SCRIPTS[script]))
    assert contains(f"( {written} )", ["1205"], language=language)
    assert contains("( 1205 )", [written], language=language)
    assert not contains(f"( {written} )", ["120"], language=language)
    assert not contains(f"( {written} )", ["205"], language=language)


@pytest.mark.parametrize(
    ("answer", "form", "language", "hit"),
    [
        ("about 1,200 people", "1200", "en", True),
        ("about 1200 people", "1,200", "en", True),
        ("etwa 1.200 Leute", "1200", "de", True),
        ("etwa 1200 Leute", "1.200", "de", True),
        ("1 200 people", "1200", "en", True),
        ("1\u00a0200 человек", "1200", "ru", True),
        ("1\u202f200 personnes", "1200", "fr", True),
        ("1\u2009200 personnes", "1200", "fr", True),
        ("1.200 personnes", "1200", "fr", True),  # the point is no French decimal sign
        ("1'200 Franken", "1200", "de-CH", True),
        ("1’200 Franken", "1200", "de", True),
        ("100,000", "100000", "en", True),
        ("100000", "100,000", "en", True),
        ("3 000 000", "3000000", "fr", True),
        ("3.000.000", "3,000,000", "en", True),  # several of one kind can only group
        ("1,00,000 रुपये", "100000", "hi", True),
        ("1,00,000 rupees", "100,000", "en", True),
        ("१,००,००० रुपये", "100000", "hi", True),
        ("١٬٢٠٠", "1200", "ar", True),
        ("۱،۲۰۰", "1200", "fa", True),
        ("1.200,50 Euro", "1200,50", "de", True),
        ("1,200.50 dollars", "1200.50", "en", True),
        ("1 200,50", "1200,50", "fr", True),
        ("٢٫٥", "2.5", "ar", True),
        ("2.5", "2,5", "de", True),
        ("1，200人", "1200", "zh", False),  # a comma of the sentence
        ("１，２００人", "1200", "zh", True),
        ("1 200 000,5 км", "1200000,5", "ru", True),
        ("12,345.678", "12345.678", "en", True),
        # not the same number
        ("1.5", "15", "en", False),
        ("1,5", "15", "de", False),
        ("1 5", "15", "en", False),
        ("1.200 Euro", "1200", "en", False),  # a decimal in English …
        ("1,200 Euro", "1200", "de", False),  # … and in German
        ("0.125", "125", "de", False),
        ("0.125", "0125", "de", False),
        ("12 34", "1234", "en", False),
        ("1200 300", "1200300", "en", False),
        ("in 2020 300 people", "300", "en", True),
        ("in 2020 300 people", "2020", "en", True),
        ("rooms 12, 200", "200", "en", True),
        ("page 12\n200", "200", "en", True),
        ("page 12  200", "12", "en", True),
        ("1,00,00", "10000", "hi", False),
        # inside a longer number
        ("1 200", "200", "en", False),
        ("1 200", "1", "en", False),
        ("1,200", "1", "en", False),
        ("1.200", "200", "de", False),
        ("3 000 000", "000", "fr", False),
        ("3\u202f000\u202f000", "000", "fr", False),
        ("3 000 000", "3", "fr", False),
        ("1,00,000", "1", "hi", False),
        ("1'200", "200", "de", False),
        ("5½", "51", "en", False),
        ("5½", "5", "en", False),
        ("10²", "102", "en", False),
        ("2.5", "5", "en", False),
        ("1.2.3", "2", "en", False),
        # dates
        ("am 12.05.1984 geboren", "1984", "de", True),
        ("am 12.05.1984 geboren", "5.1984", "de", False),
        ("1984-05-12", "1984", "en", True),
        ("1984–1990", "1984", "en", True),
        # Chinese numerals
        ("五萬人", "五", "zh", False),
        ("五萬人", "五万", "zh", True),
        ("两百人", "百", "zh", False),
        ("兩百人", "百", "zh", False),
        ("兩百人", "两百", "zh", True),
        ("二〇二四年", "二", "zh", False),
        ("五億", "五", "ja", False),
        ("5万人", "5", "zh", False),
        ("五人", "五", "zh", True),
        # what is counted
        ("200명이 왔다", "200", "ko", True),
        ("200만 명", "200", "ko", False),
        ("1,200명", "1200", "ko", True),
        ("a200", "200", "ko", False),
        ("200km", "200", "ko", False),
    ],
)
def test_numbers(answer: str, form: str, language: str, hit: bool) -> None:
    assert contains(answer, [form], language=language) is hit


@pytest.mark.parametrize(
    ("text", "language", "folded"),
    [
        ("1,200.5", "de", "1200,5"),
        ("1.23,456", "de", "1.23,456"),
        ("12.05.1984", "de", "12.05.1984"),
        ("5 100 200", "en", "5100200"),
        ("5 100 20", "en", "5100 20"),
        ("12 100,000", "en", "12 100000"),
        ("12 100,000", "fr", "12100,000"),
        ("012 345", "en", "012 345"),
        ("1,200,50", "en", "1,200,50"),
        ("5'11", "en", "5'11"),
        ("a 1.5", "zz", "a 1.5"),
    ],
)
def test_one_spelling_of_a_number(text: str, language: str, folded: str) -> None:
    assert normalise(text, language) == folded
