"""Any two cells against each other: `results --view contrast A B`."""

from typing import Any

import numpy as np
import pyarrow as pa

from xlharm.analysis.contrasts import Contrasts, Pair
from xlharm.analysis.results import GridResults
from xlharm.analysis.statistics import holm
from xlharm.analysis.view import columns, table_of
from xlharm.errors import UserError, nearest
from xlharm.plan.cells import Cell

_COLUMNS = {
    "measure": pa.string(),
    **columns(
        "first", "second", "difference", "difference_lo", "difference_hi", "p", "p_holm",
        text=("a", "b"), whole=("seeds", "items"),
    ),
}  # fmt: skip


def contrast(results: GridResults, first: str, second: str) -> pa.Table:
    """Compare two cells in each query language: OF and QR of the first minus those of the second, in points.

    Pairs are of the same items, and of the same seeds where both have several. The 95 % intervals take items and seeds
    as their units (``analysis.contrasts``); p is two-sided, and corrected after Holm over the query languages of a
    measure.

    Args:
        results: of the grid.
        first: a cell: `contaminate/unlearn/method/seed`; without the seed all seeds; trailing parts may be left out.
        second: another.

    Raises:
        UserError: no such cell, several fit, both are the same, or they have no seed in common.
    """
    one, two = seeds_of(results, first), seeds_of(results, second)
    if [cell.name for cell in one.values()] == [cell.name for cell in two.values()]:
        raise UserError(f"--view contrast {first} {second}: both are the same cell")
    shared = [(one[s], two[s]) for s in one if s in two]
    if not shared:
        raise UserError(f"--view contrast {first} {second}: they have no seed in common")
    rows = [row for measure in ("of", "qr") for row in _rows(results, shared, measure=measure, names=(first, second))]
    return table_of(rows, _COLUMNS)


def seeds_of(results: GridResults, name: str) -> dict[int, Cell]:
    """Return the cells that a name means, by seed.

    Raises:
        UserError: no such cell, or cells that differ in more than the seed.
    """
    parts = name.split("/")
    cells = results.plan.cells
    fitting = [cell for cell in cells if cell.name.split("/")[: len(parts)] == parts]
    kinds = list(dict.fromkeys(cell.name.rpartition("/")[0] for cell in fitting))
    if len(kinds) == 1:
        return {cell.seed: cell for cell in fitting}
    known = list(dict.fromkeys(cell.name.rpartition("/")[0] for cell in cells))
    if kinds:
        raise UserError(f"cell {name!r}: several fit: {', '.join(kinds[:6])}")
    raise UserError(
        f"cell {name!r}: no such cell; expected contaminate/unlearn/method, as {known[0]}{nearest(name, known)}"
    )


def _rows(
    results: GridResults, shared: list[tuple[Cell, Cell]], *, measure: str, names: tuple[str, str]
) -> list[dict[str, Any]]:
    queries = [q for q in shared[0][0].evaluations if q in shared[0][1].evaluations]
    pairs = {q: pair for q in queries if (pair := _pair(results, shared, query=q, measure=measure))}
    contrasts = Contrasts.of(list(pairs.values()))
    low, high = contrasts.limits()
    p = np.minimum(1.0, 2 * np.minimum(contrasts.p_above(0.0), contrasts.p_below(0.0))).tolist()
    p_holm = holm(p)
    numbers = np.stack([contrasts.first, contrasts.second, contrasts.estimate, low, high], axis=1) * 100
    return [
        {
            "a": names[0], "b": names[1], "measure": measure.upper(), "query": query,
            "seeds": int(contrasts.seeds[i]), "items": int(contrasts.items[i]),
            **dict(zip(("first", "second", "difference", "difference_lo", "difference_hi"), values, strict=True)),
            "p": p[i], "p_holm": p_holm[i],
        }
        for i, (query, values) in enumerate(zip(pairs, numbers.tolist(), strict=True))
    ]  # fmt: skip


def _pair(results: GridResults, shared: list[tuple[Cell, Cell]], *, query: str, measure: str) -> Pair | None:
    rates = [(results.rates_of(a, query), results.rates_of(b, query)) for a, b in shared]
    hits = [(getattr(a, measure), getattr(b, measure)) for a, b in rates if a and b]
    known = [(a, b) for a, b in hits if a and b]
    return Pair.of_hits([a for a, _ in known], [b for _, b in known]) if known else None
