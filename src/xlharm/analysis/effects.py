"""What unlearning did: OF after minus before, paired item by item, corrected for how many were looked at."""

from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa

from xlharm.analysis.items import common
from xlharm.analysis.results import GridResults, once
from xlharm.analysis.statistics import Interval, holm, paired_bootstrap, permutation_paired
from xlharm.analysis.view import View, columns
from xlharm.plan.cells import Cell

LEVEL = 0.05


@dataclass(frozen=True, kw_only=True)
class Effect:
    """One cell in one query language against its model before unlearning.

    Attributes:
        n: items compared.
        before: OF before, percent.
        after: OF after, percent.
        change: after - before in points, with its paired bootstrap interval over items.
        p: of a paired permutation test over items, two-sided.
        p_holm: the same after Holm's correction over all effects of the grid.
        verdict: ``fell`` or ``rose`` where the corrected p is below 0.05; a rise is *reinforcement*.
    """

    cell: Cell
    query: str
    n: int
    before: float
    after: float
    change: Interval
    p: float
    p_holm: float
    verdict: Literal["fell", "rose", "no clear change"]


@once
def effects(results: GridResults) -> tuple[Effect, ...]:
    """Compare every cell that has unlearned, as far as it is evaluated, in the grid's order."""
    raw = []
    for before, cell in results.pairs():
        for query in cell.evaluations:
            one, two = results.rates_of(before, query), results.rates_of(cell, query)
            if one and two and one.of:
                earlier, later = common(one.of, two.of)
                seed = cell.seed
                change = paired_bootstrap(earlier, later, seed=seed)
                raw.append((cell, query, earlier, later, change, permutation_paired(earlier, later, seed=seed)))
    corrected = holm([entry[-1] for entry in raw])
    return tuple(
        Effect(
            cell=cell,
            query=query,
            n=len(earlier),
            before=100 * sum(earlier) / len(earlier),
            after=100 * sum(later) / len(later),
            change=Interval(*(100 * x for x in change)),
            p=p,
            p_holm=p_holm,
            verdict=_verdict(change.estimate, p_holm),
        )
        for (cell, query, earlier, later, change, p), p_holm in zip(raw, corrected, strict=True)
    )


def _verdict(change: float, p: float) -> Literal["fell", "rose", "no clear change"]:
    if p >= LEVEL or change == 0:
        return "no clear change"
    return "rose" if change > 0 else "fell"


def _rows(results: GridResults) -> list[dict[str, Any]]:
    return [
        {
            "cell": e.cell.name, "contaminate": e.cell.contaminate, "unlearn": e.cell.unlearn,
            "method": e.cell.method, "seed": e.cell.seed, "query": e.query, "n": e.n, "before": e.before,
            "after": e.after, "change": e.change.estimate, "change_lo": e.change.low, "change_hi": e.change.high,
            "p": e.p, "p_holm": e.p_holm, "verdict": e.verdict,
        }
        for e in effects(results)
    ]  # fmt: skip


VIEW = View(
    name="effects",
    columns={
        **columns("before", "after", "change", "change_lo", "change_hi", "p", "p_holm", whole=("seed", "n")),
        "verdict": pa.string(),
    },
    rows=_rows,
    title="What unlearning changed",
    sentence=(
        "OF after minus before in points, the same items both times: 95 % paired bootstrap intervals, p "
        "of a paired permutation test, corrected after Holm over this table. A rise is called "
        "reinforcement."
    ),
)
