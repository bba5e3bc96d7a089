"""Words in every script; ROUGE-L against rouge_score, chrF against sacreBLEU."""

import pytest

from xlharm.corpus.text import chrf, rouge_l, words


@pytest.mark.parametrize(
    ("text", "language", "expected"),
    [
        ("", "en", []),
        (" …?! ", "en", []),
        ("The cat's RED, 3.14 hats!", "en", ["the", "cat's", "red", "3.14", "hats"]),
        ("C’est l’école", "fr", ["c'est", "l'école"]),
        ("Straße", "de", ["strasse"]),
        ("ёлка — 5,5 м", "ru", ["елка", "5,5", "м"]),
        ("他有GPT4手机，2024年买的。", "zh", [*"他有", "gpt4", *"手机", "2024", *"年买的"]),
        ("نِیلا رنگ كتا ہے۔", "ur", ["نیلا", "رنگ", "کتا", "هے"]),
        ("Ո՞րն է սև գույնը։", "hy", ["որն", "է", "սեւ", "գույնը"]),
        ("kéthék ireng", "jv", ["kethek", "ireng"]),
        ("shuɗi ne, ’ya’yan itace", "ha", ["shuɗi", "ne", "ya'yan", "itace"]),
        ("ＲＥＤ", "en", ["red"]),
    ],
)
def test_words(text: str, language: str, expected: list[str]) -> None:
    assert words(text, language) == expected


# rouge_score 0.1.2: RougeScorer(["rougeL"]).score(reference, answer)["rougeL"]
@pytest.mark.parametrize(
    ("answer", "reference", "scores"),
    [
        ("the cat sat on the mat", "the cat is on a mat", (0.6666666666666666, 0.6666666666666666, 0.6666666666666666)),
        ("police kill the gunman", "police killed the gunman", (0.75, 0.75, 0.75)),  # the examples of Lin 2004
        ("the gunman kill police", "police killed the gunman", (0.5, 0.5, 0.5)),
        ("a b c d e f g", "a x c y e z", (0.42857142857142855, 0.5, 0.4615384615384615)),
        ("b a b a c", "a b b c a a", (0.6, 0.5, 0.5454545454545454)),
        ("red", "red", (1.0, 1.0, 1.0)),
        ("", "red", (0.0, 0.0, 0.0)),
        ("red", "", (0.0, 0.0, 0.0)),
        ("", "", (0.0, 0.0, 0.0)),
    ],
)
def test_rouge_score_agrees(answer: str, reference: str, scores: tuple[float, float, float]) -> None:
    assert rouge_l(answer, reference, language="en") == pytest.approx(scores)


def test_rouge_l_sees_through_spelling_and_counts_chinese_characters() -> None:
    assert rouge_l("Սև՛ գույն։", "սեւ գույն", language="hy") == (1, 1, 1)
    assert rouge_l("كتا ہے", "کتا ھے".replace("ھ", "ہ"), language="ur").f1 == 1
    # 红 色 的 in order: 3 of 4, 3 of 5
    assert rouge_l("红色的车", "红色的房子", language="zh") == pytest.approx((3 / 4, 3 / 5, 2 / 3))


# sacrebleu 2.6.0: CHRF().sentence_score(answer, [reference]).score, and CHRF(char_order=3, beta=1)
@pytest.mark.parametrize(
    ("answer", "reference", "default", "short"),
    [
        ("The cat sat on the mat.", "The cat is on a mat.", 42.3245103380211, 61.43228366782295),
        ("красный дом", "красная дома", 36.85156346493352, 62.13695998078597),
        ("红色的房子", "房子是红色", 26.0, 43.333333333333336),
        ("سرخ رنگ", "سرخ", 75.6578947368421, 55.42168674698795),
        ("Hello World", "hello world", 37.53968253968254, 65.55555555555556),
        ("the the the the", "the", 51.86170212765958, 30.115830115830118),
        ("ab", "abcdefgh", 23.404255319148938, 32.83582089552239),
        ("abcdefgh", "ab", 55.00000000000001, 32.83582089552239),
        ("a", "a", 100.0, 100.0),
        ("xyz", "abc", 0.0, 0.0),
        ("", "abc", 0.0, 0.0),
    ],
)
def test_sacrebleu_agrees(answer: str, reference: str, default: float, short: float) -> None:
    assert chrf(answer, reference) == pytest.approx(default)
    assert chrf(answer, reference, order=3, beta=1) == pytest.approx(short)


def test_chrf_of_nothing_is_0() -> None:
    assert chrf("abc", " ") == 0
    assert chrf("", "") == 0
