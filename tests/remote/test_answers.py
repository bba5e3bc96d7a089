"""Answers are cached by the content of their requests; text around a JSON object is ignored."""

from pathlib import Path

import pytest

from xlharm.remote.answers import AnswerCache, fenced, json_object, writable


def test_an_answer_is_kept_for_what_was_asked(tmp_path: Path) -> None:
    answers = AnswerCache(tmp_path)
    assert answers.get({"q": "?"}) is None
    answers.keep({"q": "?"}, "سرخ")
    assert AnswerCache(tmp_path).get({"q": "?"}) == "سرخ"
    assert answers.get({"q": "!"}) is None
    (path,) = tmp_path.rglob("*.json")
    path.write_text('{"te')  # a disk that ran full
    assert answers.get({"q": "?"}) is None


def test_without_a_folder_nothing_is_kept() -> None:
    AnswerCache(None).keep("q", "a")
    assert AnswerCache(None).get("q") is None


def test_a_text_cannot_hold_its_own_marks() -> None:
    first = fenced("text")
    begin, text, end = first.splitlines()
    assert (text, begin) == ("text", end)
    assert fenced(first).splitlines()[0] != begin
    assert fenced("text") == first


@pytest.mark.parametrize(
    "text", ['{"a": 1}', '```json\n{"a": 1}\n```', '<think>{"a": 2}</think> {"a": 1}', 'Here: {"a": 1} Yours.']
)
def test_an_object_is_found_in_an_answer(text: str) -> None:
    assert json_object(text) == {"a": 1}


@pytest.mark.parametrize("text", ["", "none", "[1]", "{", '{"a": 1} {"b": 2}', '{"a":' * 100_000 + "1" + "}" * 100_000])
def test_what_is_no_object_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        json_object(text)


def test_halves_of_surrogate_pairs_are_replaced() -> None:
    assert writable("a\ud83d b") == "a? b"
    assert writable("سرخ 😀") == "سرخ 😀"
