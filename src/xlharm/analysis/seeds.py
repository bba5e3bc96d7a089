"""Several seeds together: means with intervals over seeds and items, and what it takes to see a difference."""

from dataclasses import dataclass
from itertools import groupby
from statistics import fmean, stdev
from typing import Any

from xlharm.analysis.results import GridResults, once
from xlharm.analysis.statistics import hierarchical_bootstrap, power_two_proportions
from xlharm.analysis.view import View, columns

GUESSED_SD = 0.05
"""Standard deviation between seeds that is taken where none has been measured yet (of rates, as fractions of 1)."""
SEEDS = (1, 2, 3, 5, 10)
RATES = ((0.9, 0.8), (0.5, 0.4), (0.2, 0.1))


@once
def pooled(results: GridResults) -> list[dict[str, Any]]:
    """Return OF and QR of each cell over its seeds, with hierarchical bootstrap intervals over seeds × items.

    ``of_sd`` and ``qr_sd`` are standard deviations between the seeds' rates, in points; null for one seed.
    """
    rows = []
    cells = sorted(results.plan.cells, key=lambda c: (c.contaminate, c.unlearn, c.method))
    for (contaminate, unlearn, method), group in groupby(cells, key=lambda c: (c.contaminate, c.unlearn, c.method)):
        models = list(group)
        for query in models[0].evaluations:
            by_seed = [r for c in models if (r := results.rates_of(c, query))]
            row: dict[str, Any] = {
                "contaminate": contaminate, "unlearn": unlearn, "method": method, "query": query, "seeds": len(by_seed),
            }  # fmt: skip
            for measure in ("of", "qr"):
                rates = [getattr(r, measure) for r in by_seed]
                common = [name for name in (rates[0] if rates else ()) if all(name in r for r in rates)]
                if common:
                    table = [[r[name] for name in common] for r in rates]
                    interval = hierarchical_bootstrap(table, seed=0, resamples=4000)
                    means = [fmean(line) for line in table]
                    row |= {measure: 100 * interval.estimate, f"{measure}_lo": 100 * interval.low}
                    row |= {f"{measure}_hi": 100 * interval.high, "n" if measure == "of" else "n_qr": len(common)}
                    row[f"{measure}_sd"] = 100 * stdev(means) if len(means) > 1 else None
            if "of" in row or "qr" in row:
                rows.append(row)
    return rows


@dataclass(frozen=True, kw_only=True)
class Power:
    """Chances to find a difference of ``points`` with ``n`` questions and some seeds, by the rates compared."""

    n: int
    seeds: int
    chances: tuple[float, ...]


def powers(*, n: int, points: float, sd: float) -> list[Power]:
    """Return the chance (5 % two-sided) to tell two models apart, for a few numbers of seeds and questions.

    Args:
        n: questions of the corpus in a language.
        points: the difference, in points.
        sd: standard deviation between seeds, as a fraction of 1.
    """
    table = []
    for questions in dict.fromkeys((max(10, n // 2), n, 2 * n, 4 * n)):
        for seeds in SEEDS:
            pairs = [(high, max(0.0, high - points / 100)) for high, _ in RATES]
            chances = (power_two_proportions(questions, a, b, seeds=seeds, between_seed_sd=sd) for a, b in pairs)
            table.append(Power(n=questions, seeds=seeds, chances=tuple(chances)))
    return table


def measured_sd(results: GridResults) -> float | None:
    """Return the median standard deviation of OF between seeds over a store's cells; None without two seeds."""
    deviations = sorted(row["of_sd"] for row in pooled(results) if row.get("of_sd") is not None)
    return deviations[len(deviations) // 2] / 100 if deviations else None


def _rows(results: GridResults) -> list[dict[str, Any]]:
    return pooled(results) if len(results.plan.grid.seeds) > 1 else []


VIEW = View(
    name="seeds",
    columns=columns(
        "of", "of_lo", "of_hi", "of_sd", "qr", "qr_lo", "qr_hi", "qr_sd",
        text=("contaminate", "unlearn", "method"), whole=("seeds", "n", "n_qr"),
    ),
    rows=_rows,
)  # fmt: skip
