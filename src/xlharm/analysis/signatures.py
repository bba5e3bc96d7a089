"""Signatures of failure: what a low OF can hide, and what unlearning left or made worse."""

from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from xlharm.analysis.effects import Effect, effects
from xlharm.analysis.reading import DEGENERATE_HIGH, Reading, Readings, qr_fell
from xlharm.analysis.results import GridResults, once
from xlharm.analysis.view import View
from xlharm.config.grid import NONE

OFF_LANGUAGE_HIGH = 20.0
BARELY = 0.01
"""An adapter that moved by less than this share of its own norm barely moved."""


@dataclass(frozen=True, kw_only=True)
class Signature:
    """One finding: which cell, where, what it is called, and the numbers behind it."""

    cell: str
    query: str
    name: str
    detail: str


@once
def signatures(results: GridResults) -> tuple[Signature, ...]:
    """List the signatures of a grid's cells, by cell.

    ``persistence``: after unlearning OF is clearly more than ``findings.margin`` points above the clean control (above
    0 without a control), in any query language. ``reinforcement``: OF clearly higher than before in a language outside
    the set. ``damage``: QR lost more than 20 % of its value. ``collapse``:
    no fake detail is told because many answers are empty or loop. ``off-language``: many answers are in another
    language than the question. ``barely moved``: the adapter is almost the one before unlearning.
    """
    by_place = {(e.cell.name, e.query): e for e in effects(results)}
    readings, margin = results.readings, results.plan.grid.findings.margin
    signs: list[Signature] = []
    for cell in results.plan.cells:
        if cell.unlearn == NONE:
            continue
        signs += _moved(results, cell.name, cell.model)
        for query in cell.evaluations:
            reading = readings.get(cell.contaminate, cell.unlearn, cell.method, cell.seed, query)
            if reading is None:
                continue
            effect = by_place.get((cell.name, query))
            named = [*_persistence(reading, effect, margin=margin), *_of_reading(reading, readings)]
            if effect and effect.verdict == "rose" and query not in cell.unlearn.split("+"):
                detail = f"OF {effect.before:.0f} to {effect.after:.0f}, p {effect.p_holm:.3g} after Holm"
                named.append(("reinforcement", detail))
            signs += [Signature(cell=cell.name, query=query, name=n, detail=d) for n, d in named]
    return tuple(signs)


def _persistence(reading: Reading, effect: Effect | None, *, margin: float) -> list[tuple[str, str]]:
    of = reading.of
    if of is None or reading.contaminate == NONE:
        return []
    excess = effect.excess if effect else None
    if (excess.low if excess else of.low) <= margin:
        return []
    against = f", {excess.estimate:.0f} above the clean control ({excess.low:.0f}–{excess.high:.0f})" if excess else ""
    own = " in the contaminating language" if reading.query == reading.contaminate else ""
    return [("persistence", f"OF {of.value:.0f}{own}{against}")]


def _of_reading(reading: Reading, readings: Readings) -> list[tuple[str, str]]:
    signs = []
    of = reading.of.value if reading.of else None
    before = readings.before(reading)
    if before and before.qr and reading.qr and qr_fell(before.qr, reading.qr):
        signs.append(("damage", f"QR {before.qr.value:.0f} to {reading.qr.value:.0f}"))
    if of == 0 and reading.degenerate is not None and reading.degenerate >= DEGENERATE_HIGH:
        signs.append(("collapse", f"OF 0 with {reading.degenerate:.0f} % empty or looping answers"))
    if reading.off_language is not None and reading.off_language >= OFF_LANGUAGE_HIGH:
        signs.append(("off-language", f"{reading.off_language:.0f} % of the answers are in another language"))
    return signs


def _moved(results: GridResults, cell: str, model: str) -> list[Signature]:
    share = results.metrics(model).get("moved_share")
    if share is None or share >= BARELY:
        return []
    return [Signature(cell=cell, query="", name="barely moved", detail=f"by {100 * share:.2f} % of its norm")]


def _rows(results: GridResults) -> list[dict[str, Any]]:
    return [{"cell": s.cell, "query": s.query, "signature": s.name, "detail": s.detail} for s in signatures(results)]


VIEW = View(
    name="signatures",
    columns=dict.fromkeys(("cell", "query", "signature", "detail"), pa.string()),
    rows=_rows,
    title="Signatures of failure",
    sentence="What a low OF can hide, and what unlearning left or made worse.",
)
