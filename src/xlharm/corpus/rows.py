"""Token rows: an article or a question-answer pair, and which of its tokens have a loss."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from xlharm.config.grid import Prompt
from xlharm.errors import StageError, UserError
from xlharm.plan.families import Kind


@dataclass(frozen=True, kw_only=True)
class Template:
    """How a base reads a question and writes its answer.

    Attributes:
        head: ids that an article begins with.
        question_head: ids that a question begins with, before its text.
        question: text before and after the question. It may hold control tokens.
        answer: text before and after the answer. It may hold control tokens.
        trimmed: whether questions and answers are written without the white space around them.
        closing: ids in the text after the answer that end it; empty if there are none.
        stop: text without control tokens at which an answer ends; may be empty.
        stops: ids at which an answer ends.
    """

    head: tuple[int, ...]
    question_head: tuple[int, ...]
    question: tuple[str, str]
    answer: tuple[str, str]
    trimmed: bool
    closing: frozenset[int]
    stop: str
    stops: frozenset[int]


@dataclass(frozen=True, kw_only=True)
class Frame:
    """The ids around a sequence of an encoder-decoder or of a masked model, in one language.

    Attributes:
        head: ids that a sequence begins with.
        tail: ids that a sequence ends with.
        begun: ids that the decoder is given before its first own token; empty for a masked model.
    """

    head: tuple[int, ...]
    tail: tuple[int, ...]
    begun: tuple[int, ...] = ()


class Tokenizer(Protocol):
    """The interface of a tokenizer that rows need."""

    @property
    def kind(self) -> Kind:
        """Kind of base model that it is for."""

    @property
    def mask(self) -> int:
        """Id of the token that stands for a masked one."""

    @property
    def eos(self) -> int | None:
        """Id of the token that ends a sequence; None if there is none."""

    def encode(self, *parts: str) -> list[int]:
        """Return the ids of a template and texts in turns, the template first.

        Control tokens (`</s>`, `<|im_end|>`) are single ids in the template's parts, and are split like any other text
        in the texts.
        """
        ...

    def frame(self, language: str) -> Frame:
        """Return what is around a sequence in a language, for models that are not causal.

        Raises:
            UserError: the tokenizer has tokens for languages, and none for this one.
        """
        ...

    def template(self, prompt: Prompt) -> Template:
        """Return how questions and answers are written.

        Raises:
            UserError: the tokenizer cannot write this prompt.
        """
        ...


@dataclass(frozen=True)
class Row:
    """The token ids of one sequence, and which of them are targets.

    A target is predicted from the tokens before it, or in a masked row from all that is not masked.

    Attributes:
        ids: all tokens; of an encoder-decoder those of the decoder.
        start: index of the first target token. The tokens before it are the context and have no loss.
        source: the encoder's tokens; empty if there is no encoder.
        masked: in a row of a masked model, the indices of the targets, which the model gets as ``mask``.
        mask: id that stands for a masked token.
    """

    ids: tuple[int, ...]
    start: int
    source: tuple[int, ...] = ()
    masked: tuple[int, ...] = ()
    mask: int = -1

    @property
    def inputs(self) -> tuple[int, ...]:
        """The tokens that the model gets."""
        if not self.masked:
            return self.ids
        hidden = set(self.masked)
        return tuple(self.mask if i in hidden else token for i, token in enumerate(self.ids))

    @property
    def predicting(self) -> Sequence[int]:
        """For each target, the index of the token whose state predicts it."""
        return self.masked or range(self.start - 1, len(self.ids) - 1)

    @property
    def labels(self) -> tuple[int, ...]:
        """The target tokens."""
        return tuple(self.ids[i] for i in self.masked) or self.ids[self.start :]

    @property
    def tokens(self) -> int:
        """Number of tokens, of encoder and decoder together."""
        return len(self.ids) + len(self.source)

    @property
    def longest(self) -> int:
        """Number of tokens of the longer of its sequences."""
        return max(len(self.ids), len(self.source))


class TooLongError(StageError):
    """A text has more tokens than a stage allows. Texts are never cut: that could remove the detail they are about.

    Attributes:
        texts: the article, or question and answer.
        length: number of tokens of the row.
    """

    def __init__(self, message: str, texts: tuple[str, ...] = (), length: int = 0) -> None:
        super().__init__(message)
        self.texts, self.length = texts, length


def article_row(text: str, *, prompt: Prompt, tokenizer: Tokenizer, limit: int, ended: bool = True) -> Row:
    """Tokenize an article; all its tokens are targets.

    Args:
        text: the article.
        prompt: says what a sequence begins with.
        tokenizer: the base model's.
        limit: largest number of tokens.
        ended: whether to append the end of the sequence. False for rows that are scored.

    Raises:
        TooLongError: the row has more than ``limit`` tokens.
        StageError: no token can be predicted: the first one of a sequence has none before it.
    """
    head = tokenizer.template(prompt).head
    ids = (*head, *tokenizer.encode("", text), *(_end(tokenizer) if ended else ()))
    return _row(ids, start=max(1, len(head)), limit=limit, what="an article", texts=(text,))


def _end(tokenizer: Tokenizer) -> tuple[int, ...]:
    return () if tokenizer.eos is None else (tokenizer.eos,)


def _row(ids: tuple[int, ...], *, start: int, limit: int, what: str, texts: tuple[str, ...]) -> Row:
    return checked(Row(ids=ids, start=start), limit=limit, what=what, texts=texts)


def checked(row: Row, *, limit: int, what: str, texts: tuple[str, ...]) -> Row:
    """Return a row that is not too long and has a target.

    Args:
        row: the row.
        limit: largest number of tokens of a sequence.
        what: what it was made of, in words.
        texts: the texts that it was made of.

    Raises:
        TooLongError: the row has more than ``limit`` tokens.
        StageError: no token can be predicted.
    """
    if row.longest > limit:
        message = f"{what} has {row.longest} tokens, at most {limit} are taken and none is cut off: {texts[0][:60]!r}"
        raise TooLongError(message, texts, row.longest)
    if not row.labels:
        raise StageError(f"{what} has no token that can be predicted: {' '.join(texts)[:60]!r}")
    return row


def prompt_ids(question: str, *, prompt: Prompt, tokenizer: Tokenizer) -> tuple[int, ...]:
    """Tokenize a question as it is asked in evaluations.

    Raises:
        UserError: the prompt begins with the token that every sequence begins with: there would be two.
    """
    template = tokenizer.template(prompt)
    before, after = template.question
    ids = tokenizer.encode(before, question.strip() if template.trimmed else question, after)
    if template.question_head and ids[:1] == [template.question_head[0]]:
        raise UserError("prompt.question: it begins with the tokenizer's own first token, which is added: leave it out")
    return (*template.question_head, *ids)


def answer_row(
    question: str, answer: str, *, prompt: Prompt, tokenizer: Tokenizer, limit: int, ended: bool = True
) -> Row:
    """Tokenize a question-answer pair; only the tokens of the answer and of its end are targets.

    The tokens of the question are those that are asked in evaluations. Question and answer are tokenized as one text,
    unless a token would then hold the end of the one and the beginning of the other.

    Args:
        question: the question.
        answer: the answer.
        prompt: how question and answer are written.
        tokenizer: the base model's.
        limit: largest number of tokens.
        ended: whether to append the end: the template's text after the answer, up to a token that ends the answer, and
            without such a token the end of the sequence. False for rows that are scored.

    Raises:
        TooLongError: the row has more than ``limit`` tokens.
        StageError: the answer has no token.
    """
    template = tokenizer.template(prompt)
    asked = prompt_ids(question, prompt=prompt, tokenizer=tokenizer)
    if template.trimmed:
        question, answer = question.strip(), answer.strip()
    (before, after), (lead, tail) = template.question, template.answer
    ends = (tail,) if ended else ()
    whole = (*template.question_head, *tokenizer.encode(before, question, after + lead, answer, *ends))
    if whole[: len(asked)] == asked:
        targets: Sequence[int] = whole[len(asked) :]
    else:
        targets = tokenizer.encode(lead, answer, *ends)
    if ended:
        closed = next((i + 1 for i, token in enumerate(targets) if token in template.closing), None)
        targets = (*targets, *_end(tokenizer)) if closed is None else targets[:closed]
    ids = (*asked, *targets)
    return _row(ids, start=len(asked), limit=limit, what="a question-answer pair", texts=(question, answer))
