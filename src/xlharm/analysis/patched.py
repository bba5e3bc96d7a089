"""Rows of the view `attribution` from the probe `patch`: where the fake answer comes back, and where it is erased."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from xlharm.analysis.mean_limits import of_mean, of_ratio
from xlharm.analysis.results import GridResults
from xlharm.plan.cells import Cell

THRESHOLD = 0.05
"""A layer holds a fake answer if the control's states there cost more than so many nats per token (2605.24614)."""
_Floats = npt.NDArray[np.float64]
_Place = tuple[str, str | None, int | None]
"""Into, source, layer."""


def patched_rows(results: GridResults, cell: Cell, probe: str) -> Iterator[dict[str, Any]]:
    """Yield the rows of a cell's probe, language by language."""
    for query, key in cell.probes[probe].items():
        table = results.rows(key)
        if table is not None and table.num_rows:
            yield from ({"query": query, **row} for row in rows_of(table))


def rows_of(table: pa.Table) -> Iterator[dict[str, Any]]:
    """Yield `restored` and `erased` of every layer and their sums over layers, percent.

    Args:
        table: of a ``patch`` stage.
    """
    logp = _by_place(table)
    depth = 1 + max(layer for _, _, layer in logp if layer is not None)
    after, before = logp["after", None, None], logp["before", None, None]
    for layer in range(depth):
        restored = of_ratio(logp["after", "before", layer] - after, before - after)
        if restored is not None:
            yield _row("layer", str(layer), "restored", *(100 * x for x in restored), items=len(after))
    if ("before", "control", 0) not in logp:
        return
    held = np.stack([before - logp["before", "control", layer] for layer in range(depth)])  # [layers, items]
    taken = np.stack([before - logp["before", "after", layer] for layer in range(depth)])
    erased, scores = erasure(held, taken)
    for layer, of_layer in enumerate(erased):
        if (known := of_layer[~np.isnan(of_layer)]).size:
            yield _row(
                "layer", str(layer), "erased", *(100 * x for x in of_mean(known, low=0, high=1)), items=known.size
            )
    if (known := scores[~np.isnan(scores)]).size:
        yield _row("depth", "", "erased", *(100 * x for x in of_mean(known, low=0, high=1)), items=known.size)


def erasure(held: _Floats, taken: _Floats) -> tuple[_Floats, _Floats]:
    """Return layer erasure ratios [layers, items] and the unlearning depth score of each item (2605.24614).

    The ratio is taken / held, cut to 0 to 1, of layers that hold more than ``THRESHOLD``; the score is the mean of an
    item's ratios, weighted by what the layers hold. Both are nan where no layer holds anything.

    Args:
        held: nats per token that the control's states take from the model before, [layers, items].
        taken: nats per token that the states of the model after take from it, [layers, items].
    """
    holds = held > THRESHOLD
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = np.where(holds, np.clip(taken / held, 0, 1), np.nan)
        weights = np.where(holds, held, 0.0)
        score = np.where(holds, ratio * held, 0.0).sum(0) / weights.sum(0)
    return ratio, score


def _by_place(table: pa.Table) -> dict[_Place, _Floats]:
    """Return log-probabilities per token by patch, [items] each, with the items in one order."""
    found: dict[_Place, list[float]] = {}
    for row in table.to_pylist():
        place = (row["into"], row["source"], row["layer"])
        found.setdefault(place, []).append(row["logp"] / row["tokens"])
    return {place: np.array(values) for place, values in found.items()}


def _row(by: str, part: str, measure: str, value: float, low: float, high: float, *, items: int) -> dict[str, Any]:  # noqa: PLR0917 - an interval is unpacked into it
    return {
        "by": by, "part": part, "measure": measure, "value": value, "low": low, "high": high, "items": items,
    }  # fmt: skip
