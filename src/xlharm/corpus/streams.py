"""Makes streams of token rows from a corpus folder."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from xlharm.corpus.folder import language_digest, language_path
from xlharm.corpus.format import Item, hold_out, load_language
from xlharm.corpus.pools import RowMaker, stream_of
from xlharm.corpus.rows import Tokenizer
from xlharm.corpus.sampling import Stream
from xlharm.errors import StageError, UserError
from xlharm.plan.settings import training_of
from xlharm.plan.stage import Stage


@lru_cache(maxsize=32)
def _load(folder: Path, language: str, expected: str, holdout: int) -> tuple[Item, ...]:
    path = language_path(folder, language)
    if path is None or language_digest(path) != expected:
        raise UserError(
            f"corpus {folder}: {language} differs from the file that the stage was planned with. It was changed since "
            "then, or this machine has another copy: give all machines the same files and run the command again"
        )
    return hold_out(load_language(folder, language), holdout)


@dataclass(frozen=True)
class Corpora:
    """A corpus folder, and the tokenizer that turns its texts into rows.

    Attributes:
        folder: the corpus.
        tokenizer: the base model's.
        limit: largest number of tokens of a row.
    """

    folder: Path
    tokenizer: Tokenizer
    limit: int = sys.maxsize

    def of(self, stage: Stage) -> Callable[[str], tuple[Item, ...]]:
        """Return a function that loads the items of a language for a stage; each file is read once.

        The function raises UserError if the file is damaged, or is not the one that the stage's key names, or has too
        few fake items for the stage's ``holdout``.
        """
        holdout = int(stage.spec.get("holdout", 0))
        return lambda language: _load(self.folder, language, stage.data[language], holdout)

    def stream(self, stage: Stage) -> Stream:
        """Return the rows of a training stage.

        Raises:
            StageError: the stage does not train, a row has more than ``limit`` tokens, or the corpus lacks a kind of
                rows that it needs.
            UserError: the corpus is damaged, or is not the one that the stage's key names.
        """
        settings = training_of(stage)
        if settings is None:
            raise StageError(f"{stage.label}: a stage of kind {stage.kind} does not train")
        rows = RowMaker(load=self.of(stage), tokenizer=self.tokenizer, prompt=settings.prompt, limit=self.limit)
        return stream_of(settings, rows)


def questions_of(items: Sequence[Item], *, limit: int) -> list[tuple[Item, str, str, tuple[str, ...]]]:
    """List the questions of an evaluation as (item, measure, question, accepted forms of the answer).

    Questions about the fake detail (``of``) come first, then those about real details (``qr``). The fake details of
    items that are held out are not asked about.

    Args:
        items: of one language.
        limit: largest number of questions for each measure.
    """
    told = [item for item in items if item.role != "holdout"]
    of = [(item, "of", question, item.fake_detail) for item in told for question in item.of]
    qr = [(item, "qr", q.question, q.answers) for item in items for q in item.qr]
    return [*of[:limit], *qr[:limit]]
