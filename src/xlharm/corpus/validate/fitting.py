"""Check the rows of a plan's stages: none is longer than the grid and its base allow, and no pool is empty."""

from collections.abc import Collection, Iterable
from dataclasses import replace
from functools import lru_cache
from typing import assert_never

from xlharm.corpus.format import Pair
from xlharm.corpus.options import options_of
from xlharm.corpus.other_rows import asked_source, filled_row
from xlharm.corpus.rows import Tokenizer, TooLongError, prompt_ids
from xlharm.corpus.streams import Corpora, questions_of
from xlharm.errors import StageError, UserError
from xlharm.plan.digest import canonical
from xlharm.plan.settings import EvaluateStage, read
from xlharm.plan.stage import TRAINED, Stage


class _Remembering:
    """A tokenizer that splits a text once: stages share most of their rows."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.eos, self.template, self.frame = tokenizer.eos, tokenizer.template, tokenizer.frame
        self.kind, self.mask = tokenizer.kind, tokenizer.mask
        self.encode = lru_cache(maxsize=None)(tokenizer.encode)


def check_rows(stages: Collection[Stage], corpora: Corpora) -> None:
    """Build the rows of every training stage, and the questions of every evaluation, as workers will.

    Seeds and parents change none.

    Args:
        stages: any; those that neither train nor ask are passed over.
        corpora: the corpus with the base's tokenizer, and the largest number of tokens of a row.

    Raises:
        UserError: stage, file, item and field of the first text that is too long, or what the stage lacks.
    """
    corpora = replace(corpora, tokenizer=_Remembering(corpora.tokenizer))
    different: dict[str, Stage] = {}
    for stage in (s for s in stages if s.kind in TRAINED):
        different.setdefault(canonical([stage.kind, {**stage.spec, "seed": 0}]), stage)
    for stage in different.values():
        try:
            corpora.stream(stage)
        except TooLongError as error:
            raise UserError(
                f"{stage.label}: {_where(error.texts, stage, corpora)} has {error.length} tokens and at most "
                f"{corpora.limit} are allowed, by sequence_length or by the base's positions (nothing is cut off)"
            ) from None
        except StageError as error:
            raise UserError(f"{stage.label}: {error}") from None
    _check_questions(stages, corpora)


def _check_questions(stages: Iterable[Stage], corpora: Corpora) -> None:
    different: dict[str, Stage] = {}
    for stage in (s for s in stages if s.kind == "evaluate"):
        different.setdefault(canonical([stage.data, {**stage.spec, "dtype": "", "lora": "", "probe": ""}]), stage)
    for stage in different.values():
        settings = read(EvaluateStage, stage)
        match corpora.tokenizer.kind:
            case "causal":
                _check_asked(stage, settings, corpora)
            case "encoder-decoder":
                _check_read(stage, settings, corpora)
            case "masked":
                _check_filled(stage, settings, corpora)
            case _:
                assert_never(corpora.tokenizer.kind)


def _check_asked(stage: Stage, settings: EvaluateStage, corpora: Corpora) -> None:
    items = corpora.of(stage)(settings.query)
    for item, _, question, _ in questions_of(items, limit=settings.questions):
        tokens = len(prompt_ids(question, prompt=settings.prompt, tokenizer=corpora.tokenizer))
        if tokens + settings.max_new_tokens > corpora.limit:
            raise UserError(
                f"{stage.label}: {item.id}: a question of {tokens} tokens and an answer of "
                f"{settings.max_new_tokens}, and at most {corpora.limit} are allowed together"
            )


def _check_read(stage: Stage, settings: EvaluateStage, corpora: Corpora) -> None:
    """Check what an encoder reads and a decoder writes, each by itself."""
    items, language, tokenizer = corpora.of(stage)(settings.query), settings.query, corpora.tokenizer
    written = len(tokenizer.frame(language).begun) + settings.max_new_tokens
    for item, _, question, _ in questions_of(items, limit=settings.questions):
        tokens = len(asked_source(question, prompt=settings.prompt, tokenizer=tokenizer, language=language))
        if max(tokens, written) > corpora.limit:
            raise UserError(
                f"{stage.label}: {item.id}: a question of {tokens} tokens and an answer of "
                f"{settings.max_new_tokens}, and at most {corpora.limit} are allowed for each"
            )


def _check_filled(stage: Stage, settings: EvaluateStage, corpora: Corpora) -> None:
    """Check the rows of a masked model's options."""
    items = corpora.of(stage)(settings.query)
    try:
        options = options_of(items, language=settings.query, limit=settings.questions)
        for (_, _, question, _), texts in zip(questions_of(items, limit=settings.questions), options, strict=True):
            for text in texts:
                filled_row(
                    question, text, prompt=settings.prompt, tokenizer=corpora.tokenizer, language=settings.query,
                    limit=corpora.limit,
                )  # fmt: skip
    except StageError as error:
        raise UserError(f"{stage.label}: {error}") from None


def _where(texts: tuple[str, ...], stage: Stage, corpora: Corpora) -> str:
    """Say where in the corpus an article or a pair is that a stage reads; its beginning where a stage made it up."""
    found = (
        f"{language}.jsonl: {item.id}: {field}.{i}"
        for language in stage.data
        for item in corpora.of(stage)(language)
        for field in ("real", "fake", "qa", "fake_qa")
        for i, entry in enumerate(getattr(item, field))
        if texts == ((entry.question, entry.answer) if isinstance(entry, Pair) else (entry,))
    )
    return next(found, repr(texts[0][:60]))
