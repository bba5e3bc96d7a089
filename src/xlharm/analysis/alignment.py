"""Rows of the view `attribution` from the probe `cka`: how alike languages are inside a model, before and after."""

from collections.abc import Iterator
from math import isnan
from statistics import NormalDist
from typing import Any

import numpy as np

from xlharm.analysis.mean_limits import jackknife_error
from xlharm.analysis.results import GridResults
from xlharm.plan.cells import Cell

_Z = NormalDist().inv_cdf(0.975)
MEASURES = {"cka": "cka", "debiased": "cka_debiased"}
"""Columns of the stage's table, and what they are called in the view."""


def alignment_rows(results: GridResults, cell: Cell, probe: str) -> Iterator[dict[str, Any]]:
    """Yield CKA of each pair of languages and layer, and its change against the model before, on the same items."""
    before = results.before(cell)
    for queries, key in cell.probes[probe].items():
        own = results.rows(key)
        earlier = results.rows(before.probes[probe][queries]) if before and probe in before.probes else None
        known = {_place(row): row for row in earlier.to_pylist()} if earlier is not None else {}
        for row in own.to_pylist() if own is not None else ():
            for column, measure in MEASURES.items():
                if isnan(row[column]):  # states that do not vary
                    continue
                yield _row(row, measure, row[column], np.array(row[f"{column}_without"]))
                was = known.get(_place(row))
                if was and was["items"] == row["items"] and not isnan(was[column]):
                    without = np.array(row[f"{column}_without"]) - np.array(was[f"{column}_without"])
                    yield _row(row, f"{measure}_change", row[column] - was[column], without)


def _place(row: dict[str, Any]) -> tuple[int, str, str]:
    return row["layer"], row["language"], row["other"]


def _row(row: dict[str, Any], measure: str, value: float, without: Any) -> dict[str, Any]:
    spread = _Z * jackknife_error(without)
    return {
        "by": "layer", "part": str(row["layer"]), "measure": measure, "query": row["language"], "other": row["other"],
        "items": len(row["items"]), "value": value, "low": value - spread, "high": value + spread,
    }  # fmt: skip
