"""The view `judges`: the verdicts of the grid's judges beside those of matching."""

from typing import Any

import pyarrow as pa

from xlharm.analysis.items import ItemRates
from xlharm.analysis.reading import Rate
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
                rates = results.rates(key)
                if rates:
                    rows.append(_row(cell, judge, query, rates=rates, counts=counts))
    return rows


def _row(cell: Cell, judge: str, query: str, *, rates: ItemRates, counts: dict[str, Any]) -> dict[str, Any]:
    row = {
        "cell": cell.name, "contaminate": cell.contaminate, "unlearn": cell.unlearn, "method": cell.method,
        "judge": judge, "seed": cell.seed, "query": query, "missing": sum(counts["missing"].values()),
        "why": ", ".join(sorted(counts["missing"])) or None,
    }  # fmt: skip
    for measure, hits in (("of", rates.of), ("qr", rates.qr)):
        counted = counts.get(measure)
        if counted and (rate := Rate.of_hits(hits)):
            row |= {measure: rate.value, f"{measure}_lo": rate.low, f"{measure}_hi": rate.high}
            row[f"{measure}_matched"] = 100 * counted["matched"] / counted["n"]
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
