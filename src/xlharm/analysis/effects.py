"""What unlearning did: OF after minus before, paired item by item, corrected for how many were looked at."""

from dataclasses import dataclass
from typing import Literal

from xlharm.analysis.items import Items, common
from xlharm.analysis.statistics import Interval, holm, paired_bootstrap, permutation_paired
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


def effects(items: Items) -> list[Effect]:
    """Compare every cell that has unlearned, as far as it is evaluated, in the grid's order."""
    raw = []
    for before, cell in items.pairs():
        for query in cell.evaluations:
            one, two = items.of_cell(before, query), items.of_cell(cell, query)
            if one and two and one.of:
                earlier, later = common(one.of, two.of)
                seed = cell.seed
                change = paired_bootstrap(earlier, later, seed=seed)
                raw.append((cell, query, earlier, later, change, permutation_paired(earlier, later, seed=seed)))
    corrected = holm([entry[-1] for entry in raw])
    return [
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
    ]


def _verdict(change: float, p: float) -> Literal["fell", "rose", "no clear change"]:
    if p >= LEVEL or change == 0:
        return "no clear change"
    return "rose" if change > 0 else "fell"
