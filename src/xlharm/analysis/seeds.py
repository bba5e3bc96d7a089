"""Several seeds together: rates with intervals over seeds and items, and what it takes to see a difference."""

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np

from xlharm.analysis.contrasts import Contrasts, Pair
from xlharm.analysis.items import Hits, ItemRates
from xlharm.analysis.reading import Rate, Reading, Readings
from xlharm.analysis.results import GridResults, once
from xlharm.analysis.statistics import power_two_proportions
from xlharm.analysis.view import View, columns
from xlharm.plan.cells import Cell

GUESSED_SD = 0.05
"""Standard deviation between seeds that is taken where none has been measured yet (of rates, as fractions of 1)."""
SEEDS = (1, 2, 3, 5, 10)
RATES = ((0.9, 0.8), (0.5, 0.4), (0.2, 0.1))


@once
def shown(results: GridResults) -> Readings:
    """Return the readings that tables and pages show: of several seeds those of all seeds together, and each one's."""
    single = results.readings
    if len(results.plan.grid.seeds) < 2:
        return single
    together = (reading for reading, _ in pooled(results))
    return Readings.of([*together, *single.by_place.values()], seeds=results.plan.grid.seeds)


@once
def pooled(results: GridResults) -> list[tuple[Reading, dict[str, float | None]]]:
    """Return the readings over all seeds that are done, and the deviations between their rates.

    A rate's interval takes items and seeds as its units (``analysis.contrasts``). The deviations ``of`` and ``qr`` are
    standard deviations between the seeds' rates, in points; None for one seed.
    """
    groups = list(_by_seed(results))
    hits = [{"of": _hits(seeds, "of"), "qr": _hits(seeds, "qr")} for _, _, seeds in groups]
    pairs = {(i, m): pair for i, some in enumerate(hits) for m in some if (pair := Pair.of_hits(some[m]))}
    rates = dict(zip(pairs, _rates(list(pairs.values())), strict=True))
    readings = []
    for i, (cell, query, seeds) in enumerate(groups):
        deviations = {
            m: 100 * float(np.std([h.rate for h in some], ddof=1)) if len(some) > 1 else None
            for m, some in hits[i].items()
        }
        singles = [results.readings.get(c.contaminate, c.unlearn, c.method, c.seed, query) for c, _ in seeds]
        reading = Reading(
            contaminate=cell.contaminate, unlearn=cell.unlearn, method=cell.method, seed=None, query=query,
            of=rates.get((i, "of")), qr=rates.get((i, "qr")), seeds=len(seeds),
            off_language=_mean(r.off_language for r in singles if r),
            degenerate=_mean(r.degenerate for r in singles if r),
        )  # fmt: skip
        readings.append((reading, deviations))
    return readings


def _rates(pairs: list[Pair]) -> Iterator[Rate]:
    contrasts = Contrasts.of(pairs)
    lows, highs = contrasts.limits()
    for pair, *bounds in zip(pairs, contrasts.estimate.tolist(), lows.tolist(), highs.tolist(), strict=True):
        value, low, high = (100 * x for x in bounds)
        questions = pair.first_questions
        yield Rate(value=value, low=low, high=high, n=int(questions.sum()), items=len(questions))


_Seeds = list[tuple[Cell, ItemRates]]


def _by_seed(results: GridResults) -> Iterator[tuple[Cell, str, _Seeds]]:
    """Yield each cell without its seed and each query language, with what is done of its seeds."""
    groups: dict[tuple[str, str, str], list[Cell]] = {}
    for cell in results.plan.cells:
        groups.setdefault((cell.contaminate, cell.unlearn, cell.method), []).append(cell)
    for cells in groups.values():
        for query in cells[0].evaluations:
            seeds = [
                (c, r) for c in cells if c.evaluations[query] in results.records and (r := results.rates_of(c, query))
            ]
            if seeds:
                yield cells[0], query, seeds


def _hits(seeds: _Seeds, measure: str) -> list[Hits]:
    return [hits for _, rates in seeds if (hits := rates.of if measure == "of" else rates.qr)]


def _mean(values: Iterator[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


@dataclass(frozen=True, kw_only=True)
class Power:
    """Chances to find a difference of ``points`` with ``n`` items and some seeds, by the rates compared."""

    n: int
    seeds: int
    chances: tuple[float, ...]


def powers(*, n: int, points: float, sd: float) -> list[Power]:
    """Return the chance (5 % two-sided) to tell two models apart, for a few numbers of seeds and items.

    An item counts once, whatever its number of questions: they add little where answers on one item agree.

    Args:
        n: items of the corpus.
        points: the difference, in points.
        sd: standard deviation between seeds, as a fraction of 1.
    """
    table = []
    for items in dict.fromkeys((max(10, n // 2), n, 2 * n, 4 * n)):
        for seeds in SEEDS:
            pairs = [(high, max(0.0, high - points / 100)) for high, _ in RATES]
            chances = (power_two_proportions(items, a, b, seeds=seeds, between_seed_sd=sd) for a, b in pairs)
            table.append(Power(n=items, seeds=seeds, chances=tuple(chances)))
    return table


def measured_sd(results: GridResults) -> float | None:
    """Return the median standard deviation of OF between seeds over a store's cells; None without two seeds."""
    deviations = sorted(sd["of"] for _, sd in pooled(results) if sd["of"] is not None)
    return deviations[len(deviations) // 2] / 100 if deviations else None


def _rows(results: GridResults) -> list[dict[str, Any]]:
    if len(results.plan.grid.seeds) < 2:
        return []
    rows = []
    for reading, deviations in pooled(results):
        row: dict[str, Any] = {
            name: getattr(reading, name) for name in ("contaminate", "unlearn", "method", "query", "seeds")
        }
        for measure, rate, n in (("of", reading.of, "n"), ("qr", reading.qr, "n_qr")):
            if rate:
                row |= {measure: rate.value, f"{measure}_lo": rate.low, f"{measure}_hi": rate.high, n: rate.n}
                row |= {f"{measure}_sd": deviations[measure], "items" if n == "n" else "items_qr": rate.items}
        rows.append(row)
    return rows


VIEW = View(
    name="seeds",
    columns=columns(
        "of", "of_lo", "of_hi", "of_sd", "qr", "qr_lo", "qr_hi", "qr_sd",
        text=("contaminate", "unlearn", "method"), whole=("seeds", "n", "items", "n_qr", "items_qr"),
    ),
    rows=_rows,
)  # fmt: skip
