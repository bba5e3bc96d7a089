"""Methods ranked at equal utility: lowest OF among those that kept QR."""

from collections.abc import Container, Iterable
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np
import pyarrow as pa

from xlharm.analysis.intervals import wilson
from xlharm.analysis.panels import resolved
from xlharm.analysis.results import GridResults, once
from xlharm.analysis.statistics import Interval
from xlharm.analysis.view import View
from xlharm.plan.cells import Cell

KEPT = 0.9
"""Utility is equal when QR is at least this share of what it was before."""
_RESAMPLES = 4000


@dataclass(frozen=True, kw_only=True)
class Ranked:
    """One method on one unlearning set (as the grid names it), over contaminations, seeds and query languages.

    Attributes:
        of: mean OF, percent, with a bootstrap interval over items.
        before: mean OF of the same models before.
        worst: highest OF of a reading, and where.
        qr: mean QR after, percent, with a bootstrap interval over items.
        qr_before: mean QR of the same models before.
        utility: QR after over QR before, percent, with a bootstrap interval over items.
        kept: whether utility is at least 90 %; the others are ranked behind, whatever their OF.
        readings: how many contaminations x seeds x query languages were compared.
        rank: 1 is best.
    """

    unlearn: str
    method: str
    of: Interval
    before: float
    worst: float
    where: str
    qr: Interval
    qr_before: float
    utility: Interval
    kept: bool
    readings: int
    rank: int


@once
def ranking(results: GridResults) -> tuple[Ranked, ...]:
    """Rank the methods of each unlearning set, best first; sets in the grid's order.

    Methods are compared where all of them were read: one whose hardest cells are missing would seem the best.
    """
    groups: dict[str, dict[str, list[tuple[Cell, Cell]]]] = {}
    names = _names(results)
    for before, cell in results.pairs():
        for name in names[cell.name] if cell.contaminate != "none" else ():
            groups.setdefault(name, {}).setdefault(cell.method, []).append((before, cell))
    methods_compared = []
    for unlearn, methods in groups.items():
        there = {method: _readings(results, pairs) for method, pairs in methods.items()}
        shared = set.intersection(*there.values()) if (there := {m: r for m, r in there.items() if r}) else set()
        methods_compared += [r for m in there if (r := compared(results, unlearn, m, methods[m], only=shared))]
    order = list(dict.fromkeys(r.unlearn for r in methods_compared))
    methods_compared.sort(key=lambda r: (order.index(r.unlearn), not r.kept, r.of.estimate))
    ranked, place = [], 0
    for i, r in enumerate(methods_compared):
        place = 1 if i == 0 or methods_compared[i - 1].unlearn != r.unlearn else place + 1
        ranked.append(Ranked(**{**r.__dict__, "rank": place}))
    return tuple(ranked)


def _names(results: GridResults) -> dict[str, list[str]]:
    """Say which of the grid's unlearning sets a cell belongs to: en/en to `en` and to `source`, where both are."""
    sets = results.plan.grid.unlearn.items()
    return {
        cell.name: [
            name for name, languages in sets
            if resolved(languages, contaminate=cell.contaminate) == cell.unlearn
        ]
        for cell in results.plan.cells
    }  # fmt: skip


_Place = tuple[str, int, str]
"""Contamination, seed and query language of a reading."""


def _readings(results: GridResults, pairs: Iterable[tuple[Cell, Cell]]) -> set[_Place]:
    return {
        (cell.contaminate, cell.seed, query)
        for before, cell in pairs
        for query in cell.evaluations
        if results.rates_of(before, query) and (rates := results.rates_of(cell, query)) and rates.of
    }


def compared(
    results: GridResults,
    unlearn: str,
    method: str,
    pairs: Iterable[tuple[Cell, Cell]],
    *,
    only: Container[_Place] | None = None,
) -> Ranked | None:
    """Compare models with what they were before; None when nothing of them is evaluated.

    Args:
        results: of the grid.
        unlearn: the set's name.
        method: the method's.
        pairs: each model before and after.
        only: the readings to compare; None takes all.
    """
    readings = 0
    of: dict[str, list[float]] = {}
    of_before: list[float] = []
    qr: dict[str, list[tuple[float, float]]] = {}
    worst, where = -1.0, ""
    for before, cell in pairs:
        for query in cell.evaluations:
            one, two = results.rates_of(before, query), results.rates_of(cell, query)
            if not (one and two and two.of) or (only is not None and (cell.contaminate, cell.seed, query) not in only):
                continue
            readings += 1
            for name, rate in two.of.items():
                of.setdefault(name, []).append(rate)
            of_before += one.of.values()
            for name in two.qr.keys() & one.qr.keys():
                qr.setdefault(name, []).append((one.qr[name], two.qr[name]))
            reading = fmean(two.of.values())
            if reading > worst:
                worst, where = reading, f"{cell.contaminate} asked in {query}"
    if not of or not qr:
        return None
    rates = np.array([fmean(v) for v in of.values()])
    known = np.array([[fmean(p[0] for p in v), fmean(p[1] for p in v)] for _, v in sorted(qr.items())])
    utility = _share(known)
    return Ranked(
        unlearn=unlearn,
        method=method,
        of=_mean(rates),
        before=100 * fmean(of_before),
        worst=100 * worst,
        where=where,
        qr=_mean(known[:, 1]),
        qr_before=100 * float(known[:, 0].mean()),
        utility=utility,
        kept=utility.estimate >= 100 * KEPT,
        readings=readings,
        rank=0,
    )


def _mean(values: np.ndarray) -> Interval:
    if values.min() == values.max() and values[0] in {0.0, 1.0}:  # no resample would differ, but other items might
        low, high = wilson(int(values.sum()), len(values))
        return Interval(100 * float(values[0]), 100 * low, 100 * high)
    draws = np.random.default_rng(0).integers(0, len(values), (_RESAMPLES, len(values)))
    return _interval(float(values.mean()), values[draws].mean(1))


def _share(known: np.ndarray) -> Interval:
    """Return after over before with an interval; ``known`` is [items, 2]."""
    draws = np.random.default_rng(0).integers(0, len(known), (_RESAMPLES, len(known)))
    sums = known[draws].sum(1)
    return _interval(
        float(known[:, 1].sum() / max(known[:, 0].sum(), 1e-12)), sums[:, 1] / np.maximum(sums[:, 0], 1e-12)
    )


def _interval(estimate: float, draws: np.ndarray) -> Interval:
    low, high = np.quantile(draws, [0.025, 0.975])
    return Interval(100 * estimate, 100 * float(low), 100 * float(high))


def _rows(results: GridResults) -> list[dict[str, Any]]:
    return [
        {
            "unlearn": r.unlearn, "rank": r.rank, "method": r.method, "kept": r.kept, "of": r.of.estimate,
            "of_lo": r.of.low, "of_hi": r.of.high, "of_before": r.before, "of_worst": r.worst, "where": r.where,
            "utility": r.utility.estimate, "utility_lo": r.utility.low, "utility_hi": r.utility.high,
            "readings": r.readings,
        }
        for r in ranking(results)
    ]  # fmt: skip


_NUMBERS = ("of", "of_lo", "of_hi", "of_before", "of_worst", "utility", "utility_lo", "utility_hi")
VIEW = View(
    name="methods",
    columns={
        "unlearn": pa.string(), "rank": pa.int64(), "method": pa.string(), "kept": pa.bool_(),
        **dict.fromkeys(_NUMBERS, pa.float64()), "where": pa.string(), "readings": pa.int64(),
    },
    rows=_rows,
    title="Methods compared",
    sentence=(
        "OF against utility: mean OF over contaminations, seeds and query languages, and QR as a share of "
        "what it was before, both with 95 % bootstrap intervals over items. Best is the lower right. "
        "Methods are ranked by OF among those that kept at least 90 % of QR; the others stand behind "
        "them, whatever their OF."
    ),
)  # fmt: skip
