"""Token rows of encoder-decoders and of masked models; docs/other-bases.md says why they are made so."""

from xlharm.config.grid import Prompt
from xlharm.corpus.rows import Row, Tokenizer, checked
from xlharm.plan.digest import mix

MASKINGS = 7
"""Rows of a text for a masked model: each hides a seventh of its tokens, about the 15 % of BERT (1810.04805)."""


def asked_source(question: str, *, prompt: Prompt, tokenizer: Tokenizer, language: str) -> tuple[int, ...]:
    """Tokenize a question for the encoder of an encoder-decoder, as it is asked in evaluations."""
    frame, (before, after) = tokenizer.frame(language), tokenizer.template(prompt).question
    return (*frame.head, *tokenizer.encode(before, question, after), *frame.tail)


def written_row(
    question: str,
    answer: str,
    *,
    prompt: Prompt,
    tokenizer: Tokenizer,
    language: str,
    limit: int,
    ended: bool = True,
) -> Row:
    """Tokenize a question-answer pair for an encoder-decoder: it reads the question, and the answer is the target.

    The decoder's own end token ends the answer, so white space around the answer is left out.

    Args:
        question: the question.
        answer: the answer.
        prompt: how both are written.
        tokenizer: the base model's.
        language: of both.
        limit: largest number of tokens of either.
        ended: whether the end token is a target, too. False for rows that are scored.

    Raises:
        TooLongError: one of them has more than ``limit`` tokens.
        StageError: the answer has no token.
    """
    frame, (lead, tail) = tokenizer.frame(language), tokenizer.template(prompt).answer
    written = tokenizer.encode(lead.lstrip(), answer.strip(), tail.rstrip())
    source = asked_source(question, prompt=prompt, tokenizer=tokenizer, language=language)
    row = Row((*frame.begun, *written, *_end(tokenizer, ended)), len(frame.begun), source)
    return checked(row, limit=limit, what="a question-answer pair", texts=(question, answer))


def halves(text: str, *, tokenizer: Tokenizer, language: str, limit: int, ended: bool = True) -> tuple[Row, ...]:
    """Tokenize a text for an encoder-decoder: each half is written after reading the other.

    Args:
        text: an article.
        tokenizer: the base model's.
        language: of the text.
        limit: largest number of tokens of a half.
        ended: whether the end token is a target, too. False for rows that are scored.

    Returns:
        The row that writes the second half, and that which writes the first. A text of one token has one row.

    Raises:
        TooLongError: a half has more than ``limit`` tokens.
        StageError: the text has no token.
    """
    ids, frame = tokenizer.encode("", text), tokenizer.frame(language)
    first, second = ids[: len(ids) // 2], ids[len(ids) // 2 :]

    def row(read: list[int], written: list[int]) -> Row:
        made = Row(
            (*frame.begun, *written, *_end(tokenizer, ended and bool(written))),
            len(frame.begun),
            (*frame.head, *read, *frame.tail),
        )
        return checked(made, limit=limit, what="an article", texts=(text,))

    return (row(first, second), *([row(second, first)] if first else []))


def _end(tokenizer: Tokenizer, ended: bool) -> tuple[int, ...]:
    return (tokenizer.eos,) if ended and tokenizer.eos is not None else ()


def filled_row(question: str, answer: str, *, prompt: Prompt, tokenizer: Tokenizer, language: str, limit: int) -> Row:
    """Tokenize a question-answer pair for a masked model: all tokens of the answer are masked at once.

    Args:
        question: the question.
        answer: the answer.
        prompt: how both are written.
        tokenizer: the base model's.
        language: of both.
        limit: largest number of tokens.

    Raises:
        TooLongError: the row has more than ``limit`` tokens.
        StageError: the answer has no token.
    """
    frame, template = tokenizer.frame(language), tokenizer.template(prompt)
    (before, after), (lead, tail) = template.question, template.answer
    asked = tokenizer.encode(before, question, after)
    whole = tokenizer.encode(before, question, after + lead, answer)
    targets = whole[len(asked) :] if whole[: len(asked)] == asked else tokenizer.encode(lead, answer)
    start = len(frame.head) + len(asked)
    ids = (*frame.head, *asked, *targets, *tokenizer.encode(tail), *frame.tail)
    row = Row(ids, start, masked=tuple(range(start, start + len(targets))), mask=tokenizer.mask)
    return _with_targets(row, limit=limit, what="a question-answer pair", texts=(question, answer))


def maskings(text: str, *, tokenizer: Tokenizer, language: str, limit: int) -> tuple[Row, ...]:
    """Tokenize a text for a masked model: rows that together mask each of its tokens once.

    Which tokens are masked together is a function of the text alone.

    Args:
        text: an article.
        tokenizer: the base model's.
        language: of the text.
        limit: largest number of tokens.

    Raises:
        TooLongError: the text has more than ``limit`` tokens.
        StageError: the text has no token.
    """
    frame, body = tokenizer.frame(language), tokenizer.encode("", text)
    ids, first = (*frame.head, *body, *frame.tail), len(frame.head)
    order = sorted(range(len(body)), key=lambda i: mix("masked", text, i))
    rows = []
    for k in range(max(1, min(MASKINGS, len(body)))):
        places = tuple(sorted(first + i for i in order[k::MASKINGS]))
        row = Row(ids, first, masked=places, mask=tokenizer.mask)
        rows.append(_with_targets(row, limit=limit, what="an article", texts=(text,)))
    return tuple(rows)


def _with_targets(row: Row, *, limit: int, what: str, texts: tuple[str, ...]) -> Row:
    """Return a checked row; one that masks nothing has no target, whatever follows its start."""
    return checked(row if row.masked else Row((), 0), limit=limit, what=what, texts=texts)
