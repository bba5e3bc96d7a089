"""Rows of encoder-decoders and of masked models, with one token a letter."""

from typing import Any

import pytest

from tests.corpus.letters import Letters
from xlharm.config.grid import Prompt
from xlharm.corpus.other_rows import MASKINGS, asked_source, filled_row, halves, maskings, written_row
from xlharm.corpus.rows import Row, TooLongError
from xlharm.errors import StageError

PROMPT = Prompt(question="{question}:", answer=" {answer}\n")
WRITES, FILLS = Letters(eos=ord("$"), kind="encoder-decoder"), Letters(kind="masked")


def text(ids: Any) -> str:
    return "".join(map(chr, ids))


def test_an_encoder_reads_the_question_and_a_decoder_writes_the_answer() -> None:
    row = written_row("who", "me ", prompt=PROMPT, tokenizer=WRITES, language="en", limit=20)
    assert (text(row.source), text(row.ids), text(row.labels)) == ("<enwho:>", "^me$", "me$")
    assert [text([row.ids[i]]) for i in row.predicting] == ["^", "m", "e"]
    assert row.source == asked_source("who", prompt=PROMPT, tokenizer=WRITES, language="en")
    scored = written_row("who", "me", prompt=PROMPT, tokenizer=WRITES, language="en", limit=20, ended=False)
    assert text(scored.labels) == "me"
    assert (row.longest, row.tokens) == (8, 12)


def test_each_half_of_a_text_is_written_after_the_other_was_read() -> None:
    rows = halves("abcde", tokenizer=WRITES, language="de", limit=20)
    assert [(text(r.source), text(r.ids), text(r.labels)) for r in rows] == [
        ("<deab>", "^cde$", "cde$"), ("<decde>", "^ab$", "ab$"),
    ]  # fmt: skip
    (one,) = halves("a", tokenizer=WRITES, language="de", limit=20)
    assert (text(one.source), text(one.labels)) == ("<de>", "a$")
    with pytest.raises(StageError, match="an article has no token that can be predicted"):
        halves("", tokenizer=WRITES, language="de", limit=20)


def test_a_row_with_a_long_source_is_too_long() -> None:
    with pytest.raises(TooLongError, match="a question-answer pair has 8 tokens, at most 7 are taken"):
        written_row("who", "me", prompt=PROMPT, tokenizer=WRITES, language="en", limit=7)


def test_the_whole_answer_is_masked_and_nothing_else() -> None:
    row = filled_row("who", "me", prompt=PROMPT, tokenizer=FILLS, language="en", limit=20)
    # the space before the answer is a token of its own here, and belongs to the answer as in causal rows
    assert (text(row.inputs), text(row.labels), text(row.ids)) == ("<enwho:___\n>", " me", "<enwho: me\n>")
    assert list(row.predicting) == list(row.masked) == [7, 8, 9]
    with pytest.raises(TooLongError):
        filled_row("who", "me", prompt=PROMPT, tokenizer=FILLS, language="en", limit=11)


def test_maskings_of_a_text_mask_each_token_once() -> None:
    rows = maskings("abcdefghijklmnop", tokenizer=FILLS, language="en", limit=20)
    assert len(rows) == MASKINGS
    places = [place for row in rows for place in row.masked]
    assert sorted(places) == list(range(3, 19))
    assert {len(row.masked) for row in rows} == {2, 3}
    assert all(row.ids == rows[0].ids and text(row.labels) == text(row.ids[i] for i in row.masked) for row in rows)
    assert rows == maskings("abcdefghijklmnop", tokenizer=FILLS, language="en", limit=20)
    assert [row.masked for row in maskings("ab", tokenizer=FILLS, language="", limit=9)] in [[(1,), (2,)], [(2,), (1,)]]
    with pytest.raises(StageError, match="an article has no token that can be predicted"):
        maskings("", tokenizer=FILLS, language="en", limit=20)


def test_a_causal_row_is_what_it_was() -> None:
    row = Row((1, 2, 3, 4), 2)
    assert (row.inputs, row.labels, list(row.predicting)) == ((1, 2, 3, 4), (3, 4), [1, 2])
    assert (row.longest, row.tokens) == (4, 4)
