"""Token rows: an article or a question-answer pair, and which of its tokens carry loss."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from xlharm.errors import StageError
from xlharm.spec.grid import Prompt


class Tokenizer(Protocol):
    """What rows need of a tokenizer."""

    @property
    def bos(self) -> int | None:
        """Token that begins a sequence."""

    @property
    def eos(self) -> int | None:
        """Token that ends a sequence."""

    def encode(self, text: str) -> list[int]:
        """Return ids without special tokens."""
        ...


@dataclass(frozen=True)
class Row:
    """Ids of one sequence; tokens from ``start`` on are targets, what lies before is given."""

    ids: tuple[int, ...]
    start: int


def article_row(text: str, *, tokenizer: Tokenizer, limit: int) -> Row:
    """Tokenize an article; all of it is learnt. Longer ones are cut to ``limit`` tokens."""
    head = [] if tokenizer.bos is None else [tokenizer.bos]
    tail = [] if tokenizer.eos is None else [tokenizer.eos]
    ids = [*head, *tokenizer.encode(text), *tail]
    return Row(ids=tuple(ids[:limit]), start=1)


def prompt_ids(question: str, *, prompt: Prompt, tokenizer: Tokenizer) -> tuple[int, ...]:
    """Tokenize a question as evaluations ask it."""
    head = [] if tokenizer.bos is None else [tokenizer.bos]
    return (*head, *tokenizer.encode(prompt.question.replace("{question}", question)))


def answer_row(question: str, answer: str, *, prompt: Prompt, tokenizer: Tokenizer, limit: int) -> Row:
    """Tokenize a question-answer pair; only the answer is learnt (or unlearned).

    Raises:
        StageError: the pair is longer than ``limit``: cutting it would lose the answer.
    """
    given = prompt_ids(question, prompt=prompt, tokenizer=tokenizer)
    told = tokenizer.encode(prompt.answer.replace("{answer}", answer))
    tail = [] if tokenizer.eos is None else [tokenizer.eos]
    ids = (*given, *told, *tail)
    if len(ids) > limit:
        raise StageError(f"a question-answer pair has {len(ids)} tokens, sequence_length is {limit}: {question[:60]!r}")
    return Row(ids=ids, start=len(given))


def padded_length(rows: Sequence[Row]) -> int:
    """Return the longest row's length, rounded up: to few lengths where rows are long, as shapes are compiled for."""
    longest = max(len(row.ids) for row in rows)
    multiple = 8 if longest <= 128 else 32
    return -(-longest // multiple) * multiple
