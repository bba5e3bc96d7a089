"""The answers of cells, as blocks of data: question by question, each different answer once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from xlharm.analysis.results import GridResults
from xlharm.plan.cells import Cell
from xlharm.report.embedded import Block, packed

Answers = int | Literal["all"]
EVALUATIONS = 9000
"""Evaluations whose answers a page holds by default: those of 1,000 cells in nine languages."""
BYTES = 20 << 20
"""Most bytes of answers on a page by default."""
_CELLS = 16  # of a block: what a reader waits for when a cell is opened
_LONGEST = 4000  # characters of an answer
_ASKED = ("item", "measure", "question")
_COLUMNS = (*_ASKED, "answer", "hit", "off_language", "degenerate")


@dataclass
class _Questions:
    """The questions that evaluations ask; those in one language mostly ask the same ones."""

    tables: list[dict[str, Any]] = field(default_factory=list)
    _asked: dict[str, list[tuple[int, pa.Table]]] = field(default_factory=dict)

    def place(self, query: str, table: pa.Table, results: GridResults, key: str) -> int:
        """Return where an evaluation's questions are among ``tables``."""
        asked = table.select(_ASKED)
        for place, other in self._asked.get(query, []):
            if other.equals(asked):
                return place
        expected = results.rows(key, columns=("expected",))
        forms = expected["expected"].to_pylist() if expected is not None else [[] for _ in range(table.num_rows)]
        self._asked.setdefault(query, []).append((len(self.tables), asked))
        self.tables.append({"query": query, **asked.to_pydict(), "expected": forms})
        return len(self.tables) - 1


def chosen_cells(results: GridResults, most: Answers) -> tuple[Cell, ...]:
    """Return the cells whose answers a page holds: all, or evenly spaced ones, never picked by outcome.

    Args:
        results: of the grid.
        most: evaluations, or all.
    """
    cells = [c for c in results.plan.cells if any(key in results.records for key in c.evaluations.values())]
    each = max(1, len(results.plan.grid.languages))
    wanted = len(cells) if most == "all" else most // each
    if len(cells) <= wanted:
        return tuple(cells)
    before = [c for c in cells if c.unlearn == "none"]  # beside which the others are shown
    after = [c for c in cells if c.unlearn != "none"]
    left = max(0, wanted - len(before))
    spaced = [after[i * len(after) // left] for i in range(left)]
    kept = {c.name for c in (*before[:wanted], *spaced)}
    return tuple(c for c in cells if c.name in kept)


def answer_blocks(results: GridResults, *, prefix: str, most: Answers) -> Iterator[Block]:
    """Yield the blocks of a grid's answers, and as the last one, ``PREFIXanswers``, what they hold.

    A block holds a few cells. For each query language there are lists over its questions: the different answers, which
    of them each cell gave, and its verdicts (1: hit, 2: in another language, 4: empty or a loop, as a sum).
    """
    cells, questions = chosen_cells(results, most), _Questions()
    where: dict[str, list[int]] = {}
    size = 0
    for number, start in enumerate(range(0, len(cells), _CELLS)):
        some = cells[start : start + _CELLS]
        block = Block(id=f"{prefix}answers-{number}", text=packed(_block(results, some, questions)))
        size += len(block.text)
        if most != "all" and size > BYTES:
            break
        where |= {cell.name: [number, place] for place, cell in enumerate(some)}
        yield block
    yield Block(id=f"{prefix}answers", text=packed({"cells": where, "questions": questions.tables}))


def _block(results: GridResults, cells: Sequence[Cell], questions: _Questions) -> list[dict[str, Any]]:
    groups: dict[int, list[tuple[int, pa.Table]]] = {}
    for place, cell in enumerate(cells):
        for query, key in cell.evaluations.items():
            table = results.rows(key, columns=_COLUMNS) if key in results.records else None
            if table is not None:
                groups.setdefault(questions.place(query, table, results, key), []).append((place, table))
    return [_group(asked, tables) for asked, tables in groups.items()]


def _group(asked: int, tables: list[tuple[int, pa.Table]]) -> dict[str, Any]:
    answers = [pc.utf8_slice_codeunits(table["answer"].fill_null(""), 0, _LONGEST).to_pylist() for _, table in tables]
    different: list[list[str]] = []
    given: list[list[int]] = []
    for texts in zip(*answers, strict=True):
        places: dict[str, int] = {}
        given.append([places.setdefault(text, len(places)) for text in texts])
        different.append(list(places))
    return {
        "asked": asked,
        "cells": [place for place, _ in tables],
        "answers": different,
        "given": given,
        "verdicts": [_verdicts(table) for _, table in tables],
    }


def _verdicts(table: pa.Table) -> str:
    hit, off, empty = (
        np.asarray(table[name].fill_null(False), dtype=np.uint8) for name in ("hit", "off_language", "degenerate")
    )
    return (ord("0") + hit + 2 * off + 4 * empty).astype(np.uint8).tobytes().decode("ascii")
