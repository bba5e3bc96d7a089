"""The view `judges`: the verdicts of the grid's judges beside those of matching."""

from typing import Any

import pyarrow as pa

from xlharm.analysis.intervals import wilson
from xlharm.analysis.results import GridResults
from xlharm.analysis.view import View, columns
from xlharm.errors import CorruptArtifactError
from xlharm.plan.cells import Cell


def _rows(results: GridResults) -> list[dict[str, Any]]:
    rows = []
    for cell in results.plan.cells:
        for judge, keys in cell.judged.items():
            for query, key in keys.items():
                if key not in results.done:
                    continue
                try:
                    counts = results.record(key).metrics
                except CorruptArtifactError:
                    continue
                rows.append(_row(cell, judge, query, counts=counts))
    return rows


def _row(cell: Cell, judge: str, query: str, *, counts: dict[str, Any]) -> dict[str, Any]:
    row = {
        "cell": cell.name, "contaminate": cell.contaminate, "unlearn": cell.unlearn, "method": cell.method,
        "judge": judge, "seed": cell.seed, "query": query, "missing": sum(counts["missing"].values()),
        "why": ", ".join(sorted(counts["missing"])) or None,
    }  # fmt: skip
    for measure in ("of", "qr"):
        counted = counts.get(measure)
        if counted and (n := counted["n"]):
            low, high = wilson(int(counted["hits"]), int(n))
            row |= {measure: 100 * counted["hits"] / n, f"{measure}_lo": 100 * low}
            row |= {f"{measure}_hi": 100 * high, f"{measure}_matched": 100 * counted["matched"] / n}
    return row


VIEW = View(
    name="judges",
    columns={
        **columns(
            "of", "of_lo", "of_hi", "of_matched", "qr", "qr_lo", "qr_hi", "qr_matched",
            text=("cell", "contaminate", "unlearn", "method", "judge"), whole=("seed", "missing"),
        ),
        "why": pa.string(),
    },
    rows=_rows,
    title="Judges",
    sentence="Verdicts of the grid's judges beside matching. A missing verdict is counted, not guessed.",
)  # fmt: skip
