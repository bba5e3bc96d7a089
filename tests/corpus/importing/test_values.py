"""Cells as people write them."""

import math
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from xlharm.corpus.importing.values import LeftOutError, pairs, text_of, texts


@pytest.mark.parametrize(
    "written",
    [
        [{"question": "a?", "answer": "b"}],
        {"question": ["a?"], "answer": ["b"]},
        '[{"Q": "a?", "A": "b"}]',
        "[('a?', 'b')]",
        "Q1: a?\nA1: b\n",
        {"a?": "b"},
        {"answer": ["b"], "question": ["a?"]},
        {"answer": ["b"], "question": ["a?"], "answer_start": [12, 13]},
        {"prompt": ["a?"], "reply": ["b"]},
        [{"question": "a?", "answer": "b", "answer_start": 12}],
        [{"question": "a?", "answer": "b", "quality": "good"}],
        [{"q": "a?", "A": "b", "id": 3, "qa_id": 4}],
        [{"query": "a?", "ans": "b"}],
        {"question": "a?", "answer": "b"},
    ],
)
def test_pairs_as_people_write_them(written: Any) -> None:
    assert pairs(written) == [{"question": "a?", "answer": "b"}]


def test_no_pairs() -> None:
    assert pairs({"question": [], "answer": []}) == pairs({}) == pairs(None) == pairs(" ") == []


def test_texts() -> None:
    assert texts("['x', 'y']") == ("x", "y")
    assert texts("[sic] said") == ("[sic] said",)
    assert texts(None) == ()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""), (math.nan, ""), (Decimal("NaN"), ""), (0, "0"), (0.0, "0"), (12.0, "12"), (12.5, "12.5"),
        (True, "true"), (False, "false"), ("None", "None"), ("12.0", "12.0"), (" a ", "a"), (Decimal("3.0"), "3"),
        (date(2024, 1, 2), "2024-01-02"), (10**30, "1" + "0" * 30),
    ],
)  # fmt: skip
def test_text_of_a_cell(value: Any, text: str) -> None:
    assert text_of(value) == text


@pytest.mark.parametrize("value", [math.inf, [1], {"a": 1}, b"x", "\ud83d"])
def test_cells_that_are_no_text(value: Any) -> None:
    with pytest.raises(LeftOutError):
        text_of(value)


def test_absent_entries_are_left_out_and_zero_is_kept() -> None:
    assert texts([None, math.nan, 0, "", "a"]) == ("0", "a")
    assert pairs(math.nan) == []


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("['He was here.' 'She was there.']", "without commas"),
        ("[" * 5000 + "]" * 5000, "nested deeper"),
        ("['\\ud83d']", "half a character"),
        ('["\\ud83d"]', "half a character"),
    ],
)
def test_lists_written_as_text_that_cannot_be_read(written: str, message: str) -> None:
    with pytest.raises(LeftOutError, match=message):
        texts(written)


@pytest.mark.parametrize("value", [3, "Q: a?", [{"question": "a?", "answer": None}], {"q": ["a?"], "a": []}])
def test_pairs_that_are_none(value: Any) -> None:
    with pytest.raises(LeftOutError):
        pairs(value)
