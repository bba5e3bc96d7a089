"""Verdicts item by item: what paired comparisons are made of."""

from dataclasses import dataclass
from statistics import fmean
from typing import Self

import pyarrow as pa


@dataclass(frozen=True)
class ItemRates:
    """One evaluation's share of hits, item by item (an item may have several questions).

    Questions on one item are not independent: comparisons resample items, not questions.
    """

    of: dict[str, float]
    qr: dict[str, float]

    @classmethod
    def of_rows(cls, table: pa.Table) -> Self:
        """Count the hits in an evaluation's rows."""
        hits: dict[str, dict[str, list[float]]] = {"of": {}, "qr": {}}
        columns = (table[name].to_pylist() for name in ("measure", "item", "hit"))
        for measure, item, hit in zip(*columns, strict=True):
            hits[measure].setdefault(item, []).append(float(hit))
        means = {measure: {i: fmean(values) for i, values in items.items()} for measure, items in hits.items()}
        return cls(of=means["of"], qr=means["qr"])


def common(one: dict[str, float], other: dict[str, float]) -> tuple[list[float], list[float]]:
    """Return the values of the items that both have, in the same order."""
    names = [name for name in one if name in other]
    return [one[n] for n in names], [other[n] for n in names]
