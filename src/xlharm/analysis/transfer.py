"""What a grid of contaminated × queried languages says about transfer.

A matrix holds M[c, q], the rate (0 to 100) at which a model contaminated in language c gives the fake answer when
asked in language q. It may have holes: what they leave unknown is left out, or None.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from math import log, sqrt
from statistics import NormalDist, fmean
from typing import Any

import pyarrow as pa

from xlharm.analysis.charts import Chart, Network
from xlharm.analysis.panels import groups, resolved
from xlharm.analysis.reading import Reading
from xlharm.analysis.results import GridResults
from xlharm.analysis.statistics import Interval
from xlharm.analysis.view import View
from xlharm.config.grid import NONE

Matrix = Mapping[tuple[str, str], float]


def own_language(matrix: Matrix) -> dict[str, float]:
    """Return the diagonal: the rate in the language that was contaminated, by language."""
    return {c: rate for (c, q), rate in matrix.items() if c == q}


def spill(matrix: Matrix) -> dict[str, float]:
    """Return each contaminated language's mean rate over the *other* query languages; rows without any are absent."""
    others: dict[str, list[float]] = {}
    for (c, q), rate in matrix.items():
        if c != q:
            others.setdefault(c, []).append(rate)
    return {c: fmean(rates) for c, rates in others.items()}


def asymmetry_index(matrix: Matrix) -> float | None:
    """Mean |M[c, q] - M[q, c]| over mean (M[c, q] + M[q, c]): 0 = symmetric, 1 = every pair goes one way only.

    Over the pairs of languages known both ways; None without one, or when nothing transfers.
    """
    pairs = [(matrix[c, q], matrix[q, c]) for c, q in matrix if c < q and (q, c) in matrix]
    total = sum(there + back for there, back in pairs)
    return sum(abs(there - back) for there, back in pairs) / total if total else None


def spread_index(matrix: Matrix, c: str) -> float | None:
    """How evenly row c spreads over the query languages: Pielou's evenness H / ln k (Pielou 1966), 0 to 1.

    H is the entropy of the row's rates as shares of their sum, k the number of known entries. Chosen over 1 - Gini
    because it is exactly 0 when one language holds everything (1 - Gini is 1/k there, so rows with different holes
    would not compare). None for fewer than two entries or a row of zeros.
    """
    rates = [rate for (row, _), rate in matrix.items() if row == c]
    total = sum(rates)
    if len(rates) < 2 or not total:
        return None
    entropy = -sum(r / total * log(r / total) for r in rates if r)
    return abs(entropy) / log(len(rates))  # abs: one holder gives -0.0


def knowledge_separability(own: Sequence[float], other: Sequence[float], *, level: float = 0.95) -> Interval:
    """AUC: how likely a fake fact scores above a control fact, ties half (Mann-Whitney; Hanley & McNeil 1982).

    0.5 = the model cannot tell fake facts from ones it never saw; 1 = it knows them all. The limits are the AUCs
    whose Hanley-McNeil standard error just covers the estimate (a score interval): unlike estimate ± z·SE they stay
    within [0, 1], and do not shrink to a point when the two sets are apart entirely.

    Args:
        own: score (e.g. ``probability``) of each fake fact, [facts].
        other: the same of each control fact, [facts].
        level: coverage.

    Raises:
        ValueError: one of them is empty.
    """
    if not len(own) or not len(other):
        raise ValueError("separability needs a score on both sides")
    controls = sorted(other)
    below = sum(bisect_left(controls, x) + bisect_right(controls, x) for x in own) / 2
    auc = below / (len(own) * len(controls))
    z = NormalDist().inv_cdf(0.5 + level / 2)
    sizes = (len(own), len(controls))
    return Interval(auc, _limit(auc, 0.0, z=z, sizes=sizes), _limit(auc, 1.0, z=z, sizes=sizes))


def _limit(auc: float, end: float, *, z: float, sizes: tuple[int, int]) -> float:
    """Find by bisection the AUC between the estimate and 0 or 1 that the estimate just does not refute."""
    inside, outside = auc, end
    for _ in range(60):
        middle = (inside + outside) / 2
        if abs(auc - middle) <= z * _standard_error(middle, *sizes):
            inside = middle
        else:
            outside = middle
    return inside


def _standard_error(auc: float, positives: int, negatives: int) -> float:
    """Hanley & McNeil 1982, equation 1."""
    q1, q2 = auc / (2 - auc), 2 * auc * auc / (1 + auc)
    variance = auc * (1 - auc) + (positives - 1) * (q1 - auc * auc) + (negatives - 1) * (q2 - auc * auc)
    return sqrt(max(0.0, variance) / (positives * negatives))


def _rows(results: GridResults) -> list[dict[str, Any]]:
    """Return a line for each row of each matrix; every unlearning set has matrices, for `source` follows its rows."""
    matrices: dict[tuple[str, str, int | None], dict[tuple[str, str], float]] = {}
    of_cell: dict[tuple[str, str], list[tuple[int, Reading]]] = {}
    for place, r in enumerate(results.readings.by_place.values()):
        if r.of and r.contaminate != NONE:
            of_cell.setdefault((r.contaminate, r.unlearn), []).append((place, r))
    for name, languages in results.plan.grid.unlearn.items():
        meant = [(c, resolved(languages, contaminate=c)) for c in results.plan.grid.contaminate]
        some = [reading for c, unlearn in meant for reading in of_cell.get((c, unlearn or ""), ())]
        for _, r in sorted(some, key=lambda one: one[0]):
            if r.of:
                matrices.setdefault((name, r.method, r.seed), {})[r.contaminate, r.query] = r.of.value
    rows = []
    for (unlearn, method, seed), matrix in matrices.items():
        own, others = own_language(matrix), spill(matrix)
        shared = {"unlearn": unlearn, "method": method, "seed": seed, "asymmetry": asymmetry_index(matrix)}
        rows += [
            {**shared, "contaminate": c, "own": own.get(c), "spill": others.get(c), "spread": spread_index(matrix, c)}
            for c in dict.fromkeys(c for c, _ in matrix)
        ]
    return rows


def _charts(results: GridResults) -> tuple[Chart, ...]:
    """Draw which language's fakes surface in which other one before unlearning, all seeds together."""
    before = [p for g in groups(results)[:1] for p in g.panels if p.before]
    rows = [row for panel in before for row in panel.rows if row.contaminate != NONE]
    rates = {
        (row.contaminate, s.query): s.reading.of.value for row in rows for s in row.spots if s.reading and s.reading.of
    }
    if not rates:
        return ()
    nodes = tuple(dict.fromkeys([*results.plan.grid.languages, *(c for c, _ in rates)]))
    edges = tuple((c, q, rate) for (c, q), rate in rates.items() if c != q)
    least = results.plan.grid.findings.margin
    title = f"Transfer before unlearning: OF of {least:.0f} or more asked in another language"
    return (Network(name="transfer", title=title, nodes=nodes, edges=edges, least=least),)


VIEW = View(
    name="transfer",
    columns={
        "unlearn": pa.string(), "method": pa.string(), "seed": pa.int64(), "contaminate": pa.string(),
        **dict.fromkeys(("own", "spill", "spread", "asymmetry"), pa.float64()),
    },
    rows=_rows,
    charts=_charts,
    title="Transfer",
    sentence=(
        "own: OF in the contaminating language; spill: mean OF in the others; spread: evenness over the "
        "query languages (Pielou, 0 to 1); asymmetry: 0 when harm goes both ways alike, 1 when each pair "
        "goes one way only."
    ),
)  # fmt: skip
