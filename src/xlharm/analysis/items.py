"""Verdicts item by item: what intervals and paired comparisons are made of."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

_Counts = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Hits:
    """The hits of one measure, item by item.

    Questions on one item are not independent: intervals and comparisons take the item as their unit.

    Attributes:
        items: names, in the order of the questions.
        hits: of each item, [items].
        questions: of each item, [items].
    """

    items: tuple[str, ...]
    hits: _Counts
    questions: _Counts

    def __bool__(self) -> bool:
        """Whether there is a question."""
        return bool(self.items)

    @cached_property
    def shares(self) -> npt.NDArray[np.float64]:
        """Each item's share of hits, 0 to 1, [items]."""
        return self.hits / self.questions

    @property
    def rate(self) -> float:
        """The share of hits among all questions, 0 to 1; there must be questions."""
        return float(self.hits.sum() / self.questions.sum())

    def take(self, names: tuple[str, ...]) -> Self:
        """Return the hits of the named items alone, in that order."""
        if names == self.items:
            return self
        place = {name: i for i, name in enumerate(self.items)}
        chosen = np.array([place[name] for name in names], dtype=np.int64)
        return type(self)(names, self.hits[chosen], self.questions[chosen])


@dataclass(frozen=True, eq=False)
class ItemRates:
    """One evaluation's hits, by measure and item."""

    of: Hits
    qr: Hits

    @classmethod
    def of_rows(cls, table: pa.Table) -> Self:
        """Count the hits in an evaluation's rows; rows without a verdict are left out."""
        of, qr = _layouts(table.select(("measure", "item")))
        hits = table["hit"].to_pylist()
        known = np.array([hit is not None for hit in hits], dtype=bool)
        counted = np.array(hits, dtype=bool)  # a hit that is not known is none
        return cls(of=_hits(of, known=known, hits=counted), qr=_hits(qr, known=known, hits=counted))


@dataclass(frozen=True, eq=False)
class _Layout:
    """Which rows of an evaluation are a measure's, and the item of each."""

    items: tuple[str, ...]
    rows: _Counts
    item: _Counts


_known: deque[tuple[pa.Table, tuple[_Layout, _Layout]]] = deque(maxlen=64)
"""The last layouts: evaluations in one language, and mostly those in all, ask about the same items."""


def _layouts(asked: pa.Table) -> tuple[_Layout, _Layout]:
    """Return how the rows of an evaluation are arranged, from their measures and items."""
    known = next((layouts for other, layouts in list(_known) if other.equals(asked)), None)
    if known is None:
        known = _arranged(asked["measure"].to_pylist(), asked["item"].to_pylist())
        _known.appendleft((asked, known))
    return known


def _arranged(measures: list[str], items: list[str]) -> tuple[_Layout, _Layout]:
    """Arrange rows by measure and item."""
    unknown = set(measures) - {"of", "qr"}
    if unknown:
        raise ValueError(f"unknown measures {sorted(unknown)}")
    layouts = []
    for wanted in ("of", "qr"):
        rows = [i for i, measure in enumerate(measures) if measure == wanted]
        names = tuple(dict.fromkeys(items[i] for i in rows))
        place = {name: i for i, name in enumerate(names)}
        of_rows = np.array([place[items[i]] for i in rows], dtype=np.int64)
        layouts.append(_Layout(names, np.array(rows, dtype=np.int64), of_rows))
    return layouts[0], layouts[1]


def _hits(layout: _Layout, *, known: npt.NDArray[np.bool_], hits: npt.NDArray[np.bool_]) -> Hits:
    rows, item, size = layout.rows, layout.item, len(layout.items)
    questions = np.bincount(item[known[rows]], minlength=size)
    counted = np.bincount(item[hits[rows]], minlength=size)
    if questions.all():
        return Hits(layout.items, counted, questions)
    asked = questions > 0  # rows without a verdict are left out, and items that have no other
    return Hits(tuple(n for n, some in zip(layout.items, asked, strict=True) if some), counted[asked], questions[asked])


def common(*counted: Hits) -> tuple[Hits, ...]:
    """Return the hits on the items that all of them have, in the same order."""
    first = counted[0].items
    if all(other.items == first for other in counted[1:]):
        return counted
    shared = set(first).intersection(*(other.items for other in counted[1:]))
    names = tuple(name for name in first if name in shared)
    return tuple(other.take(names) for other in counted)


def summed(hits: Sequence[Hits]) -> Hits:
    """Return an item's questions in all places together, on the items that all of them have."""
    shared = common(*hits)
    counts = (np.stack([getattr(one, name) for one in shared]).sum(0) for name in ("hits", "questions"))
    return Hits(shared[0].items, *counts)
