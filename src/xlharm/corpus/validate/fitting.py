"""Check the rows of a plan's stages: none is longer than the grid and its base allow, and no pool is empty."""

from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache

from xlharm.corpus.format import Pair
from xlharm.corpus.rows import Tokenizer, TooLongError
from xlharm.corpus.streams import Corpora
from xlharm.errors import StageError, UserError
from xlharm.plan.digest import canonical
from xlharm.plan.stage import TRAINED, Stage


class _Remembering:
    """A tokenizer that splits a text once: stages share most of their rows."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.eos, self.template = tokenizer.eos, tokenizer.template
        self.encode = lru_cache(maxsize=None)(tokenizer.encode)


def check_rows(stages: Iterable[Stage], corpora: Corpora) -> None:
    """Build the rows of every training stage as its worker will; seeds and parents change none.

    Args:
        stages: any; those that do not train are passed over.
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
