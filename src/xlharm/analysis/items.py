"""Verdicts item by item: what paired comparisons are made of."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from statistics import fmean

import pyarrow.parquet as pq

from xlharm.errors import CorruptArtifactError
from xlharm.plan.build import Plan
from xlharm.plan.cells import Cell
from xlharm.store.store import Store


@dataclass(frozen=True)
class ItemRates:
    """One evaluation's share of hits, item by item (an item may have several questions).

    Questions on one item are not independent: comparisons resample items, not questions.
    """

    of: dict[str, float]
    qr: dict[str, float]


@dataclass
class Items:
    """The item rates of a grid's finished evaluations, read on demand and kept."""

    plan: Plan
    store: Store
    _kept: dict[str, ItemRates | None] = field(default_factory=dict)

    def of_stage(self, key: str) -> ItemRates | None:
        """Return an evaluation's item rates; None when it is missing or damaged."""
        if key not in self._kept:
            self._kept[key] = self._read(key)
        return self._kept[key]

    def of_cell(self, cell: Cell, query: str) -> ItemRates | None:
        """Return a cell's item rates in a query language."""
        return self.of_stage(cell.evaluations[query])

    def before(self, cell: Cell) -> Cell | None:
        """Return the cell that is the same model before unlearning; None for itself, or when the grid has none."""
        if cell.unlearn == "none":
            return None
        same = (c for c in self.plan.cells if c.unlearn == "none")
        return next((c for c in same if (c.contaminate, c.seed) == (cell.contaminate, cell.seed)), None)

    def control(self, seed: int) -> Cell | None:
        """Return the clean control of a seed: trained alike, without the fake articles."""
        clean = (c for c in self.plan.cells if (c.contaminate, c.unlearn, c.seed) == ("none", "none", seed))
        return next(clean, None)

    def pairs(self) -> Iterator[tuple[Cell, Cell]]:
        """Yield every cell that has unlearned with its model before."""
        for cell in self.plan.cells:
            before = self.before(cell)
            if before is not None:
                yield before, cell

    def _read(self, key: str) -> ItemRates | None:
        try:
            rows = pq.read_table(self.store.path("evaluate", key) / "rows.parquet").to_pylist()
        except (CorruptArtifactError, OSError, ValueError):
            return None
        found: dict[str, dict[str, list[float]]] = {"of": {}, "qr": {}}
        for row in rows:
            found[row["measure"]].setdefault(row["item"], []).append(float(row["hit"]))
        means = {m: {item: fmean(hits) for item, hits in mine.items()} for m, mine in found.items()}
        return ItemRates(of=means["of"], qr=means["qr"])


def common(one: dict[str, float], other: dict[str, float]) -> tuple[list[float], list[float]]:
    """Return the values of the items that both have, in the same order."""
    names = [name for name in one if name in other]
    return [one[n] for n in names], [other[n] for n in names]
