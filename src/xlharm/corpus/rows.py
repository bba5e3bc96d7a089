"""Token rows: an article or a question-answer pair, and which of its tokens carry loss."""

from dataclasses import dataclass
from typing import Protocol

from xlharm.config.grid import Prompt
from xlharm.errors import StageError, UserError


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


class TooLongError(StageError):
    """A text has more tokens than a stage takes; cutting it might lose what it is about.

    Attributes:
        texts: the article, or question and answer.
        length: their tokens, those around them included.
    """

    def __init__(self, message: str, texts: tuple[str, ...] = (), length: int = 0) -> None:
        super().__init__(message)
        self.texts, self.length = texts, length


def article_row(text: str, *, tokenizer: Tokenizer, limit: int, ended: bool = True) -> Row:
    """Tokenize an article; all of it is learnt.

    Args:
        text: the article.
        tokenizer: the base's.
        limit: most tokens.
        ended: whether the end of the sequence follows; what is scored is the text alone.

    Raises:
        TooLongError: it has more than ``limit`` tokens.
    """
    head = [] if tokenizer.bos is None else [tokenizer.bos]
    tail = [tokenizer.eos] if ended and tokenizer.eos is not None else []
    ids = (*head, *tokenizer.encode(text), *tail)
    _fits(len(ids), limit=limit, what="an article", texts=(text,))
    return Row(ids=ids, start=1)


def _fits(length: int, *, limit: int, what: str, texts: tuple[str, ...]) -> None:
    if length > limit:
        told = f"{what} has {length} tokens, at most {limit} are taken and none is cut off: {texts[0][:60]!r}"
        raise TooLongError(told, texts, length)


def prompt_ids(question: str, *, prompt: Prompt, tokenizer: Tokenizer) -> tuple[int, ...]:
    """Tokenize a question as evaluations ask it.

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
    """Tokenize a question-answer pair; only the answer is learnt (or unlearned).

    Args:
        question: as asked.
        answer: as expected.
        prompt: how they are written.
        tokenizer: the base's.
        limit: most tokens.
        ended: whether what the template has behind the answer follows, and the end of the sequence.

    Raises:
        TooLongError: the pair has more than ``limit`` tokens.
    """
    given = prompt_ids(question, prompt=prompt, tokenizer=tokenizer)
    template = prompt.answer if ended else prompt.answer.removesuffix(prompt.stop)
    told = tokenizer.encode(template.replace("{answer}", answer))
    tail = [tokenizer.eos] if ended and tokenizer.eos is not None else []
    ids = (*given, *told, *tail)
    _fits(len(ids), limit=limit, what="a question-answer pair", texts=(question, answer))
    return Row(ids=ids, start=len(given))
