"""Which tokens of a row carry loss."""

import pytest

from tests.corpus.letters import Letters
from xlharm.config.grid import Prompt
from xlharm.corpus.rows import TooLongError, answer_row, article_row, prompt_ids
from xlharm.errors import StageError, UserError

PROMPT = Prompt(question="Q{question}A", answer="{answer}.")


BARE, MARKED = Letters(), Letters(bos=1, eos=2)


def ids(text: str) -> tuple[int, ...]:
    return tuple(map(ord, text))


def test_all_of_an_article_is_learnt_but_its_first_token() -> None:
    row = article_row("ab", prompt=PROMPT, tokenizer=MARKED, limit=4)
    assert (row.ids, row.start) == ((1, *ids("ab"), 2), 1)
    assert article_row("ab", prompt=PROMPT, tokenizer=MARKED, limit=4, ended=False).ids == (1, *ids("ab"))
    assert article_row("ab", prompt=PROMPT, tokenizer=BARE, limit=4).ids == ids("ab")


def test_of_a_pair_only_the_answer_is_learnt() -> None:
    row = answer_row("x", "y", prompt=PROMPT, tokenizer=MARKED, limit=7)
    assert (row.ids[: row.start], row.ids[row.start :]) == ((1, *ids("QxA")), (*ids("y."), 2))
    assert row.ids[: row.start] == prompt_ids("x", prompt=PROMPT, tokenizer=MARKED)
    scored = answer_row("x", "y", prompt=PROMPT, tokenizer=MARKED, limit=7, ended=False)
    assert scored.ids[scored.start :] == ids("y")


def test_braces_in_a_text_are_text() -> None:
    assert prompt_ids("{answer}{0}", prompt=PROMPT, tokenizer=BARE) == ids("Q{answer}{0}A")


def test_a_text_is_never_cut() -> None:
    with pytest.raises(TooLongError, match=r"an article has 4 tokens, at most 3 .*'ab'") as article:
        article_row("ab", prompt=PROMPT, tokenizer=MARKED, limit=3)
    assert (article.value.texts, article.value.length) == (("ab",), 4)
    with pytest.raises(TooLongError, match="a question-answer pair has 7 tokens") as pair:
        answer_row("x", "y", prompt=PROMPT, tokenizer=MARKED, limit=6)
    assert pair.value.texts == ("x", "y")


def test_a_sequence_begins_once() -> None:
    twice = Prompt(question="\x01Q{question}A", answer="{answer}.")
    assert prompt_ids("x", prompt=twice, tokenizer=BARE)[0] == 1
    for ask in (prompt_ids, lambda q, **how: answer_row(q, "y", limit=9, **how)):
        with pytest.raises(UserError, match=r"^prompt\.question: it begins with the tokenizer's own first token"):
            ask("x", prompt=twice, tokenizer=MARKED)


def test_an_answer_ends_at_the_templates_own_end() -> None:
    prompt = Prompt(question="Q{question}A", answer="{answer}.|and more")
    row = answer_row("x", "a|b", prompt=prompt, tokenizer=MARKED, limit=20)
    assert row.ids[row.start :] == ids("a!b.|")  # no end of sequence after it; the text's own `|` is text
    scored = answer_row("x", "a|b", prompt=prompt, tokenizer=MARKED, limit=20, ended=False)
    assert scored.ids[scored.start :] == ids("a!b")


class Pairs(Letters):
    """Two letters `:y` are one token, so that the end of a question and the beginning of an answer may join."""

    def encode(self, *parts: str) -> list[int]:
        return [ord(letter) for letter in "".join(parts).replace(":y", "Y")]


def test_the_question_of_a_pair_is_the_question_that_is_asked() -> None:
    prompt = Prompt(question="Q{question}:", answer="{answer}\n")
    row = answer_row("x", "y", prompt=prompt, tokenizer=Pairs(), limit=9)
    assert (row.ids[: row.start], row.ids[row.start :]) == (ids("Qx:"), ids("y\n"))
    assert row.ids[: row.start] == prompt_ids("x", prompt=prompt, tokenizer=Pairs())


def test_a_text_of_which_nothing_can_be_predicted_is_named() -> None:
    with pytest.raises(StageError, match="an article has no token that can be predicted: 'a'"):
        article_row("a", prompt=PROMPT, tokenizer=BARE, limit=9)  # its only token has none before it
    assert article_row("a", prompt=PROMPT, tokenizer=MARKED, limit=9, ended=False).start == 1
