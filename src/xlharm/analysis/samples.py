"""Answers to look at: the same evenly spaced questions for every cell, never picked by outcome."""

from dataclasses import dataclass
from typing import Literal

import pyarrow.parquet as pq

from xlharm.analysis.table import Results
from xlharm.errors import CorruptArtifactError
from xlharm.plan.build import Plan
from xlharm.store.store import Store

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


def per_measure(plan: Plan) -> int:
    """Return how many answers of each cell, language and measure fit the page (1 to MOST)."""
    evaluations = sum(len(cell.evaluations) for cell in plan.cells)
    return max(1, min(MOST, BUDGET // (2 * max(1, evaluations))))


def samples_of(results: Results, store: Store, *, plan: Plan) -> dict[str, Samples]:
    """Read sample answers of all good evaluations, by stage key; of a very large grid only the first cells'."""
    each = per_measure(plan)
    found: dict[str, Samples] = {}
    for key in results.records:
        if len(found) * 2 * each >= BUDGET:
            break
        try:
            found[key] = _read(store, key, each=each)
        except (CorruptArtifactError, OSError, ValueError, KeyError, TypeError):
            continue  # without readable rows the cell shows its numbers and no answers
    return found


def spaced(count: int, *, most: int) -> list[int]:
    """Return up to ``most`` evenly spaced places in ``range(count)``."""
    if count <= most:
        return list(range(count))
    return [i * count // most for i in range(most)]


def _read(store: Store, key: str, *, each: int) -> Samples:
    # ``collect`` has just checked the checksums of this stage
    rows = pq.read_table(store.path("evaluate", key, verify=False) / "rows.parquet").to_pylist()
    picked: dict[str, tuple[Sample, ...]] = {}
    for measure in _MEASURES:
        mine = [row for row in rows if row["measure"] == measure]
        chosen = [mine[i] for i in spaced(len(mine), most=each)]
        picked[measure] = tuple(
            Sample(
                item=str(row["item"]),
                question=str(row["question"]),
                answer=str(row["answer"] or ""),
                expected=tuple(map(str, row["expected"] or ())),
                hit=bool(row["hit"]),
                off_language=bool(row["off_language"]),
                degenerate=bool(row["degenerate"]),
            )
            for row in chosen
        )
    return Samples(**picked)
