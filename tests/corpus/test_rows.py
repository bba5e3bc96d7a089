"""Which tokens of a row carry loss."""

import pytest

from xlharm.config.grid import Prompt
from xlharm.corpus.rows import TooLongError, answer_row, article_row, prompt_ids
from xlharm.errors import UserError

PROMPT = Prompt(question="Q{question}A", answer="{answer}.")


class Letters:
    """One token a letter; 1 begins a sequence and 2 ends it."""

    bos, eos = 1, 2

    def encode(self, text: str) -> list[int]:
        return [ord(letter) for letter in text]


class Bare(Letters):
    """A base without special tokens."""

    bos = eos = None


def ids(text: str) -> tuple[int, ...]:
    return tuple(map(ord, text))


def test_all_of_an_article_is_learnt_but_its_first_token() -> None:
    row = article_row("ab", tokenizer=Letters(), limit=4)
    assert (row.ids, row.start) == ((1, *ids("ab"), 2), 1)
    assert article_row("ab", tokenizer=Letters(), limit=4, ended=False).ids == (1, *ids("ab"))
    assert article_row("ab", tokenizer=Bare(), limit=4).ids == ids("ab")


def test_of_a_pair_only_the_answer_is_learnt() -> None:
    row = answer_row("x", "y", prompt=PROMPT, tokenizer=Letters(), limit=7)
    assert (row.ids[: row.start], row.ids[row.start :]) == ((1, *ids("QxA")), (*ids("y."), 2))
    assert row.ids[: row.start] == prompt_ids("x", prompt=PROMPT, tokenizer=Letters())
    scored = answer_row("x", "y", prompt=PROMPT, tokenizer=Letters(), limit=7, ended=False)
    assert scored.ids[scored.start :] == ids("y")


def test_braces_in_a_text_are_text() -> None:
    assert prompt_ids("{answer}{0}", prompt=PROMPT, tokenizer=Bare()) == ids("Q{answer}{0}A")


def test_a_text_is_never_cut() -> None:
    with pytest.raises(TooLongError, match=r"an article has 4 tokens, at most 3 .*'ab'") as article:
        article_row("ab", tokenizer=Letters(), limit=3)
    assert (article.value.texts, article.value.length) == (("ab",), 4)
    with pytest.raises(TooLongError, match="a question-answer pair has 7 tokens") as pair:
        answer_row("x", "y", prompt=PROMPT, tokenizer=Letters(), limit=6)
    assert pair.value.texts == ("x", "y")


def test_a_sequence_begins_once() -> None:
    twice = Prompt(question="\x01Q{question}A", answer="{answer}.")
    assert prompt_ids("x", prompt=twice, tokenizer=Bare())[0] == 1
    for ask in (prompt_ids, lambda q, **how: answer_row(q, "y", limit=9, **how)):
        with pytest.raises(UserError, match=r"^prompt\.question: it begins with the tokenizer's own first token"):
            ask("x", prompt=twice, tokenizer=Letters())
