"""The view `probes`: every probed cell against the same cell asked as usual."""

from typing import Any

from xlharm.analysis.items import ItemRates
from xlharm.analysis.reading import Rate
from xlharm.analysis.results import GridResults
from xlharm.analysis.view import View, columns
from xlharm.errors import CorruptArtifactError
from xlharm.plan.cells import Cell


def _rows(results: GridResults) -> list[dict[str, Any]]:
    rows = []
    for cell in results.plan.cells:
        for probe, evaluations in cell.probes.items():
            for query, key in evaluations.items():
                usual_key = cell.evaluations.get(query)
                asked = results.plan.stages[key].kind == "evaluate"  # a look inside a model has other rows
                if not asked or usual_key is None or not {key, usual_key} <= results.done:
                    continue
                try:
                    probed, usual = results.record(key).metrics, results.record(usual_key).metrics
                except CorruptArtifactError:
                    continue
                rates = results.rates(key)
                if rates:
                    rows.append(_row(cell, probe, query, rates=rates, probed=probed, usual=usual))
    return rows


def _row(
    cell: Cell, probe: str, query: str, *, rates: ItemRates, probed: dict[str, Any], usual: dict[str, Any]
) -> dict[str, Any]:
    row = {
        "cell": cell.name, "contaminate": cell.contaminate, "unlearn": cell.unlearn, "method": cell.method,
        "probe": probe, "seed": cell.seed, "query": query, "n": probed["of"]["n"],
    }  # fmt: skip
    for measure, counted in (("of", rates.of), ("qr", rates.qr)):
        if rate := Rate.of_hits(counted):
            row |= {measure: rate.value, f"{measure}_lo": rate.low, f"{measure}_hi": rate.high}
        if usual[measure]["n"]:  # a form of questions may have more or fewer of them
            row[f"{measure}_usual"] = 100 * usual[measure]["hits"] / usual[measure]["n"]
    return row


VIEW = View(
    name="probes",
    columns=columns(
        "of", "of_lo", "of_hi", "of_usual", "qr", "qr_lo", "qr_hi", "qr_usual",
        text=("cell", "contaminate", "unlearn", "method", "probe"), whole=("seed", "n"),
    ),
    rows=_rows,
    title="Probes",
    sentence=(
        "What is left under attack or in another form of the question; `usual` is the same cell asked as usual."
    ),
)  # fmt: skip
