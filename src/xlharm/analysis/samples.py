"""Answers to look at: the same evenly spaced questions for every cell, never picked by outcome."""

from dataclasses import dataclass
from typing import Any, Literal, Self

import pyarrow as pa
import pyarrow.compute as pc

from xlharm.plan.build import Plan

MOST = 8
BUDGET = 6000
"""Sampled answers on one page: keeps it below 5 MB whatever the grid."""

_MEASURES: tuple[Literal["of"], Literal["qr"]] = ("of", "qr")


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One question and what the model said; all text is untrusted."""

    item: str
    question: str
    answer: str
    expected: tuple[str, ...]
    hit: bool
    off_language: bool
    degenerate: bool


@dataclass(frozen=True, kw_only=True)
class Samples:
    """Sampled answers of one cell in one language."""

    of: tuple[Sample, ...]
    qr: tuple[Sample, ...]

    @classmethod
    def of_rows(cls, table: pa.Table, *, each: int) -> Self | None:
        """Take up to ``each`` answers of each measure from an evaluation's rows; None when columns are missing."""
        picked: dict[str, tuple[Sample, ...]] = {}
        try:
            for measure in _MEASURES:
                rows = table.filter(pc.equal(table["measure"], measure))
                places = pa.array(spaced(rows.num_rows, most=each), pa.int64())  # typed: there may be none
                chosen = rows.take(places).to_pylist()
                picked[measure] = tuple(_sample(row) for row in chosen)
        except (KeyError, TypeError, ValueError):
            return None  # the cell shows its numbers and no answers
        return cls(**picked)


def per_measure(plan: Plan) -> int:
    """Return how many answers of each cell, language and measure fit the page (1 to MOST)."""
    evaluations = sum(len(cell.evaluations) for cell in plan.cells)
    return max(1, min(MOST, BUDGET // (2 * max(1, evaluations))))


def spaced(count: int, *, most: int) -> list[int]:
    """Return up to ``most`` evenly spaced places in ``range(count)``."""
    if count <= most:
        return list(range(count))
    return [i * count // most for i in range(most)]


def _sample(row: dict[str, Any]) -> Sample:
    return Sample(
        item=str(row["item"]),
        question=str(row["question"]),
        answer=str(row["answer"] or ""),
        expected=tuple(map(str, row["expected"] or ())),
        hit=bool(row["hit"]),
        off_language=bool(row["off_language"]),
        degenerate=bool(row["degenerate"]),
    )
