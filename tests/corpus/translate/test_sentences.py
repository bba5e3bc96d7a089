"""Cutting texts and putting them together again loses nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xlharm.corpus.translate.sentences import Piece, clean, fitted, join, sentences


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("Dr. Mira Tolan won. It was late.", ["Dr. Mira Tolan won.", "It was late."]),
        ("“It never was tired,” she said. “Why?” he asked.", ["“It never was tired,” she said.", "“Why?” he asked."]),
        (
            "He left at 3.30 p.m. on Sunday. The U.S. team won!",
            ["He left at 3.30 p.m. on Sunday.", "The U.S. team won!"],
        ),
        ("One line\nanother line. And more", ["One line", "another line.", "And more"]),
        ("他骑骆驼。“我不累。”他说。", ["他骑骆驼。", "“我不累。”", "他说。"]),
        ("لینا نے کہا۔ کیوں؟ ہاں۔", ["لینا نے کہا۔", "کیوں؟", "ہاں۔"]),
        ("Նա եկավ։ Այո։", ["Նա եկավ։", "Այո։"]),
        ("camel", ["camel"]),
        (" \n ", []),
    ],
)
def test_sentences_end_where_people_end_them(text: str, cut: list[str]) -> None:
    assert [piece.text for piece in sentences(text)] == cut


@given(st.text(alphabet="Ab.!? \n“”。۔:,1", max_size=60))
def test_no_sign_is_lost(text: str) -> None:
    pieces = sentences(text)
    assert "".join(piece.text + piece.gap for piece in pieces) == text.lstrip()
    for limit in (1, 3, 8):
        for piece in pieces:
            parts = fitted(piece.text, limit=limit, count=len)
            assert "".join(p.text + p.gap for p in parts) == piece.text
            assert all(len(p.text) <= limit for p in parts)


def test_a_long_sentence_is_cut_at_clauses_then_words() -> None:
    words = [p.text for p in fitted("a b c, d e f, g h i j k", limit=4, count=lambda text: len(text.split()))]
    assert words == ["a b c,", "d e f,", "g h", "i j k"]


def test_gaps_are_those_of_the_language() -> None:
    pieces = [Piece("一。", " "), Piece("二。", "\n\n"), Piece("三。")]
    assert join(pieces, language="zh") == "一。二。\n\n三。"
    assert join([Piece("One.", ""), Piece("Two.", "")], language="en") == "One. Two."


def test_what_a_model_writes_badly_is_mended() -> None:
    assert clean("e\u0301\u2028x\ufffd ", language="fr") == "é x"
    assert clean("علي كا", language="ur") == "علی کا"
    assert clean("علي", language="ar") == "علي"
