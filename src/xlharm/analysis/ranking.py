"""Methods ranked at equal utility: lowest OF among those that kept QR, and how far each is from the best."""

from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from xlharm.analysis.charts import Chart, Point, Scatter, with_front
from xlharm.analysis.contrasts import Contrasts, Pair, ratios
from xlharm.analysis.items import Hits, common
from xlharm.analysis.panels import resolved
from xlharm.analysis.results import GridResults, once
from xlharm.analysis.statistics import Interval, holm
from xlharm.analysis.view import View
from xlharm.plan.cells import Cell

KEPT = 0.9
"""Utility is equal when QR is at least this share of what it was before."""
_Shares = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Ranked:
    """One method on one unlearning set (as the grid names it), over contaminations, seeds and query languages.

    Attributes:
        of: mean OF, percent, with a 95 % interval over items and seeds (``analysis.contrasts``).
        before: mean OF of the same models before.
        worst: highest OF of a reading, and where.
        qr: mean QR after, percent, alike.
        qr_before: mean QR of the same models before.
        utility: QR after over QR before, percent, alike (Fieller 1954).
        kept: whether utility is at least 90 %; the others are ranked behind, whatever their OF.
        readings: how many contaminations x seeds x query languages were compared.
        rank: 1 is best.
        against_best: OF minus that of the set's best method in points, paired by item and seed; None for itself.
        p_against_best: two-sided, after Holm over the set's methods.
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
    against_best: Interval | None = None
    p_against_best: float | None = None
    shares: "_ByItem | None" = field(default=None, repr=False)


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
    gathered = []
    for unlearn, methods in groups.items():
        there = {method: _readings(results, pairs) for method, pairs in methods.items()}
        shared = set.intersection(*there.values()) if (there := {m: r for m, r in there.items() if r}) else set()
        gathered += [g for m in there if (g := _gathered(results, unlearn, m, methods[m], only=shared))]
    methods_compared = _ranked(gathered)
    order = list(dict.fromkeys(r.unlearn for r in methods_compared))
    methods_compared.sort(key=lambda r: (order.index(r.unlearn), not r.kept, r.of.estimate))
    by_set = ([r for r in methods_compared if r.unlearn == name] for name in order)
    return tuple(r for ranked in by_set for r in _against_best(ranked))


def _against_best(methods: list[Ranked]) -> Iterator[Ranked]:
    """Yield a set's methods, best first, with their ranks and their differences from the best."""
    best, *others = methods
    yield replace(best, rank=1)
    pairs = {r.method: pair for r in others if r.shares and best.shares and (pair := r.shares.pair(best.shares))}
    contrasts = Contrasts.of(list(pairs.values()))
    bounds = dict(zip(pairs, _intervals(contrasts), strict=True))
    one_sided = np.minimum(contrasts.p_above(0.0), contrasts.p_below(0.0))
    p = dict(zip(pairs, holm(np.minimum(1.0, 2 * one_sided).tolist()), strict=True))
    for rank, r in enumerate(others, start=2):
        yield replace(r, rank=rank, against_best=bounds.get(r.method), p_against_best=p.get(r.method))


def _names(results: GridResults) -> dict[str, list[str]]:
    """Say which of the grid's unlearning sets a cell belongs to: en/en to `en` and to `source`, where both are."""
    names: dict[tuple[str, str | None], list[str]] = {}
    for name, languages in results.plan.grid.unlearn.items():
        for contaminate in results.plan.grid.contaminate:
            names.setdefault((contaminate, resolved(languages, contaminate=contaminate)), []).append(name)
    return {cell.name: names.get((cell.contaminate, cell.unlearn), []) for cell in results.plan.cells}


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
    gathered = _gathered(results, unlearn, method, pairs, only=only)
    return _ranked([gathered])[0] if gathered else None


@dataclass(frozen=True, kw_only=True)
class _Gathered:
    """The readings of one method on one set."""

    unlearn: str
    method: str
    of: "_ByItem"
    of_rate: Pair
    qr_rate: Pair
    known: Pair
    before: float
    worst: float
    where: str
    readings: int


def _gathered(
    results: GridResults,
    unlearn: str,
    method: str,
    pairs: Iterable[tuple[Cell, Cell]],
    *,
    only: Container[_Place] | None,
) -> _Gathered | None:
    of, of_before, qr, qr_before = (_ByItem() for _ in range(4))
    readings, worst, where = 0, -1.0, ""
    for before, cell in pairs:
        for query in cell.evaluations:
            one, two = results.rates_of(before, query), results.rates_of(cell, query)
            if not (one and two and two.of) or (only is not None and (cell.contaminate, cell.seed, query) not in only):
                continue
            readings += 1
            of.add(cell.seed, two.of)
            of_before.add(cell.seed, one.of)
            after, earlier = common(two.qr, one.qr)
            qr.add(cell.seed, after)
            qr_before.add(cell.seed, earlier)
            if two.of.rate > worst:
                worst, where = two.of.rate, f"{cell.contaminate} asked in {query}"
    known, of_rate, qr_rate = qr.pair(qr_before), of.pair(), qr.pair()
    if of_rate is None or qr_rate is None or known is None or known.second is None:
        return None
    return _Gathered(
        unlearn=unlearn, method=method, of=of, of_rate=of_rate, qr_rate=qr_rate, known=known,
        before=100 * of_before.mean, worst=100 * worst, where=where, readings=readings,
    )  # fmt: skip


def _ranked(some: Sequence[_Gathered]) -> list[Ranked]:
    """Compute the intervals of all methods together."""
    of_rates = _intervals(Contrasts.of([one.of_rate for one in some]))
    qr_rates = _intervals(Contrasts.of([one.qr_rate for one in some]))
    utilities = [Interval(*(100 * x for x in ratio)) for ratio in ratios([one.known for one in some])]
    return [
        Ranked(
            unlearn=one.unlearn, method=one.method, of=of, before=one.before, worst=one.worst, where=one.where, qr=qr,
            qr_before=100 * float(np.mean(one.known.second)) if one.known.second is not None else 0.0,
            utility=utility, kept=utility.estimate >= 100 * KEPT, readings=one.readings, rank=0, shares=one.of,
        )
        for one, of, qr, utility in zip(some, of_rates, qr_rates, utilities, strict=True)
    ]  # fmt: skip


class _ByItem:
    """Shares of hits by seed and item, as means over readings; tables hold their sums and numbers, [2, items]."""

    def __init__(self) -> None:
        self.items: dict[str, int] = {}
        self.tables: dict[int, _Shares] = {}
        self._places: dict[tuple[str, ...], npt.NDArray[np.int64]] = {}

    def add(self, seed: int, hits: Hits) -> None:
        """Add one reading."""
        if hits.items not in self._places:
            places = [self.items.setdefault(name, len(self.items)) for name in hits.items]
            self._places[hits.items] = np.array(places, dtype=np.int64)
            missing = [(s, len(self.items) - t.shape[1]) for s, t in self.tables.items()]
            self.tables |= {s: np.pad(self.tables[s], ((0, 0), (0, more))) for s, more in missing if more}
        table = self.tables.setdefault(seed, np.zeros((2, len(self.items))))
        places_of = self._places[hits.items]  # of different items, so none is added twice
        table[0, places_of] += hits.shares
        table[1, places_of] += 1

    @property
    def mean(self) -> float:
        """The mean over readings of all items."""
        sums = np.sum([table.sum(1) for table in self.tables.values()], axis=0) if self.tables else np.zeros(2)
        return float(sums[0]) / max(float(sums[1]), 1.0)

    def pair(self, other: "_ByItem | None" = None) -> Pair | None:
        """Return the shares, alone or beside others, on the seeds and items that all have; None without any."""
        some = [self, *([other] if other else [])]
        seeds = [seed for seed in self.tables if all(seed in one.tables for one in some)]
        if not seeds:
            return None
        names = [n for n in self.items if all(one.has(n, seeds) for one in some)]
        if not names:
            return None
        shares = [one.means(names, seeds) for one in some]
        return Pair(shares[0], np.ones(len(names)), *((shares[1], np.ones(len(names))) if other else ()))

    def has(self, name: str, seeds: list[int]) -> bool:
        """Whether an item was read with each of these seeds."""
        place = self.items.get(name)
        return place is not None and all(self.tables[seed][1, place] > 0 for seed in seeds)

    def means(self, names: list[str], seeds: list[int]) -> _Shares:
        """Return the items' mean shares, [seeds, items]."""
        places = [self.items[name] for name in names]
        tables = np.stack([self.tables[seed][:, places] for seed in seeds])  # [seeds, 2, items]
        means: _Shares = tables[:, 0] / tables[:, 1]
        return means


def _intervals(contrasts: Contrasts) -> list[Interval]:
    """Return estimates in percent with their 95 % intervals."""
    return [Interval(*row) for row in (np.stack([contrasts.estimate, *contrasts.limits()], axis=1) * 100).tolist()]


def _rows(results: GridResults) -> list[dict[str, Any]]:
    return [
        {
            "unlearn": r.unlearn, "rank": r.rank, "method": r.method, "kept": r.kept, "of": r.of.estimate,
            "of_lo": r.of.low, "of_hi": r.of.high, "of_before": r.before, "of_worst": r.worst, "where": r.where,
            "utility": r.utility.estimate, "utility_lo": r.utility.low, "utility_hi": r.utility.high,
            "readings": r.readings, "against_best": r.against_best and r.against_best.estimate,
            "against_best_lo": r.against_best and r.against_best.low,
            "against_best_hi": r.against_best and r.against_best.high, "p_against_best": r.p_against_best,
        }
        for r in ranking(results)
    ]  # fmt: skip


def _charts(results: GridResults) -> tuple[Chart, ...]:
    """Draw OF against utility for each unlearning set with at least two methods, with the Pareto front."""
    by_set: dict[str, list[Ranked]] = {}
    for ranked in ranking(results):
        by_set.setdefault(ranked.unlearn, []).append(ranked)
    return tuple(
        Scatter(
            name=f"methods-{unlearn}", title=f"OF against utility, unlearning set {unlearn}",
            x_axis="QR kept, % of before", y_axis="OF, %", points=with_front(map(_point, some)), limit=100 * KEPT,
        )
        for unlearn, some in by_set.items()
        if len(some) > 1
    )  # fmt: skip


def _point(ranked: Ranked) -> Point:
    of, utility = ranked.of, ranked.utility
    return Point(
        label=ranked.method, x=utility.estimate, x_low=utility.low, x_high=utility.high, y=of.estimate, y_low=of.low,
        y_high=of.high, good=ranked.kept,
    )  # fmt: skip


_NUMBERS = ("of", "of_lo", "of_hi", "of_before", "of_worst", "utility", "utility_lo", "utility_hi")
_AGAINST = ("against_best", "against_best_lo", "against_best_hi", "p_against_best")
VIEW = View(
    name="methods",
    columns={
        "unlearn": pa.string(), "rank": pa.int64(), "method": pa.string(), "kept": pa.bool_(),
        **dict.fromkeys(_NUMBERS, pa.float64()), "where": pa.string(), "readings": pa.int64(),
        **dict.fromkeys(_AGAINST, pa.float64()),
    },
    rows=_rows,
    charts=_charts,
    title="Methods compared",
    sentence=(
        "OF against utility: mean OF over contaminations, seeds and query languages, and QR as a share of "
        "what it was before, both with 95 % intervals over items and seeds. Best is the lower right. "
        "Methods are ranked by OF among those that kept at least 90 % of QR; the others stand behind "
        "them, whatever their OF. against best: OF minus the best method's in points, paired by item and seed, "
        "p after Holm over the set's methods."
    ),
)  # fmt: skip
