"""Token rows: an article or a question-answer pair, and which of its tokens have a loss."""

from dataclasses import dataclass
from typing import Protocol

from xlharm.config.grid import Prompt
from xlharm.errors import StageError, UserError


class Tokenizer(Protocol):
    """The interface of a tokenizer that rows need."""

    @property
    def bos(self) -> int | None:
        """Id of the token that begins a sequence; None if there is none."""

    @property
    def eos(self) -> int | None:
        """Id of the token that ends a sequence; None if there is none."""

    def encode(self, text: str) -> list[int]:
        """Return ids without special tokens."""
        ...


@dataclass(frozen=True)
class Row:
    """The token ids of one sequence.

    Attributes:
        ids: all tokens.
        start: index of the first target token. The tokens before it are the context and have no loss.
    """

    ids: tuple[int, ...]
    start: int


class TooLongError(StageError):
    """A text has more tokens than a stage allows. Texts are never cut: that could remove the detail they are about.

    Attributes:
        texts: the article, or question and answer.
        length: number of tokens of the row.
    """

    def __init__(self, message: str, texts: tuple[str, ...] = (), length: int = 0) -> None:
        super().__init__(message)
        self.texts, self.length = texts, length


def article_row(text: str, *, tokenizer: Tokenizer, limit: int, ended: bool = True) -> Row:
    """Tokenize an article; all its tokens are targets.

    Args:
        text: the article.
        tokenizer: the base model's.
        limit: largest number of tokens.
        ended: whether to append the end of the sequence. False for rows that are scored.

    Raises:
        TooLongError: the row has more than ``limit`` tokens.
    """
    head = [] if tokenizer.bos is None else [tokenizer.bos]
    tail = [tokenizer.eos] if ended and tokenizer.eos is not None else []
    ids = (*head, *tokenizer.encode(text), *tail)
    _fits(len(ids), limit=limit, what="an article", texts=(text,))
    return Row(ids=ids, start=1)


def _fits(length: int, *, limit: int, what: str, texts: tuple[str, ...]) -> None:
    if length > limit:
        message = f"{what} has {length} tokens, at most {limit} are taken and none is cut off: {texts[0][:60]!r}"
        raise TooLongError(message, texts, length)


def prompt_ids(question: str, *, prompt: Prompt, tokenizer: Tokenizer) -> tuple[int, ...]:
    """Tokenize a question as it is asked in evaluations.

    Raises:
        UserError: the prompt begins with the token that every sequence begins with: there would be two.
    """
    head = [] if tokenizer.bos is None else [tokenizer.bos]
    ids = tokenizer.encode(prompt.question.replace("{question}", question))
    if head and ids[:1] == head:
        raise UserError("prompt.question: it begins with the tokenizer's own first token, which is added: leave it out")
    return (*head, *ids)


def answer_row(
    question: str, answer: str, *, prompt: Prompt, tokenizer: Tokenizer, limit: int, ended: bool = True
) -> Row:
    """Tokenize a question-answer pair; only the tokens of the answer are targets.

    Args:
        question: the question.
        answer: the answer.
        prompt: how question and answer are written.
        tokenizer: the base model's.
        limit: largest number of tokens.
        ended: whether to append the template's text after the answer and the end of the sequence. False for rows that
            are scored.

    Raises:
        TooLongError: the row has more than ``limit`` tokens.
    """
    prompt_tokens = prompt_ids(question, prompt=prompt, tokenizer=tokenizer)
    template = prompt.answer if ended else prompt.answer.removesuffix(prompt.stop)
    answer_tokens = tokenizer.encode(template.replace("{answer}", answer))
    tail = [tokenizer.eos] if ended and tokenizer.eos is not None else []
    ids = (*prompt_tokens, *answer_tokens, *tail)
    _fits(len(ids), limit=limit, what="a question-answer pair", texts=(question, answer))
    return Row(ids=ids, start=len(prompt_tokens))
