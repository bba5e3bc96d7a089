"""Do the rows of a plan's stages fit: none longer than its stage takes or its base can look at, no pool empty?"""

from collections.abc import Iterable
from functools import lru_cache

from xlharm.data.pools import MAKERS
from xlharm.data.rows import Tokenizer, TooLongError
from xlharm.data.streams import Corpora
from xlharm.data.validate.findings import texts_of
from xlharm.errors import StageError, UserError
from xlharm.plan.digest import canonical
from xlharm.plan.stage import Stage


class _Remembering:
    """A tokenizer that splits a text once: stages share most of their rows."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.bos, self.eos = tokenizer.bos, tokenizer.eos
        self.encode = lru_cache(maxsize=None)(tokenizer.encode)


def check_rows(stages: Iterable[Stage], corpora: Corpora, *, positions: int | None) -> None:
    """Build the rows of every training stage as its worker will; seeds and parents change none.

    Args:
        stages: any; those that do not train are passed over.
        corpora: the corpus with the base's tokenizer.
        positions: how many tokens the base can look at.

    Raises:
        UserError: stage, file, item and field of the first text that is too long, or what the stage lacks.
    """
    corpora = Corpora(corpora.folder, _Remembering(corpora.tokenizer))
    different = {canonical([s.kind, {**s.spec, "seed": 0}]): s for s in stages if s.kind in MAKERS}
    for stage in different.values():
        try:
            longest = max(len(row.ids) for row in corpora.stream(stage).all_rows())
        except TooLongError as error:
            limit, where = stage.spec["training"]["sequence_length"], _where(error.text, stage, corpora)
            raise UserError(
                f"{stage.label}: sequence_length: {limit} is too short for {where}, which has {error.length} tokens "
                "(nothing is cut off; rows are padded to the longest of their step only)"
            ) from None
        except StageError as error:
            raise UserError(f"{stage.label}: {error}") from None
        if positions is not None and longest > positions:
            raise UserError(f"{stage.label}: a row has {longest} tokens, and the base can look at {positions}")


def _where(text: str, stage: Stage, corpora: Corpora) -> str:
    """Say where in the corpus a text is that a stage reads."""
    found = (
        f"{language}.jsonl: {item.id}: {entry.field.removesuffix('.question')}"
        for language in stage.data
        for item in corpora.load(language)
        for entry in texts_of(item)
        if entry.value == text
    )
    return next(found, repr(text[:60]))
