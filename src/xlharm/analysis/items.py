"""Verdicts item by item: what intervals and paired comparisons are made of."""

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
        counts: dict[str, dict[str, list[int]]] = {"of": {}, "qr": {}}
        columns = (table[name].to_pylist() for name in ("measure", "item", "hit"))
        for measure, item, hit in zip(*columns, strict=True):
            if hit is not None:
                counted = counts[measure].setdefault(item, [0, 0])
                counted[0] += hit
                counted[1] += 1
        return cls(of=_hits(counts["of"]), qr=_hits(counts["qr"]))


def _hits(counts: dict[str, list[int]]) -> Hits:
    array = np.array(list(counts.values()), dtype=np.int64).reshape(-1, 2)
    return Hits(tuple(counts), array[:, 0], array[:, 1])


def common(*counted: Hits) -> tuple[Hits, ...]:
    """Return the hits on the items that all of them have, in the same order."""
    first = counted[0].items
    if all(other.items == first for other in counted[1:]):
        return counted
    shared = set(first).intersection(*(other.items for other in counted[1:]))
    names = tuple(name for name in first if name in shared)
    return tuple(other.take(names) for other in counted)
