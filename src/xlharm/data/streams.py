"""A corpus folder as streams of token rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from xlharm.data.corpus import Item, load_language
from xlharm.data.pools import MAKERS, RowMaker
from xlharm.data.rows import Tokenizer
from xlharm.data.sampling import Stream
from xlharm.plan.stage import Stage
from xlharm.spec.grid import Prompt

_load = lru_cache(maxsize=32)(load_language)


@dataclass(frozen=True)
class Corpora:
    """A corpus folder with what is needed to turn its texts into rows."""

    folder: Path
    tokenizer: Tokenizer

    def load(self, language: str) -> tuple[Item, ...]:
        """Return a language's items; a file is read once."""
        return _load(self.folder, language)

    def stream(self, stage: Stage) -> Stream:
        """Build the stream of a training stage.

        Raises:
            StageError: the corpus has no rows of a sort that the stage needs.
            UserError: the corpus is damaged.
        """
        prompt = Prompt.model_validate(stage.spec["prompt"])
        limit = int(stage.spec["training"]["sequence_length"])
        rows = RowMaker(load=self.load, tokenizer=self.tokenizer, prompt=prompt, limit=limit)
        return MAKERS[stage.kind](stage.spec, rows)


def questions_of(items: Sequence[Item], *, limit: int) -> list[tuple[Item, str, str, tuple[str, ...]]]:
    """List an evaluation's questions as (item, measure, question, expected forms), OF first."""
    of = [(item, "of", question, item.fake_detail) for item in items for question in item.of]
    qr = [(item, "qr", q.question, q.answers) for item in items for q in item.qr]
    return [*of[:limit], *qr[:limit]]
