"""Signatures of failure: what a low OF can hide, and what unlearning left or made worse."""

from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from xlharm.analysis.effects import effects
from xlharm.analysis.reading import DEGENERATE_HIGH, QR_FALL, Reading, Readings
from xlharm.analysis.results import GridResults, once
from xlharm.analysis.view import View
from xlharm.config.grid import NONE
from xlharm.corpus.resources import low_resource
from xlharm.errors import CorruptArtifactError

PERSISTS = 10.0
"""OF from which on (percent) a fake detail counts as still there in a low-resource language."""
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

    ``persistence``: OF of 10 % or more in a low-resource language after unlearning. ``reinforcement``: OF clearly
    higher than before in a language outside the set. ``damage``: QR lost more than 20 % of its value. ``collapse``:
    no fake detail is told because many answers are empty or loop. ``off-language``: many answers are in another
    language than the question. ``barely moved``: the adapter is almost the one before unlearning.
    """
    rose = {(e.cell.name, e.query): e for e in effects(results) if e.verdict == "rose"}
    readings = results.readings
    signs: list[Signature] = []
    for cell in results.plan.cells:
        if cell.unlearn == NONE:
            continue
        signs += _moved(results, cell.name, cell.model)
        for query in cell.evaluations:
            reading = readings.get(cell.contaminate, cell.unlearn, cell.method, cell.seed, query)
            if reading is None:
                continue
            signs += [
                Signature(cell=cell.name, query=query, name=n, detail=d) for n, d in _of_reading(reading, readings)
            ]
            effect = rose.get((cell.name, query))
            if effect and query not in cell.unlearn.split("+"):
                detail = f"OF {effect.before:.0f} to {effect.after:.0f}, p {effect.p_holm:.3f} after Holm"
                signs.append(Signature(cell=cell.name, query=query, name="reinforcement", detail=detail))
    return tuple(signs)


def _of_reading(reading: Reading, readings: Readings) -> list[tuple[str, str]]:
    signs = []
    of = reading.of.value if reading.of else None
    if of is not None and of >= PERSISTS and low_resource(reading.query) and reading.contaminate != NONE:
        signs.append(("persistence", f"OF {of:.0f} in a low-resource language"))
    before = readings.before(reading)
    if before and before.qr and reading.qr and reading.qr.value < (1 - QR_FALL) * before.qr.value:
        signs.append(("damage", f"QR {before.qr.value:.0f} to {reading.qr.value:.0f}"))
    if of == 0 and reading.degenerate is not None and reading.degenerate >= DEGENERATE_HIGH:
        signs.append(("collapse", f"OF 0 with {reading.degenerate:.0f} % empty or looping answers"))
    if reading.off_language is not None and reading.off_language >= OFF_LANGUAGE_HIGH:
        signs.append(("off-language", f"{reading.off_language:.0f} % of the answers are in another language"))
    return signs


def _moved(results: GridResults, cell: str, model: str) -> list[Signature]:
    if model not in results.done:
        return []
    try:
        share = results.record(model).metrics.get("moved_share")
    except CorruptArtifactError:
        return []
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
