"""Kinds of harm against each other: `xlharm compare --view harms A B …`, by the measure of each corpus."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa

from xlharm.analysis.claims import ALL
from xlharm.analysis.contrasts import Apart, Contrasts, Pair
from xlharm.analysis.harms import hits_of, measure_of
from xlharm.analysis.items import Hits, summed
from xlharm.analysis.results import GridResults
from xlharm.analysis.statistics import holm
from xlharm.analysis.study import ENGLISH, set_name
from xlharm.analysis.view import columns
from xlharm.config.grid import NONE, SOURCE

OTHER = "other"
ASKED = (SOURCE, ENGLISH, OTHER, ALL)
"""In which languages is asked: the contamination language, English, all others, all of them."""
COLUMNS: dict[str, pa.DataType] = {
    **columns(
        "before", "after", "difference", "difference_lo", "difference_hi", "p", "p_holm",
        "apart", "apart_lo", "apart_hi", "p_apart",
        text=("grid", "harm", "measure", "unlearn", "method", "asked"), whole=("places", "seeds", "items"),
    ),
    "change": pa.string(), "verdict": pa.string(),
}  # fmt: skip
del COLUMNS["query"]
_Sides = tuple[Hits, Hits]


@dataclass(frozen=True)
class _Row:
    """What is compared: an unlearning set (`none`: contamination), a method, and in which languages is asked."""

    unlearn: str
    method: str
    asked: str


@dataclass(frozen=True)
class _Change:
    """A rate before and after, over all places of a row."""

    places: int
    pair: Pair


def harm_rows(
    grids: Sequence[GridResults], *, labels: Sequence[str], methods: Sequence[Mapping[str, str]]
) -> Iterator[dict[str, Any]]:
    """Return each grid's changes, and whether they agree with those of the first grid.

    Without unlearning, ``before`` is the clean control's rate and ``after`` the contaminated model's: how far the harm
    spreads. With a set, both are of contaminated models, before unlearning and after. Places are put together item by
    item, so an item that is asked in nine languages is still one item. p is two-sided, and corrected after Holm over
    the languages that are asked in.

    ``apart`` is the change minus the first grid's: they ``agree`` where it is shown to be within ``findings.margin``
    points of 0, and ``differ`` where it is shown not to be 0 (corrected in the same way). Other items are independent.

    Args:
        grids: the grids.
        labels: their names.
        methods: for each grid, the first grid's name of a method of another name.
    """
    findings = grids[0].plan.grid.findings
    first: dict[_Row, Contrasts] = {}
    for i, (results, label, names) in enumerate(zip(grids, labels, methods, strict=True)):
        changes = _changes(results, names)
        about = {"grid": label, "harm": results.plan.sources.corpus.harm, "measure": measure_of(results)}
        for family in _families(changes):
            each = {row: Contrasts.of([changes[row].pair]) for row in family}
            corrected = holm([_two_sided(one) for one in each.values()])
            known = [row for row in family if i and row in first]
            aparts = {row: Apart(first[row], each[row]) for row in known}
            apart_p = dict(zip(known, holm([_two_sided(one) for one in aparts.values()]), strict=True))
            for row, p_holm in zip(family, corrected, strict=True):
                numbers = _numbers(changes[row], each[row], p_holm=p_holm, level=findings.level)
                if row in aparts:
                    against = _against(aparts[row], p=apart_p[row], margin=findings.margin / 100, level=findings.level)
                    numbers |= against
                yield {**about, "unlearn": row.unlearn, "method": row.method, "asked": row.asked, **numbers}
            if i == 0:
                first |= each


def _changes(results: GridResults, names: Mapping[str, str]) -> dict[_Row, _Change]:
    """Put a grid's places together: by set, method, and whether is asked in the source, in English or in others."""
    measure = measure_of(results)
    hits = cache(lambda name, query: hits_of(results, cells[name], query, measure=measure))
    cells = {cell.name: cell for cell in results.plan.cells}
    places: dict[_Row, dict[tuple[str, str], dict[int, _Sides]]] = {}
    for cell in results.plan.cells:
        earlier = results.control(cell.seed) if cell.unlearn == NONE else results.before(cell)
        if cell.contaminate == NONE or earlier is None:
            continue
        unlearn = NONE if cell.unlearn == NONE else set_name(set(cell.unlearn.split("+")), cell.contaminate)
        for query in cell.evaluations:
            before, after = hits(earlier.name, query), hits(cell.name, query)
            if before is None or after is None:
                continue
            group = SOURCE if query == cell.contaminate else ENGLISH if query == ENGLISH else OTHER
            for asked in (group, ALL):
                row = _Row(unlearn, names.get(cell.method, cell.method), asked)
                of_row = places.setdefault(row, {})
                of_row.setdefault((cell.contaminate, query), {})[cell.seed] = (before, after)
    return {row: change for row, of_row in places.items() if (change := _pooled(list(of_row.values())))}


def _pooled(places: Sequence[Mapping[int, _Sides]]) -> _Change | None:
    """Sum an item's questions over places, on the seeds that all of them have; None where there is none."""
    seeds = [seed for seed in places[0] if all(seed in place for place in places)]
    sides = [[summed([place[seed][side] for place in places]) for seed in seeds] for side in (0, 1)]
    pair = Pair.of_hits(sides[1], sides[0]) if seeds and all(map(all, sides)) else None
    return _Change(len(places), pair) if pair else None


def _families(changes: Mapping[_Row, _Change]) -> list[list[_Row]]:
    """Group rows by set and method, each in the order of ``ASKED``."""
    families: dict[tuple[str, str], list[_Row]] = {}
    for row in changes:
        families.setdefault((row.unlearn, row.method), []).append(row)
    return [sorted(family, key=lambda row: ASKED.index(row.asked)) for family in families.values()]


def _two_sided(contrast: Contrasts | Apart) -> float:
    return float(min(1.0, 2 * np.minimum(contrast.p_above(0.0), contrast.p_below(0.0))[0]))


def _numbers(change: _Change, contrast: Contrasts, *, p_holm: float, level: float) -> dict[str, Any]:
    low, high = contrast.limits()
    difference = 100 * float(contrast.estimate[0])
    clear = p_holm < level and difference != 0
    return {
        "places": change.places, "seeds": int(contrast.seeds[0]), "items": int(contrast.items[0]),
        "before": 100 * float(contrast.second[0]), "after": 100 * float(contrast.first[0]),
        "difference": difference, "difference_lo": 100 * float(low[0]), "difference_hi": 100 * float(high[0]),
        "p": _two_sided(contrast), "p_holm": p_holm,
        "change": ("rose" if difference > 0 else "fell") if clear else "no clear change",
    }  # fmt: skip


def _against(apart: Apart, *, p: float, margin: float, level: float) -> dict[str, Any]:
    low, high = apart.limits()
    near = float(max(apart.p_above(-margin)[0], apart.p_below(margin)[0]))
    verdict = "agree" if near < level else "differ" if p < level else "cannot be decided"
    return {
        "apart": 100 * float(apart.estimate[0]), "apart_lo": 100 * float(low[0]), "apart_hi": 100 * float(high[0]),
        "p_apart": p, "verdict": verdict,
    }  # fmt: skip
